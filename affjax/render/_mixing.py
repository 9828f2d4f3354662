"""Weighted sums of images with one weight per pixel."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

# Images with more channels than this are processed as one array.
_UNROLLED = 16


def mix(
  weights: Sequence[Float[Array, "*b"]], images: Sequence[Float[Array, "*b c"]]
) -> Float[Array, "*b c"]:
  """Returns `sum_k weights[k] images[k]`.

  The sum goes channel by channel: the gradient of a weight is a sum over the channels,
  which XLA on a CPU computes five times faster as separate terms than as a reduction of
  a short last axis.
  """
  channels = images[0].shape[-1]
  if channels == 0 or channels > _UNROLLED:
    terms = (w[..., None] * p for w, p in zip(weights, images, strict=True))
    return sum(terms, jnp.zeros_like(images[0]))
  planes = []
  for c in range(channels):
    terms = [w * p[..., c] for w, p in zip(weights, images, strict=True)]
    planes.append(sum(terms[1:], terms[0]))
  return jnp.stack(planes, -1)
