"""Carries UV maps from the embedded head to the UV square of another template."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy import ndimage

from affjax.geometry import mesh, surface, uv
from affjax.heads import _embedded, _retargeting
from affjax.heads._morphable import MorphableModel
from affjax.types import Template

# Side of the carried maps. Distance that a right angle between normals counts as, and
# distance from the embedded head at which masks end, dm.
_SIZE = 256
_LEAN, _REACH = 0.15, 0.3


def with_maps(
  model: MorphableModel, vertices: Float[np.ndarray, "v 3"] | None = None
) -> MorphableModel:
  """Returns the model with the embedded head's masks and plain diffuse map.

  Masks that the model's template has are kept. Its main group, which has most of the
  landmarks, becomes the first group and is called "skin", unless another one is.

  Args:
    model: any head with the 68 landmarks.
    vertices: its template's vertices in the shape of the embedded head, dm; found by a
      registration of some seconds if None.
  """
  source, template = _embedded.load().template, _with_skin(model.template)
  if vertices is None:
    vertices = _retargeting.laid_on(source, template).vertices
  laid = dataclasses.replace(template, vertices=vertices.astype(np.float32))
  masks, diffuse = _carried(source, laid)
  return dataclasses.replace(
    model,
    template=dataclasses.replace(
      template, masks={**masks, **template.masks}, diffuse=diffuse
    ),
  )


def _with_skin(template: Template) -> Template:
  """The template with its main group first, under the name "skin"."""
  main = int(np.bincount(template.face_groups[template.landmark_faces]).argmax())
  names = list(template.group_names)
  if "skin" not in names:
    names[main] = "skin"
  order = [main, *(k for k in range(len(names)) if k != main)]
  return dataclasses.replace(
    template,
    face_groups=np.argsort(order)[template.face_groups].astype(np.int32),
    group_names=tuple(names[k] for k in order),
  )


def _carried(
  source: Template, target: Template
) -> tuple[dict[str, np.ndarray], np.ndarray]:
  """The source's masks and diffuse map in the UV square of a target that lies on it."""
  table = uv.uv_table(target, _SIZE)
  normals = np.asarray(mesh.vertex_normals(jnp.asarray(target.vertices), target.faces))
  corners, weights = table.corners[table.support], table.weights[table.support]
  read = lambda values: np.einsum("pkx,pk->px", values[corners], weights)
  points, looks = read(target.vertices), read(normals)
  looks /= np.maximum(np.linalg.norm(looks, axis=-1, keepdims=True), 1e-9)
  triangle, inside = surface.nearest_points(
    points, source.vertices, source.faces, normals=looks, lean=_LEAN
  )
  place = lambda values, faces: np.einsum("pkx,pk->px", values[faces[triangle]], inside)
  apart = np.linalg.norm(place(source.vertices, source.faces) - points, axis=-1)
  uvs = place(source.uvs, source.faces_uv)

  def sampled(values: np.ndarray) -> np.ndarray:
    column, row = uv.uv_to_texel(uvs, len(values)).T
    return ndimage.map_coordinates(
      values.astype(np.float32), [row, column], order=1, mode="nearest"
    )

  masks = {}
  for name, mask in source.masks.items():
    masks[name] = np.zeros((_SIZE, _SIZE), np.float32)
    masks[name][table.support] = sampled(mask) * (apart < _REACH)
  assert source.diffuse is not None
  colors = np.zeros((_SIZE, _SIZE, 3), np.float32)
  colors[table.support] = np.stack(
    [sampled(channel) for channel in np.moveaxis(source.diffuse, -1, 0)], -1
  )
  # Beyond the charts the nearest color goes on, so that no filter reads black.
  rows, columns = ndimage.distance_transform_edt(
    ~table.support, return_distances=False, return_indices=True
  )
  return masks, np.rint(colors[rows, columns]).astype(np.uint8)
