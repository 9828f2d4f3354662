"""Silhouettes that move smoothly with the vertices.

Rasterizing samples points, so that coverage has no gradient. Here each pair of
neighbouring pixels across a silhouette is blended by where the silhouette's edge
crosses the segment between their centres (Laine et al. 2020, section 3.6).
"""

import functools

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from affjax.geometry import mesh
from affjax.render import _native, _nvdiffrast, _silhouettes, rasterization

# A pair without an edge computes with this one, whose derivatives are finite.
_NO_EDGE = np.array([[0, -1, 0, 1], [0, 1, 0, 1]], np.float32)[:, None, None, None]


def antialias(
  color: Float[Array, "b h w c"],
  rast: Float[Array, "b h w 4"],
  pos: Float[Array, "b v 4"],
  tri: Int[Array, "t 3"] | np.ndarray,
  *,
  opposite: Int[Array, "t 3"] | np.ndarray | None = None,
  neighbors: Int[Array, "t 3"] | np.ndarray | None = None,
  backend: str = "auto",
) -> Float[Array, "b h w c"]:
  """Blends the pixels on both sides of each silhouette.

  Of a pair of neighbours that show different triangles, the nearer one's surface is
  followed towards the other. If it ends at a silhouette edge at a fraction `c` of the
  way, then the farther pixel takes `c - 0.5` of the nearer colour where `c > 0.5`, and
  else the nearer takes `0.5 - c` of the farther colour. Following the surface, where
  the paper looks at one triangle, smooths meshes finer than the pixels as well.

  Colours get the transpose of the blend as their gradient, the two vertices of the edge
  theirs through `c`; which pairs, triangles and edges take part is constant. An edge
  with an end at or behind the eye is not blended.

  Args:
    color: a picture of any number of channels; coverage may be one of them.
    rast: what `rasterize` gave.
    pos: the clip-space vertices that were rasterized.
    tri: the triangles that were rasterized, welded: vertices doubled along a seam make
      its edges silhouettes.
    opposite: `geometry.mesh.opposite_vertices(tri)`; built if None, which needs a
      concrete `tri`.
    neighbors: `geometry.mesh.neighbors(tri)`; built if None and `tri` is concrete. With
      neither, only the nearer pixel's own triangle is looked at.
    backend: of the search for the edges, as in `rasterize`; "nvdiffrast" is all theirs
      and finds `opposite` itself.

  Raises:
    ValueError: wrong shapes, no `opposite` for a traced `tri`, or an unknown backend.
    RuntimeError: `backend` names a kernel that cannot be had here, with the reason.
  """
  _check(color, rast, pos, tri, opposite)
  if backend == _nvdiffrast.NAME:
    return _nvdiffrast.adapter().antialias(color, rast, pos, tri)
  backend = rasterization.resolve_backend(backend)
  if tri.shape[0] == 0:
    return color
  tri, opposite, neighbors = _tables(tri, opposite, neighbors)
  depth, ids = lax.stop_gradient(rast[..., 2]), rast[..., 3].astype(jnp.int32)
  outline = _silhouettes.outline(
    lax.stop_gradient(pos), tri, opposite, neighbors, (rast.shape[1], rast.shape[2])
  )
  edges = _native.silhouette_edges(ids, depth, outline, tri, backend=backend)
  result = color
  for axis, found in ((2, edges[:2]), (1, edges[2:])):
    near_left = _silhouettes.pairs(depth, ids, axis=axis).near_left
    if axis == 1:
      found = [jnp.swapaxes(v, 1, 2) for v in found]
    result += _exchange(color, pos, near_left, *found, axis=axis)
  return result


def _tables(tri, opposite, neighbors):
  """Triangles, opposite vertices and neighbours as arrays of JAX."""
  if not isinstance(tri, jax.core.Tracer):
    tables = _adjacency(np.asarray(tri, np.int32).tobytes())
    opposite = tables[0] if opposite is None else opposite
    neighbors = tables[1] if neighbors is None else neighbors
  tri, opposite = jnp.asarray(tri, jnp.int32), jnp.asarray(opposite, jnp.int32)
  alone = jnp.full_like(tri, -1)
  neighbors = alone if neighbors is None else jnp.asarray(neighbors, jnp.int32)
  return tri, opposite, neighbors


@functools.lru_cache(maxsize=8)
def _adjacency(faces: bytes) -> tuple[np.ndarray, np.ndarray]:
  triangles = np.frombuffer(faces, np.int32).reshape(-1, 3)
  return mesh.opposite_vertices(triangles), mesh.neighbors(triangles)


def _exchange(color, pos, near_left, start, end, *, axis: int):
  """What each pixel gains from its neighbours along an axis (1: y, 2: x)."""
  if axis == 1:  # Transposed, so that below a pair lies side by side.
    color = jnp.swapaxes(color, 1, 2)
    pos = pos[..., jnp.array([1, 0, 2, 3])]
  height, width = color.shape[1:3]
  c = _crossing(pos, start, end, near_left, (width, height))
  share = jnp.where(start >= 0, jnp.clip(c, 0, 1) - 0.5, 0)[..., None]
  step = color[:, :, :-1] - color[:, :, 1:]
  left_nears = near_left[..., None]
  # `share` > 0 moves the near colour to the far pixel, < 0 the far one to the near.
  to_right = jnp.where(left_nears, jnp.maximum(share, 0), jnp.maximum(-share, 0)) * step
  to_left = jnp.where(left_nears, jnp.minimum(share, 0), jnp.minimum(-share, 0)) * step
  rows = [(0, 0), (0, 0)]
  gain = jnp.pad(to_left, [*rows, (0, 1), (0, 0)])
  gain += jnp.pad(to_right, [*rows, (1, 0), (0, 0)])
  return jnp.swapaxes(gain, 1, 2) if axis == 1 else gain


def _crossing(pos, start, end, near_left, size):
  """Where each pair's edge crosses, as a fraction from the near centre to the far."""
  found = (start >= 0)[..., None]
  pick = jax.vmap(lambda p, i: p[jnp.maximum(i, 0)])
  a = jnp.where(found, pick(pos, start), jnp.asarray(_NO_EDGE[0]))
  b = jnp.where(found, pick(pos, end), jnp.asarray(_NO_EDGE[1]))
  a, b = (_to_px(p[..., :2] / p[..., 3:], size) for p in (a, b))
  row = jnp.arange(start.shape[1], dtype=pos.dtype)[None, :, None]
  column = jnp.arange(start.shape[2], dtype=pos.dtype)[None, None, :]
  t = (row - a[..., 1]) / (b[..., 1] - a[..., 1])
  x = a[..., 0] + t * (b[..., 0] - a[..., 0]) - column
  return jnp.where(near_left, x, 1 - x)


def _to_px(ndc, size: tuple[int, int]):
  x = (ndc[..., 0] + 1) * (size[0] / 2) - 0.5
  return jnp.stack([x, (ndc[..., 1] + 1) * (size[1] / 2) - 0.5], -1)


def _check(color, rast, pos, tri, opposite) -> None:
  if color.ndim != 4 or color.shape[:3] != rast.shape[:3]:
    raise ValueError(
      f"color must have shape [B, H, W, C] with the raster's {rast.shape[:3]}, got "
      f"{color.shape}"
    )
  if rast.shape[-1] != 4:
    raise ValueError(f"rast must have shape [B, H, W, 4], got {rast.shape}")
  if pos.ndim != 3 or pos.shape[-1] != 4 or pos.shape[0] != rast.shape[0]:
    raise ValueError(f"pos must have shape [{rast.shape[0]}, V, 4], got {pos.shape}")
  rasterization.check_triangles("tri", tri, pos.shape[1], "vertices of pos")
  if opposite is None:
    if isinstance(tri, jax.core.Tracer):
      raise ValueError("opposite must be given where tri is traced, got None")
  elif opposite.shape != tri.shape:
    raise ValueError(
      f"opposite must have tri's shape {tri.shape}, got {opposite.shape}"
    )
