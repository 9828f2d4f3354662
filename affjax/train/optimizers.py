"""Adam as the paper uses it, and the schedules around it."""

import dataclasses
from collections.abc import Collection
from typing import Any

import jax
import optax

Optimizer = optax.GradientTransformation

SCHEDULES = ("constant", "cosine")

# Name of the layers inside an affine convolution that predict its matrices.
_PREDICTOR = "predictor"


@dataclasses.dataclass(frozen=True)
class DiscriminatorAdam:
  """The options in which the discriminator's Adam differs; the defaults are MeInGame's.

  Attributes:
    scale: Factor on the learning rate.
    beta1: Decay rate of the first moment.
    beta2: Decay rate of the second moment.
  """

  scale: float = 0.1
  beta1: float = 0.5
  beta2: float = 0.9


@dataclasses.dataclass(frozen=True)
class Adam:
  """Options of the optimizer; learning rate and decay rates are the paper's.

  Attributes:
    learning_rate: The highest learning rate.
    beta1: Decay rate of the first moment.
    beta2: Decay rate of the second moment.
    schedule: "constant", or "cosine": down to zero at the last step.
    warmup_steps: Number of steps of a linear rise before the schedule.
    clip_norm: Largest norm of the gradient of all networks together; 0 = no clipping.
    weight_decay: Factor of the weights that is added to their gradients, as PyTorch's
      Adam does; the matrix predictors of affine layers have none, because decay would
      shrink their windows.
    discriminator: Options of the discriminator's optimizer.
  """

  learning_rate: float = 1e-3
  beta1: float = 0.9
  beta2: float = 0.999
  schedule: str = "constant"
  warmup_steps: int = 0
  clip_norm: float = 1.0
  weight_decay: float = 0.0
  discriminator: DiscriminatorAdam = DiscriminatorAdam()

  def __post_init__(self):
    if not self.learning_rate > 0:
      raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")
    if self.schedule not in SCHEDULES:
      raise ValueError(
        f"schedule must be one of {', '.join(SCHEDULES)}, got {self.schedule!r}"
      )
    for name in ("warmup_steps", "clip_norm", "weight_decay"):
      if getattr(self, name) < 0:
        raise ValueError(f"{name} must be >= 0, got {getattr(self, name)}")

  def for_discriminator(self) -> "Adam":
    """Returns the options of the discriminator's optimizer."""
    other = self.discriminator
    return dataclasses.replace(
      self,
      learning_rate=self.learning_rate * other.scale,
      beta1=other.beta1,
      beta2=other.beta2,
    )


def make(
  options: Adam,
  *,
  total_steps: int,
  slow_networks: Collection[str] = (),
  slow_scale: float = 0.1,
) -> optax.GradientTransformation:
  """Returns Adam with clipping, a schedule and slower matrix predictors.

  Args:
    options: The options.
    total_steps: Length of the stage, in updates.
    slow_networks: Networks (top-level keys) with affine layers in the absolute frame,
      which trains only if its matrix predictors are slow.
    slow_scale: Factor on the learning rate of those predictors.

  Raises:
    ValueError: The warm-up is as long as the stage.
  """
  clip = options.clip_norm
  parts = [optax.clip_by_global_norm(clip)] if clip else []
  if options.weight_decay:
    parts.append(optax.add_decayed_weights(options.weight_decay, _decayed))
  parts.append(optax.scale_by_adam(options.beta1, options.beta2))
  if slow_networks:
    mask = lambda params: _predictors(params, slow_networks)
    # After Adam: before it, a factor on the gradient cancels out.
    parts.append(optax.masked(optax.scale(slow_scale), mask))
  rate = _learning_rate(options, total_steps)
  return optax.chain(*parts, optax.scale_by_learning_rate(rate))


def _predictors(params: Any, networks: Collection[str]) -> Any:
  """Returns True for the leaves of the named networks' matrix predictors."""

  def is_slow(path: tuple[Any, ...], _: Any) -> bool:
    names = [str(getattr(key, "key", key)) for key in path]
    return names[0] in networks and any(_PREDICTOR in name for name in names)

  return jax.tree_util.tree_map_with_path(is_slow, params)


def _decayed(params: Any) -> Any:
  """Returns True for the leaves whose weights decay."""
  return jax.tree.map(lambda slow: not slow, _predictors(params, tuple(params)))


def _learning_rate(options: Adam, total_steps: int) -> optax.Schedule:
  """Returns the learning rate as a function of the step."""
  peak, warmup = options.learning_rate, options.warmup_steps
  # The first update is made at a warmup_steps-th of the rate, not at zero.
  first, rise = peak / max(warmup, 1), max(warmup - 1, 0)
  if options.schedule == "constant":
    return optax.warmup_constant_schedule(first, peak, rise)
  if total_steps <= warmup:
    raise ValueError(
      f"a cosine schedule needs total_steps > warmup_steps, got {total_steps} and "
      f"{warmup}"
    )
  return optax.warmup_cosine_decay_schedule(first, peak, rise, total_steps)
