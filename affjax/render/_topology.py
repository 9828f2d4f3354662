"""Which triangles share an edge, for triangles that are only known while tracing."""

import jax.numpy as jnp
from jaxtyping import Array, Int


def adjacency(
  tri: Int[Array, "t 3"],
) -> tuple[Int[Array, "t 3"], Int[Array, "t 3"]]:
  """`geometry.mesh.opposite_vertices` and `neighbors`, as traceable as any array code.

  Edges are sorted by their vertices; those of a pair are next to each other then.
  """
  corner = tri.reshape(-1)
  start, end = tri[:, jnp.array([1, 2, 0])], tri[:, jnp.array([2, 0, 1])]
  low, high = (f(start, end).reshape(-1) for f in (jnp.minimum, jnp.maximum))
  order = jnp.lexsort((high, low))
  low, high = low[order], high[order]
  # Whether an edge is that before it; beyond both ends it is not.
  repeats = jnp.pad((low[1:] == low[:-1]) & (high[1:] == high[:-1]), (1, 2))
  # Edges of more than two triangles have no one neighbour.
  first = repeats[1:-1] & ~repeats[:-2] & ~repeats[2:]
  before, after = jnp.roll(order, 1), jnp.roll(order, -1)
  twin = jnp.where(first, after, jnp.where(jnp.roll(first, 1), before, -1))
  twin = jnp.zeros_like(order).at[order].set(twin).astype(jnp.int32)
  opposite = jnp.where(twin >= 0, corner[jnp.maximum(twin, 0)], -1)
  neighbor = jnp.where(twin >= 0, twin // 3, -1)
  return opposite.reshape(tri.shape), neighbor.reshape(tri.shape)
