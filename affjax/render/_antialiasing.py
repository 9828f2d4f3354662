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
from affjax.render import (
  _native,
  _nvdiffrast,
  _rasterization,
  _silhouettes,
  _topology,
)

# More channels than this are handled in one array instead of one by one.
_UNROLLED = 16


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
    opposite: `geometry.mesh.opposite_vertices(tri)`; built if None, once for a concrete
      `tri`, and in the program (a sort of all edges) for a traced one, whose topology
      may change from call to call.
    neighbors: `geometry.mesh.neighbors(tri)`; built as `opposite` if None.
    backend: of the search for the edges, as in `rasterize`; "nvdiffrast" is all theirs
      and finds `opposite` itself.

  Raises:
    ValueError: wrong shapes, or an unknown backend.
    RuntimeError: `backend` names a kernel that cannot be had here, with the reason.
  """
  _check(color, rast, pos, tri, opposite)
  if backend == _nvdiffrast.NAME:
    return _nvdiffrast.adapter().antialias(color, rast, pos, tri)
  backend = _rasterization.resolve_backend(backend)
  if tri.shape[0] == 0:
    return color
  tri, opposite, neighbors = _tables(tri, opposite, neighbors)
  depth, ids = lax.stop_gradient(rast[..., 2]), rast[..., 3].astype(jnp.int32)
  outline = _silhouettes.outline(
    lax.stop_gradient(pos), tri, opposite, neighbors, (rast.shape[1], rast.shape[2])
  )
  edges = _native.silhouette_edges(ids, depth, outline, tri, backend=backend)
  planes = _planes(color)
  gains = [
    _exchange(planes, pos, _first_is_near(depth, ids, axis), *found, axis=axis)
    for axis, found in ((2, edges[:2]), (1, edges[2:]))
  ]
  blended = [p + x + y for p, x, y in zip(planes, *gains, strict=True)]
  return blended[0] if blended[0].ndim == color.ndim else jnp.stack(blended, -1)


def _tables(tri, opposite, neighbors):
  """Triangles, opposite vertices and neighbours as arrays of JAX."""
  if opposite is None or neighbors is None:
    if isinstance(tri, jax.core.Tracer):
      tables = _topology.adjacency(tri.astype(jnp.int32))
    else:
      tables = _adjacency(np.asarray(tri, np.int32).tobytes())
    opposite = tables[0] if opposite is None else opposite
    neighbors = tables[1] if neighbors is None else neighbors
  return tuple(jnp.asarray(v, jnp.int32) for v in (tri, opposite, neighbors))


@functools.lru_cache(maxsize=8)
def _adjacency(faces: bytes) -> tuple[np.ndarray, np.ndarray]:
  triangles = np.frombuffer(faces, np.int32).reshape(-1, 3)
  return mesh.opposite_vertices(triangles), mesh.neighbors(triangles)


def _planes(color):
  """A picture's channels one by one, on which XLA is faster, unless they are many."""
  return jnp.unstack(color, axis=-1) if 0 < color.shape[-1] <= _UNROLLED else [color]


def _first_is_near(depth, ids, axis: int):
  """Whether the first pixel of each pair along an axis is the nearer; ties: it is."""
  first, second = _neighbors(ids, axis)
  nearer = jnp.less_equal(*_neighbors(depth, axis))
  return (first > 0) & ((second == 0) | nearer)


def _neighbors(picture, axis: int):
  size = picture.shape[axis]
  return (
    lax.slice_in_dim(picture, 0, size - 1, axis=axis),
    lax.slice_in_dim(picture, 1, size, axis=axis),
  )


def _exchange(planes, pos, first_is_near, start, end, *, axis: int):
  """What each pixel of each plane gains from its neighbours along an axis."""
  size = planes[0].shape[1:3]
  c = _crossing(pos, start, end, first_is_near, size, axis)
  share = jnp.where(start >= 0, jnp.clip(c, 0, 1) - 0.5, 0)
  # A share > 0 moves the near colour to the far pixel, < 0 the far one to the near.
  share = jnp.where(first_is_near, share, -share)
  if planes[0].ndim > share.ndim:
    share = share[..., None]
  to_first, to_second = jnp.minimum(share, 0), jnp.maximum(share, 0)
  before, behind = ([(0, 0, 0)] * planes[0].ndim for _ in range(2))
  before[axis], behind[axis] = (1, 0, 0), (0, 1, 0)
  gains = []
  for plane in planes:
    step = jnp.subtract(*_neighbors(plane, axis))
    zero = jnp.zeros((), plane.dtype)
    gain = lax.pad((to_first * step).astype(plane.dtype), zero, behind)
    gains.append(gain + lax.pad((to_second * step).astype(plane.dtype), zero, before))
  return gains


def _crossing(pos, start, end, first_is_near, size: tuple[int, int], axis: int):
  """Where each pair's edge crosses, as a fraction from the near centre to the far."""
  along, across = (0, 1) if axis == 2 else (1, 0)
  a = _to_px(_ends(pos, start, along, across, -1.0), size, axis)
  b = _to_px(_ends(pos, end, along, across, 1.0), size, axis)
  row = lax.broadcasted_iota(pos.dtype, start.shape, 3 - axis)
  column = lax.broadcasted_iota(pos.dtype, start.shape, axis)
  t = (row - a[1]) / (b[1] - a[1])
  x = a[0] + t * (b[0] - a[0]) - column
  return jnp.where(first_is_near, x, 1 - x)


def _ends(pos, vertex, along: int, across: int, otherwise: float):
  """Coordinates along and across the pair, and w, of a vertex for each pair.

  A pair without an edge reads out of range, so that it costs nothing in the gradient's
  scatter, and computes with (0, `otherwise`, 1), whose derivatives are finite.
  """
  found = vertex >= 0
  read = jax.vmap(lambda p, i: p.at[i].get(mode="fill", fill_value=0))
  place = read(pos, jnp.where(found, vertex, pos.shape[1]))
  return [
    jnp.where(found, place[..., k], other)
    for k, other in ((along, 0.0), (across, otherwise), (3, 1.0))
  ]


def _to_px(clip, size: tuple[int, int], axis: int):
  along, across, w = clip
  height, width = size if axis == 2 else size[::-1]
  return (along / w + 1) * (width / 2) - 0.5, (across / w + 1) * (height / 2) - 0.5


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
  _rasterization.check_triangles("tri", tri, pos.shape[1], "vertices of pos")
  if opposite is not None and opposite.shape != tri.shape:
    raise ValueError(
      f"opposite must have tri's shape {tri.shape}, got {opposite.shape}"
    )
