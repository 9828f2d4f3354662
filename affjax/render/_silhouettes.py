"""The search for the silhouette edge between two neighbouring pixels.

All of it is discrete and lies under `stop_gradient`.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from affjax.native import dispatch

# Up to this w a vertex counts as lying at or behind the eye.
_TINY_W = 1e-20
# A crossing this far (pixels) outside the segment is one at its end, but for rounding.
_SLACK = 1e-3
# Triangles between two neighbouring pixels at most; more only in a mesh that is far too
# fine for its picture, whose silhouette then stays jagged there.
_STEPS = 64
# Pairs that walk together.
_BLOCK = 8192
_SILHOUETTE, _INNER, _UNUSABLE = 1, 0, -1


class Pairs(NamedTuple):
  """Horizontally neighbouring pixels (j, i) and (j, i + 1) of a raster."""

  # Whether the left pixel is the nearer of the two.
  near_left: Bool[Array, "b h p"]
  # Ids (0 = empty) that the nearer and the farther show.
  near: Int[Array, "b h p"]
  far: Int[Array, "b h p"]


def pairs(
  depth: Float[Array, "b h w"], ids: Int[Array, "b h w"], *, axis: int
) -> Pairs:
  """Pairs along an axis (1: y, transposed; 2: x); a tie in depth goes to the first."""
  if axis == 1:
    depth, ids = jnp.swapaxes(depth, 1, 2), jnp.swapaxes(ids, 1, 2)
  left, right = ids[:, :, :-1], ids[:, :, 1:]
  nearer = depth[:, :, :-1] <= depth[:, :, 1:]
  near_left = (left > 0) & ((right == 0) | nearer)
  return Pairs(
    near_left, jnp.where(near_left, left, right), jnp.where(near_left, right, left)
  )


class Outline(NamedTuple):
  """The triangles of all images in the picture plane, `n = B T`."""

  # x, y of three corners, pixels; then what each edge is.
  rows: Float[Array, "n 9"]
  # The triangle across each edge of each triangle, -1 without.
  neighbors: Int[Array, "t 3"]

  def transposed(self) -> "Outline":
    """With x and y exchanged."""
    order = jnp.array([1, 0, 3, 2, 5, 4, 6, 7, 8])
    return Outline(self.rows[:, order], self.neighbors)


def outline(pos, tri, opposite, neighbors, resolution: tuple[int, int]) -> Outline:
  """Projects the triangles and finds out which of their edges are silhouettes."""
  height, width = resolution
  front, behind = pos[..., 3] > _TINY_W, pos[..., 3] < -_TINY_W
  w = jnp.where(front | behind, pos[..., 3], 1.0)
  x = (pos[..., 0] / w + 1) * (width / 2) - 0.5
  y = (pos[..., 1] / w + 1) * (height / 2) - 0.5
  # A corner behind the eye appears on the mirrored side.
  sign = jnp.where(behind, -1.0, 1.0)
  columns, kinds = [], []
  for k in range(3):
    own, first, second = (tri[:, (k + i) % 3] for i in range(3))
    across = jnp.maximum(opposite[:, k], 0)
    run, rise = x[:, second] - x[:, first], y[:, second] - y[:, first]
    own_side, other_side = (
      jnp.sign(run * (y[:, v] - y[:, first]) - rise * (x[:, v] - x[:, first]))
      * sign[:, v]
      for v in (own, across)
    )
    folded = (opposite[:, k] < 0)[None] | (own_side * other_side >= 0)
    usable = front[:, first] & front[:, second] & jnp.isfinite(run + rise)
    kind = jnp.where(folded, _SILHOUETTE, _INNER)
    kinds.append(jnp.where(usable, kind, _UNUSABLE).astype(x.dtype))
    columns += [x[:, own], y[:, own]]
  rows = jnp.stack([*columns, *kinds], -1)
  return Outline(rows.reshape(-1, 9), neighbors)


def edges(
  ids: Int[Array, "b h w"],
  depth: Float[Array, "b h w"],
  outline: Outline,
  tri: Int[Array, "t 3"],
) -> tuple[Int[Array, "b h p"], ...]:
  """The silhouette edge between each pixel and the next, along x and along y.

  Returns:
    Its vertices, -1 without: starts and ends along x `[B, H, W - 1]`, then along y
    `[B, H - 1, W]`.
  """
  along_x = crossed_edges(pairs(depth, ids, axis=2), outline, tri, steeper=False)
  turned = outline.transposed()
  along_y = crossed_edges(pairs(depth, ids, axis=1), turned, tri, steeper=True)
  return (*along_x, *(jnp.swapaxes(v, 1, 2) for v in along_y))


def crossed_edges(
  pairs: Pairs, outline: Outline, tri: Int[Array, "t 3"], *, steeper: bool
) -> tuple[Int[Array, "b h p"], Int[Array, "b h p"]]:
  """The silhouette edge of the near surface between the two pixels of each pair.

  From the near pixel's triangle the surface is followed towards the far pixel, from
  neighbour to neighbour, until a silhouette ends it or the far pixel is reached.

  Args:
    steeper: leave out edges as steep as flat, which the other axis takes.

  Returns:
    The vertices `(start, end)` of the edge, -1 where there is none to blend along.
  """
  shape = pairs.near.shape
  near_left, near, far = (v.reshape(-1) for v in pairs)
  if near.size == 0:
    return pairs.near, pairs.near
  differ = near != far
  ends = jnp.cumsum(differ, dtype=jnp.int32)
  count, place = ends[-1], jnp.where(differ, ends - 1, near.size)
  listed = jnp.zeros(near.size, jnp.int32)
  listed = listed.at[place].set(jnp.arange(near.size, dtype=jnp.int32), mode="drop")
  per_image, columns = shape[1] * shape[2], shape[2]

  def more(state):
    return state[0] < count

  def walk_block(state):
    first, start, end = state
    item = first + jnp.arange(min(_BLOCK, near.size), dtype=jnp.int32)
    pair = listed[jnp.minimum(item, near.size - 1)]
    left = near_left[pair]
    triangle, edge = _walk(
      outline,
      near[pair] - 1,
      far[pair] - 1,
      offset=pair // per_image * len(tri),
      row=(pair % per_image // columns).astype(outline.rows.dtype),
      origin=(pair % columns + jnp.where(left, 0, 1)).astype(outline.rows.dtype),
      towards=jnp.where(left, 1.0, -1.0).astype(outline.rows.dtype),
      walking=item < count,
      steeper=steeper,
    )
    place = jnp.where(edge >= 0, pair, near.size)
    start = start.at[place].set(tri[triangle, (edge + 1) % 3], mode="drop")
    end = end.at[place].set(tri[triangle, (edge + 2) % 3], mode="drop")
    return first + item.size, start, end

  none = jnp.full(near.size, -1, jnp.int32)
  state = dispatch.vary_alike(jnp.int32(0), none, none, listed)[:3]
  _, start, end = lax.while_loop(more, walk_block, state)
  return start.reshape(shape), end.reshape(shape)


def _walk(outline, near, far, *, offset, row, origin, towards, walking, steeper):
  """Follows the surface from triangle `near` along the row.

  Returns:
    The triangle and its edge 0..2 where a silhouette was met; edge -1 elsewhere.
  """

  def more(state):
    return (state[0] < _STEPS) & jnp.any(state[-1])

  def step(state):
    count, triangle, before, edge, walking = state
    columns = jnp.unstack(outline.rows[offset + triangle], axis=1)
    across = jnp.unstack(outline.neighbors[triangle], axis=1)
    c, out, kind, steep, after = _exit(columns, across, before, row, origin, towards)
    blends = walking & ((steep > 1) if steeper else (steep >= 1))
    met = (kind == _SILHOUETTE) & (c >= -_SLACK) & (c <= 1 + _SLACK)
    edge = jnp.where(blends & met, out, edge)
    walking &= (kind == _INNER) & (c <= 1) & (after >= 0) & (after != far)
    before = jnp.where(walking, triangle, before)
    triangle = jnp.where(walking, after, triangle)
    return count + 1, triangle, before, edge, walking

  nobody = jnp.full(near.shape, -2, jnp.int32)
  state = (jnp.int32(0), near, nobody, jnp.full(near.shape, -1, jnp.int32), walking)
  state = dispatch.vary_alike(*state)
  _, triangle, _, edge, _ = lax.while_loop(more, step, state)
  return triangle, edge


def _exit(columns, across, before, row, origin, towards):
  """Where the row leaves a triangle that it entered from triangle `before`.

  Returns:
    `(c, edge, kind, steep, after)`: the distance from the near pixel, the edge, what it
    is, its rise over its run, and the triangle behind it. -inf and -1 without any.
  """
  best = jnp.full(row.shape, -jnp.inf, row.dtype)
  edge = jnp.full(row.shape, -1, jnp.int32)
  kind = jnp.full(row.shape, _UNUSABLE, row.dtype)
  steep, after = jnp.zeros_like(best), edge
  for k in range(3):
    i, j = (k + 1) % 3, (k + 2) % 3
    ax, ay, bx, by = (
      columns[2 * i],
      columns[2 * i + 1],
      columns[2 * j],
      columns[2 * j + 1],
    )
    # Half-open, as the fill rule: a row through a corner meets one edge on either side.
    meets = ((ay <= row) != (by <= row)) & (columns[6 + k] != _UNUSABLE)
    run, rise = bx - ax, jnp.where(meets, by - ay, 1.0)
    c = (ax + (row - ay) / rise * run - origin) * towards
    better = meets & (across[k] != before) & (c > best)
    best = jnp.where(better, c, best)
    edge = jnp.where(better, k, edge)
    kind = jnp.where(better, columns[6 + k], kind)
    steep = jnp.where(better, jnp.abs(rise) / jnp.maximum(jnp.abs(run), 1e-30), steep)
    after = jnp.where(better, across[k], after)
  return best, edge, kind, steep, after
