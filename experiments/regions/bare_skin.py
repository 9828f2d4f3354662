"""Synthetic portraits without the camera's noise, with a mask of their bare skin.

The network of `affjax.faces.visible_skin` is trained on them, after
`experiments.regions.snapshots` has laid things before the heads and degraded the
photos.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from affjax.data import SyntheticFaces
from affjax.data._synthetic import sampling
from affjax.geometry import camera as cameras
from affjax.heads import open_head
from affjax.types import Camera

# Shares of the roll and the shift that the source draws which aligned crops leave.
_ROLL, _SHIFT = 0.3, 0.4


@dataclasses.dataclass(frozen=True, eq=False)
class Portrait:
  """A head as `face_crop` would cut it.

  Attributes:
    image: Picture, sRGB, without noise, blur or compression.
    bare: Mask, 255 where the picture shows the head's own surface or the neck: skin,
      brows, a beard that lies on the skin, lips, eyes, teeth; neither hair nor things.
    landmarks: The 68 landmarks, px of the image.
    pose: Axis-angle rotation and translation (dm) of the head.
  """

  image: UInt8[np.ndarray, "s s 3"]
  bare: UInt8[np.ndarray, "s s"]
  landmarks: Float[np.ndarray, "68 2"]
  pose: Float[np.ndarray, " 6"]


class Portraits:
  """A random-access source of portraits; an index always gives the same one.

  Args:
    count: Number of portraits.
    size: Width and height, px.
    split: "train" or "test"; microphones are in the test split only.
    occluders: Chance of an occluder before the face.
    seed: Seed of the portraits.
    camera: Camera; `Camera()` if not given.
    map_size: Size of the diffuse maps; 1.5 times that of the photos if not given.
    each: Number of consecutive portraits of each person, whose identity, skin and hair
      they share.
  """

  def __init__(
    self,
    count: int,
    size: int,
    split: str,
    *,
    occluders: float = 0.35,
    seed: int = 57,
    camera: Camera | None = None,
    map_size: int | None = None,
    each: int = 1,
  ):
    self._each = each
    self._faces = SyntheticFaces(
      open_head("embedded"),
      count,
      size,
      map_size=map_size or -(-size * 3 // 16) * 8,
      seed=seed,
      split=split,
      occluders=occluders,
      camera=camera,
    )

  def __len__(self) -> int:
    return len(self._faces)

  def scene(self, index: int) -> sampling.Scene:
    """Returns the parameters that a portrait is painted from."""
    faces = self._faces
    drawn, person = (faces.parameters(k) for k in (index, index - index % self._each))
    own = {name: getattr(person, name) for name in ("identity", "skin", "hair")}
    return _aligned(drawn._replace(**own), faces.split == "test")

  def __getitem__(self, index: int) -> Portrait:
    faces = self._faces
    painted = faces.paint(self.scene(index))
    to_bytes = lambda value: np.rint(np.clip(value, 0, 1) * 255).astype(np.uint8)
    points = faces.model.template.landmark_positions(painted["vertices"])
    world = cameras.head_to_world(points, jnp.asarray(painted["pose"]))
    px = cameras.world_to_px(world, faces.camera, faces.size, faces.size)
    return Portrait(
      to_bytes(np.asarray(painted["clean"])),
      to_bytes(np.asarray(painted["bare"])[..., 0]),
      np.asarray(px, np.float32),
      np.asarray(painted["pose"]),
    )


def _aligned(drawn: sampling.Scene, sticks: bool) -> sampling.Scene:
  """Returns the scene with its head nearly where a crop puts it."""
  things = drawn.occluders
  if not sticks:
    keep = np.array([0, 1, 1, 1, 1], np.float32)  # its presence
    things = things._replace(stick=things.stick * keep)
  return drawn._replace(
    angles_deg=drawn.angles_deg * np.array([1, 1, _ROLL], np.float32),
    translation=drawn.translation * np.float32(_SHIFT),
    occluders=things,
  )
