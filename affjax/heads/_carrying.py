"""Carries UV maps from the embedded head to the UV square of another template."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping

import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from affjax.geometry import mesh, surface, uv
from affjax.heads import _embedded, _retargeting
from affjax.heads._morphable import MorphableModel
from affjax.types import Template

# Side of the carried maps. Distance that a right angle between normals counts as, and
# distance from the embedded head at which masks end, dm.
_SIZE = 256
_LEAN, _REACH = 0.15, 0.3


class CarriedMasks(Mapping[str, np.ndarray]):
  """The masks of a template; those that it lacks are carried over on first use."""

  def __init__(self, template: Template, *, registered: bool):
    """Remembers what to carry over, without computing it.

    Args:
      template: a head with the 68 landmarks and perhaps some masks.
      registered: whether its vertices lie on the embedded head. Otherwise the embedded
        head is registered to them, which takes some seconds.
    """
    self._own = dict(template.masks)
    self._template = dataclasses.replace(template, masks={})
    self._registered = registered
    self._names = list(dict.fromkeys([*self._own, *_embedded.load().template.masks]))

  @property
  def diffuse(self) -> np.ndarray:
    """The plain diffuse map of the embedded head on the template, see `Template`."""
    return self._maps[1]

  @functools.cached_property
  def _maps(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
    source, target = _embedded.load().template, self._template
    if not self._registered:
      moved = _retargeting.laid_on(target, source).vertices.astype(np.float32)
      source = dataclasses.replace(source, vertices=moved)
    return _carried(source, target)

  def __getitem__(self, name: str) -> np.ndarray:
    return self._own[name] if name in self._own else self._maps[0][name]

  def __contains__(self, name: object) -> bool:
    return name in self._names

  def __iter__(self) -> Iterator[str]:
    return iter(self._names)

  def __len__(self) -> int:
    return len(self._names)


def with_maps(model: MorphableModel, *, registered: bool = False) -> MorphableModel:
  """Returns the model with the embedded head's masks and plain diffuse map.

  Masks that the model's template has are kept. Its main group, which has most of the
  landmarks, becomes the first group and is called "skin", unless another one is.

  Args:
    model: a head with the 68 landmarks.
    registered: whether its mean head is that of the embedded model.
  """
  template = _with_skin(model.template)
  masks = CarriedMasks(template, registered=registered)
  return dataclasses.replace(model, template=dataclasses.replace(template, masks=masks))


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
  """The source's masks and diffuse map in the UV square of a target on its surface."""
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
  rows, columns = np.asarray(
    ndimage.distance_transform_edt(
      ~table.support, return_distances=False, return_indices=True
    )
  )
  return masks, np.rint(colors[rows, columns]).astype(np.uint8)
