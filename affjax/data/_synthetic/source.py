"""The random-access source of synthetic photos."""

import operator
import pathlib
from typing import Any

import jax
import numpy as np

from affjax.data._record_source import Record, RecordFacts
from affjax.data._synthetic import layout, patches, sampling, scene
from affjax.geometry import uv
from affjax.heads import MorphableModel
from affjax.types import Camera

_SPLITS = ("train", "test")


class SyntheticFaces:
  """Procedural photos of random heads; an index always gives the same record.

  A record holds `image` uint8 `[H, W, 3]`, `visible` uint8 `[H, W, 1]`, `vertices`
  float32 `[V, 3]` (head space, dm), `pose` float32 `[6]`, `diffuse` uint8 `[S, S, 3]`,
  `light` float32 `[S/8, S/8, 1]`, `light_color` float32 `[3]`, `has_pose` and
  `has_diffuse`.

  Args:
    model: Morphable head.
    count: Number of samples.
    size: Width and height of the photos, px.
    map_size: S, a multiple of 8; `size` if not given.
    seed: Seed of everything; samples of different seeds have nothing in common.
    split: "train" or "test"; the same seed gives other samples in each.
    occluders: Chance of an occluder in front of the face.
    backgrounds: Folder of photos from which the backgrounds of half of the samples are
      cut.
    camera: Camera; `Camera()` if not given.
    photos: Number of photos of each person; they follow one another.

  Attributes:
    VERSION: Number that is raised when the same index gives another picture.

  Raises:
    ValueError: A number is out of range, the split is unknown, or the folder of
      backgrounds holds no images.
  """

  VERSION = 3

  def __init__(
    self,
    model: MorphableModel,
    count: int,
    size: int,
    *,
    map_size: int | None = None,
    seed: int = 0,
    split: str = "train",
    occluders: float = 0.35,
    backgrounds: str | pathlib.Path | None = None,
    camera: Camera | None = None,
    photos: int = 1,
  ):
    map_size = size if map_size is None else map_size
    _check(count, size, map_size, split, occluders)
    self.model, self.count, self.size, self.map_size = model, count, size, map_size
    self.seed, self.split, self.occluders = seed, split, occluders
    self.camera = Camera() if camera is None else camera
    self.photos = photos
    self._patches = None if backgrounds is None else patches.PhotoPatches(backgrounds)
    self._bases = jax.device_put(
      (model.template.vertices, model.identity_basis, model.expression_basis)
    )
    self._layout = jax.device_put(layout.layout(model.template, map_size))
    self._anatomy = jax.device_put(layout.anatomy(model.template))

  @property
  def facts(self) -> RecordFacts:
    """Properties that all records share."""
    template = self.model.template
    return RecordFacts(template.name, len(template.vertices), self.size, self.map_size)

  def __len__(self) -> int:
    return self.count

  def __getitem__(self, index: int) -> Record:
    painted = self._paint(index)[1]
    to_bytes = lambda value: np.rint(np.asarray(value) * 255).astype(np.uint8)
    return {
      "image": to_bytes(painted["image"]),
      "visible": to_bytes(painted["visible"]),
      "vertices": np.asarray(painted["vertices"]),
      "pose": np.asarray(painted["pose"]),
      "diffuse": to_bytes(painted["diffuse"]),
      "light": np.asarray(painted["light"]),
      "light_color": np.asarray(painted["light_color"]),
      "has_pose": np.ones((), np.float32),
      "has_diffuse": np.ones((), np.float32),
    }

  def exact(self, index: int) -> Record:
    """Returns everything about a sample in float, as `scene.photograph` does.

    Adds `position` (the position map, dm), `identity` and `expression`.
    """
    drawn, painted = self._paint(index)
    table = uv.uv_table(self.model.template, self.map_size)
    out = {name: np.asarray(value) for name, value in painted.items()}
    out["position"] = np.asarray(uv.map_from_vertices(painted["vertices"], table))
    out["identity"], out["expression"] = drawn.identity, drawn.expression
    return out

  def parameters(self, index: int) -> sampling.Scene:
    """Returns the parameters that a sample is painted from."""
    index = _in_range(index, self.count)
    drawn, person = self._draw(index), index - index % self.photos
    return drawn if person == index else sampling.of_person(drawn, self._draw(person))

  def _draw(self, index: int) -> sampling.Scene:
    rng = sampling.generator(self.seed, self.split, index)
    return sampling.scene(rng, self.model, occluders=self.occluders)

  def settings(self) -> dict[str, Any]:
    """Returns what determines the records, as JSON values."""
    return {
      "source": "SyntheticFaces",
      "version": self.VERSION,
      "template": self.model.template.name,
      "vertices": float(np.abs(self.model.identity_basis).sum()),
      "count": self.count,
      "size": self.size,
      "map_size": self.map_size,
      "seed": self.seed,
      "split": self.split,
      "occluders": self.occluders,
      "backgrounds": None if self._patches is None else self._patches.names(),
      "camera": [self.camera.fov_deg, self.camera.distance],
      # Caches of single photos were made before there were several.
      **({"photos": self.photos} if self.photos > 1 else {}),
    }

  def _paint(self, index: int) -> tuple[sampling.Scene, dict[str, jax.Array]]:
    index = _in_range(index, self.count)
    drawn = self.parameters(index)
    photo, share = np.zeros((self.size, self.size, 3), np.float32), 0.0
    if self._patches is not None:
      rng = sampling.generator(self.seed, f"{self.split}/backgrounds", index)
      if rng.random() < 0.5:
        photo, share = self._patches.patch(rng, self.size), 1.0
    return drawn, self.paint(drawn, photo, share)

  def paint(
    self,
    drawn: sampling.Scene,
    photo: np.ndarray | None = None,
    photo_share: float = 0.0,
  ) -> dict[str, jax.Array]:
    """Returns what `scene.photograph` paints, e.g. for changed `parameters`."""
    if photo is None:
      photo = np.zeros((self.size, self.size, 3), np.float32)
    return scene.photograph(
      drawn,
      self._bases,
      self._layout,
      self._anatomy,
      photo,
      np.float32(photo_share),
      template=self.model.template,
      camera=self.camera,
      size=self.size,
    )


def _check(count: int, size: int, map_size: int, split: str, occluders: float) -> None:
  if count < 0:
    raise ValueError(f"count must not be negative, got {count}")
  if size < 8:
    raise ValueError(f"size must be at least 8 pixels, got {size}")
  if map_size < 8 or map_size % 8:
    raise ValueError(f"map_size must be a positive multiple of 8, got {map_size}")
  if split not in _SPLITS:
    raise ValueError(f"split must be one of {_SPLITS}, got {split!r}")
  if not 0 <= occluders <= 1:
    raise ValueError(f"occluders must lie in [0, 1], got {occluders}")


def _in_range(index: int, count: int) -> int:
  position = operator.index(index)
  if position < 0:
    position += count
  if not 0 <= position < count:
    raise IndexError(f"index {index} is out of range for {count} synthetic faces")
  return position
