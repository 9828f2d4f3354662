"""FLAME 2020 and 2023 (Li et al. 2017), from the file that its owner hands out."""

import pathlib
from collections.abc import Mapping

import numpy as np

from affjax.assets import store
from affjax.heads import _assembly, _unpickling
from affjax.heads._assembly import Parts, Source
from affjax.heads._morphable import MorphableModel

_VERTICES = 5023
# Shape modes, then expression modes, in one array.
_IDENTITY, _EXPRESSION = 300, 100
# The eyeballs are the last vertices, 546 each, first the left one.
_EYEBALLS = (slice(4477, 5023), slice(3931, 4477))
_MAX_BYTES = 1 << 30


def load(path: str | pathlib.Path) -> MorphableModel:
  """Reads FLAME from `generic_model.pkl`, `flame2023.pkl` or an `.npz` of the same.

  Metres become decimetres; the axes are those of head space already. Shape and
  expression modes come multiplied with their standard deviations. Pose correctives,
  joints and skinning weights are left out: this is the head at rest, jaw shut.

  The origin lies 0.55 dm behind the middle of the eyeballs, for want of named eye
  corners. FLAME's model file has neither UV coordinates nor landmarks; docs/models.md
  tells how to bring them.

  Args:
    path: a `.pkl`, which is read by an interpreter that runs nothing, or a `.npz` with
      the arrays `v_template`, `shapedirs` and `f`.

  Raises:
    ModelFileError: the file is missing, damaged or not FLAME, or its pickle asks for
      anything but arrays.
  """
  source = Source(
    pathlib.Path(path),
    "FLAME",
    f"a .pkl or .npz with v_template [{_VERTICES}, 3], shapedirs [{_VERTICES}, 3, "
    f"{_IDENTITY + _EXPRESSION}] and triangles f",
    "https://flame.is.tue.mpg.de",
  )
  with source.reading():
    arrays = _arrays(source)
    mean, modes, faces = (
      np.asarray(arrays[key]) for key in ("v_template", "shapedirs", "f")
    )
    source.check(mean.shape == (_VERTICES, 3), f"v_template has shape {mean.shape}")
    source.check(
      modes.shape == (_VERTICES, 3, _IDENTITY + _EXPRESSION),
      f"shapedirs has shape {modes.shape}",
    )
    basis = np.moveaxis(modes, -1, 0)
    return _assembly.assemble(
      source,
      Parts(
        name="flame",
        mean=mean,
        faces=faces.astype(np.int64),
        identity=basis[:_IDENTITY],
        expression=basis[_IDENTITY:],
        expression_names=[f"expression{i}" for i in range(_EXPRESSION)],
        eyes=np.array([mean[ball].mean(0) for ball in _EYEBALLS]),
        decimetres=10.0,
      ),
    )


def _arrays(source: Source) -> Mapping[str, np.ndarray]:
  size = source.path.stat().st_size
  source.check(size <= _MAX_BYTES, f"it has {size} bytes, more than {_MAX_BYTES}")
  data = source.path.read_bytes()
  if source.path.suffix == ".npz":
    return store.read_npz(data, source.path.name)
  if source.path.suffix == ".pkl":
    return _unpickling.load(data)
  raise source.error(f"its name ends in {source.path.suffix!r}")
