"""The search for the triangle of each pixel, in portable XLA.

One strategy for triangles of every size: the bounding box of each triangle, in pixels,
is cut into tiles; the tiles of all triangles form one list, of which a `while_loop`
takes a block at a time. Shapes are static, the number of rounds is as large as the
picture needs, and a triangle that covers no pixel centre costs nothing there.
"""

import functools
import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from affjax.native import dispatch
from affjax.render import _exact


class _Setup(NamedTuple):
  """Triangles of all images in one list `n = B T`, ready for the search."""

  # Three scaled corners (x, y, z, w) in ascending order: an edge that two triangles
  # share is the same arithmetic in both, so that they agree on which side a pixel lies.
  corners: Float[Array, "n 12"]
  # First column, first row, last column, last row, tiles in a row.
  boxes: Int[Array, "n 5"]
  # Running total of tiles, this triangle included.
  ends: Int[Array, " n"]


def triangle_ids(
  pos: Float[Array, "b v 4"], tri: Int[Array, "t 3"], resolution: tuple[int, int]
) -> Int[Array, "b h w"]:
  """Index + 1 of the visible triangle of each pixel, 0 where there is none.

  The contract of every backend; `affjax.render.rasterize` has the rules of coverage.
  """
  return nearest(pos, tri, resolution)[1]


def nearest(
  pos: Float[Array, "b v 4"],
  tri: Int[Array, "t 3"],
  resolution: tuple[int, int],
  *,
  behind: tuple[Float[Array, "b h w"], Int[Array, "b h w"]] | None = None,
) -> tuple[Float[Array, "b h w"], Int[Array, "b h w"]]:
  """Depth z/w and id of the visible triangle of each pixel; inf and 0 without any.

  Args:
    pos: clip-space vertices.
    tri: triangles; those with an index outside the vertices are left out.
    resolution: (height, width).
    behind: depths and ids; only what comes after them is seen, a greater id coming
      after a less one of the same depth.
  """
  batch, count = pos.shape[0], tri.shape[0]
  height, width = resolution
  tile, block = _tile_and_block(batch * count, height, width)
  setup = _set_up(pos, tri, height, width, tile)
  pixels = batch * height * width
  passed = None if behind is None else [v.reshape(-1) for v in behind]

  def more(state):
    return state[0] < setup.ends[-1]

  def step(state):
    first, depth, ids = state
    item = first + jnp.arange(block, dtype=jnp.int32)
    owner, x, y, live = _tile_pixels(setup, item, tile)
    corners = [v[None, None] for v in jnp.unstack(setup.corners[owner], axis=1)]
    owner = owner[None, None]
    near, hit = _cover(corners, x, y, height, width)
    hit = hit & live
    # One value of `near` for every comparison, in whatever fusions they end up.
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
  start = dispatch.vary_alike(*start, pos)[:3]
  _, depth, ids = lax.while_loop(more, step, start)
  return depth.reshape(batch, height, width), ids.reshape(batch, height, width)


def _tile_and_block(triangles: int, height: int, width: int) -> tuple[int, int]:
  """Side of a tile in pixels, and tiles in a block."""
  # Measured on 2 CPU cores with a head of 10,000 triangles at 64² to 512².
  tile = 2
  while tile < 8 and (tile * tile * 4) * 10_000 < height * width * 2:
    tile *= 2
  # The list must be countable in int32 even if every triangle fills the picture.
  while triangles * math.ceil(height / tile) * math.ceil(width / tile) >= 2**30:
    tile *= 2
  return tile, max(64, 2**16 // (tile * tile))


def _set_up(pos, tri, height: int, width: int, tile: int) -> _Setup:
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


def _ascending(p, q):
  """Orders two corners by x, then y, w, z."""
  smaller = jnp.zeros(p.shape[0], bool)
  for k in (2, 3, 1, 0):
    smaller = (q[:, k] < p[:, k]) | ((q[:, k] == p[:, k]) & smaller)
  swap = smaller[:, None]
  return jnp.where(swap, q, p), jnp.where(swap, p, q)


def _span(coordinate, w, size: int):
  """First and last pixel whose centre the triangle may cover along one axis."""
  front = w > _exact.TINY_W
  px = (coordinate / jnp.where(front, w, 1.0) + 1) * (size / 2) - 0.5
  # A triangle that reaches behind the eye may show anywhere.
  crossing = ~jnp.all(front, 1)
  slack = size * _exact.SLACK
  low = jnp.where(crossing, 0.0, jnp.ceil(jnp.min(px, 1) - slack))
  high = jnp.where(crossing, size - 1.0, jnp.floor(jnp.max(px, 1) + slack))
  low = jnp.clip(jnp.nan_to_num(low), 0, size).astype(jnp.int32)
  return low, jnp.clip(jnp.nan_to_num(high), -1, size - 1).astype(jnp.int32)


def _tile_pixels(setup: _Setup, item, tile: int):
  """Owner `[block]` of each item of the list, and its pixels `[tile, tile, block]`."""
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
  """Pixel centres in [-1, 1]; XLA would divide by multiplying with a reciprocal."""
  return np.arange(1, 2 * size, 2).astype(np.float32) / np.float32(size) - np.float32(1)


def _cover(corners, x, y, height: int, width: int):
  """z/w of triangles at pixels, and whether the triangle covers the pixel's centre.

  The arithmetic of `csrc/coverage.h`, which has the reasons, to the bit.
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
  # The weights and w are of one sign in front of the eye.
  inside &= jnp.where(side_a, w > 0, w < 0)
  near = z / jnp.where(w == 0, 1.0, w)
  return near, inside & (jnp.abs(near) <= 1)


def _keep_nearest(depth, ids, place, near, triangle):
  """Writes the nearest of the given fragments into the buffers.

  Blocks come in ascending order of triangles, so that an older fragment wins a tie; in
  a block the least id wins.
  """
  before = depth.at[place].get(mode="fill", fill_value=-jnp.inf)
  depth = depth.at[place].min(near, mode="drop")
  after = depth.at[place].get(mode="fill", fill_value=-jnp.inf)
  wins = (near == after) & (near < before)
  place = jnp.where(wins, place, depth.shape[0])
  ids = ids.at[place].set(jnp.iinfo(jnp.int32).max, mode="drop")
  return depth, ids.at[place].min(triangle, mode="drop")
