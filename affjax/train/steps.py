"""The one training step, and the evaluation of the same losses."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, cast

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float

from affjax import losses
from affjax.losses import Context, Mean, Need, Regions
from affjax.models import FeatureNet
from affjax.train import mirror, sharding, states
from affjax.train.stages import Stage
from affjax.train.states import Params, TrainState
from affjax.types import Batch, Prediction

Record = dict[str, Any]
Scalars = dict[str, Float[Array, ""]]

# Names of what a step reports beside the loss terms.
TOTAL = "total"
DISCRIMINATOR = "adversarial_discriminator"
GRADIENT = "gradient/"


@dataclasses.dataclass(frozen=True, eq=False)
class DiscriminatorLearner:
  """The discriminator of an adversarial stage, and how it is trained.

  Attributes:
    network: `(params, images) -> logits of each scale`.
    optimizer: Optimizer of its weights.
  """

  network: Callable[[Params, Array], list[Array]]
  optimizer: optax.GradientTransformation


@dataclasses.dataclass(frozen=True, eq=False)
class Learner:
  """The parts of a training step; nothing in it changes during a stage.

  Attributes:
    stage: The networks that train, and their losses.
    reconstructor: `(params, images, *, antialias, render) -> Prediction`; of batches
      with guides it takes `guide=`, too.
    prepare: Makes a `Batch` of a record of stacked arrays; jit-able.
    regions: Regions of the loss terms.
    optimizer: Optimizer of the trained networks.
    discriminator: The discriminator of an adversarial stage.
    antialias: Whether gradients pass through silhouettes; off is the paper's hard
      visibility.
    mirrored: Whether the mirror image of every photo is supervised, too.
  """

  stage: Stage
  reconstructor: Callable[..., Prediction]
  prepare: Callable[[Record], Batch]
  regions: Regions
  optimizer: optax.GradientTransformation
  discriminator: DiscriminatorLearner | None = None
  antialias: bool = True
  mirrored: bool = False

  def __post_init__(self):
    adversarial = self.stage.requires(Need.DISCRIMINATOR)
    if adversarial != (self.discriminator is not None):
      raise ValueError(
        f"{self.stage.name} needs a discriminator if and only if it has an adversarial "
        f"loss, got {self.discriminator}"
      )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Evaluation:
  """The losses of a batch, and its pictures.

  Attributes:
    scalars: The loss terms, and their weighted total.
    pictures: Maps and images by name. A stage that does not render has the position
      maps alone, so that the other networks are not even compiled.
  """

  scalars: Scalars
  pictures: dict[str, Float[Array, "n _ _ _"]]


Update = Callable[[TrainState, FeatureNet | None, Record], tuple[TrainState, Scalars]]
Evaluate = Callable[[TrainState, FeatureNet | None, Record], Evaluation]


def make_update(learner: Learner, mesh: Mesh) -> Update:
  """Returns the jitted `(state, feature_net, record) -> (state, scalars)`.

  The update donates `state`.
  """

  def update(now: TrainState, feature_net: FeatureNet | None, record: Record):
    return _update(learner, now, feature_net, record)

  everywhere = sharding.replicated(mesh)
  return jax.jit(
    update,
    in_shardings=(everywhere, everywhere, sharding.batched(mesh)),
    out_shardings=(everywhere, everywhere),
    donate_argnums=0,
  )


def make_evaluate(learner: Learner) -> Evaluate:
  """Returns the jitted `(state, feature_net, record) -> Evaluation`."""

  def evaluate(now: TrainState, feature_net: FeatureNet | None, record: Record):
    batch = learner.prepare(record)
    terms, context = _losses(learner, now, feature_net, batch, now.params)
    total, scalars = losses.weighted(terms, learner.stage.weights)
    return Evaluation(
      scalars={TOTAL: total, **scalars}, pictures=_pictures(learner.stage, context)
    )

  return jax.jit(evaluate)


def first_bad(scalars: Mapping[str, Any]) -> str | None:
  """Returns the name of the first value that is not finite, totals and gradients last.

  A term that is not finite spoils the total and the gradients; its name helps most.
  """
  names = sorted(scalars, key=lambda name: (name == TOTAL, name.startswith(GRADIENT)))
  return next((name for name in names if not np.isfinite(float(scalars[name]))), None)


def _pictures(stage: Stage, context: Context) -> dict[str, Array]:
  prediction, batch = context.prediction, context.batch
  if not stage.requires(Need.RENDER):
    return {
      "photo": batch.image,
      "position": prediction.position,
      "true position": batch.position,
    }
  return {
    "photo": batch.image,
    "overlay": context.overlay,
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
    regions = learner.regions
    batch = mirror.with_mirrored(batch, regions.mirror, regions.template)
  frozen = states.frozen(stage, now.params)

  def loss(trained: Params):
    terms, context = _losses(learner, now, feature_net, batch, {**frozen, **trained})
    total, scalars = losses.weighted(terms, stage.weights)
    return total, (scalars, context.overlay)

  before = states.trained(stage, now.params)
  (total, (scalars, fake)), gradient = jax.value_and_grad(loss, has_aux=True)(before)
  scalars = {TOTAL: total, **scalars, **_norms(gradient)}
  change, optimizer = learner.optimizer.update(gradient, now.optimizer, before)
  after = dataclasses.replace(
    now,
    step=now.step + 1,
    params={**now.params, **cast(Params, optax.apply_updates(before, change))},
    optimizer=optimizer,
  )
  if learner.discriminator is not None:
    after, reported = _update_discriminator(learner.discriminator, after, batch, fake)
    scalars |= reported
  after = dataclasses.replace(after, healthy=now.healthy & _all_finite(scalars))
  # A state of other shapes or types would compile the next step anew.
  chex.assert_trees_all_equal_shapes_and_dtypes(now, after)
  kept = jax.tree.map(lambda a, b: jnp.where(after.healthy, a, b), after, now)
  return dataclasses.replace(kept, healthy=after.healthy), scalars


def _update_discriminator(
  learner: DiscriminatorLearner,
  now: TrainState,
  batch: Batch,
  fake: Float[Array, "n h w 3"],
) -> tuple[TrainState, Scalars]:
  """Makes one step of the discriminator against the overlays of this very step."""
  chex.assert_equal_shape([batch.image, fake])

  def loss(params: Params):
    real = learner.network(params, batch.image)
    found = learner.network(params, jax.lax.stop_gradient(fake))
    return losses.adversarial_discriminator(real, found).value

  value, gradient = jax.value_and_grad(loss)(now.discriminator)
  change, optimizer = learner.optimizer.update(
    gradient, now.discriminator_optimizer, now.discriminator
  )
  after = dataclasses.replace(
    now,
    discriminator=optax.apply_updates(now.discriminator, change),
    discriminator_optimizer=optimizer,
  )
  return after, {DISCRIMINATOR: value, **_norms({"discriminator": gradient})}


def _losses(
  learner: Learner,
  now: TrainState,
  feature_net: FeatureNet | None,
  batch: Batch,
  params: Params,
) -> tuple[dict[str, Mean], Context]:
  """Returns the stage's loss terms under the given weights, and their context."""
  stage, other = learner.stage, learner.discriminator
  prediction = learner.reconstructor(
    params,
    batch.image,
    antialias=learner.antialias,
    render=stage.requires(Need.RENDER),
    **({} if batch.guide is None else {"guide": batch.guide}),
  )
  chex.assert_equal_shape([prediction.render, batch.image])
  chex.assert_equal_shape([prediction.position, batch.position])
  context = Context(
    prediction=prediction,
    batch=batch,
    regions=learner.regions,
    feature_net=feature_net,
    discriminator=other and (lambda x: other.network(now.discriminator, x)),
  )
  return losses.compute_terms(context, stage.weights), context


def _norms(gradient: Params) -> Scalars:
  """Returns the norm of each network's gradient."""
  return {GRADIENT + name: optax.tree.norm(g) for name, g in gradient.items()}


def _all_finite(scalars: Scalars) -> Bool[Array, ""]:
  return jnp.all(jnp.stack([jnp.isfinite(value) for value in scalars.values()]))
