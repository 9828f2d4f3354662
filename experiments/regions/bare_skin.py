"""Synthetic photos before the camera's noise, with what shows bare skin.

What `affjax.faces.regions` learns from: things are laid before these heads, then the
camera's faults over the whole, by `experiments.regions.disguises`.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from affjax.data import SyntheticFaces
from affjax.data._synthetic import sampling
from affjax.geometry import camera as cameras
from affjax.heads import landmarks, open_head

# Aligned crops leave this much of the roll and the shift that the source draws.
_ROLL, _SHIFT = 0.3, 0.4


@dataclasses.dataclass(frozen=True, eq=False)
class Portrait:
  """A head as `crop.face_crop` would cut it.

  Attributes:
    image: uint8, sRGB, without noise, blur or compression.
    bare: uint8, 255 where the picture shows the head's own surface or the neck: skin,
      brows, a beard that lies on the skin, lips, eyes, teeth; neither hair nor things.
    landmarks: of the 68, px of the image.
  """

  image: UInt8[np.ndarray, "s s 3"]
  bare: UInt8[np.ndarray, "s s"]
  landmarks: Float[np.ndarray, "68 2"]


class Portraits:
  """Random-access source of portraits: `portraits[i]` is the same one for ever.

  Args:
    count: how many there are.
    size: width and height, px.
    split: "train" or "test"; microphones are in the test split only.
    occluders: chance of something before the face.
  """

  def __init__(self, count: int, size: int, split: str, *, occluders: float = 0.35):
    self._faces = SyntheticFaces(
      open_head("embedded"),
      count,
      size,
      map_size=-(-size * 3 // 16) * 8,
      seed=57,
      split=split,
      occluders=occluders,
    )

  def __len__(self) -> int:
    return len(self._faces)

  def __getitem__(self, index: int) -> Portrait:
    faces = self._faces
    painted = faces.paint(_aligned(faces.parameters(index), faces.split == "test"))
    to_bytes = lambda value: np.rint(np.clip(value, 0, 1) * 255).astype(np.uint8)
    points = landmarks.landmarks68(painted["vertices"], faces.model.template)
    world = cameras.head_to_world(points, jnp.asarray(painted["pose"]))
    px = cameras.world_to_px(world, faces.camera, faces.size, faces.size)
    return Portrait(
      to_bytes(np.asarray(painted["clean"])),
      to_bytes(np.asarray(painted["bare"])[..., 0]),
      np.asarray(px, np.float32),
    )


def _aligned(drawn: sampling.Scene, sticks: bool) -> sampling.Scene:
  """The same scene with a head that is nearly where a crop puts it."""
  things = drawn.occluders
  if not sticks:
    keep = np.array([0, 1, 1, 1, 1], np.float32)  # its presence
    things = things._replace(stick=things.stick * keep)
  return drawn._replace(
    angles_deg=drawn.angles_deg * np.array([1, 1, _ROLL], np.float32),
    translation=drawn.translation * np.float32(_SHIFT),
    occluders=things,
  )
