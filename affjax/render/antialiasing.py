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
from affjax.render import rasterization

_TINY_W = 1e-20
# A crossing this far (pixels) outside the segment is one at its end, but for rounding.
_SLACK = 1e-3
# A pair without an edge computes with this one, whose derivatives are finite.
_NO_EDGE = np.array([[0, -1, 0, 1], [0, 1, 0, 1]], np.float32)[:, None, None, None]


def antialias(
  color: Float[Array, "b h w c"],
  rast: Float[Array, "b h w 4"],
  pos: Float[Array, "b v 4"],
  tri: Int[Array, "t 3"] | np.ndarray,
  *,
  opposite: Int[Array, "t 3"] | np.ndarray | None = None,
) -> Float[Array, "b h w c"]:
  """Blends the pixels on both sides of each silhouette.

  Of a pair of neighbours that show different triangles, the nearer one's triangle is
  looked at. If the segment from its centre to the other leaves that triangle through a
  silhouette edge at a fraction `c`, then the farther pixel takes `c - 0.5` of the
  nearer colour where `c > 0.5`, and else the nearer takes `0.5 - c` of the farther
  colour.

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

  Raises:
    ValueError: wrong shapes, or no `opposite` for a traced `tri`.
  """
  _check(color, rast, pos, tri, opposite)
  if tri.shape[0] == 0:
    return color
  if opposite is None:
    opposite = _opposite(np.asarray(tri, np.int32).tobytes())
  tri, opposite = jnp.asarray(tri, jnp.int32), jnp.asarray(opposite, jnp.int32)
  frozen = lax.stop_gradient((rast[..., 2:], pos))
  across = functools.partial(_exchange, tri=tri, opposite=opposite)
  moved = across(color, *frozen, pos, axis=2) + across(color, *frozen, pos, axis=1)
  return color + moved


@functools.lru_cache(maxsize=8)
def _opposite(faces: bytes) -> np.ndarray:
  return mesh.opposite_vertices(np.frombuffer(faces, np.int32).reshape(-1, 3))


def _exchange(color, depth_id, frozen, pos, *, tri, opposite, axis: int):
  """What each pixel gains from its neighbours along an axis (1: y, 2: x)."""
  if axis == 1:  # Transposed, so that below a pair lies side by side.
    color, depth_id = (jnp.swapaxes(v, 1, 2) for v in (color, depth_id))
    frozen, pos = (v[..., jnp.array([1, 0, 2, 3])] for v in (frozen, pos))
  height, width = color.shape[1:3]
  size = (width, height)
  near_left, start, end = _crossed_edge(
    depth_id, frozen, tri, opposite, size, strict=axis == 1
  )
  c = _crossing(pos, start, end, near_left, size)
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


def _crossed_edge(depth_id, pos, tri, opposite, size, *, strict: bool):
  """The silhouette edge between the pixels of each horizontal pair.

  Args:
    strict: leave out edges as steep as flat (the other axis takes them).

  Returns:
    `near_left` bool `[B, H, W - 1]`, whether the left pixel is the nearer; the vertices
    `start`, `end` of the edge, -1 where nothing is to be blended.
  """
  depth, ids = depth_id[..., 0], depth_id[..., 1].astype(jnp.int32)
  left, right = ids[:, :, :-1], ids[:, :, 1:]
  nearer = depth[:, :, :-1] <= depth[:, :, 1:]
  near_left = (left > 0) & ((right == 0) | nearer)
  px, outline = _outline(pos, tri, opposite, size)
  rows = jnp.concatenate([px.reshape((*px.shape[:2], 6)), outline], -1)
  rows = jax.vmap(lambda r, i: r[jnp.maximum(i - 1, 0)])(rows, ids)
  rows = jnp.where(near_left[..., None], rows[:, :, :-1], rows[:, :, 1:])
  near_id = jnp.where(near_left, left, right)
  corner = rows[..., :6].reshape((*rows.shape[:-1], 3, 2))
  row = jnp.arange(left.shape[1], dtype=pos.dtype)[None, :, None, None]
  column = jnp.arange(left.shape[2], dtype=pos.dtype)[None, None, :]
  origin = column + jnp.where(near_left, 0.0, 1.0)
  first, second = jnp.roll(corner, -1, -2), jnp.roll(corner, -2, -2)
  run, rise = second[..., 0] - first[..., 0], second[..., 1] - first[..., 1]
  run_, rise_ = jnp.abs(run), jnp.abs(rise)
  steep = rise_ > run_ if strict else (rise_ >= run_) & (rise_ > 0)
  met = (first[..., 1] - row) * (second[..., 1] - row) <= 0
  t = (row - first[..., 1]) / jnp.where(steep, rise, 1.0)
  c = first[..., 0] + t * run - origin[..., None]
  c = jnp.where(near_left[..., None], c, -c)
  met &= steep & (rows[..., 6:] > 0) & (c >= -_SLACK) & (c <= 1 + _SLACK)
  met &= (left != right)[..., None]
  edge = jnp.argmin(jnp.where(met, c, jnp.inf), -1)
  corners = tri[jnp.maximum(near_id - 1, 0)]
  found = jnp.any(met, -1)
  return near_left, *(
    jnp.where(
      found, jnp.take_along_axis(corners, (edge[..., None] + k) % 3, -1)[..., 0], -1
    )
    for k in (1, 2)
  )


def _outline(pos, tri, opposite, size):
  """Corners `[B, T, 3, 2]` in pixels, and 1 for each edge that is a silhouette."""
  front = pos[..., 3:] > _TINY_W
  behind = pos[..., 3:] < -_TINY_W
  w = jnp.where(front | behind, pos[..., 3:], 1.0)
  px = _to_px(pos[..., :2] / w, size)
  corner = px[:, tri]
  first, second = jnp.roll(corner, -1, -2), jnp.roll(corner, -2, -2)
  # An edge's neighbour that reaches behind the eye leaves it on the mirrored side.
  sign = jnp.where(behind, -1.0, 1.0)[..., 0]
  own = _side(first, second, corner) * sign[:, tri]
  other = jnp.maximum(opposite, 0)
  other = _side(first, second, px[:, other]) * sign[:, other]
  outline = (opposite < 0)[None] | (own * other >= 0)
  seen = front[..., 0][:, tri]
  outline &= jnp.roll(seen, -1, -1) & jnp.roll(seen, -2, -1)
  outline &= jnp.all(jnp.isfinite(corner), (-1, -2))[..., None]
  return corner, outline.astype(pos.dtype)


def _to_px(ndc, size: tuple[int, int]):
  x = (ndc[..., 0] + 1) * (size[0] / 2) - 0.5
  return jnp.stack([x, (ndc[..., 1] + 1) * (size[1] / 2) - 0.5], -1)


def _side(a, b, p):
  """Sign (-1, 0, 1) of the side of the line a -> b that a point lies on."""
  run, to = b - a, p - a
  return jnp.sign(run[..., 0] * to[..., 1] - run[..., 1] * to[..., 0])


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
