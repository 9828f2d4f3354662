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
from affjax.models.unsup3d import Scene
from affjax.train import accumulation, discriminators, mirror, sharding, states
from affjax.train.discriminators import DiscriminatorLearner, Scalars
from affjax.train.stages import Stage
from affjax.train.states import Params, TrainState
from affjax.types import Batch, Prediction

Record = dict[str, Any]

# Names of what a step reports beside the loss terms.
TOTAL = "total"
GRADIENT = "gradient/"


@dataclasses.dataclass(frozen=True, eq=False)
class Learner:
  """The parts of a training step; nothing in it changes during a stage.

  Attributes:
    stage: The networks that train, and their losses.
    reconstructor: `(params, images, *, antialias, render) -> Prediction`; of batches
      with guides it takes `guide=`, too. Unsup3D's gives a `Scene`.
    prepare: Makes a `Batch` of a record of stacked arrays; jit-able.
    regions: Regions of the loss terms.
    optimizer: Optimizer of the trained networks.
    discriminator: The discriminator of an adversarial stage.
    antialias: Whether gradients pass through silhouettes; off is the paper's hard
      visibility.
    mirrored: Whether the mirror image of every photo is supervised, too.
    accumulate: Number of parts in which a batch goes through the networks.
    average: Decay of the moving average of the trained weights; 0 = none.
  """

  stage: Stage
  reconstructor: Callable[..., Prediction | Scene]
  prepare: Callable[[Record], Batch]
  regions: Regions
  optimizer: optax.GradientTransformation
  discriminator: DiscriminatorLearner | None = None
  antialias: bool = True
  mirrored: bool = False
  accumulate: int = 1
  average: float = 0.0

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

  State and record lie as `sharding.put_state` and `put_batch` put them. The update
  donates `state`.
  """

  def update(now: TrainState, feature_net: FeatureNet | None, record: Record):
    after, scalars = _update(learner, mesh, now, feature_net, record)
    return sharding.divided(after, mesh), scalars

  return jax.jit(update, donate_argnums=0)


def make_evaluate(learner: Learner, mesh: Mesh) -> Evaluate:
  """Returns the jitted `(state, feature_net, record) -> Evaluation`.

  It evaluates the moving average of the weights where the state has one.
  """

  def evaluate(now: TrainState, feature_net: FeatureNet | None, record: Record):
    now, feature_net = sharding.gathered((now, feature_net), mesh)
    now = states.exchanged(now)
    batch = learner.prepare(record)
    terms, context = terms_of(learner, now, feature_net, batch, now.params)
    total, scalars = losses.weighted(terms, learner.stage.weights)
    return Evaluation(
      scalars={TOTAL: total, **scalars}, pictures=_pictures(learner.stage, context)
    )

  return jax.jit(evaluate, out_shardings=sharding.replicated(mesh))


def first_bad(scalars: Mapping[str, Any]) -> str | None:
  """Returns the name of the first value that is not finite, totals and gradients last.

  A term that is not finite spoils the total and the gradients; its name helps most.
  """
  names = sorted(scalars, key=lambda name: (name == TOTAL, name.startswith(GRADIENT)))
  return next((name for name in names if not np.isfinite(float(scalars[name]))), None)


def _pictures(stage: Stage, context: Context) -> dict[str, Array]:
  batch = context.batch
  if isinstance(context.result, Scene):
    return {"photo": batch.image, **context.result.pictures()}
  prediction = context.prediction
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
  learner: Learner,
  mesh: Mesh,
  now: TrainState,
  feature_net: FeatureNet | None,
  record: Record,
) -> tuple[TrainState, Scalars]:
  stage = learner.stage
  parts = accumulation.divided(record, learner.accumulate, mesh)
  gathered = dataclasses.replace(
    now,
    params=sharding.gathered(now.params, mesh),
    discriminator=sharding.gathered(now.discriminator, mesh),
  )
  feature_net = sharding.gathered(feature_net, mesh)
  frozen = states.frozen(stage, gathered.params)

  def terms(trained: Params, part: Record) -> tuple[dict[str, Mean], Any]:
    batch = batch_of(learner, part)
    params = {**frozen, **trained}
    found, context = terms_of(learner, gathered, feature_net, batch, params)
    seen = learner.discriminator and (batch.image, context.overlay)
    return found, seen

  total, scalars, seen, gradient = accumulation.value_and_grad(
    terms,
    lambda found: losses.weighted(found, stage.weights),
    states.trained(stage, gathered.params),
    parts,
  )
  gradient = sharding.divided(gradient, mesh)
  scalars = {TOTAL: total, **scalars, **_norms(gradient)}
  after = _with_gradient(learner, now, gradient)
  if learner.discriminator is not None:
    slope, reported = discriminators.gradient(
      learner.discriminator, gathered.discriminator, seen, jnp.asarray(now.step)
    )
    slope = sharding.divided(slope, mesh)
    after = _with_discriminator_gradient(learner.discriminator, after, slope)
    scalars |= {**reported, **_norms({"discriminator": slope})}
  after = dataclasses.replace(after, healthy=now.healthy & _all_finite(scalars))
  # A state of other shapes or types would compile the next step anew.
  chex.assert_trees_all_equal_shapes_and_dtypes(now, after)
  kept = jax.tree.map(lambda a, b: jnp.where(after.healthy, a, b), after, now)
  return dataclasses.replace(kept, healthy=after.healthy), scalars


def batch_of(learner: Learner, record: Record) -> Batch:
  """Returns the batch of a record, with the mirror images that are supervised."""
  batch = learner.prepare(record)
  if not learner.mirrored:
    return batch
  return mirror.with_mirrored(batch, learner.regions.mirror, learner.regions.template)


def _with_gradient(learner: Learner, now: TrainState, gradient: Params) -> TrainState:
  """Returns the state after one update of the trained networks."""
  before = states.trained(learner.stage, now.params)
  change, optimizer = learner.optimizer.update(gradient, now.optimizer, before)
  weights = cast(Params, optax.apply_updates(before, change))
  average = now.average
  if learner.average:
    average = states.moved_average(average, weights, now.step, learner.average)
  return dataclasses.replace(
    now,
    step=now.step + 1,
    params={**now.params, **weights},
    optimizer=optimizer,
    average=average,
  )


def _with_discriminator_gradient(
  learner: DiscriminatorLearner, now: TrainState, gradient: Params
) -> TrainState:
  """Returns the state after one update of the discriminator."""
  change, optimizer = learner.optimizer.update(
    gradient, now.discriminator_optimizer, now.discriminator
  )
  return dataclasses.replace(
    now,
    discriminator=optax.apply_updates(now.discriminator, change),
    discriminator_optimizer=optimizer,
  )


def terms_of(
  learner: Learner,
  now: TrainState,
  feature_net: FeatureNet | None,
  batch: Batch,
  params: Params,
) -> tuple[dict[str, Mean], Context]:
  """Returns the stage's loss terms under the given weights, and their context."""
  stage, other = learner.stage, learner.discriminator
  result = learner.reconstructor(
    params,
    batch.image,
    antialias=learner.antialias,
    render=stage.requires(Need.RENDER),
    **({} if batch.guide is None else {"guide": batch.guide}),
  )
  if isinstance(result, Prediction):
    chex.assert_equal_shape([result.render, batch.image])
    chex.assert_equal_shape([result.position, batch.position])
  context = Context(
    result=result,
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
