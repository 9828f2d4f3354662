"""Place of each pixel in a known triangle, in plain JAX: the definition."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

# Empty pixels compute with this triangle, whose derivatives are finite everywhere.
_NOWHERE = np.array([[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 1]], np.float32)


def located(
  pos: Float[Array, "b v 4"],
  tri: Int[Array, "t 3"],
  ids: Int[Array, "b h w"],
  *,
  derivatives: bool,
) -> tuple[Float[Array, "b h w 4"], Float[Array, "b h w d"]]:
  """Returns the raster of known triangles and the derivatives of its weights.

  Args:
    pos: Clip-space vertices.
    tri: Triangles. No pixel may show one with an index outside the vertices.
    ids: Index + 1 of the triangle that each pixel shows, 0 where there is none.
    derivatives: Whether the second result is requested.

  Returns:
    The raster as `rasterize` returns it, and the derivatives of its weights (du/dX,
    du/dY, dv/dX, dv/dY), which have no channels (d = 0) unless requested.
  """
  weights, slopes, depth = _locate(pos, tri, ids)
  hit = (ids > 0)[..., None]
  last = jnp.stack([lax.stop_gradient(depth), ids.astype(pos.dtype)], -1)
  rast = jnp.where(hit, jnp.concatenate([weights, last], -1), 0)
  return rast, jnp.where(hit, slopes if derivatives else slopes[..., :0], 0)


def pushed(
  pos: Float[Array, "b v 4"],
  tri: Int[Array, "t 3"],
  ids: Int[Array, "b h w"],
  dot: Float[Array, "b v 4"],
  *,
  derivatives: bool,
) -> tuple[Float[Array, "b h w 4"], Float[Array, "b h w d"]]:
  """Returns the change of `located` for a change `dot` of `pos`, linear in `dot`."""
  place = lambda p: located(p, tri, ids, derivatives=derivatives)
  return jax.jvp(place, (pos,), (dot,))[1]


def pulled(
  pos: Float[Array, "b v 4"],
  tri: Int[Array, "t 3"],
  ids: Int[Array, "b h w"],
  rast: Float[Array, "b h w 4"],
  slopes: Float[Array, "b h w d"],
) -> Float[Array, "b v 4"]:
  """Returns the gradient of `located` in `pos` for cotangents of both results."""
  place = lambda p: located(p, tri, ids, derivatives=slopes.shape[-1] > 0)
  return jax.vjp(place, pos)[1]((rast, slopes))[0]


def _locate(pos: Array, tri: Array, ids: Array):
  """Returns weights `[B, H, W, 2]`, their derivatives `[.., 4]` and z/w.

  The computation goes coordinate by coordinate because XLA on a CPU is slow at sums
  over a short last axis. Empty pixels read out of range, so they cost nothing in the
  gradient's scatter.
  """
  height, width = ids.shape[1:]
  vertices = tri.at[jnp.where(ids > 0, ids - 1, len(tri))].get(
    mode="fill", fill_value=pos.shape[1]
  )
  x, y, z, w = zip(*(_corner(pos, vertices[..., k], k) for k in range(3)), strict=True)
  px = ((2 * jnp.arange(width, dtype=pos.dtype) + 1) / width - 1)[None, None, :]
  py = ((2 * jnp.arange(height, dtype=pos.dtype) + 1) / height - 1)[None, :, None]
  # The edge functions of `csrc/coverage.h`, with corners relative to the pixel's ray.
  x = [x[k] - px * w[k] for k in range(3)]
  y = [y[k] - py * w[k] for k in range(3)]
  after = ((1, 2), (2, 0), (0, 1))
  area = [x[i] * y[j] - x[j] * y[i] for i, j in after]
  total = area[0] + area[1] + area[2]
  total = jnp.where(jnp.abs(total) < 1e-30, 1.0, total)
  weights = [a / total for a in area]
  depth = _dot(weights, z) / _dot(weights, w)
  # Each area is linear in the pixel's position.
  slopes = []
  for by, size in (
    ([y[i] * w[j] - w[i] * y[j] for i, j in after], width),
    ([w[i] * x[j] - x[i] * w[j] for i, j in after], height),
  ):
    change = by[0] + by[1] + by[2]
    slopes.append([(by[k] - weights[k] * change) / total * (2 / size) for k in (0, 1)])
  slopes = jnp.stack([slopes[0][0], slopes[1][0], slopes[0][1], slopes[1][1]], -1)
  return jnp.stack(_pin(weights)[:2], -1), slopes, depth


def _corner(pos: Array, vertex: Array, k: int):
  """Returns the coordinates of corner k at each pixel."""
  read = jax.vmap(lambda p, i: p.at[i].get(mode="fill", fill_value=0))
  here = vertex < pos.shape[1]
  coordinates = jnp.unstack(read(pos, vertex), axis=-1)
  nowhere = _NOWHERE[k].tolist()
  return [jnp.where(here, c, n) for c, n in zip(coordinates, nowhere, strict=True)]


def _dot(a: Sequence[Array], b: Sequence[Array]):
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _pin(weights: Sequence[Array]):
  """Corrects weights of covered pixels that rounding moved out of [0, 1]."""
  exact = [jnp.clip(w, 0, 1) for w in weights]
  total = jnp.maximum(exact[0] + exact[1] + exact[2], 1e-6)
  return [
    w + lax.stop_gradient(e / total - w) for w, e in zip(weights, exact, strict=True)
  ]
