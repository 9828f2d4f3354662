"""Geometry that another program computed: a position map or mesh file per face."""

import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from affjax.data._providers import png16
from affjax.data._providers.interface import Geometry, Refusal, require_head
from affjax.data._providers.pose import pose_from_landmarks, quality_of_error
from affjax.faces import Crop, Face, warp
from affjax.geometry import uv
from affjax.heads import read_obj
from affjax.types import Camera, Template

SUFFIXES = (".npz", ".npy", ".png", ".obj")
_MOST_BYTES = 256 << 20
# PNGs hold positions in steps of 0.01 mm around the middle of their range.
_STEP_DM, _MIDDLE = 1e-4, 32768


class PrecomputedProvider:
  """A provider that reads `NAME.npz`, `.npy`, `.png` or `.obj` for photo `NAME.jpg`.

  The files use the template's vertex order or UV layout, in head space, dm. The file of
  a photo's second largest face is `NAME.face2.npz`, and so on.

  - `.npz`: `vertices` `[V, 3]` or `position` `[S, S, 3]`, and `pose` `[6]` if known.
  - `.npy`: a position map `[S, S, 3]` or vertices `[V, 3]`.
  - `.png`: a position map in 16 bits: `dm = (value - 32768) / 10,000`.
  - `.obj`: a mesh with the template's vertices in its order.

  A pose that is not given is solved from the landmarks.

  Args:
    folder: Folder of the files, with the same subfolders as the photos.
    template: Template of the vertices.
    camera: Camera of the aligned photos.
  """

  aligned = False

  def __init__(self, folder: pathlib.Path, template: Template, camera: Camera):
    if not folder.is_dir():
      raise ValueError(f"geometry must be a folder of results, got {str(folder)!r}")
    self.template, self._folder, self._camera = template, folder, camera

  def __call__(
    self,
    images: np.ndarray,
    faces: Sequence[Face],
    crops: Sequence[Crop],
    names: Sequence[str],
  ) -> list[Geometry | Refusal]:
    """Returns the geometry in the files; refuses photos without a usable file."""
    answers: list[Geometry | Refusal] = []
    for face, crop, name in zip(faces, crops, names, strict=True):
      try:
        answers.append(self._known(face, crop, name))
      except (ValueError, OSError) as error:
        answers.append(Refusal(" ".join(str(error).split())[:300]))
    return answers

  def settings(self) -> Mapping[str, Any]:
    """Returns what determines the geometry."""
    files = sorted(
      (p.relative_to(self._folder).as_posix(), p.stat().st_size, p.stat().st_mtime_ns)
      for p in self._folder.rglob("*")
      if p.suffix.lower() in SUFFIXES
    )
    return {
      "provider": "precomputed",
      "template": self.template.name,
      "files": hashlib.sha256(repr(files).encode()).hexdigest(),
      "count": len(files),
    }

  def _known(self, face: Face, crop: Crop, name: str) -> Geometry:
    values = _read(_file_of(self._folder, name))
    vertices = values.get("vertices")
    if vertices is None:
      vertices = self._from_map(values["position"])
    vertices = require_head(np.asarray(vertices), self.template)
    px = warp.transform(crop.matrix, face.landmarks68)
    pose, error = pose_from_landmarks(
      vertices, self.template, px, self._camera, crop.size
    )
    given = values.get("pose")
    if given is not None:
      if given.shape != (6,) or not np.isfinite(given).all():
        raise ValueError(f"pose must be six finite numbers, got {given.shape}")
      pose = given.astype(np.float32)
    return Geometry(vertices, pose, quality_of_error(error), error)

  def _from_map(self, position: np.ndarray) -> np.ndarray:
    square = position.ndim == 3 and position.shape[0] == position.shape[1]
    if not square or position.shape[2] != 3 or not 16 <= len(position) <= 4096:
      raise ValueError(f"position map must be [S, S, 3], got {list(position.shape)}")
    if position.dtype.kind not in "fiu" or not np.isfinite(position).all():
      raise ValueError("position map must hold finite numbers")
    table = uv.uv_table(self.template, len(position))
    return np.asarray(uv.vertices_from_map(jnp.asarray(position, "f4"), table))


def _file_of(folder: pathlib.Path, name: str) -> pathlib.Path:
  """Returns the file of a face."""
  photo, _, number = name.rpartition("#face ")
  stem = pathlib.PurePosixPath(photo).with_suffix("")
  if stem.is_absolute() or ".." in stem.parts:
    raise ValueError(f"photo {photo!r} leads out of the folder of geometry")
  stem = stem if number == "1" else stem.with_name(f"{stem.name}.face{number}")
  for suffix in SUFFIXES:
    place = folder / f"{stem}{suffix}"
    if place.is_file():
      if place.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{place.name!r} is larger than {_MOST_BYTES} bytes")
      return place
  raise ValueError(f"no file {str(stem)!r} with {', '.join(SUFFIXES)} in the folder")


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Returns the arrays of a file; runs no code in it."""
  suffix = path.suffix.lower()
  if suffix == ".obj":
    return {"vertices": read_obj(path).vertices}
  if suffix == ".png":
    pixels = png16.read(path).astype(np.float64)
    return {"position": (pixels - _MIDDLE) * _STEP_DM}
  try:
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
      return {"vertices" if loaded.ndim == 2 else "position": loaded}
    with loaded:
      known = {
        name: loaded[name]
        for name in ("vertices", "position", "pose")
        if name in loaded.files
      }
  except Exception as error:  # NumPy raises errors of many types on damaged files.
    raise ValueError(f"{path.name!r} cannot be read: {error}") from error
  if "vertices" not in known and "position" not in known:
    raise ValueError(f"{path.name!r} holds neither vertices nor position")
  return known
