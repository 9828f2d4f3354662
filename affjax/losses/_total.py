"""The terms by name, their weights, and their weighted sum."""

import dataclasses
import math
from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array, Float

from affjax.losses._mean import Mean


@dataclasses.dataclass(frozen=True)
class LossWeights:
  """Weight of each term; the defaults are the paper's (section 3.4.4).

  A term of weight zero need not be computed: check `weights.perceptual > 0`.

  Attributes:
    image_l1: λ_l1d, overlay against photo.
    position_l1: λ_l1p, position map against its pseudo ground truth.
    perceptual: λ_perc, overlay against photo in feature space.
    deviation: λ_std, colour of the skin.
    variation: λ_tv, light map.
    symmetry: λ_sym, blurred diffuse map.
    adversarial_generator: λ_adv.
    diffuse_l1: samples with a true diffuse map. The paper names no weight of its own:
      λ_l1d.
    diffuse_perceptual: the same samples; λ_perc.
    pose_l1: samples with a true pose. Not in the paper, hence 0.
  """

  image_l1: float = 1.0
  position_l1: float = 3.0
  perceptual: float = 1.0
  deviation: float = 1.0
  variation: float = 0.3
  symmetry: float = 0.3
  adversarial_generator: float = 0.01
  diffuse_l1: float = 1.0
  diffuse_perceptual: float = 1.0
  pose_l1: float = 0.0

  def __post_init__(self):
    for name, weight in dataclasses.asdict(self).items():
      if not (math.isfinite(weight) and weight >= 0):
        raise ValueError(f"weight {name} must be finite and >= 0, got {weight}")

  def only(self, *names: str) -> "LossWeights":
    """The same weights for the named terms, zero for all others."""
    _check_names(names)
    weights = dataclasses.asdict(self).items()
    return LossWeights(**{name: w if name in names else 0.0 for name, w in weights})

  @property
  def active(self) -> tuple[str, ...]:
    """Names of the terms with a positive weight."""
    return tuple(name for name, w in dataclasses.asdict(self).items() if w > 0)


TERM_NAMES = tuple(field.name for field in dataclasses.fields(LossWeights))


def weighted(
  terms: Mapping[str, Mean | Float[Array, ""]],
  weights: LossWeights | Mapping[str, float],
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
  """The weighted sum of loss terms.

  Args:
    terms: value of each term, by its name in `LossWeights`; in a `shard_map`, after
      `psum`.
    weights: a `LossWeights`, or some weights by name (what is missing weighs nothing).

  Returns:
    `(total, values)`: the sum, and each term's value before weighing, to be logged. A
    term of weight zero is logged and adds nothing, not even a NaN.

  Raises:
    ValueError: a name is not one of `TERM_NAMES`, or a weight is negative.
  """
  if not isinstance(weights, LossWeights):
    _check_names(weights)
    weights = LossWeights(**{**dict.fromkeys(TERM_NAMES, 0.0), **weights})
  _check_names(terms)
  values = {
    name: term.value if isinstance(term, Mean) else jnp.asarray(term)
    for name, term in terms.items()
  }
  total = jnp.zeros(())
  for name, value in values.items():
    if value.shape != ():
      raise ValueError(f"term {name} must be a scalar, got shape {value.shape}")
    weight = getattr(weights, name)
    if weight > 0:
      total = total + weight * value
  return total, values


def _check_names(names):
  """Raises unless every name is a term's; says which there are."""
  for name in names:
    if name not in TERM_NAMES:
      raise ValueError(
        f"unknown loss term {name!r}; the terms are {', '.join(TERM_NAMES)}"
      )
