"""Search for the silhouette edge between two neighboring pixels.

The search is discrete, so callers apply `stop_gradient` to its inputs.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from affjax.native import dispatch

# A vertex whose w is at most this counts as at or behind the eye.
_TINY_W = 1e-20
# A crossing up to this far outside the segment (pixels) counts as one at its end.
_SLACK = 1e-3
# Largest number of triangles between two neighboring pixels. A mesh with more is far
# too fine for its image, and its silhouette stays jagged there.
_STEPS = 64
# Number of pairs that are processed together.
_BLOCK = 8192
_SILHOUETTE, _INNER, _UNUSABLE = 1, 0, -1


class Pairs(NamedTuple):
  """The pairs of horizontally neighboring pixels (j, i) and (j, i + 1) of a raster."""

  # Whether the left pixel is the nearer of the two.
  near_left: Bool[Array, "b h p"]
  # Ids (0 = empty) of the nearer and of the farther pixel.
  near: Int[Array, "b h p"]
  far: Int[Array, "b h p"]


def pairs(
  depth: Float[Array, "b h w"], ids: Int[Array, "b h w"], *, axis: int
) -> Pairs:
  """Returns the pairs along an axis; the first pixel is the nearer one at equal depths.

  Args:
    depth: Depths of the raster.
    ids: Ids of the raster.
    axis: 2 for x, or 1 for y, whose pairs are those of the transposed image.
  """
  if axis == 1:
    depth, ids = jnp.swapaxes(depth, 1, 2), jnp.swapaxes(ids, 1, 2)
  left, right = ids[:, :, :-1], ids[:, :, 1:]
  nearer = depth[:, :, :-1] <= depth[:, :, 1:]
  near_left = (left > 0) & ((right == 0) | nearer)
  return Pairs(
    near_left, jnp.where(near_left, left, right), jnp.where(near_left, right, left)
  )


class Outline(NamedTuple):
  """The triangles of all images in the image plane, `n = B T`."""

  # x and y of three corners, pixels, then the kind of each edge.
  rows: Float[Array, "n 9"]
  # The triangle across each edge of each triangle, -1 if there is none.
  neighbors: Int[Array, "t 3"]

  def transposed(self) -> "Outline":
    """Returns the outline with x and y exchanged."""
    order = jnp.array([1, 0, 3, 2, 5, 4, 6, 7, 8])
    return Outline(self.rows[:, order], self.neighbors)


def outline(
  pos: Float[Array, "b v 4"],
  tri: Int[Array, "t 3"],
  opposite: Int[Array, "t 3"],
  neighbors: Int[Array, "t 3"],
  resolution: tuple[int, int],
) -> Outline:
  """Projects the triangles and determines which of their edges are silhouettes."""
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
) -> tuple[
  Int[Array, "b h p"], Int[Array, "b h p"], Int[Array, "b q w"], Int[Array, "b q w"]
]:
  """Finds the silhouette edge between each pixel and the next, along x and along y.

  Returns:
    The edges' vertices, -1 where there is no edge: starts and ends along x
    `[B, H, W - 1]`, then along y `[B, H - 1, W]`.
  """
  along_x = crossed_edges(pairs(depth, ids, axis=2), outline, tri, steeper=False)
  turned = outline.transposed()
  along_y = crossed_edges(pairs(depth, ids, axis=1), turned, tri, steeper=True)
  start, end = (jnp.swapaxes(v, 1, 2) for v in along_y)
  return (*along_x, start, end)


def crossed_edges(
  pairs: Pairs, outline: Outline, tri: Int[Array, "t 3"], *, steeper: bool
) -> tuple[Int[Array, "b h p"], Int[Array, "b h p"]]:
  """Finds the silhouette edge of the near surface between the pixels of each pair.

  The search starts at the near pixel's triangle and goes to neighbor after neighbor
  towards the far pixel, until it meets a silhouette or reaches the far pixel.

  Args:
    pairs: The pairs of pixels.
    outline: The triangles of all images.
    tri: Triangles, int32.
    steeper: Whether edges at exactly 45 degrees are left out, because the search along
      the other axis takes them.

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

  def more(state: tuple[Array, ...]):
    return state[0] < count

  def walk_block(state: tuple[Array, ...]):
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


def _walk(
  outline: Outline,
  near: Array,
  far: Array,
  *,
  offset: Array,
  row: Array,
  origin: Array,
  towards: Array,
  walking: Array,
  steeper: bool,
):
  """Follows the surface from triangle `near` along the row.

  Returns:
    The triangle and its edge 0..2 where it met a silhouette; edge -1 elsewhere.
  """

  def more(state: tuple[Array, ...]):
    return (state[0] < _STEPS) & jnp.any(state[-1])

  def step(state: tuple[Array, ...]):
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

  nothing = jnp.full(near.shape, -2, jnp.int32)
  state = (jnp.int32(0), near, nothing, jnp.full(near.shape, -1, jnp.int32), walking)
  state = dispatch.vary_alike(*state)
  _, triangle, _, edge, _ = lax.while_loop(more, step, state)
  return triangle, edge


def _exit(
  columns: Sequence[Array],
  across: Sequence[Array],
  before: Array,
  row: Array,
  origin: Array,
  towards: Array,
):
  """Finds where the row leaves a triangle that it entered from triangle `before`.

  Returns:
    `(c, edge, kind, steep, after)`: the distance from the near pixel, the edge, its
    kind, its rise over its run, and the triangle behind it; -inf and -1 if the row does
    not leave through an edge.
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
    # Half-open, as the fill rule: a row through a corner meets one edge on each side.
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
