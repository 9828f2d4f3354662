"""The weights of the terms, and their weighted sum."""

import functools
import math
import operator
from collections.abc import Iterable, Iterator, Mapping

import jax.numpy as jnp
from jaxtyping import Array, Float

from affjax.losses import _table
from affjax.losses._context import Context
from affjax.losses._mean import Mean
from affjax.losses._table import Need

_ROWS = {term.name: term for term in _table.TERMS}


class LossWeights(Mapping[str, float]):
  """The weight of each term, by name; immutable and hashable.

  A term of weight zero is not computed.
  """

  def __init__(self, **weights: float):
    """Takes the default weights of `TERMS`, except where `weights` says otherwise.

    Raises:
      ValueError: A name is not one of `TERMS`, or a weight is negative or not finite.
    """
    _check_names(weights)
    self._values = {name: weights.get(name, row.weight) for name, row in _ROWS.items()}
    for name, weight in self._values.items():
      if not (math.isfinite(weight) and weight >= 0):
        raise ValueError(f"weight {name} must be finite and >= 0, got {weight}")

  def __getitem__(self, name: str) -> float:
    return self._values[name]

  def __iter__(self) -> Iterator[str]:
    return iter(self._values)

  def __len__(self) -> int:
    return len(self._values)

  def __hash__(self) -> int:
    return hash(tuple(self._values.items()))

  def __repr__(self) -> str:
    return f"LossWeights({', '.join(f'{k}={v}' for k, v in self.items())})"

  def only(self, *names: str) -> "LossWeights":
    """Returns the same weights for the named terms, zero for all others."""
    _check_names(names)
    return LossWeights(**{k: v if k in names else 0.0 for k, v in self.items()})

  def of_stage(self, stage: str) -> "LossWeights":
    """Returns the same weights for the terms that a stage uses, zero for all others."""
    return self.only(*(name for name, row in _ROWS.items() if stage in row.stages))

  @property
  def active(self) -> tuple[str, ...]:
    """Names of the terms with a positive weight."""
    return tuple(name for name, weight in self.items() if weight > 0)

  @property
  def needs(self) -> Need:
    """Everything that some active term needs."""
    needs = (_ROWS[name].needs for name in self.active)
    return functools.reduce(operator.or_, needs, Need.NOTHING)


def compute_terms(context: Context, weights: LossWeights) -> dict[str, Mean]:
  """Returns the terms of positive weight, by name.

  Raises:
    ValueError: A term lacks the network that it needs.
  """
  return {name: _ROWS[name].function(context) for name in weights.active}


def weighted(
  terms: Mapping[str, Mean | Float[Array, ""]], weights: Mapping[str, float]
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
  """Adds up loss terms by their weights.

  Args:
    terms: Value of each term by name; inside a `shard_map`, after `psum`.
    weights: A `LossWeights`, or some weights by name; the others are zero.

  Returns:
    `(total, values)`: the weighted sum, and each term's value before weighing, for the
    log. A term of weight zero is logged and adds nothing, not even a NaN.

  Raises:
    ValueError: A name is not one of `TERMS`, a weight is negative, or a value is not a
      scalar.
  """
  if not isinstance(weights, LossWeights):
    weights = LossWeights(**{**dict.fromkeys(_ROWS, 0.0), **weights})
  _check_names(terms)
  values = {
    name: term.value if isinstance(term, Mean) else jnp.asarray(term)
    for name, term in terms.items()
  }
  total = jnp.zeros(())
  for name, value in values.items():
    if value.shape != ():
      raise ValueError(f"term {name} must be a scalar, got shape {value.shape}")
    if weights[name] > 0:
      total = total + weights[name] * value
  return total, values


def _check_names(names: Iterable[str]) -> None:
  for name in names:
    if name not in _ROWS:
      raise ValueError(f"unknown loss term {name!r}; the terms are {', '.join(_ROWS)}")
