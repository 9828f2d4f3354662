"""Statistics of a batch that the log shows now and then: they cost several steps."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float

from affjax.losses import Context, Need
from affjax.models import FeatureNet
from affjax.train import accumulation, sharding, states, steps
from affjax.train.discriminators import Scalars
from affjax.train.states import Params, TrainState
from affjax.train.steps import Learner, Record
from affjax.types import ArrayLike

LAMBDA = "lambda/"
TERM_GRADIENT = "term_gradient/"
AMBIGUITY = "ambiguity/"

# Luminance of sRGB colors (Rec. 709), on encoded values, as the losses are.
_LUMINANCE = (0.2126, 0.7152, 0.0722)

Inspect = Callable[[TrainState, FeatureNet | None, Record], Scalars]


def make_inspect(learner: Learner, mesh: Mesh) -> Inspect:
  """Returns the jitted `(state, feature_net, record) -> scalars`.

  Of each term: its weight λ, and the norm of the gradient of λ times the term over all
  trained networks. Of a stage that renders: the statistics of `ambiguity`. Of a batch
  that is accumulated, only the first part is looked at.
  """

  def inspect(
    now: TrainState, feature_net: FeatureNet | None, record: Record
  ) -> Scalars:
    part = accumulation.first(accumulation.divided(record, learner.accumulate, mesh))
    now, feature_net = sharding.gathered((now, feature_net), mesh)
    stage = learner.stage
    names = stage.weights.active
    frozen = states.frozen(stage, now.params)

    def values(trained: Params) -> tuple[Array, Scalars]:
      batch = steps.batch_of(learner, part)
      params = {**frozen, **trained}
      terms, context = steps.terms_of(learner, now, feature_net, batch, params)
      weighed = [stage.weights[name] * terms[name].value for name in names]
      rendered = stage.requires(Need.RENDER)
      return jnp.stack(weighed), ambiguity(context) if rendered else {}

    weights = states.trained(stage, now.params)
    _, pull, aux = jax.vjp(values, weights, has_aux=True)
    found: Scalars = dict(aux)
    # One backward pass is compiled, however many terms there are.
    norms = jax.lax.map(lambda row: optax.tree.norm(pull(row)[0]), jnp.eye(len(names)))
    found |= {LAMBDA + name: jnp.asarray(stage.weights[name]) for name in names}
    return found | {TERM_GRADIENT + name: norms[k] for k, name in enumerate(names)}

  return jax.jit(inspect, out_shardings=sharding.replicated(mesh))


def ambiguity(context: Context) -> Scalars:
  """Returns statistics that tell whether light or albedo explains bright photos.

  Of each sample: the mean of its light map times the luminance of the light's color,
  the mean luminance of its diffuse map over the skin, and the mean luminance of the
  photo over the head. Over the batch: mean and spread (standard deviation) of light and
  diffuse, and the correlation of each with the photo.
  """
  prediction, batch = context.prediction, context.batch
  light = jnp.mean(prediction.light, (1, 2, 3)) * _luminance(prediction.light_color)
  skin = jnp.asarray(context.regions.skin)[None]
  diffuse = _mean(_luminance(prediction.diffuse), skin)
  seen = (prediction.alpha * batch.visible)[..., 0]
  photo = _mean(_luminance(batch.image), seen)
  found: Scalars = {}
  for name, values in (("light", light), ("diffuse", diffuse)):
    found[f"{AMBIGUITY}{name}_mean"] = jnp.mean(values)
    found[f"{AMBIGUITY}{name}_spread"] = jnp.std(values)
    found[f"{AMBIGUITY}{name}_photo_correlation"] = correlation(values, photo)
  return found


def correlation(a: Float[ArrayLike, " n"], b: Float[ArrayLike, " n"]) -> Array:
  """Returns Pearson's correlation; 0 where one of the two does not vary."""
  spread = jnp.std(a) * jnp.std(b)
  shared = jnp.mean((a - jnp.mean(a)) * (b - jnp.mean(b)))
  return jnp.where(spread > 1e-12, shared / jnp.maximum(spread, 1e-12), 0.0)


def _luminance(colors: Float[ArrayLike, "*s 3"]) -> Array:
  return jnp.asarray(colors) @ jnp.asarray(_LUMINANCE)


def _mean(
  values: Float[ArrayLike, "n h w"], weight: Float[ArrayLike, "m h w"]
) -> Array:
  """Returns the weighted mean of each sample; 0 where nothing weighs."""
  total = jnp.sum(weight * jnp.ones_like(values), (1, 2))
  return jnp.sum(weight * values, (1, 2)) / jnp.maximum(total, 1e-6)
