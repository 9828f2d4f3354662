"""The one training step, and the evaluation of the same losses."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float

from affjax import losses
from affjax.models import FeatureNet
from affjax.train import mirror, objective, sharding, state
from affjax.train.objective import Regions
from affjax.train.stage import Stage
from affjax.train.state import Params, TrainState
from affjax.types import Batch, Prediction

Record = dict[str, Any]
Scalars = dict[str, Float[Array, ""]]

# Names of what a step reports beside the loss terms.
TOTAL = "total"
DISCRIMINATOR = "adversarial_discriminator"
GRADIENT = "gradient/"


@dataclasses.dataclass(frozen=True, eq=False)
class Adversary:
  """Whom an adversarial stage plays against.

  Attributes:
    discriminators: `(params, images) -> logits of each scale`.
    optimizer: of their weights.
  """

  discriminators: Callable[[Params, Array], list[Array]]
  optimizer: optax.GradientTransformation


@dataclasses.dataclass(frozen=True, eq=False)
class Learner:
  """What a step is made of; nothing in it changes during a stage.

  Attributes:
    stage: which networks train on which losses.
    reconstructor: `(params, images, *, antialias, render) -> Prediction`.
    prepare: a record of stacked arrays -> `Batch`, jit-able.
    where: the regions of the loss terms.
    optimizer: of the trained networks.
    adversary: for a stage with an adversarial loss.
    antialias: gradients through silhouettes; off is the paper's hard visibility.
    mirrored: supervise the mirror image of every photo, too.
  """

  stage: Stage
  reconstructor: Callable[..., Prediction]
  prepare: Callable[[Record], Batch]
  where: Regions
  optimizer: optax.GradientTransformation
  adversary: Adversary | None = None
  antialias: bool = True
  mirrored: bool = False

  def __post_init__(self):
    if self.stage.adversarial != (self.adversary is not None):
      raise ValueError(
        f"{self.stage.name} needs an adversary if and only if it has an adversarial "
        f"loss, got {self.adversary}"
      )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Evaluation:
  """The losses of a batch and what to look at.

  Attributes:
    scalars: the loss terms, and their weighted total.
    pictures: maps and images by name, `[n, h, w, c]`. A stage that does not render has
      the position maps alone, so that the other networks are not even compiled.
  """

  scalars: Scalars
  pictures: dict[str, Float[Array, "n h w c"]]


def make_update(learner: Learner, mesh: Mesh):
  """The jitted `(state, feature_net, record) -> (state, scalars)`; donates `state`."""

  def update(now: TrainState, feature_net: FeatureNet | None, record: Record):
    return _update(learner, now, feature_net, record)

  everywhere = sharding.replicated(mesh)
  return jax.jit(
    update,
    in_shardings=(everywhere, everywhere, sharding.batched(mesh)),
    out_shardings=(everywhere, everywhere),
    donate_argnums=0,
  )


def make_evaluate(learner: Learner):
  """The jitted `(state, feature_net, record) -> Evaluation` of the stage's losses."""

  def evaluate(now: TrainState, feature_net: FeatureNet | None, record: Record):
    batch = learner.prepare(record)
    values, prediction = _losses(learner, now, feature_net, batch, now.params)
    total, scalars = losses.weighted(values, learner.stage.weights)
    return Evaluation(
      scalars={TOTAL: total, **scalars},
      pictures=_pictures(learner.stage, prediction, batch),
    )

  return jax.jit(evaluate)


def first_bad(scalars: Mapping[str, Any]) -> str | None:
  """Name of the first value that is not finite, loss terms before the total."""
  names = sorted(scalars, key=lambda name: (name == TOTAL, name.startswith(GRADIENT)))
  return next((name for name in names if not np.isfinite(float(scalars[name]))), None)


def _pictures(stage: Stage, prediction: Prediction, batch: Batch) -> dict[str, Array]:
  """What to look at."""
  if not stage.renders:
    return {
      "photo": batch.image,
      "position": prediction.position,
      "true position": batch.position,
    }
  return {
    "photo": batch.image,
    "overlay": objective.overlay(prediction, batch),
    "render": prediction.render,
    "diffuse": prediction.diffuse,
    "light": prediction.light,
    "position": prediction.position,
  }


def _update(
  learner: Learner, now: TrainState, feature_net: FeatureNet | None, record: Record
) -> tuple[TrainState, Scalars]:
  stage = learner.stage
  batch = learner.prepare(record)
  if learner.mirrored:
    batch = mirror.with_mirrored(batch)
  frozen = state.frozen(stage, now.params)

  def loss(trained: Params):
    values, prediction = _losses(
      learner, now, feature_net, batch, {**frozen, **trained}
    )
    total, scalars = losses.weighted(values, stage.weights)
    return total, (scalars, objective.overlay(prediction, batch))

  before = state.trained(stage, now.params)
  (total, (scalars, fake)), gradient = jax.value_and_grad(loss, has_aux=True)(before)
  scalars = {TOTAL: total, **scalars, **_norms(gradient)}
  change, optimizer = learner.optimizer.update(gradient, now.optimizer, before)
  after = dataclasses.replace(
    now,
    step=now.step + 1,
    params={**now.params, **cast(Params, optax.apply_updates(before, change))},
    optimizer=optimizer,
  )
  if learner.adversary is not None:
    after, reported = _update_adversary(learner.adversary, after, batch, fake)
    scalars |= reported
  after = dataclasses.replace(after, healthy=now.healthy & _all_finite(scalars))
  kept = jax.tree.map(lambda a, b: jnp.where(after.healthy, a, b), after, now)
  return dataclasses.replace(kept, healthy=after.healthy), scalars


def _update_adversary(
  adversary: Adversary, now: TrainState, batch: Batch, fake: Array
) -> tuple[TrainState, Scalars]:
  """One step of the discriminators against the overlays of this very step."""
  judge = adversary.discriminators

  def loss(params: Params):
    real = judge(params, batch.image)
    found = judge(params, jax.lax.stop_gradient(fake))
    return losses.adversarial_discriminator(real, found).value

  value, gradient = jax.value_and_grad(loss)(now.discriminator)
  change, optimizer = adversary.optimizer.update(
    gradient, now.discriminator_optimizer, now.discriminator
  )
  after = dataclasses.replace(
    now,
    discriminator=optax.apply_updates(now.discriminator, change),
    discriminator_optimizer=optimizer,
  )
  return after, {DISCRIMINATOR: value, **_norms({"discriminator": gradient})}


def _losses(learner: Learner, now: TrainState, feature_net, batch: Batch, params):
  """The stage's loss terms of a batch under the given weights, and the prediction."""
  stage = learner.stage
  prediction = learner.reconstructor(
    params, batch.image, antialias=learner.antialias, render=stage.renders
  )
  logits = None
  if learner.adversary is not None:
    fake = objective.overlay(prediction, batch)
    logits = learner.adversary.discriminators(now.discriminator, fake)
  values = objective.terms(
    prediction,
    batch,
    stage.weights,
    learner.where,
    feature_net=feature_net,
    fake_logits=logits,
  )
  return values, prediction


def _norms(gradient: Params) -> Scalars:
  """The norm of the gradient of each network."""
  return {GRADIENT + name: optax.tree.norm(g) for name, g in gradient.items()}


def _all_finite(scalars: Scalars) -> Bool[Array, ""]:
  return jnp.all(jnp.stack([jnp.isfinite(value) for value in scalars.values()]))
