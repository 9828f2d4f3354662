"""Everything that changes during training, in one frozen tree."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Int

from affjax.train.stage import Stage

Params = dict[str, Any]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """Weights and optimizers after `step` updates.

  Attributes:
    step: number of updates made.
    params: weights of the four networks, by name.
    optimizer: optimizer state of the networks that the stage trains.
    discriminator: weights of the discriminators; empty without adversarial loss.
    discriminator_optimizer: their optimizer state; empty without them.
    healthy: false once a loss or gradient was not finite. From then on nothing else
      changes, so that the state stays the last good one until the host looks.
  """

  step: Int[Array, ""]
  params: Params
  optimizer: optax.OptState
  discriminator: Params
  discriminator_optimizer: optax.OptState
  healthy: Bool[Array, ""]


def create(
  stage: Stage,
  params: Params,
  optimizer: optax.GradientTransformation,
  *,
  discriminator: Params | None = None,
  discriminator_optimizer: optax.GradientTransformation | None = None,
) -> TrainState:
  """The state before the first update of a stage.

  Args:
    stage: which networks the optimizer is for.
    params: weights of all four networks.
    optimizer: updates `trained(stage, params)`.
    discriminator: their weights, if the stage is adversarial.
    discriminator_optimizer: updates them.
  """
  missing = sorted(set(stage.trains) - set(params))
  if missing:
    raise ValueError(
      f"params must hold every network that {stage.name} trains, missing: "
      f"{', '.join(missing)}"
    )
  critic = {} if discriminator is None else discriminator
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    optimizer=optimizer.init(trained(stage, params)),
    discriminator=critic,
    discriminator_optimizer=(
      discriminator_optimizer.init(critic) if critic and discriminator_optimizer else {}
    ),
    healthy=jnp.ones((), bool),
  )


def trained(stage: Stage, params: Params) -> Params:
  """The weights that the stage updates."""
  return {name: params[name] for name in stage.trains}


def frozen(stage: Stage, params: Params) -> Params:
  """The weights that the stage leaves alone."""
  return {name: value for name, value in params.items() if name not in stage.trains}
