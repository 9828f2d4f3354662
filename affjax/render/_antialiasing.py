"""Antialiasing, which makes silhouettes move smoothly with the vertices.

A raster samples points, so coverage has no gradient. Antialiasing blends each pair of
neighboring pixels across a silhouette according to where the silhouette edge crosses
the segment between their centers (Laine et al. 2020, section 3.6).
"""

import functools
from collections.abc import Mapping, Sequence

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
from affjax.types import ArrayLike

# Images with more channels than this are processed as one array.
_UNROLLED = 16


def antialias(
  color: Float[ArrayLike, "b h w c"],
  rast: Float[ArrayLike, "b h w 4"],
  pos: Float[ArrayLike, "b v 4"],
  tri: Int[ArrayLike, "t 3"],
  *,
  opposite: Int[ArrayLike, "t 3"] | None = None,
  neighbors: Int[ArrayLike, "t 3"] | None = None,
  backend: str = "auto",
) -> Float[Array, "b h w c"]:
  """Blends the pixels on both sides of each silhouette.

  For a pair of neighboring pixels that show different triangles, the search follows the
  surface of the nearer pixel towards the other. If the surface ends at a silhouette
  edge at a fraction `c` of the way, then the farther pixel takes `c - 0.5` of the
  nearer color where `c > 0.5`, and otherwise the nearer pixel takes `0.5 - c` of the
  farther color. The paper looks at one triangle only; following the surface also
  smooths meshes whose triangles are smaller than pixels.

  The gradient of `color` is the transpose of the blend; the vertices of the edge have a
  gradient through `c`. An edge with an end at or behind the eye is not blended.

  Args:
    color: Image with any number of channels of any range; coverage may be one.
    rast: The raster that `rasterize` returned.
    pos: The clip-space vertices that were rasterized.
    tri: The triangles that were rasterized, welded: duplicate vertices along a seam
      turn its edges into silhouettes.
    opposite: `geometry.mesh.opposite_vertices(tri)`; computed if None. For a traced
      `tri`, the program itself computes it at each call, by a sort of all edges.
    neighbors: `geometry.mesh.neighbors(tri)`; computed if None, as `opposite`.
    backend: As for `rasterize`; "nvdiffrast" ignores `opposite` and `neighbors`.

  Returns:
    The blended image, in the shape and dtype of `color`.

  Raises:
    ValueError: A shape or the backend is not as described.
    RuntimeError: The kernel that `backend` names is not available here.
  """
  _check(color, rast, pos, tri, opposite)
  color, rast, pos = (jnp.asarray(v) for v in (color, rast, pos))
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
  shares = {
    axis: _shares(pos, _first_is_near(depth, ids, axis), *found, axis=axis)
    for axis, found in ((2, edges[:2]), (1, edges[2:]))
  }
  # All planes read these: XLA would compute them anew for each plane.
  shares = lax.optimization_barrier(shares)
  blended = [_blended(plane, shares) for plane in _planes(color)]
  return blended[0] if blended[0].ndim == color.ndim else jnp.stack(blended, -1)


def _tables(tri: ArrayLike, opposite: ArrayLike | None, neighbors: ArrayLike | None):
  """Returns triangles, opposite vertices and neighbors as int32 arrays of JAX."""
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


def _planes(color: Array) -> Sequence[Array]:
  """Returns the channels one by one, which is faster in XLA, unless they are many."""
  return jnp.unstack(color, axis=-1) if 0 < color.shape[-1] <= _UNROLLED else [color]


def _first_is_near(depth: Array, ids: Array, axis: int):
  """Returns where the first pixel of a pair along an axis is the nearer; so at ties."""
  first, second = _neighbors(ids, axis)
  nearer = jnp.less_equal(*_neighbors(depth, axis))
  return (first > 0) & ((second == 0) | nearer)


def _neighbors(picture: Array, axis: int) -> tuple[Array, Array]:
  size = picture.shape[axis]
  return (
    lax.slice_in_dim(picture, 0, size - 1, axis=axis),
    lax.slice_in_dim(picture, 1, size, axis=axis),
  )


def _shares(
  pos: Array, first_is_near: Array, start: Array, end: Array, *, axis: int
) -> tuple[Array, Array]:
  """Returns the shares that each pixel takes of the next and of the previous pixel.

  The first ones are negative: they multiply a pixel's difference from the next one.
  """
  height, width = start.shape[1] + (axis == 1), start.shape[2] + (axis == 2)
  c = _crossing(pos, start, end, first_is_near, (height, width), axis)
  share = jnp.where(start >= 0, jnp.clip(c, 0, 1) - 0.5, 0)
  # A positive share moves the near color to the far pixel, a negative one the far color
  # to the near pixel.
  share = jnp.where(first_is_near, share, -share)
  before, behind = ([(0, 0, 0)] * 3 for _ in range(2))
  before[axis], behind[axis] = (1, 0, 0), (0, 1, 0)
  zero = jnp.zeros((), share.dtype)
  to_first = lax.pad(jnp.minimum(share, 0), zero, behind)
  return to_first, lax.pad(jnp.maximum(share, 0), zero, before)


def _blended(plane: Array, shares: Mapping[int, tuple[Array, Array]]) -> Array:
  """Returns a plane, or an image, whose pixels took their shares of their neighbors."""
  height, width = plane.shape[1:3]
  rim = [(0, 0), (1, 1), (1, 1), *[(0, 0)] * (plane.ndim - 3)]
  framed = lax.optimization_barrier(jnp.pad(plane, rim))
  result = plane
  for axis, both in shares.items():
    down, right = (axis == 1), (axis == 2)
    next_one = framed[:, 1 + down :, 1 + right :][:, :height, :width]
    previous = framed[:, 1 - down :, 1 - right :][:, :height, :width]
    to_first, to_second = (s[..., None] if plane.ndim > 3 else s for s in both)
    gain = to_first * (plane - next_one) + to_second * (previous - plane)
    result = result + gain.astype(plane.dtype)
  return result


def _crossing(
  pos: Array,
  start: Array,
  end: Array,
  first_is_near: Array,
  size: tuple[int, int],
  axis: int,
):
  """Returns where each pair's edge crosses: 0 at the near center, 1 at the far one."""
  along, across = (0, 1) if axis == 2 else (1, 0)
  a = _to_px(_ends(pos, start, along, across, -1.0), size, axis)
  b = _to_px(_ends(pos, end, along, across, 1.0), size, axis)
  row = lax.broadcasted_iota(pos.dtype, start.shape, 3 - axis)
  column = lax.broadcasted_iota(pos.dtype, start.shape, axis)
  t = (row - a[1]) / (b[1] - a[1])
  x = a[0] + t * (b[0] - a[0]) - column
  return jnp.where(first_is_near, x, 1 - x)


def _ends(pos: Array, vertex: Array, along: int, across: int, otherwise: float):
  """Returns a vertex of each pair's edge: its coordinates along and across, and w.

  A pair without an edge reads out of range, so it costs nothing in the gradient's
  scatter, and computes with (0, `otherwise`, 1), whose derivatives are finite.
  """
  found = vertex >= 0
  read = jax.vmap(lambda p, i: p.at[i].get(mode="fill", fill_value=0))
  place = read(pos, jnp.where(found, vertex, pos.shape[1]))
  return [
    jnp.where(found, place[..., k], other)
    for k, other in ((along, 0.0), (across, otherwise), (3, 1.0))
  ]


def _to_px(clip: Sequence[Array], size: tuple[int, int], axis: int):
  along, across, w = clip
  height, width = size if axis == 2 else size[::-1]
  return (along / w + 1) * (width / 2) - 0.5, (across / w + 1) * (height / 2) - 0.5


def _check(
  color: ArrayLike,
  rast: ArrayLike,
  pos: ArrayLike,
  tri: ArrayLike,
  opposite: ArrayLike | None,
) -> None:
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
