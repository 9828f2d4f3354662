"""The one way to get a head model."""

import os
import pathlib

from affjax.heads import _bfm, _embedded, _flame, _ict, _surrey
from affjax.heads._morphable import MorphableModel

# Readers of model files, by the suffix under which their owners publish them.
_READERS = {
  ".mat": _bfm.load_2009,
  ".h5": _bfm.load_2017,
  ".pkl": _flame.load,
  ".npz": _flame.load,
  ".bin": _surrey.load,
}


def open_head(spec: str | os.PathLike[str]) -> MorphableModel:
  """Returns the head model that a name, a file or a folder stands for.

  Args:
    spec: "embedded"; ICT-FaceKit's folder; a file of BFM (.mat, .h5), FLAME (.pkl,
      .npz) or Surrey (.bin).

  Raises:
    ValueError: nothing is there, it is none of these, or it is damaged.
  """
  if spec == "embedded":
    return _embedded.load()
  path = pathlib.Path(spec)
  if path.is_dir():
    return _ict.load(path)
  if not path.is_file():
    raise ValueError(f"model {str(spec)!r}: no such file or folder, nor 'embedded'")
  if path.suffix.lower() not in _READERS:
    kinds = ", ".join(_READERS)
    raise ValueError(f"model {str(spec)!r} must be a folder or end in {kinds}")
  return _READERS[path.suffix.lower()](path)
