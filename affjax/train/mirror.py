"""The mirror images of a batch, with the ground truth of the flipped photos."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from affjax.types import Batch

# An axis-angle vector is axial: reflecting x turns it the other way about y and z.
_POSE_SIGNS = np.array([1, -1, -1, -1, 1, 1], np.float32)
_POSITION_SIGNS = np.array([-1, 1, 1], np.float32)


def with_mirrored(batch: Batch) -> Batch:
  """Returns every sample followed by its mirror image, `2 N` samples.

  MeInGame supervises both in each step. Needs a UV layout that is mirror-symmetric
  about u = 0.5, so that maps are flipped by their columns.
  """
  return Batch(
    image=_interleave(batch.image, batch.image[:, :, ::-1]),
    visible=_interleave(batch.visible, batch.visible[:, :, ::-1]),
    position=_interleave(
      batch.position,
      batch.position[:, :, ::-1] * _POSITION_SIGNS.reshape(1, 1, 1, 3),
    ),
    pose=_interleave(batch.pose, batch.pose * _POSE_SIGNS.reshape(1, 6)),
    diffuse=_interleave(batch.diffuse, batch.diffuse[:, :, ::-1]),
    has_pose=_interleave(batch.has_pose, batch.has_pose),
    has_diffuse=_interleave(batch.has_diffuse, batch.has_diffuse),
  )


def _interleave(a: Float[Array, "..."], b: Float[Array, "..."]) -> Array:
  """Returns a0, b0, a1, b1, ...: samples stay on their device, unlike concatenated."""
  return jnp.stack([a, b], 1).reshape((2 * a.shape[0], *a.shape[1:]))
