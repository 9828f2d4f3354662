"""Tables that the painters read off a template, computed once.

`Layout` describes the texels of a map, `Anatomy` the vertices. Both are pytrees of
arrays that are arguments of the compiled scene.
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from affjax.data._synthetic import fields, occlusion
from affjax.data._synthetic.parameters import Numbers
from affjax.geometry import uv
from affjax.types import Template, per_template

_MASKS = ("skin", "face", "brows", "eyes", "lips", "ears", "scalp", "neck")


class Layout(NamedTuple):
  """The texels of an S x S map; arrays are `[S, S]` unless noted."""

  corners: Numbers  # [S, S, 3] int32 vertices, as in `uv.UVTable`
  weights: Numbers  # [S, S, 3] weights of those vertices
  point: Numbers  # [S, S, 3] point of the mean shape, dm
  support: Numbers  # 1 where there is surface
  skin: Numbers  # 1 on the skin group
  eye: Numbers  # 1 on eyeballs
  teeth: Numbers  # 1 on teeth
  tongue: Numbers  # 1 on the tongue
  gaze: Numbers  # [S, S, 3] direction from the center of the eyeball
  open: Numbers  # share of directions from which the mean shape is seen
  hairline: Numbers  # signed distance into the scalp, dm
  masks: dict[str, Numbers]  # masks of the template, resized
  fields: dict[str, Numbers]  # result of `fields.feature_fields`


class Anatomy(NamedTuple):
  """The roles of vertices, and their visibility."""

  faces: Numbers  # [T, 3] int32
  landmarks: Numbers  # [68, 3] landmarks of the mean shape
  landmark_corners: Numbers  # [68, 3] int32
  landmark_weights: Numbers  # [68, 3]
  visibility: Numbers  # [V, 16] result of `occlusion.visibility`
  scalp: Numbers  # int32 indices of the vertices of the skull under the hair
  neck: Numbers  # int32 indices of the lowest ring
  eyes: tuple[Numbers, ...]  # int32 indices of each eyeball
  center: Numbers  # [3] center of the skull, mean shape


@per_template
def layout(template: Template, size: int) -> Layout:
  """Returns the layout of a template at a map size."""
  table = uv.uv_table(template, size)
  point = _unwrap(template.vertices, table)
  masks = {
    name: uv.resize_mask(template.masks[name], size)
    if name in template.masks
    else np.zeros((size, size), np.float32)
    for name in _MASKS
  }
  group = lambda name: (
    (table.groups == template.group_names.index(name)).astype(np.float32)
    if name in template.group_names
    else np.zeros((size, size), np.float32)
  )
  roles = anatomy(template)
  teeth, tongue = _mouth_parts(template, table, group("teeth"))
  return Layout(
    corners=table.corners,
    weights=table.weights,
    point=point,
    support=table.support.astype(np.float32),
    skin=group("skin"),
    eye=group("eyes"),
    teeth=teeth,
    tongue=tongue,
    gaze=_gaze(template, roles, point),
    open=_unwrap(occlusion.openness(roles.visibility)[:, None], table)[..., 0],
    hairline=_hairline(template, size),
    masks=masks,
    fields=fields.feature_fields(point, template.landmark_positions(template.vertices)),
  )


@per_template
def anatomy(template: Template) -> Anatomy:
  """Returns the roles of a template's vertices."""
  vertices = template.vertices.astype(np.float64)
  scalp = np.flatnonzero(_vertex_mask(template, "scalp") > 0.5)
  if not scalp.size:
    scalp = np.flatnonzero(vertices[:, 1] > np.quantile(vertices[:, 1], 0.8))
  skin = np.unique(template.faces[template.face_groups == 0])
  low = vertices[skin, 1].min()
  neck = skin[vertices[skin, 1] < low + 0.12]
  eyes = _eyeballs(template)
  box = vertices[scalp]
  center = 0.5 * (box.min(0) + box.max(0))
  return Anatomy(
    faces=template.faces.astype(np.int32),
    landmarks=template.landmark_positions(template.vertices),
    landmark_corners=template.faces[template.landmark_faces].astype(np.int32),
    landmark_weights=template.landmark_weights.astype(np.float32),
    visibility=occlusion.visibility(template),
    scalp=scalp.astype(np.int32),
    neck=neck.astype(np.int32),
    eyes=eyes,
    center=center.astype(np.float32),
  )


def _unwrap(values: np.ndarray, table: uv.UVTable) -> np.ndarray:
  """As `uv.map_from_vertices`, in NumPy."""
  return np.sum(values[table.corners] * table.weights[..., None], -2).astype(np.float32)


def _vertex_mask(template: Template, name: str) -> np.ndarray:
  """Returns a UV mask at the vertices, `[V]`; at seams, the larger value."""
  if name not in template.masks:
    return np.zeros(len(template.vertices))
  mask = template.masks[name]
  at = np.rint(uv.uv_to_texel(template.uvs, len(mask))).astype(int)
  at = np.clip(at, 0, len(mask) - 1)
  out = np.zeros(len(template.vertices))
  skin = template.face_groups == 0
  np.maximum.at(
    out,
    template.faces[skin].reshape(-1),
    mask[at[:, 1], at[:, 0]][template.faces_uv[skin].reshape(-1)],
  )
  return out


def _eyeballs(template: Template) -> tuple[np.ndarray, ...]:
  """Returns the vertices of the eyeballs on -x and +x; empty without eyes."""
  if "eyes" not in template.group_names:
    return ()
  group = template.face_groups == template.group_names.index("eyes")
  used = np.unique(template.faces[group])
  side = template.vertices[used, 0] > 0
  return tuple(used[side == s].astype(np.int32) for s in (False, True))


def _gaze(template: Template, roles: Anatomy, point: np.ndarray) -> np.ndarray:
  """Returns the unit direction of each texel from the center of its eyeball."""
  out = np.zeros_like(point)
  for side, index in enumerate(roles.eyes):
    if not index.size:
      continue
    ball = template.vertices[index]
    offset = point - 0.5 * (ball.min(0) + ball.max(0))
    unit = offset / np.maximum(np.linalg.norm(offset, axis=-1, keepdims=True), 1e-6)
    out = np.where(((point[..., :1] > 0) == bool(side)), unit, out)
  return out.astype(np.float32)


def _mouth_parts(
  template: Template, table: uv.UVTable, teeth: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Splits the group "teeth" into teeth and tongue.

  The tongue is a connected part that is long on the middle line, where rows of teeth,
  which are arches, are short.
  """
  if not teeth.any():
    return teeth, np.zeros_like(teeth)
  group = template.face_groups == template.group_names.index("teeth")
  part = _components(template.faces[group], len(template.vertices))
  tongue = np.zeros(len(template.vertices), bool)
  for name in np.unique(part[part >= 0]):
    points = template.vertices[part == name]
    span = points.max(0) - points.min(0)
    middle = points[np.abs(points[:, 0]) < 0.15 * span[0]]
    tongue |= (part == name) & (np.ptp(middle[:, 2]) > 0.7 * span[2])
  is_tongue = tongue[table.corners[..., 0]]
  return teeth * ~is_tongue, teeth * is_tongue


def _components(faces: np.ndarray, count: int) -> np.ndarray:
  """Returns the connected component of each vertex, -1 if no face touches it."""
  part = np.full(count, -1)
  part[np.unique(faces)] = np.unique(faces)
  while True:
    lowest = part[faces].min(1)
    new = part.copy()
    np.minimum.at(new, faces.reshape(-1), np.repeat(lowest, 3))
    if (new == part).all():
      return part
    part = new


def _hairline(template: Template, size: int) -> np.ndarray:
  """Returns the signed distance into the scalp mask, dm, at a map size."""
  if "scalp" not in template.masks:
    return np.full((size, size), -1.0, np.float32)
  inside = template.masks["scalp"] > 0.5
  table = uv.uv_table(template, 128)
  point = _unwrap(template.vertices, table)
  step = np.linalg.norm(np.diff(point, axis=1), axis=-1)
  both = table.inside[:, 1:] & table.inside[:, :-1]
  texel = float(np.median(step[both])) * 128 / len(inside)
  depth = lambda mask: np.asarray(ndimage.distance_transform_edt(mask))
  signed = depth(inside) - depth(~inside)
  return uv.resize_mask((signed * texel).astype(np.float32), size)
