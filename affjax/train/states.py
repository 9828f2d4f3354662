"""The training state: everything that changes during training, in one frozen tree."""

import dataclasses
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Bool, Int

from affjax.train.stages import Stage
from affjax.types import ArrayLike

Params = dict[str, Any]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """Weights and optimizers after `step` updates.

  Attributes:
    step: Number of updates made.
    params: Weights of the four networks, by name.
    optimizer: Optimizer state of the networks that the stage trains.
    discriminator: Weights of the discriminator; empty without adversarial loss.
    discriminator_optimizer: Its optimizer state; empty without adversarial loss.
    average: Moving average of the weights that the stage trains; empty without one.
    healthy: False once a loss or gradient was not finite. From then on nothing else
      changes, so that the state stays the last good one until the host looks.
  """

  step: Int[ArrayLike, ""]
  params: Params
  optimizer: optax.OptState
  discriminator: Params
  discriminator_optimizer: optax.OptState
  average: Params
  healthy: Bool[ArrayLike, ""]


def create(
  stage: Stage,
  params: Params,
  optimizer: optax.GradientTransformation,
  *,
  discriminator: Params | None = None,
  discriminator_optimizer: optax.GradientTransformation | None = None,
  averaged: bool = False,
) -> TrainState:
  """Returns the state before the first update of a stage.

  Args:
    stage: The stage, which says what the optimizer updates.
    params: Weights of all four networks.
    optimizer: Optimizer of `trained(stage, params)`.
    discriminator: Weights of the discriminator, if the stage is adversarial.
    discriminator_optimizer: Optimizer of those weights.
    averaged: Whether a moving average of the trained weights is kept.

  Raises:
    ValueError: `params` lacks a network that the stage trains.
  """
  missing = sorted(set(stage.trains) - set(params))
  if missing:
    raise ValueError(
      f"params must hold every network that {stage.name} trains, missing: "
      f"{', '.join(missing)}"
    )
  weights = discriminator or {}
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    optimizer=optimizer.init(trained(stage, params)),
    discriminator=weights,
    discriminator_optimizer=(
      discriminator_optimizer.init(weights)
      if weights and discriminator_optimizer
      else {}
    ),
    average=trained(stage, params) if averaged else {},
    healthy=jnp.ones((), bool),
  )


def exchanged(state: TrainState) -> TrainState:
  """Returns a state whose weights and their moving average have changed places.

  Evaluation, pictures and the weights in a checkpoint are those of the average; without
  one, this changes nothing. Twice gives the state again.
  """
  weights = {name: state.params[name] for name in state.average}
  return dataclasses.replace(
    state, params={**state.params, **state.average}, average=weights
  )


def moved_average(
  average: Params, weights: Params, step: Int[ArrayLike, ""], decay: float
) -> Params:
  """Returns the moving average after one more update.

  The decay is at most (1 + step) / (10 + step), so that the average of a short run is
  that of its last tenth, not of its first weights.

  Args:
    average: Average so far.
    weights: Weights after the update.
    step: Number of updates made before it.
    decay: Decay of a long run, in [0, 1).
  """
  count = jnp.asarray(step, jnp.float32)
  kept = jnp.minimum(decay, (1 + count) / (10 + count))
  return cast(Params, optax.incremental_update(weights, average, 1 - kept))


def trained(stage: Stage, params: Params) -> Params:
  """Returns the weights that the stage updates."""
  return {name: params[name] for name in stage.trains}


def frozen(stage: Stage, params: Params) -> Params:
  """Returns the weights that the stage leaves alone."""
  return {name: value for name, value in params.items() if name not in stage.trains}
