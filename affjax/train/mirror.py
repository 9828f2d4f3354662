"""The mirror images of a batch, with the ground truth of the flipped photos."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from affjax.geometry.mirror import POINT_SIGNS, POSE_SIGNS, flip_map, mirror_head
from affjax.types import ArrayLike, Batch, Guide, Template


def with_mirrored(
  batch: Batch,
  texels: Int[np.ndarray, "s s"] | None = None,
  template: Template | None = None,
) -> Batch:
  """Returns every sample followed by its mirror image, `2 N` samples.

  MeInGame supervises both in each step.

  Args:
    batch: The samples.
    texels: The mirror image of each texel, as `geometry.mirror.flip_map` takes it.
    template: The head, for batches with guides.
  """
  position = flip_map(batch.position, texels) * POINT_SIGNS.reshape(1, 1, 1, 3)
  return Batch(
    image=_interleave(batch.image, batch.image[:, :, ::-1]),
    visible=_interleave(batch.visible, batch.visible[:, :, ::-1]),
    position=_interleave(batch.position, position),
    pose=_interleave(batch.pose, batch.pose * POSE_SIGNS.reshape(1, 6)),
    diffuse=_interleave(batch.diffuse, flip_map(batch.diffuse, texels)),
    has_pose=_interleave(batch.has_pose, batch.has_pose),
    has_diffuse=_interleave(batch.has_diffuse, batch.has_diffuse),
    guide=None if template is None else _guides(batch.guide, template),
  )


def _guides(guide: Guide | None, template: Template) -> Guide | None:
  if guide is None:
    return None
  skin = guide.skin
  return Guide(
    vertices=_interleave(guide.vertices, mirror_head(guide.vertices, template)),
    pose=_interleave(guide.pose, guide.pose * POSE_SIGNS.reshape(1, 6)),
    known=_interleave(guide.known, guide.known),
    skin=None if skin is None else _interleave(skin, skin[:, :, ::-1]),
  )


def _interleave(a: Float[ArrayLike, "..."], b: Float[ArrayLike, "..."]) -> Array:
  """Returns a0, b0, a1, b1, ...: samples stay on their device, unlike concatenated."""
  return jnp.stack([a, b], 1).reshape((2 * a.shape[0], *a.shape[1:]))
