"""The aggregation of several photos of one person (LAP, Zhang et al. 2021)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from affjax.types import ArrayLike


def aggregate(
  codes: Float[ArrayLike, "n *p c"], weights: Float[ArrayLike, "n *p c"], photos: int
) -> Float[Array, "m *p c"]:
  """Returns one code for each collection: the weighted mean of those of its photos.

  Each channel has weights of its own, the softmax over the photos: a photo may tell
  more of the nose, another one of a cheek that the first one does not show. The order
  of the photos does not matter, and of a single photo the code itself is returned.

  Args:
    codes: Codes of the photos; those of a collection follow one another.
    weights: Weights before the softmax.
    photos: Number of photos in a collection.

  Raises:
    ValueError: The photos are no whole number of collections.
  """
  if photos < 1 or codes.shape[0] % photos:
    raise ValueError(
      f"photos must divide the {codes.shape[0]} photos of the batch, got {photos}"
    )
  shape = (codes.shape[0] // photos, photos, *codes.shape[1:])
  share = jax.nn.softmax(jnp.asarray(weights).reshape(shape), axis=1)
  return jnp.sum(share * jnp.asarray(codes).reshape(shape), 1)
