"""Folders of other tools' meshes, judged like any method.

`TOOLS` is the table of their files. All of them write heads that look along +z with +y
up. The inner landmarks are found in a picture of the mesh, so that any topology will
do.
"""

import dataclasses
import glob
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from affjax.benchmark import _pictures
from affjax.benchmark._contestants import Answer
from affjax.eval import INNER, Meshes, Photos
from affjax.export import to_uint8
from affjax.faces import find_faces
from affjax.geometry import surface
from affjax.heads import read_obj, read_ply

# Side of the picture of a mesh, px, and the part of it that the mesh fills.
_SIDE, _FILLED = 384, 0.8


@dataclasses.dataclass(frozen=True)
class Tool:
  """The files of a tool.

  Attributes:
    name: Name of the tool.
    files: Patterns of the file of a photo, where `{name}` is the photo's name without
      suffix; the first one that exists counts.
  """

  name: str
  files: tuple[str, ...]

  def file_of(self, folder: pathlib.Path, name: str) -> pathlib.Path | None:
    """Returns the file of a photo, or None."""
    for pattern in self.files:
      for path in sorted(folder.glob(pattern.format(name=glob.escape(name)))):
        return path
    return None


TOOLS = (
  Tool("DECA", ("{name}/{name}.obj",)),
  Tool(
    "3DDFA",
    ("{name}_obj.obj", "{name}_ply.ply", "{name}_0.obj", "{name}_0.ply"),
  ),
  Tool("MeInGame", ("{name}_neu.obj",)),
  Tool("Deep3DFaceRecon", ("epoch_*/{name}.obj", "*/epoch_*/{name}.obj")),
  Tool("affjax", ("{name}/face1/head.obj",)),
  Tool("mesh", ("{name}.obj", "{name}.ply")),
)


@dataclasses.dataclass(frozen=True, eq=False)
class ToolFolder:
  """The meshes in a folder, one a photo.

  Attributes:
    folder: The folder.
    tool: The tool that wrote it.
  """

  folder: pathlib.Path
  tool: Tool

  @property
  def about(self) -> str:
    """A phrase that names the method."""
    return f"{self.tool.name} files of {self.folder.name!r}"

  def heads_in(self, photos: Photos) -> Answer:
    """Returns the meshes of photos by their names."""
    found: dict[int, _Placed] = {}
    problems: dict[int, str] = {}
    for k, name in enumerate(photos.names):
      path = self.tool.file_of(self.folder, name)
      if path is None:
        problems[k] = f"no {self.tool.name} file"
        continue
      try:
        found[k] = _placed(path)
      except (ValueError, OSError) as error:
        problems[k] = str(error).removeprefix(f"{path}: ")
    if not found:
      return Answer((), None, problems)
    points, faces, landmarks = zip(*found.values(), strict=True)
    return Answer(tuple(found), Meshes(points, faces, np.stack(landmarks)), problems)


def tool_folder(folder: pathlib.Path, names: Sequence[str]) -> ToolFolder:
  """Returns the meshes in a folder by the first tool that has a file of some photo.

  Args:
    folder: The folder.
    names: Names of the photos.

  Raises:
    ValueError: No tool has a file of any photo.
  """
  for tool in TOOLS:
    if any(tool.file_of(folder, name) for name in names):
      return ToolFolder(folder, tool)
  example = names[0] if names else "NAME"
  known = "; ".join(
    f"{tool.name}: {', '.join(tool.files).format(name=example)}" for tool in TOOLS
  )
  raise ValueError(
    f"{str(folder)!r} holds neither a trained run nor a mesh of any photo ({known})"
  )


class _Placed(NamedTuple):
  """A mesh and its inner landmarks."""

  points: Float[np.ndarray, "v 3"]
  faces: Int[np.ndarray, "t 3"]
  landmarks: Float[np.ndarray, "51 3"]


def _placed(path: pathlib.Path) -> _Placed:
  """Returns the mesh of a file.

  Raises:
    ValueError: The file is damaged, or its mesh shows no face from +z.
  """
  if path.suffix.lower() == ".ply":
    points, faces = read_ply(path)
  else:
    content = read_obj(path, need_uvs=False)
    points, faces = content.vertices, content.faces
  points = points.astype(np.float32)
  return _Placed(points, faces, inner_landmarks(points, faces))


def inner_landmarks(
  points: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "t 3"]
) -> Float[np.ndarray, "51 3"]:
  """Returns the inner landmarks of a head, as found in a picture of it as clay.

  Args:
    points: Vertices, in any unit; the head looks along +z, +y is up.
    faces: Triangles.

  Raises:
    ValueError: No face is found in the picture.
  """
  picture, places = clay(points, faces, _SIDE)
  found = find_faces(picture)
  if not found:
    raise ValueError("no face is seen on the mesh: it must look along +z, with +y up")
  px = found[0].landmarks68[list(INNER)]
  column, row = np.clip(np.rint(px), 0, _SIDE - 1).astype(int).T
  # A landmark beside the mesh takes the place of the nearest pixel that shows it.
  rows, columns = np.nonzero(np.isfinite(places[..., 0]))
  apart = (rows[:, None] - row) ** 2 + (columns[:, None] - column) ** 2
  nearest = apart.argmin(0)
  return places[rows[nearest], columns[nearest]]


def clay(
  points: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "t 3"], side: int
) -> tuple[UInt8[np.ndarray, "s s 3"], Float[np.ndarray, "s s 3"]]:
  """Returns a picture of a mesh from +z without perspective, and the place it shows.

  Args:
    points: Vertices, in any unit.
    faces: Triangles.
    side: Side of the picture, px.

  Returns:
    The picture, and for each pixel the point of the mesh; NaN beside the mesh.
  """
  if surface.looks_inward(points, faces):
    faces = faces[:, ::-1]
  low, high = points.min(0), points.max(0)
  unit = (points - (low + high) / 2) * (2 * _FILLED / max((high - low).max(), 1e-9))
  # Image rows grow downwards, and clip space is nearest at z = -1.
  flat = unit * np.array([1, -1, -0.5], np.float32)
  clip = np.concatenate([flat, np.ones((len(unit), 1), np.float32)], -1)
  drawing = _pictures.draw(clip, unit, faces, points, side)
  empty = drawing.empty[..., None]
  picture = np.where(empty, 0.5, drawing.shade * _pictures.CLAY)
  return to_uint8(picture), np.where(empty, np.nan, drawing.values).astype(np.float32)
