"""Adjacency of triangles that are traced, hence unknown outside the program."""

import jax.numpy as jnp
from jaxtyping import Array, Int


def adjacency(
  tri: Int[Array, "t 3"],
) -> tuple[Int[Array, "t 3"], Int[Array, "t 3"]]:
  """Computes `geometry.mesh.opposite_vertices` and `neighbors` with traceable code.

  The edges are sorted by their vertices, which puts the two edges of a pair next to
  each other.
  """
  corner = tri.reshape(-1)
  start, end = tri[:, jnp.array([1, 2, 0])], tri[:, jnp.array([2, 0, 1])]
  low, high = (f(start, end).reshape(-1) for f in (jnp.minimum, jnp.maximum))
  order = jnp.lexsort((high, low))
  low, high = low[order], high[order]
  # Whether an edge equals the one before it; False beyond both ends.
  repeats = jnp.pad((low[1:] == low[:-1]) & (high[1:] == high[:-1]), (1, 2))
  # An edge of more than two triangles has no unique neighbor.
  first = repeats[1:-1] & ~repeats[:-2] & ~repeats[2:]
  before, after = jnp.roll(order, 1), jnp.roll(order, -1)
  twin = jnp.where(first, after, jnp.where(jnp.roll(first, 1), before, -1))
  twin = jnp.zeros_like(order).at[order].set(twin).astype(jnp.int32)
  opposite = jnp.where(twin >= 0, corner[jnp.maximum(twin, 0)], -1)
  neighbor = jnp.where(twin >= 0, twin // 3, -1)
  return opposite.reshape(tri.shape), neighbor.reshape(tri.shape)
