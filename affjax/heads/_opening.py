"""The one way to get a head model."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable
from typing import Any

from affjax.heads import (
  _bfm,
  _carrying,
  _embedded,
  _flame,
  _ict,
  _landmark_sets,
  _retargeting,
  _sidecar,
  _surrey,
)
from affjax.heads._morphable import MorphableModel
from affjax.heads._template import ObjTemplate, load_template

# Readers of model files, by the suffix under which their owners publish them.
_READERS: dict[str, Callable[[pathlib.Path], MorphableModel]] = {
  ".mat": _bfm.load_2009,
  ".h5": _bfm.load_2017,
  ".pkl": _flame.load,
  ".npz": _flame.load,
}
_SUFFIXES = (*_READERS, ".bin", ".obj")
_KEPT = 4


def open_head(spec: str | os.PathLike[str]) -> MorphableModel:
  """Returns the head model that a name, a file or a folder stands for.

  Every model has UV coordinates, the 68 landmarks, and the masks that training and
  fitting use. Landmarks and masks that a file lacks are found by registration with the
  embedded head. The last few models are cached: the same spec gives the same object
  until the file or its sidecar changes.

  Args:
    spec: "embedded"; ICT-FaceKit's folder; a file of BFM (.mat, .h5), FLAME (.pkl,
      .npz) or Surrey (.bin); or an OBJ with UVs of a human head (.obj), to which the
      embedded model is retargeted. `HEAD.json` beside `HEAD.obj` may hold options of
      `load_template`, see docs/templates.md.

  Raises:
    ValueError: the path does not exist, is of no such kind, or is damaged. The message
      has one line.
  """
  if spec == "embedded":
    return _embedded.load()
  path = pathlib.Path(spec)
  if not path.exists():
    raise ValueError(f"model {str(spec)!r}: no such file or folder, nor 'embedded'")
  suffix = path.suffix.lower()
  if not path.is_dir() and suffix not in _SUFFIXES:
    kinds = ", ".join(_SUFFIXES)
    raise ValueError(f"model {str(spec)!r} must be a folder or end in {kinds}")
  return _opened(path.absolute(), _stamp(path))


def open_obj(path: pathlib.Path) -> tuple[ObjTemplate, MorphableModel]:
  """Returns an OBJ's template, and the embedded model retargeted to it."""
  options: dict[str, Any] = {"landmarks": "auto", **_sidecar.read(path, _sidecar.OBJ)}
  try:
    loaded = load_template(path, **options)
    model = _retargeting.retarget_model(
      _embedded.load(), loaded.template, laid=loaded.laid
    )
  except ValueError as error:
    text = str(error)
    raise ValueError(text if str(path) in text else f"{path}: {text}") from error
  return loaded, _carrying.with_maps(model, registered=True)


@functools.lru_cache(maxsize=_KEPT)
def _opened(path: pathlib.Path, stamp: object) -> MorphableModel:
  """The model of a file or folder; `stamp` identifies its version."""
  del stamp
  if path.suffix.lower() == ".obj" and not path.is_dir():
    return open_obj(path)[1]
  if path.is_dir():
    return _carrying.with_maps(_ict.load(path))
  if path.suffix.lower() == ".bin":
    options = {"landmarks": "table", **_sidecar.read(path, _sidecar.SURREY)}
    model = _surrey.load(path, blendshapes=options.get("blendshapes"))
    if options["landmarks"] == "table":
      count = len(model.template.vertices)
      known = {str(n): v for n, v in _landmark_sets.SURREY.items() if v < count}
      options["landmarks"] = {"some": known}
  else:
    options = _sidecar.read(path, _sidecar.MODEL)
    model = _READERS[path.suffix.lower()](path)
  try:
    return _completed(model, options.get("landmarks"))
  except ValueError as error:
    raise ValueError(f"{path}: {error}") from error


def _completed(model: MorphableModel, landmarks: Any) -> MorphableModel:
  """The model with 68 landmarks, masks and a diffuse map."""
  if landmarks is None and len(model.template.landmark_faces) != 68:
    landmarks = "auto"
  if landmarks is not None:
    template = _landmark_sets.with_landmarks(model.template, landmarks)
    model = dataclasses.replace(model, template=template)
  return _carrying.with_maps(model)


def _stamp(path: pathlib.Path) -> object:
  """Times and sizes of a file and its sidecar, or of the files of a folder."""
  files = [path, path.with_suffix(".json")]
  if path.is_dir():
    files = sorted([*path.glob("*.obj"), *path.glob("FaceXModel/*.obj")])
  facts = [file.stat() for file in files if file.is_file()]
  return tuple((fact.st_mtime_ns, fact.st_size) for fact in facts)
