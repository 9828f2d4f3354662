"""The discriminator's side of a step of an adversarial stage."""

import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from affjax import losses
from affjax.losses import Mean
from affjax.train import accumulation
from affjax.train.states import Params

# It has won if it tells so many patches right, in so many log periods in a row.
_WON, _PERIODS = 0.98, 3

LOSS = "adversarial_discriminator"
ACCURACY = "adversarial_accuracy"
R1 = "adversarial_r1"

Scalars = dict[str, Float[Array, ""]]
Network = Callable[[Params, Array], list[Array]]


@dataclasses.dataclass(frozen=True)
class R1Penalty:
  """A penalty on the discriminator's slope at photos (Mescheder et al. 2018, eq. 9).

  Attributes:
    weight: Weight γ of the penalty, added as γ/2 of the mean squared slope; 0 = none.
      10 is common.
    every: Steps between two penalties, each of which counts this many times ("lazy", as
      in StyleGAN2).
  """

  weight: float = 0.0
  every: int = 16

  def __post_init__(self):
    if not self.weight >= 0:
      raise ValueError(f"weight must be >= 0, got {self.weight}")
    if self.every < 1:
      raise ValueError(f"every must be at least 1, got {self.every}")


@dataclasses.dataclass(frozen=True, eq=False)
class DiscriminatorLearner:
  """The discriminator of an adversarial stage, and how it is trained.

  Attributes:
    network: `(params, images) -> logits of each scale`.
    optimizer: Optimizer of its weights.
    r1: Penalty on its slope.
  """

  network: Network
  optimizer: optax.GradientTransformation
  r1: R1Penalty = R1Penalty()


class Watch:
  """Notices from the log that a discriminator has won, and says so once."""

  def __init__(self):
    self._since: list[int] = []

  def __call__(self, step: int, means: Mapping[str, float]) -> str | None:
    """Returns a warning, or `None`.

    Args:
      step: The present step.
      means: Means of the scalars since the last call.
    """
    if means.get(ACCURACY, 0.0) < _WON:
      self._since = []
      return None
    self._since.append(step)
    if len(self._since) != _PERIODS:
      return None
    return (
      f"warning: the discriminator has won: since step {self._since[0]} it tells "
      f"{means[ACCURACY]:.1%} of the patches right, so that its loss teaches the "
      "networks little; lower optimizer.discriminator.scale, set r1.weight=10, or "
      "model.discriminator.normalization=spectral"
    )


def gradient(
  learner: DiscriminatorLearner,
  params: Params,
  parts: tuple[Float[Array, "m n h w 3"], Float[Array, "m n h w 3"]],
  step: Array,
) -> tuple[Params, Scalars]:
  """Returns the gradient of the discriminator's loss, and what the log reports.

  Args:
    learner: The discriminator.
    params: Its weights.
    parts: Photos and overlays, with a leading axis over accumulated parts.
    step: Number of updates made, which decides whether the penalty is due.
  """
  penalty = learner.r1

  def means(params: Params, part: tuple[Array, Array]) -> tuple[dict[str, Mean], None]:
    photos, overlays = part
    real = learner.network(params, photos)
    fake = learner.network(params, jax.lax.stop_gradient(overlays))
    found = {
      LOSS: losses.adversarial_discriminator(real, fake),
      ACCURACY: accuracy(real, fake),
    }
    if penalty.weight:
      due = step % penalty.every == 0
      absent = lambda: Mean(jnp.zeros(()), jnp.asarray(float(len(photos))))
      slope = lambda: squared_slope(learner.network, params, photos)
      found[R1] = jax.lax.cond(due, slope, absent)
    return found, None

  def combine(means: dict[str, Mean]) -> tuple[Array, Scalars]:
    values = {name: mean.value for name, mean in means.items()}
    if not penalty.weight:
      return values[LOSS], values
    values[R1] *= penalty.every
    return values[LOSS] + 0.5 * penalty.weight * values[R1], values

  _, scalars, _, slope = accumulation.value_and_grad(means, combine, params, parts)
  return slope, scalars


def accuracy(real: list[Array], fake: list[Array]) -> Mean:
  """Returns the share of patches that are told right, averaged over the scales."""
  right = [
    0.5 * jnp.mean(jnp.float32(r > 0), (1, 2, 3))
    + 0.5 * jnp.mean(jnp.float32(f < 0), (1, 2, 3))
    for r, f in zip(real, fake, strict=True)
  ]
  return losses.masked_mean(jnp.mean(jnp.stack(right), 0))


def squared_slope(
  network: Network, params: Params, photos: Float[Array, "n h w 3"]
) -> Mean:
  """Returns the mean over photos of the squared slope of D.

  D adds up the logits of all P patches of a scale, divided by √P, and all scales: as
  patches see different pixels, its squared slope is about that of one patch, whatever
  the size of the photo.
  """

  def score(photos: Array) -> Array:
    logits = network(params, photos)
    return sum(
      (jnp.sum(scale) / (scale[0].size ** 0.5) for scale in logits), jnp.zeros(())
    )

  slope = jax.grad(score)(photos)
  return losses.masked_mean(jnp.sum(slope * slope, (1, 2, 3)))
