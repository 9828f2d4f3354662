"""FLAME 2020 and 2023 (Li et al. 2017), from the file of its owner."""

import pathlib
from collections.abc import Mapping

import numpy as np

from affjax.assets import store
from affjax.heads import _assembly, _unpickling
from affjax.heads._assembly import Parts, Source
from affjax.heads._morphable import MorphableModel

_VERTICES = 5023
# Number of shape modes, then of expression modes, in one array.
_IDENTITY, _EXPRESSION = 300, 100
# The eyeballs are the last vertices, 546 each, first the left one.
_EYEBALLS = (slice(4477, 5023), slice(3931, 4477))
_MAX_BYTES = 1 << 30


def load(path: str | pathlib.Path) -> MorphableModel:
  """Reads FLAME from `generic_model.pkl`, `flame2023.pkl` or an `.npz` of the same.

  Meters become decimeters; the axes are those of head space. Shape and expression modes
  are multiplied with their standard deviations in the file. Pose correctives, joints
  and skinning weights are not read: the head is at rest with the jaw shut.

  The origin lies 0.55 dm behind the midpoint of the eyeballs, because the file names no
  eye corners. It has neither UV coordinates nor landmarks; docs/models.md tells how to
  provide them.

  Args:
    path: a `.pkl`, which is interpreted without running anything, or a `.npz` with the
      arrays `v_template`, `shapedirs` and `f`.

  Raises:
    ModelFileError: the file is missing, damaged or not FLAME, or its pickle requests
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
        decimeters=10.0,
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
