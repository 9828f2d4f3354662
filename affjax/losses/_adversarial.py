"""The adversarial losses: a vanilla GAN at several scales (paper, eq. 9)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Float

from affjax.losses import _mean
from affjax.losses._mean import Mean
from affjax.types import ArrayLike

Logits = Sequence[Float[ArrayLike, "n _ _ 1"]]


def adversarial_generator(fake: Logits) -> Mean:
  """Returns the cross entropy of calling overlays real, added up over the scales.

  Non-saturating (MeInGame's choice): it has the fixed point of eq. 9's minimum but
  keeps its slope while the discriminators win.

  Args:
    fake: The discriminator's logits of each scale for overlaid renders.
  """
  return _added_scales("fake", fake, sign=-1)


def adversarial_discriminator(real: Logits, fake: Logits) -> Mean:
  """Returns the cross entropy of telling photos from overlays, summed over the scales.

  This is the discriminator's own objective, not a weighted term: λ_adv would only scale
  it, which Adam undoes.

  Args:
    real: Logits of each scale for photos.
    fake: Logits of each scale for overlaid renders, without a gradient to the
      generator.

  Raises:
    ValueError: There are no scales, or not the same number of them.
  """
  if len(real) != len(fake):
    raise ValueError(
      f"real and fake must have one entry for each scale, got {len(real)} and "
      f"{len(fake)}"
    )
  missed_photos = _added_scales("real", real, sign=-1)
  missed_renders = _added_scales("fake", fake, sign=1)
  return Mean(missed_photos.total + missed_renders.total, missed_photos.weight)


def _added_scales(name: str, logits: Logits, *, sign: int) -> Mean:
  """Returns the mean over samples of `softplus(sign * logit)`, summed over scales."""
  if not logits:
    raise ValueError(f"{name} must hold the logits of at least one scale, got none")
  scales = []
  for scale in logits:
    wide = scale.astype(jnp.promote_types(scale.dtype, jnp.float32))
    scales.append(jnp.mean(jax.nn.softplus(sign * wide), range(1, scale.ndim)))
  return _mean.masked_mean(jnp.sum(jnp.stack(scales), 0))
