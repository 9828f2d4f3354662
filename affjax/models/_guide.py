"""Checks of guides: one that cannot be true counts as none."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from affjax.types import ArrayLike, Guide, Template

# A guide stays within this many standard deviations of the mean head.
_FARTHEST = 5.0
# Largest numbers of a pose that can be true: rotation (rad), and the translation (dm)
# with which a head is still in the photo, before the camera.
_LARGEST = (3.2, 3.2, 3.2, 1.1, 1.1, 4.0)


def trusted(
  guide: Guide | None, count: int, template: Template, vertex_std: np.ndarray
) -> Guide:
  """Returns finite guides: the mean head before the camera where there is none.

  Args:
    guide: The guides as they were given, or none.
    count: Number of photos.
    template: The head.
    vertex_std: Standard deviation of each coordinate over heads, `[V, 3]`, dm.

  Returns:
    The guides, whose `known` says 0 where no guide was given, where it holds NaN or
    infinity, and where its pose puts the head out of the photo. Vertices lie within
    five standard deviations of the mean head.

  Raises:
    ValueError: The guide is of another number of photos or of another template.
  """
  mean = jnp.asarray(template.vertices)[None]
  if guide is None:
    vertices = jnp.broadcast_to(mean, (count, *mean.shape[1:]))
    return Guide(vertices, jnp.zeros((count, 6)), jnp.zeros(count))
  if guide.vertices.shape != (count, *mean.shape[1:]):
    raise ValueError(
      f"guide.vertices must have shape {(count, *mean.shape[1:])}, got "
      f"{guide.vertices.shape}"
    )
  largest = jnp.array([_LARGEST], jnp.float32)
  # A comparison with NaN is false.
  possible = (jnp.abs(guide.pose) <= largest).all(1)
  finite = jnp.isfinite(guide.vertices).all((1, 2))
  known = (guide.known > 0) & possible & finite
  limit = _FARTHEST * jnp.asarray(vertex_std, jnp.float32)[None]
  moved = mean + jnp.clip(guide.vertices - mean, -limit, limit)
  return Guide(
    vertices=jnp.where(known[:, None, None], moved, mean),
    pose=jnp.where(known[:, None], guide.pose, 0.0),
    known=known.astype(jnp.float32),
    skin=None if guide.skin is None else _probability(guide.skin),
  )


def _probability(skin: Float[ArrayLike, "n h w 1"]) -> Float[Array, "n h w 1"]:
  """Returns a probability of skin; one where it is not a number."""
  return jnp.clip(jnp.where(jnp.isnan(skin), 1.0, skin), 0.0, 1.0)
