"""Search for the triangle of each pixel, in portable XLA.

One strategy serves triangles of every size: the bounding box of each triangle, in
pixels, is cut into tiles; the tiles of all triangles form one list, and a `while_loop`
processes this list block by block. All shapes are static, the number of rounds depends
on the image, and a triangle that covers no pixel center costs nothing in the loop.
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from affjax.native import dispatch
from affjax.render import _exact
from affjax.types import ArrayLike


class _Setup(NamedTuple):
  """The triangles of all images in one list `n = B T`, prepared for the search."""

  # Three scaled corners (x, y, z, w) in ascending order: two triangles that share an
  # edge compute it in the same way, so they agree on which side of it a pixel lies.
  corners: Float[Array, "n 12"]
  # First column, first row, last column, last row, number of tiles in a row.
  boxes: Int[Array, "n 5"]
  # Cumulative number of tiles, including this triangle's.
  ends: Int[Array, " n"]


def triangle_ids(
  pos: Float[ArrayLike, "b v 4"],
  tri: Int[ArrayLike, "t 3"],
  resolution: tuple[int, int],
) -> Int[Array, "b h w"]:
  """Returns the index + 1 of each pixel's visible triangle, 0 where there is none.

  Every backend has this contract; `affjax.render.rasterize` states the rules of
  coverage.
  """
  return nearest(pos, tri, resolution)[1]


def nearest(
  pos: Float[ArrayLike, "b v 4"],
  tri: Int[ArrayLike, "t 3"],
  resolution: tuple[int, int],
  *,
  behind: tuple[Float[Array, "b h w"], Int[Array, "b h w"]] | None = None,
) -> tuple[Float[Array, "b h w"], Int[Array, "b h w"]]:
  """Returns depth z/w and id + 1 of each pixel's visible triangle; inf and 0 if none.

  Args:
    pos: Clip-space vertices.
    tri: Triangles; those with an index outside the vertices are left out.
    resolution: (height, width), pixels.
    behind: Depths and ids; only triangles behind them are visible, where at equal
      depths a greater id lies behind a smaller one.
  """
  pos, tri = jnp.asarray(pos), jnp.asarray(tri)
  batch, count = pos.shape[0], tri.shape[0]
  height, width = resolution
  tile, block = _tile_and_block(batch * count, height, width)
  setup = _set_up(pos, tri, height, width, tile)
  pixels = batch * height * width
  passed = None if behind is None else [v.reshape(-1) for v in behind]

  def more(state: tuple[Array, Array, Array]):
    return state[0] < setup.ends[-1]

  def step(state: tuple[Array, Array, Array]):
    first, depth, ids = state
    item = first + jnp.arange(block, dtype=jnp.int32)
    owner, x, y, live = _tile_pixels(setup, item, tile)
    corners = [v[None, None] for v in jnp.unstack(setup.corners[owner], axis=1)]
    owner = owner[None, None]
    near, hit = _cover(corners, x, y, height, width)
    hit = hit & live
    # All comparisons must see the same value of `near`, whichever fusion they are in.
    near = lax.optimization_barrier(near)
    place = jnp.where(hit, (owner // count) * (height * width) + y * width + x, pixels)
    triangle = jnp.broadcast_to(owner % count + 1, place.shape)
    if passed is not None:
      d, i = (v.at[place].get(mode="fill", fill_value=0) for v in passed)
      after = (near > d) | ((near == d) & (triangle > i))
      place = jnp.where(after, place, pixels)
    depth, ids = _keep_nearest(depth, ids, place, near, triangle)
    return first + block, depth, ids

  start = (
    jnp.int32(0),
    jnp.full(pixels, jnp.inf, jnp.float32),
    jnp.zeros(pixels, jnp.int32),
  )
  # Under shard_map the buffers differ from device to device, as `pos` does.
  first, depth, ids, _ = dispatch.vary_alike(*start, pos)
  _, depth, ids = lax.while_loop(more, step, (first, depth, ids))
  return depth.reshape(batch, height, width), ids.reshape(batch, height, width)


def _tile_and_block(triangles: int, height: int, width: int) -> tuple[int, int]:
  """Returns the side of a tile in pixels, and the number of tiles in a block."""
  # Measured on 2 CPU cores with a head of 10,000 triangles at 64² to 512².
  tile = 2
  while tile < 8 and (tile * tile * 4) * 10_000 < height * width * 2:
    tile *= 2
  # int32 must be able to count the list even if every triangle fills the image.
  while triangles * math.ceil(height / tile) * math.ceil(width / tile) >= 2**30:
    tile *= 2
  return tile, max(64, 2**16 // (tile * tile))


def _set_up(pos: Array, tri: Array, height: int, width: int, tile: int) -> _Setup:
  known = jnp.all((tri >= 0) & (tri < pos.shape[1]), 1)
  corner = pos[:, jnp.clip(tri, 0, pos.shape[1] - 1)].reshape(-1, 3, 4)
  corner, usable = _exact.scaled(corner)
  usable = jnp.all(usable, 1) & jnp.any(corner[..., 3] > 0, 1)
  usable &= jnp.tile(known, pos.shape[0])
  a, b, c = corner[:, 0], corner[:, 1], corner[:, 2]
  a, b = _ascending(a, b)
  b, c = _ascending(b, c)
  a, b = _ascending(a, b)
  xyw = jnp.array([0, 1, 3])
  usable &= jnp.any(a[:, xyw] != b[:, xyw], 1) & jnp.any(b[:, xyw] != c[:, xyw], 1)

  low_x, high_x = _span(corner[..., 0], corner[..., 3], width)
  low_y, high_y = _span(corner[..., 1], corner[..., 3], height)
  across = (high_x - low_x) // tile + 1
  down = (high_y - low_y) // tile + 1
  usable &= (low_x <= high_x) & (low_y <= high_y)
  return _Setup(
    corners=jnp.concatenate([a, b, c], 1),
    boxes=jnp.stack([low_x, low_y, high_x, high_y, across], 1),
    ends=jnp.cumsum(jnp.where(usable, across * down, 0), dtype=jnp.int32),
  )


def _ascending(p: Array, q: Array) -> tuple[Array, Array]:
  """Orders two corners by x, then y, w, z."""
  smaller = jnp.zeros(p.shape[0], bool)
  for k in (2, 3, 1, 0):
    smaller = (q[:, k] < p[:, k]) | ((q[:, k] == p[:, k]) & smaller)
  swap = smaller[:, None]
  return jnp.where(swap, q, p), jnp.where(swap, p, q)


def _span(coordinate: Array, w: Array, size: int):
  """Returns the first and last pixel along one axis that a triangle may cover."""
  front = w > _exact.TINY_W
  px = (coordinate / jnp.where(front, w, 1.0) + 1) * (size / 2) - 0.5
  # A triangle that reaches behind the eye may appear anywhere.
  crossing = ~jnp.all(front, 1)
  slack = size * _exact.SLACK
  low = jnp.where(crossing, 0.0, jnp.ceil(jnp.min(px, 1) - slack))
  high = jnp.where(crossing, size - 1.0, jnp.floor(jnp.max(px, 1) + slack))
  low = jnp.clip(jnp.nan_to_num(low), 0, size).astype(jnp.int32)
  return low, jnp.clip(jnp.nan_to_num(high), -1, size - 1).astype(jnp.int32)


def _tile_pixels(setup: _Setup, item: Array, tile: int):
  """Returns each item's triangle `[block]` and pixels `[tile, tile, block]`."""
  owner = jnp.searchsorted(setup.ends, item, side="right").astype(jnp.int32)
  owner = jnp.minimum(owner, setup.ends.shape[0] - 1)
  low_x, low_y, high_x, high_y, across = jnp.unstack(setup.boxes[owner], axis=1)
  before = jnp.where(owner > 0, setup.ends[jnp.maximum(owner - 1, 0)], 0)
  local = item - before
  offset = jnp.arange(tile, dtype=jnp.int32)
  x = (low_x + local % across * tile)[None, None] + offset[None, :, None]
  y = (low_y + local // across * tile)[None, None] + offset[:, None, None]
  live = (x <= high_x[None, None]) & (y <= high_y[None, None])
  x, y = jnp.broadcast_arrays(x, y)
  return owner, x, y, live & (item < setup.ends[-1])[None, None]


@functools.cache
def _centers(size: int) -> Float[np.ndarray, " size"]:
  """Returns pixel centers in [-1, 1]; XLA would multiply by a reciprocal instead."""
  return np.arange(1, 2 * size, 2).astype(np.float32) / np.float32(size) - np.float32(1)


def _cover(corners: Sequence[Array], x: Array, y: Array, height: int, width: int):
  """Returns z/w of triangles at pixels, and whether they cover the pixels' centers.

  The arithmetic equals that of `csrc/coverage.h`, which explains it, to the bit.
  """
  px = jnp.asarray(_centers(width))[jnp.minimum(x, width - 1)]
  py = jnp.asarray(_centers(height))[jnp.minimum(y, height - 1)]
  ax, ay, az, aw, bx, by, bz, bw, cx, cy, cz, cw = corners
  a = (_exact.moved(ax, px, aw), _exact.moved(ay, py, aw), aw)
  b = (_exact.moved(bx, px, bw), _exact.moved(by, py, bw), bw)
  c = (_exact.moved(cx, px, cw), _exact.moved(cy, py, cw), cw)
  weight_c, side_c = _exact.edge(a, b)
  weight_a, side_a = _exact.edge(b, c)
  weight_b, side_b = _exact.edge(a, c)
  weights = (weight_a, -weight_b, weight_c)
  z = _exact.weighted(weights, (az, bz, cz))
  w = _exact.weighted(weights, (aw, bw, cw))
  inside = (side_a == side_c) & (side_a != side_b)
  # In front of the eye, the weights and w have the same sign.
  inside &= jnp.where(side_a, w > 0, w < 0)
  near = z / jnp.where(w == 0, 1.0, w)
  return near, inside & (jnp.abs(near) <= 1)


def _keep_nearest(depth: Array, ids: Array, place: Array, near: Array, triangle: Array):
  """Writes the nearest of the given fragments into the buffers.

  Blocks come in ascending order of triangles, so a fragment of an earlier block wins a
  tie; within a block the lowest id wins.
  """
  before = depth.at[place].get(mode="fill", fill_value=-jnp.inf)
  depth = depth.at[place].min(near, mode="drop")
  after = depth.at[place].get(mode="fill", fill_value=-jnp.inf)
  wins = (near == after) & (near < before)
  place = jnp.where(wins, place, depth.shape[0])
  ids = ids.at[place].set(jnp.iinfo(jnp.int32).max, mode="drop")
  return depth, ids.at[place].min(triangle, mode="drop")
