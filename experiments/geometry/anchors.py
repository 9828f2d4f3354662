"""Chooses the anchors of the fit on the embedded head.

Anchors are vertices of skin that can be seen from outside: evenly over face, ears and
upper neck, denser on eyelids, nose and lips. Each has a mean normal of the visible skin
around it, as the geometry network's blurred normals have it.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.transform import Rotation

from affjax.geometry import mesh, uv
from affjax.heads import MorphableModel
from affjax.render import rasterize
from affjax.types import Template

COUNT = 400
# Radius over which normals are averaged, dm; least cosine of a vertex's own normal.
_RADIUS, _AGREES = 0.07, 0.75
# Distances of neighbors, dm: elsewhere, on the face, near the features.
_SPACINGS, _NEAR = (0.17, 0.11, 0.065), 0.12
# Identity modes that are fitted.
MODES = 80


def arrays(model: MorphableModel) -> dict[str, np.ndarray]:
  """Returns vertices, normals and the normals' derivatives of the anchors."""
  template = model.template
  vertices, faces = template.vertices.astype(np.float64), np.asarray(template.faces)
  normals = np.asarray(mesh.vertex_normals(jnp.asarray(template.vertices), faces))
  visible = visible_vertices(template)
  weight = visible * _skin(template) * _areas(vertices, faces)
  every = np.arange(len(vertices))
  smooth = _averages(vertices, every, weight) @ normals
  agrees = (smooth * normals).sum(1) > _AGREES * np.linalg.norm(smooth, axis=1)
  chosen = _chosen(template, visible & agrees)
  around = _averages(vertices, chosen, weight)
  mean = around @ normals
  length = np.linalg.norm(mean, axis=1, keepdims=True)
  modes = np.concatenate([model.identity_basis[:MODES], model.expression_basis])
  slopes = np.einsum("av,dvx->axd", around / length, _normal_modes(model, modes))
  scale = np.maximum(np.abs(slopes).max((0, 1)), 1e-6) / 127
  return {
    "vertices": chosen.astype(np.int32),
    "normals": (mean / length).astype(np.float32),
    "normal_modes": np.rint(slopes / scale).astype(np.int8),
    "normal_scale": scale.astype(np.float32),
  }


def visible_vertices(template: Template) -> Bool[np.ndarray, " v"]:
  """Returns which vertices are seen from some side."""
  seen = np.zeros(len(template.vertices), bool)
  for yaw in (-60, -30, 0, 30, 60):
    for pitch in (-25, 0, 25):
      turn = Rotation.from_euler("YX", [yaw, pitch], degrees=True).as_matrix()
      x, y, z = (template.vertices @ turn.T).T
      clip = np.stack([x / 1.8, -y / 1.8, -z / 3, np.ones_like(x)], -1)
      raster = rasterize(
        jnp.asarray(clip[None], jnp.float32), template.faces, (512, 512)
      )
      shown = np.unique(np.asarray(raster)[..., 3]).astype(int)
      seen[np.unique(template.faces[shown[shown > 0] - 1])] = True
  return seen


def _chosen(template: Template, allowed: Bool[np.ndarray, " v"]) -> np.ndarray:
  """Returns vertices, each as far from those before as its region allows."""
  _, y, z = template.vertices.T
  inside = {n: _on_vertices(template, n) > 0.5 for n in ("face", "eyes", "scalp")}
  allowed = allowed & _skin(template) & ~inside["eyes"] & (z > -0.45) & (y > -1.15)
  allowed &= ~inside["scalp"] | ((y < 0.95) & (z > 0.1))
  marks = template.landmark_positions(template.vertices)
  away = np.linalg.norm(template.vertices[:, None] - marks[None, 27:], axis=-1).min(1)
  spacing = np.where(inside["face"], _SPACINGS[1], _SPACINGS[0])
  spacing = np.where(away < _NEAR, _SPACINGS[2], spacing)[allowed]
  places = template.vertices[allowed]
  gap = lambda k: np.linalg.norm(places - places[k], axis=1) / spacing
  picked = [int(np.argmin(np.linalg.norm(places - marks[30], axis=1)))]
  least = gap(picked[0])
  while len(picked) < COUNT:
    picked.append(int(np.argmax(least)))
    least = np.minimum(least, gap(picked[-1]))
  return np.flatnonzero(allowed)[picked]


def _skin(template: Template) -> Bool[np.ndarray, " v"]:
  group = template.group_names.index("skin")
  return np.isin(
    np.arange(len(template.vertices)), template.faces[template.face_groups == group]
  )


def _on_vertices(template: Template, name: str) -> Float[np.ndarray, " v"]:
  """Returns the largest value of a mask at the corners of each vertex."""
  size = 512
  mask = uv.resize_mask(template.masks[name], size)
  u, v = template.uvs.T
  at = lambda x: np.clip(np.rint(x), 0, size - 1).astype(int)
  value = mask[at((1 - v) * size - 0.5), at(u * size - 0.5)]
  out = np.zeros(len(template.vertices), np.float32)
  np.maximum.at(out, template.faces.ravel(), value[template.faces_uv.ravel()])
  return out


def _areas(vertices: np.ndarray, faces: np.ndarray) -> Float[np.ndarray, " v"]:
  a, b, c = (vertices[faces[:, k]] for k in range(3))
  area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 6
  out = np.zeros(len(vertices))
  for k in range(3):
    np.add.at(out, faces[:, k], area)
  return out


def _averages(
  vertices: np.ndarray, chosen: np.ndarray, weight: np.ndarray
) -> Float[np.ndarray, "a v"]:
  """Returns weights of all vertices around some of them."""
  square = ((vertices[chosen][:, None] - vertices[None]) ** 2).sum(-1)
  near = np.exp(-square / (2 * _RADIUS**2)) * weight[None]
  return near / near.sum(1, keepdims=True)


def _normal_modes(model: MorphableModel, modes: np.ndarray) -> np.ndarray:
  """Returns derivatives of the vertices' unit normals by coefficients."""
  template = model.template
  normals = jax.jit(lambda v: mesh.vertex_normals(v, template.faces))
  change = lambda mode, by: np.asarray(normals(template.vertices + by * mode))
  return np.stack([(change(m, 0.5) - change(m, -0.5)) for m in modes])
