"""The Basel Face Model: 2009 in Deep3D's form, 2017 and 2019 as published."""

import json
import pathlib
from typing import Any

import numpy as np
import scipy.io

from affjax.heads import _assembly
from affjax.heads._assembly import Parts, Source
from affjax.heads._morphable import MorphableModel

_DEEP3D_VERTICES = 35709
# The outer eye corners among the 68 landmarks, counted from 0.
_EYE_CORNERS = [36, 45]
_MAX_JSON = 1 << 20


def load_2009(path: str | pathlib.Path) -> MorphableModel:
  """Reads `BFM_model_front.mat`, which Deep3DFaceRecon derives from the BFM of 2009.

  The file has 35,709 vertices of the face, 80 identity modes and 64 expression modes
  (FaceWarehouse's), each multiplied with its standard deviation, and 68 landmarks, in
  decimeters and along the axes of head space, with indices counted from 1. Albedo is
  not read. There are no UV coordinates; docs/models.md tells how to provide them.

  Deep3D's own origin is the mean of the vertices, that is, the mean of the vertices of
  the template returned here.

  Raises:
    ModelFileError: the file is missing, damaged or of another kind.
  """
  size = 3 * _DEEP3D_VERTICES
  source = Source(
    pathlib.Path(path),
    "BFM 2009 (Deep3D)",
    f"BFM_model_front.mat with meanshape of {size} numbers, idBase [{size}, 80], "
    f"exBase [{size}, 64], tri and keypoints",
    "https://faces.dmi.unibas.ch/bfm (01_MorphableModel.mat); Deep3DFaceRecon_pytorch "
    "makes BFM_model_front.mat of it and of Exp_Pca.bin when it first runs",
  )
  with source.reading():
    names = ["meanshape", "idBase", "exBase", "tri", "keypoints"]
    data = scipy.io.loadmat(source.path, variable_names=names)
    numbers = {name: _numbers(source, name, data[name]) for name in names}
    mean = numbers["meanshape"].reshape(-1)
    source.check(mean.size == size, f"meanshape has {mean.size} numbers")
    for name in ("idBase", "exBase"):
      shape = numbers[name].shape
      source.check(len(shape) == 2 and shape[0] == size, f"{name} has shape {shape}")
    mean = mean.reshape(-1, 3)
    landmarks = numbers["keypoints"].reshape(-1).astype(np.int64) - 1
    source.check(
      landmarks.size == 68 and 0 <= landmarks.min() <= landmarks.max() < len(mean),
      f"keypoints are {landmarks.size} vertices in [{landmarks.min() + 1}, "
      f"{landmarks.max() + 1}]",
    )
    expression = _modes(numbers["exBase"])
    return _assembly.assemble(
      source,
      Parts(
        name="bfm2009",
        mean=mean,
        faces=numbers["tri"].astype(np.int64) - 1,
        identity=_modes(numbers["idBase"]),
        expression=expression,
        expression_names=[f"expression{i}" for i in range(len(expression))],
        eyes=mean[landmarks[_EYE_CORNERS]],
        decimeters=1.0,
        landmarks=landmarks,
      ),
    )


def load_2017(path: str | pathlib.Path) -> MorphableModel:
  """Reads `model2017-1_bfm_nomouth.h5`, `model2017-1_face12_nomouth.h5` or 2019's.

  Millimeters become decimeters; the axes are those of head space. The orthonormal modes
  are multiplied with their standard deviations. The template is the neutral mean. The
  mean of the expressions, which is not neutral, is the first unit, "mean"; it has
  coefficient 1 at the center of the authors' prior. Colors are not read. There are
  neither UV coordinates nor the 68 landmarks; docs/models.md tells how to provide them.
  The origin follows from the eye corners that the file names.

  Requires `h5py`, which affjax does not install.

  Raises:
    ModelFileError: the file is missing, damaged or of another kind.
    ImportError: `h5py` is not installed.
  """
  source = Source(
    pathlib.Path(path),
    "BFM 2017",
    "an .h5 file with shape/model, expression/model (mean, pcaBasis, pcaVariance), "
    "shape/representer/cells and metadata/landmarks/json",
    "https://faces.dmi.unibas.ch/bfm/bfm2017.html",
  )
  h5py = _h5py()
  with source.reading(), h5py.File(source.path, "r") as file:
    mean, identity = _pca(source, file, "shape")
    smile, expression = _pca(source, file, "expression")
    source.check(mean.shape == smile.shape, f"its means have {len(mean)}, {len(smile)}")
    eyes = _eye_corners(source, file["metadata/landmarks/json"])
    return _assembly.assemble(
      source,
      Parts(
        name="bfm2017",
        mean=mean,
        faces=np.asarray(file["shape/representer/cells"]).T.astype(np.int64),
        identity=identity,
        expression=np.concatenate([smile[None], expression]),
        expression_names=["mean", *(f"expression{i}" for i in range(len(expression)))],
        eyes=eyes,
        decimeters=0.01,
      ),
    )


def _numbers(source: Source, name: str, values: Any) -> np.ndarray:
  source.check(
    isinstance(values, np.ndarray) and values.dtype.kind in "fiu",
    f"{name} is not an array of numbers",
  )
  source.check(bool(np.isfinite(values).all()), f"{name} has NaN or infinite numbers")
  return values


def _modes(basis: np.ndarray) -> np.ndarray:
  """Modes `[K, V, 3]` from a basis `[3V, K]` of x, y, z of each vertex in turn."""
  return basis.T.reshape(basis.shape[1], -1, 3)


def _pca(source: Source, file: Any, group: str) -> tuple[np.ndarray, np.ndarray]:
  """Mean `[V, 3]` and modes `[K, V, 3]`, mm, of a part of the model."""
  model = file[f"{group}/model"]
  mean, basis, variance = (
    _numbers(source, f"{group}/model/{key}", np.asarray(model[key]))
    for key in ("mean", "pcaBasis", "pcaVariance")
  )
  source.check(
    mean.ndim == 1
    and mean.size % 3 == 0
    and basis.shape == (mean.size, variance.size)
    and bool((variance >= 0).all()),
    f"{group}/model has a mean {mean.shape}, pcaBasis {basis.shape}, pcaVariance "
    f"{variance.shape}",
  )
  return mean.reshape(-1, 3), _modes(basis * np.sqrt(variance))


def _eye_corners(source: Source, data: Any) -> np.ndarray:
  """Outer eye corners `[2, 3]`, right and left, mm, from the named landmarks."""
  source.check(data.size == 1 and data.dtype.itemsize < _MAX_JSON, "too much JSON")
  text = np.asarray(data).reshape(-1)[0]
  places = {entry["id"]: entry["coordinates"] for entry in json.loads(text)}
  names = [f"{side}.eye.corner_outer" for side in ("right", "left")]
  missing = [name for name in names if name not in places]
  source.check(not missing, f"its landmarks do not name {missing}")
  corners = np.array([places[name] for name in names], np.float64)
  source.check(corners.shape == (2, 3), f"its eye corners have shape {corners.shape}")
  return corners


def _h5py() -> Any:
  try:
    import h5py
  except ImportError as error:
    raise ImportError(
      "BFM 2017 is an HDF5 file: `pip install h5py` to read it"
    ) from error
  return h5py
