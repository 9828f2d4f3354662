"""A strict, bounded reader of Wavefront OBJ files; errors name the line."""

import dataclasses
import math
import pathlib

import numpy as np
from jaxtyping import Float, Int

# Limits that no head reaches; a file beyond them is damaged or malicious.
MAX_BYTES, MAX_ROWS, MAX_CORNERS = 512 * 2**20, 4_000_000, 256
_LINE = 65_536


@dataclasses.dataclass(frozen=True, eq=False)
class ObjMesh:
  """The content of an OBJ file, with polygons cut into triangles.

  Attributes:
    vertices: float64 `[V, 3]`, in the file's unit and axes.
    uvs: float64 `[U, 2]`, v up, in any tile.
    faces: int32 `[T, 3]`, triangles as indices into `vertices`, from 0.
    faces_uv: int32 `[T, 3]`, the same triangles as indices into `uvs`; -1 where a file
      that need not have UVs has none.
    face_groups: int32 `[T]`, index into `group_names`.
    group_names: names of the groups (`g`, else `o`, else `usemtl`) that have faces.
  """

  vertices: Float[np.ndarray, "v 3"]
  uvs: Float[np.ndarray, "u 2"]
  faces: Int[np.ndarray, "t 3"]
  faces_uv: Int[np.ndarray, "t 3"]
  face_groups: Int[np.ndarray, " t"]
  group_names: tuple[str, ...]


class ObjError(ValueError):
  """A file is not a usable OBJ; the message names the file and the line."""


def read_obj(path: str | pathlib.Path, *, need_uvs: bool = True) -> ObjMesh:
  """Reads an OBJ file.

  Polygons (cut as fans), negative indices and continued lines are supported. Faces
  without UV indices are accepted if there are as many `vt` as `v` (MeInGame's files);
  their UV indices are the vertex indices. Normals, lines, points, curves and materials
  are ignored.

  Args:
    path: the file.
    need_uvs: whether faces without UV indices are refused.

  Raises:
    FileNotFoundError: there is no such file.
    ObjError: the file is too large or not text, or has numbers that are not finite,
      indices out of range, faces without UVs, or no faces.
  """
  path = pathlib.Path(path)
  size = path.stat().st_size
  if size > MAX_BYTES:
    raise ObjError(f"{path}: {size} bytes, at most {MAX_BYTES} are read")
  parser = _Parser(str(path), need_uvs)
  with path.open("r", encoding="utf-8", errors="replace") as file:
    number, held = 0, ""
    while line := file.readline(_LINE):
      number += 1
      if len(line) == _LINE or len(held) > _LINE:
        raise ObjError(f"{path}:{number}: a line of over {_LINE} characters")
      line = held + line.split("#", 1)[0].rstrip()
      held = line[:-1] + " " if line.endswith("\\") else ""
      if not held and line:
        parser.line(number, line.split())
  return parser.mesh()


class _Parser:
  """Collects the rows of one file."""

  def __init__(self, path: str, need_uvs: bool):
    self._path, self._need_uvs = path, need_uvs
    self._vertices: list[list[float]] = []
    self._uvs: list[list[float]] = []
    self._corners: list[tuple[int, int, int]] = []
    self._corners_uv: list[tuple[int, int, int]] = []
    self._groups: list[int] = []
    self._names: dict[str, int] = {}
    self._kinds: dict[str, str] = {}
    self._bare_line = 0

  def line(self, number: int, words: list[str]) -> None:
    """Reads one line, split at blanks."""
    key, rest = words[0], words[1:]
    if key == "v":
      self._add(self._vertices, number, rest, 3)
    elif key == "vt":
      self._add(self._uvs, number, rest, 2)
    elif key == "f":
      self._face(number, rest)
    elif key in ("g", "o", "usemtl"):
      self._kinds[key] = " ".join(rest) or "default"

  def mesh(self) -> ObjMesh:
    """Returns the checked mesh."""
    if not self._corners:
      raise ObjError(f"{self._path}: no faces")
    faces, faces_uv = np.array(self._corners), np.array(self._corners_uv)
    if self._bare_line and self._need_uvs:
      if (faces_uv >= 0).any() or len(self._uvs) != len(self._vertices):
        raise ObjError(
          f"{self._path}:{self._bare_line}: a face without UV indices; templates need "
          f"UVs (the file has {len(self._vertices)} v, {len(self._uvs)} vt)"
        )
      faces_uv = faces
    for what, index, rows in (
      ("v", faces, self._vertices),
      ("vt", faces_uv, self._uvs),
    ):
      if index.max() >= len(rows):
        raise ObjError(
          f"{self._path}: a face names {what} {index.max() + 1} of {len(rows)}"
        )
    return ObjMesh(
      vertices=np.array(self._vertices),
      uvs=np.array(self._uvs).reshape(-1, 2),
      faces=faces.astype(np.int32),
      faces_uv=faces_uv.astype(np.int32),
      face_groups=np.array(self._groups, np.int32),
      group_names=tuple(self._names),
    )

  def _add(
    self, rows: list[list[float]], number: int, words: list[str], count: int
  ) -> None:
    try:
      row = [float(word) for word in words[:count]]
    except ValueError as error:
      raise ObjError(f"{self._path}:{number}: {error}") from None
    if len(row) < count or not all(map(math.isfinite, row)):
      raise ObjError(
        f"{self._path}:{number}: {count} finite numbers expected, got {words}"
      )
    if len(rows) >= MAX_ROWS:
      raise ObjError(f"{self._path}:{number}: more than {MAX_ROWS} rows of a kind")
    rows.append(row)

  def _face(self, number: int, words: list[str]) -> None:
    if not 3 <= len(words) <= MAX_CORNERS:
      raise ObjError(
        f"{self._path}:{number}: a face of {len(words)} corners, expected 3 to "
        f"{MAX_CORNERS}"
      )
    if len(self._corners) + len(words) > MAX_ROWS:
      raise ObjError(f"{self._path}:{number}: more than {MAX_ROWS} triangles")
    corners, corners_uv = [], []
    for word in words:
      v, t = (*word.split("/"), "")[:2]
      corners.append(self._index(number, v, len(self._vertices)))
      corners_uv.append(self._index(number, t, len(self._uvs)) if t else -1)
    if -1 in corners_uv and not self._bare_line:
      self._bare_line = number
    name = next((self._kinds[k] for k in ("g", "o", "usemtl") if k in self._kinds), "")
    group = self._names.setdefault(name or "default", len(self._names))
    for k in range(1, len(words) - 1):
      triangle = (corners[0], corners[k], corners[k + 1])
      if len(set(triangle)) == 3:  # a degenerate triangle has no area
        self._corners.append(triangle)
        self._corners_uv.append((corners_uv[0], corners_uv[k], corners_uv[k + 1]))
        self._groups.append(group)

  def _index(self, number: int, word: str, count: int) -> int:
    """An index from 0; the file counts from 1, or backwards from the last row."""
    try:
      index = int(word)
    except ValueError:
      index = 0
    if index == 0 or index < -count or abs(index) > MAX_ROWS:
      raise ObjError(f"{self._path}:{number}: index {word!r} points nowhere")
    return index - 1 if index > 0 else count + index
