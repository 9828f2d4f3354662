"""Templates from OBJ files with UVs."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from PIL import Image
from scipy import sparse
from scipy.sparse import csgraph
from scipy.spatial import KDTree

from affjax.geometry import mesh, surface, uv
from affjax.heads import _landmark_sets, _obj_file, _placement, _recognition
from affjax.heads._obj_file import ObjMesh
from affjax.heads._placement import Placement
from affjax.heads._registration import Laid
from affjax.types import Template

# The rectangle `(u0, v0, u1, v1)` of the unit square of each group.
Layout = Mapping[str, tuple[float, float, float, float]]
_MAX_MASK = 8192
# Largest share of the area of UV islands that may be covered twice.
_OVERLAP = 0.1


@dataclasses.dataclass(frozen=True, eq=False)
class ObjTemplate:
  """A template and its relation to the file that it was read from.

  Attributes:
    template: the welded head in head space.
    placement: conversion from the file's space to head space.
    vertex: int32 `[F]`, the template's vertex for each vertex of the file, -1 for
      vertices of omitted parts.
    file_vertices: float64 `[F, 3]`, vertices of the file.
    laid: registration to the embedded head, if the landmarks were found by the shape.
  """

  template: Template
  placement: Placement
  vertex: Int[np.ndarray, " f"]
  file_vertices: Float[np.ndarray, "f 3"]
  laid: Laid | None = None

  def to_file(self, vertices: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "f 3"]:
    """Returns a head over the template as vertices of the file, in its order and unit.

    Vertices of omitted parts keep their values in the file.
    """
    result = self.file_vertices.copy()
    known = self.vertex >= 0
    result[known] = self.placement.to_file(vertices)[self.vertex[known]]
    return result


def load_template(
  path: str | pathlib.Path,
  *,
  name: str | None = None,
  groups: Mapping[str, str] | None = None,
  layout: Layout | None = None,
  landmarks: str | pathlib.Path | Mapping[str, Any] | None = None,
  masks: Mapping[str, str | pathlib.Path] | None = None,
  mask_rows: str = "top",
  units: str | float = "auto",
  up: str = "auto",
  front: str = "auto",
  mirrored: bool = False,
  uv_axes: str = "auto",
  weld: float = 1e-4,
) -> ObjTemplate:
  """Reads a template from an OBJ file; docs/templates.md has examples.

  Args:
    path: OBJ file.
    name: name of the template; by default that of the file.
    groups: new names of the file's groups to read; others are omitted. By default all
      groups are read under their own names.
    layout: for files with several UV tiles or textures, the rectangle `(u0, v0, u1,
      v1)` of the unit square for the tile of each (renamed) group.
    landmarks: the 68 standard landmarks as in `with_landmarks`, but with the vertices,
      space and triangles of the file (polygons are cut as fans); None for none.
    masks: gray images over the UV square (over the first tile of a layout).
    mask_rows: "top" if row 0 of the masks lies at v = 1, as in textures, or "bottom".
    units: "m", "dm", "cm", "mm", the number of decimeters in one unit, or "auto".
    up: the file's direction up the head: "+x", "-x", … "-z", or "auto".
    front: the file's direction out of the face, likewise.
    mirrored: whether the file's x axis is reversed (left-handed spaces).
    uv_axes: "auto" reverses u and v where they do not grow with +x and +y on the front
      of the head; "keep" does not.
    weld: largest distance, dm, at which border vertices (of a UV seam) are merged; a
      negative value merges none.

  Raises:
    ObjError: the file is damaged or has no UVs.
    ValueError: an option contradicts the file; UVs leave the square or overlap; the
      landmarks cannot be found.
  """
  whole = _obj_file.read_obj(path)
  head = _pick(whole, groups)
  placed = functools.partial(
    _placement.place, head.vertices[np.unique(head.faces)], units=units, up=up,
    front=front, mirrored=mirrored, own_unit=landmarks == "auto",
  )  # fmt: skip
  built = functools.partial(
    _assembled, name or pathlib.Path(path).stem, head, placed, layout=layout,
    masks=masks or {}, mask_rows=mask_rows, uv_axes=uv_axes, weld=weld,
  )  # fmt: skip
  if landmarks is None:
    return built(None)
  if landmarks != "auto":
    return built(_landmarks(landmarks, whole, built))
  hand = np.diag([-1.0 if mirrored else 1.0, 1.0, 1.0])
  rough = _recognition.rough_landmarks(head.vertices @ hand, head.faces)
  return _refined(built(rough @ hand), placed)


def _refined(
  rough: ObjTemplate, placed: Callable[[np.ndarray], Placement]
) -> ObjTemplate:
  """The template with better landmarks than its own, and where those place it."""
  template, laid = _landmark_sets.refined(rough.template)
  in_file = rough.placement.to_file
  where = dataclasses.replace(
    placed(in_file(template.landmark_positions(template.vertices))),
    flip_u=rough.placement.flip_u,
    flip_v=rough.placement.flip_v,
  )
  vertices = where.to_head(in_file(template.vertices)).astype(np.float32)
  return dataclasses.replace(
    rough,
    template=dataclasses.replace(template, vertices=vertices),
    placement=where,
    laid=laid,
  )


def _assembled(
  name: str,
  head: ObjMesh,
  placed: Callable[[np.ndarray | None], Placement],
  points: np.ndarray | None,
  *,
  layout: Layout | None,
  masks: Mapping[str, str | pathlib.Path],
  mask_rows: str,
  uv_axes: str,
  weld: float,
) -> ObjTemplate:
  """The template of the chosen groups, given their landmarks."""
  if uv_axes not in ("auto", "keep"):
    raise ValueError(f"uv_axes must be 'auto' or 'keep', got {uv_axes!r}")
  where = placed(points)
  vertices = where.to_head(head.vertices)
  order = [0, 2, 1] if surface.looks_inward(vertices, head.faces) else [0, 1, 2]
  faces, corner_uv = head.faces[:, order], _laid_out(head, layout)[:, order]
  if uv_axes == "auto":
    where = _with_uv_axes(where, vertices, faces, corner_uv)
  flip = np.array([where.flip_u, where.flip_v])
  corner_uv = np.where(flip, 1 - corner_uv, corner_uv)
  vertex, keep = _welded(vertices, faces, head.face_groups, weld)
  boxes = list((layout or {"": (0.0, 0.0, 1.0, 1.0)}).values())
  template = _template(
    name,
    dataclasses.replace(head, vertices=vertices[keep], faces=vertex[faces]),
    corner_uv,
    None if points is None else where.to_head(points),
    {
      key: _mask(pathlib.Path(image), mask_rows, flip, boxes[0])
      for key, image in masks.items()
    },
  )
  return ObjTemplate(template, where, vertex, head.vertices)


def _pick(whole: ObjMesh, groups: Mapping[str, str] | None) -> ObjMesh:
  """The mesh of the chosen groups under their new names, which may coincide."""
  if groups is None:
    return whole
  unknown = [name for name in groups if name not in whole.group_names]
  if unknown:
    raise ValueError(f"groups {unknown} are not in the file: {whole.group_names}")
  names = tuple(dict.fromkeys(groups.values()))
  number = np.array([
    names.index(groups[name]) if name in groups else -1 for name in whole.group_names
  ])  # fmt: skip
  group = number[whole.face_groups]
  keep = group >= 0
  return dataclasses.replace(
    whole,
    faces=whole.faces[keep],
    faces_uv=whole.faces_uv[keep],
    face_groups=group[keep].astype(np.int32),
    group_names=names,
  )


def _landmarks(
  given: Any, whole: ObjMesh, built: Callable[[None], ObjTemplate]
) -> np.ndarray:
  """The 68 landmarks in the file's space, `[68, 3]`."""
  given = _landmark_sets.read(given)
  if "some" not in given:
    return _landmark_sets.places(given, whole.vertices, whole.faces)
  head = built(None)
  some = {str(n): _vertex(head, n, v) for n, v in given["some"].items()}
  full = _landmark_sets.with_landmarks(head.template, {"some": some})
  return head.placement.to_file(full.landmark_positions(full.vertices))


def _vertex(head: ObjTemplate, number: str | int, vertex: int) -> int:
  """The template's vertex for a vertex of the file."""
  if not 0 <= int(vertex) < len(head.vertex) or head.vertex[int(vertex)] < 0:
    raise ValueError(f"landmark {number}: vertex {vertex} is not in the groups taken")
  return int(head.vertex[int(vertex)])


def _normals(corner: np.ndarray) -> np.ndarray:
  return np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])


def _laid_out(head: ObjMesh, layout: Layout | None) -> np.ndarray:
  """UVs of the triangles' corners, `[T, 3, 2]`, in the unit square."""
  uvs = head.uvs[head.faces_uv]
  for name, box in (layout or {}).items():
    if name not in head.group_names:
      raise ValueError(f"layout names {name!r}, groups are {head.group_names}")
    low, high = np.array(box[:2]), np.array(box[2:])
    if not (low >= 0).all() or not (low < high).all() or not (high <= 1).all():
      raise ValueError(f"layout of {name!r} must be u0 < u1, v0 < v1 in [0, 1]: {box}")
    own = head.face_groups == head.group_names.index(name)
    tile = np.floor(uvs[own].mean(1, keepdims=True))
    uvs[own] = low + (uvs[own] - tile) * (high - low)
  if uvs.min() < -1e-6 or uvs.max() > 1 + 1e-6:
    raise ValueError(
      f"UVs lie in [{uvs.min():.3g}, {uvs.max():.3g}], outside the unit square: give "
      f"layout= a rectangle for each of {head.group_names}, or leave groups out"
    )
  return np.clip(uvs, 0, 1)


def _with_uv_axes(
  where: Placement, vertices: np.ndarray, faces: np.ndarray, corner_uv: np.ndarray
) -> Placement:
  """The placement with the flips of u and v against +x and +y on the face."""
  corner = vertices[faces]
  weight = np.maximum(_normals(corner)[:, 2], 0)
  centred = lambda x: x - np.average(x, 0, weights=weight)
  along = np.sum(
    centred(corner.mean(1)[:, :2]) * centred(corner_uv.mean(1)) * weight[:, None], 0
  )
  flip_u, flip_v = (along < 0).tolist()
  return dataclasses.replace(where, flip_u=flip_u, flip_v=flip_v)


def _welded(
  vertices: np.ndarray, faces: np.ndarray, groups: np.ndarray, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
  """The welded vertex of each vertex, -1 for unused ones, and the vertices kept.

  Only border vertices of the same group with similar normals are welded: the sides of a
  UV seam, but not lips that touch.
  """
  count = len(vertices)
  parent = np.arange(count)
  if tolerance >= 0:
    triangle, edge = np.nonzero(mesh.neighbors(faces) < 0)
    border = np.unique(faces[triangle[:, None], (edge[:, None] + [1, 2]) % 3])
    normal = np.zeros((count, 3))
    np.add.at(normal, faces, _normals(vertices[faces])[:, None])
    group = np.full(count, -1)
    group[faces] = groups[:, None]
    a, b = border[
      KDTree(vertices[border]).query_pairs(tolerance, output_type="ndarray")
    ].T
    same = (group[a] == group[b]) & ((normal[a] * normal[b]).sum(-1) > 0)
    links = sparse.coo_matrix(
      (np.ones(same.sum()), (a[same], b[same])), shape=(count, count)
    )
    _, parent = csgraph.connected_components(links, directed=False)
  used = np.unique(faces)
  _, first = np.unique(parent[used], return_index=True)
  keep = used[np.sort(first)]
  new = np.full(count, -1, np.int32)
  new[parent[keep]] = np.arange(len(keep))
  vertex = np.full(count, -1, np.int32)
  vertex[used] = new[parent[used]]
  return vertex, keep


def _template(
  name: str,
  head: ObjMesh,
  corner_uv: np.ndarray,
  points: np.ndarray | None,
  masks: Mapping[str, np.ndarray],
) -> Template:
  """The template, with one vertex per uv and without degenerate triangles."""
  faces = head.faces
  whole = (faces != np.roll(faces, 1, 1)).all(1)
  faces, corner_uv = faces[whole].astype(np.int32), corner_uv[whole]
  rows = np.concatenate([faces[..., None], corner_uv], -1).reshape(-1, 3)
  distinct, index = np.unique(rows, axis=0, return_inverse=True)
  triangle, weights = np.zeros(0, np.int32), np.zeros((0, 3))
  if points is not None:
    triangle, weights = surface.nearest_points(points, head.vertices, faces)
  template = Template(
    name=name,
    vertices=head.vertices.astype(np.float32),
    faces=faces,
    uvs=distinct[:, 1:].astype(np.float32),
    faces_uv=index.reshape(-1, 3).astype(np.int32),
    face_groups=head.face_groups[whole],
    group_names=head.group_names,
    masks=masks,
    landmark_faces=triangle,
    landmark_weights=weights.astype(np.float32),
  )
  _check_overlap(template, corner_uv)
  return template


def _check_overlap(template: Template, corner_uv: np.ndarray) -> None:
  """Refuses overlapping UVs: a position map holds one position per texel."""
  size = 256
  a, b = corner_uv[:, 1] - corner_uv[:, 0], corner_uv[:, 2] - corner_uv[:, 0]
  areas = np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2
  covered = np.mean(uv.covered(template.uvs[template.faces_uv], size))
  if areas.sum() > (1 + _OVERLAP) * covered + 1 / size:
    raise ValueError(
      f"UVs of {template.name!r} overlap: islands of {areas.sum():.3f} of the square "
      f"cover {covered:.3f} of it; give layout= for groups {template.group_names} that "
      "have textures of their own, or leave some out"
    )


def _mask(
  path: pathlib.Path, rows: str, flip: np.ndarray, box: Sequence[float]
) -> np.ndarray:
  """A mask `[M, M]` with row 0 at v = 1."""
  if rows not in ("top", "bottom"):
    raise ValueError(f"mask_rows must be 'top' or 'bottom', got {rows!r}")
  with Image.open(path) as image:
    width, height = image.size
    if width != height or width > _MAX_MASK:
      raise ValueError(
        f"{path}: {width} x {height} pixels, a square of {_MAX_MASK} at most is needed"
      )
    if rows == "bottom":
      image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    left, low, right, high = (round(x * width) for x in box)
    square = Image.new("L", image.size)
    square.paste(
      image.convert("L").resize((right - left, high - low)), (left, width - high)
    )
  values = np.asarray(square, np.float32) / 255
  values = values[:, ::-1] if flip[0] else values
  return np.ascontiguousarray(values[::-1] if flip[1] else values)
