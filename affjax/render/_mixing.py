"""Weighted sums of pictures, by one weight a pixel."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

# More channels than this are handled in one array instead of one by one.
_UNROLLED = 16


def mix(
  weights: Sequence[Float[Array, "*b"]], pictures: Sequence[Float[Array, "*b c"]]
) -> Float[Array, "*b c"]:
  """`sum_k weights[k] pictures[k]`.

  Channel by channel: the gradient of a weight is a sum over the channels, which XLA on
  a CPU adds up five times faster as separate terms than as a reduction of a short last
  axis.
  """
  channels = pictures[0].shape[-1]
  if channels == 0 or channels > _UNROLLED:
    terms = (w[..., None] * p for w, p in zip(weights, pictures, strict=True))
    return sum(terms, jnp.zeros_like(pictures[0]))
  planes = []
  for c in range(channels):
    terms = [w * p[..., c] for w, p in zip(weights, pictures, strict=True)]
    planes.append(sum(terms[1:], terms[0]))
  return jnp.stack(planes, -1)
