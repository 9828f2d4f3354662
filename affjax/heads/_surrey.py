"""The Surrey Face Model, from the files of the eos library.

They are `cereal` binary archives: little-endian numbers without names. A matrix is its
number of rows and of columns (int32), then its values by columns (float32). A list or a
string is its length (uint64), then its items. An optional value starts with a byte, 1
if the value is absent. A variant starts with the index of its type (int32).
"""

import pathlib
import struct

import numpy as np

from affjax.heads import _assembly
from affjax.heads._assembly import Parts, Source
from affjax.heads._morphable import MorphableModel

# Outer eye corners, the same at every resolution of the model.
_EYE_CORNERS = [177, 610]
_VERSIONS = (1, 2, 3, 4)
_OFFER = "https://github.com/patrikhuber/eos/tree/master/share"


def load(
  path: str | pathlib.Path, *, blendshapes: str | pathlib.Path | None = None
) -> MorphableModel:
  """Reads `sfm_shape_3448.bin` or another resolution of the model.

  Millimeters become decimeters, the axes are those of head space, `v` is reversed to
  grow upwards, and the orthonormal modes are multiplied with their standard deviations.
  If the expressions are principal components, the first unit, "mean", is their mean.
  Colors are not read. The model does not define all 68 landmarks.

  Args:
    path: the model.
    blendshapes: `expression_blendshapes_3448.bin`, the expressions of a model without
      expressions, such as the public one.

  Raises:
    ModelFileError: a file is missing, damaged or of another kind.
  """
  source = _source(path, "a model as eos saves it, of version 1 to 4")
  with source.reading():
    archive = _Archive(source.path.read_bytes())
    version = archive.number("<I")
    source.check(version in _VERSIONS, f"its version is {version}")
    mean, identity, faces = archive.pca()
    archive.pca()  # colors
    names, expression = archive.expressions() if version >= 2 else ((), None)
    if version >= 3:
      archive.skip_landmarks()
    uvs = archive.rows("<f8", 2)
    faces_uv = archive.rows("<i4", 3) if version == 4 else faces[:0]
    archive.finish()
  if blendshapes is not None:
    source.check(expression is None, "it has expressions of its own")
    names, expression = _blendshapes(blendshapes, len(mean))
  if expression is None:
    expression = np.zeros((0, *mean.shape), np.float32)
  has_uvs = len(uvs) > 0
  source.check(len(mean) > max(_EYE_CORNERS), f"it has only {len(mean)} vertices")
  return _assembly.assemble(
    source,
    Parts(
      name="surrey",
      mean=mean,
      faces=faces,
      identity=identity,
      expression=expression,
      expression_names=names,
      eyes=mean[_EYE_CORNERS],
      decimeters=0.01,
      # Their v grows downwards, like the rows of a picture.
      uvs=np.stack([uvs[:, 0], 1 - uvs[:, 1]], -1) if has_uvs else None,
      faces_uv=(faces_uv if len(faces_uv) else faces) if has_uvs else None,
    ),
  )


def _source(path: str | pathlib.Path, expected: str) -> Source:
  return Source(pathlib.Path(path), "Surrey (eos)", expected, _OFFER)


def _blendshapes(
  path: str | pathlib.Path, vertices: int
) -> tuple[tuple[str, ...], np.ndarray]:
  """Names and displacements, mm, of a file of blendshapes."""
  source = _source(path, f"blendshapes of {vertices} vertices, as eos saves them")
  with source.reading():
    archive = _Archive(source.path.read_bytes())
    names, shapes = archive.blendshapes()
    archive.finish()
    source.check(
      shapes.shape[1:] == (vertices, 3), f"its shapes have {shapes.shape[1]} vertices"
    )
    return names, shapes


class _Archive:
  """A reader of consecutive values that checks every length against the rest."""

  def __init__(self, data: bytes):
    self.data = data
    self.place = 0

  def take(self, count: int) -> bytes:
    """Returns the next bytes."""
    left = len(self.data) - self.place
    if not 0 <= count <= left:
      raise ValueError(f"it ends at byte {len(self.data)}: {count} bytes needed")
    self.place += count
    return self.data[self.place - count : self.place]

  def number(self, layout: str) -> int:
    """Returns a number of a `struct` format."""
    return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

  def matrix(self) -> np.ndarray:
    """Returns a float32 matrix `[rows, columns]`."""
    rows, columns = self.number("<i"), self.number("<i")
    if rows < 0 or columns < 0:
      raise ValueError(f"it has a matrix of {rows} x {columns}")
    flat = np.frombuffer(self.take(4 * rows * columns), "<f4")
    return flat.reshape(columns, rows).T

  def rows(self, dtype: str, width: int) -> np.ndarray:
    """Returns a list of rows of `width` numbers."""
    count = self.number("<Q")
    data = self.take(count * width * np.dtype(dtype).itemsize)
    return np.frombuffer(data, dtype).reshape(count, width)

  def text(self) -> str:
    """Returns a string."""
    return self.take(self.number("<Q")).decode("utf-8")

  def pca(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns mean `[V, 3]`, modes `[K, V, 3]` times deviation, and triangles."""
    mean, basis, variance = self.matrix(), self.matrix(), self.matrix()
    faces = self.rows("<i4", 3).astype(np.int64)
    if mean.size % 3 or basis.shape != (mean.size, variance.size):
      raise ValueError(
        f"it has a mean {mean.shape}, a basis {basis.shape}, eigenvalues "
        f"{variance.shape}"
      )
    if not (variance >= 0).all():
      raise ValueError("it has eigenvalues that are not positive")
    scaled = (basis * np.sqrt(variance.reshape(1, -1))).T
    return mean.reshape(-1, 3), scaled.reshape(variance.size, mean.size // 3, 3), faces

  def expressions(self) -> tuple[tuple[str, ...], np.ndarray | None]:
    """Returns names and displacements of the optional expressions."""
    if self.number("<?"):
      return (), None
    kind = self.number("<i")
    if kind == 1:
      return self.blendshapes()
    if kind != 0:
      raise ValueError(f"its expressions are of kind {kind}")
    mean, modes, _ = self.pca()
    names = ("mean", *(f"expression{i}" for i in range(len(modes))))
    return names, np.concatenate([mean[None], modes])

  def blendshapes(self) -> tuple[tuple[str, ...], np.ndarray]:
    """Returns names and displacements `[E, V, 3]`."""
    count = self.number("<Q")
    if count > len(self.data):
      raise ValueError(f"it promises {count} blendshapes")
    pairs = [(self.text(), self.matrix().reshape(-1)) for _ in range(count)]
    shapes = np.array([shape for _, shape in pairs], np.float32)
    return tuple(name for name, _ in pairs), shapes.reshape(count, -1, 3)

  def skip_landmarks(self) -> None:
    """Skips the optional names of vertices."""
    if not self.number("<?"):
      for _ in range(self.number("<Q")):
        self.text()
        self.number("<i")

  def finish(self) -> None:
    """Raises a ValueError unless the whole file has been read."""
    if self.place != len(self.data):
      raise ValueError(f"{len(self.data) - self.place} bytes are left over")
