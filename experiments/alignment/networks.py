"""The networks of the comparison: the named architectures, with the paper's field.

At 512 px the eleven layers of the paper see 61 px, 12 % of the photo. The same layers
would see nearly all of a photo of 64 px, and a comparison would say nothing about
alignment. So at small sizes only some of layers 5 to 11 stay 3 x 3, the others become
1 x 1: the fields are 17 px of 64 and 128, 31 px of 256 and 61 px of 512. A fully
connected bottleneck (`plain_global`, `guided`) sees everything all the same.
"""

import dataclasses
import functools
from typing import Any

import numpy as np
from flax import nnx

from affjax.geometry.camera import head_to_world
from affjax.heads import open_head
from affjax.models import (
  ARCHITECTURES,
  AffUNet,
  Architecture,
  EncoderConfig,
  LightNetConfig,
  Networks,
  PoseNetConfig,
  Reconstructor,
)
from affjax.nn import Block, Conv, Normal
from affjax.types import Camera
from experiments.alignment.plan import Settings

# Layers that stay 3 x 3, by the side of the photo, and how far a layer's window reaches
# from its middle, px of the photo.
WIDE = {64: (), 128: (), 256: (6, 8, 10), 512: (5, 6, 7, 8, 9, 10, 11)}
REACH = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 4, 7: 4, 8: 2, 9: 2, 10: 1, 11: 1}


def wide_layers(settings: Settings) -> tuple[int, ...]:
  """Returns the layers of 5 to 11 that are 3 x 3."""
  return WIDE[512 if settings.field == "whole" else settings.size]


def field_px(settings: Settings) -> int:
  """Returns the side of the receptive field of plain layers, px."""
  layers = (1, 2, 3, 4, *wide_layers(settings))
  return 1 + 2 * sum(REACH[layer] for layer in layers)


class Narrow(AffUNet):
  """AffUNet with 1 x 1 convolutions in layers 5 to 11, except some.

  Args:
    config: Options of the network.
    architecture: The kind of network.
    wide: Layers that stay 3 x 3.
    outputs: Number of channels of the result.
    rngs: Random streams for parameter initialization.
  """

  def __init__(
    self,
    config: EncoderConfig,
    architecture: Architecture,
    *,
    wide: tuple[int, ...],
    outputs: int = 3,
    rngs: nnx.Rngs,
  ):
    super().__init__(config, architecture, outputs=outputs, rngs=rngs)
    for number in sorted(set(range(5, 11)) - set(wide)):
      block = getattr(self, f"layer{number}")
      narrow = Conv(*block.conv.kernel.shape[2:], kernel_size=1, rngs=rngs)
      setattr(self, f"layer{number}", Block(narrow, narrow.bias.shape[0], rngs=rngs))
    if 11 not in wide:
      channels, outputs = self.layer11.kernel.shape[2:]
      start = Normal(0.0 if self.guided else 0.3)
      self.layer11 = Conv(
        channels, outputs, kernel_size=1, kernel_init=start, rngs=rngs
      )


def reconstructor(
  name: str, settings: Settings, deviation: np.ndarray
) -> Reconstructor:
  """Returns the networks of an architecture.

  Args:
    name: One of `ARCHITECTURES`.
    settings: Settings of the comparison.
    deviation: Unit of the position network's output, `[V, 3]`, dm.
  """
  wide = wide_layers(settings)
  row = ARCHITECTURES[name]
  known = f"{name}, 3 x 3 in {wide}"
  # The table of architectures is how a network of one's own is added.
  ARCHITECTURES.setdefault(
    known, dataclasses.replace(row, network=functools.partial(Narrow, wide=wide))
  )
  config = EncoderConfig(width=settings.width)
  light = LightNetConfig(width=max(4, settings.width // 2), color=True)
  pose = PoseNetConfig(width=4)  # poses are given
  networks = Networks(settings.size, known, config, config, light, pose)
  return Reconstructor(open_head("embedded").template, Camera(), networks, deviation)


def parameters(params: dict[str, Any]) -> int:
  """Returns the number of scalars in nested dicts of arrays."""
  if isinstance(params, dict):
    return sum(parameters(value) for value in params.values())
  return int(np.prod(params.shape))


def at_camera_distance(points: Any, depth: Any, camera: Camera) -> Any:
  """Scales world-space heads about the camera, so that their centers lie at its target.

  The photo stays the same: what cannot be seen, how large a head is, is taken away.

  Args:
    points: World space, `[n, p, 3]`, dm.
    depth: Third number of the translation of each pose, `[n]`, dm.
    camera: The camera.
  """
  eye = np.array([0.0, 0.0, camera.distance], np.float32)
  scale = camera.distance / (camera.distance - depth)
  return eye + (points - eye) * scale[:, None, None]


def in_photo(maps: Any, pose: Any, camera: Camera) -> Any:
  """Returns position maps as posed heads show them to the camera, dm.

  Args:
    maps: Position maps in head space, `[n, s, s, 3]`, dm.
    pose: Poses, `[n, 6]`.
    camera: The camera.
  """
  world = head_to_world(maps.reshape(len(maps), -1, 3), pose)
  return at_camera_distance(world, pose[:, 5], camera).reshape(maps.shape)
