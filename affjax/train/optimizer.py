"""Adam as the paper uses it, and the schedules around it."""

from collections.abc import Collection

import jax
import optax

SCHEDULES = ("constant", "cosine")

# Name of the layers inside an affine convolution that predict its matrices.
_PREDICTOR = "predictor"


def make(
  *,
  learning_rate: float = 1e-3,
  betas: tuple[float, float] = (0.9, 0.999),
  schedule: str = "constant",
  warmup_steps: int = 0,
  total_steps: int | None = None,
  clip_norm: float = 0.0,
  slow_networks: Collection[str] = (),
  slow_scale: float = 0.1,
) -> optax.GradientTransformation:
  """Adam with optional clipping, schedule, and slower matrix predictors.

  Args:
    learning_rate: the highest one.
    betas: decay rates of the two moments.
    schedule: "constant", or "cosine" down to zero at `total_steps`.
    warmup_steps: steps of a linear rise from zero before it.
    total_steps: length of the stage; "cosine" needs it.
    clip_norm: largest norm of the gradient of all networks together; 0 = no clipping.
    slow_networks: names (top-level keys) of the networks with affine layers in the
      absolute frame, which trains only if its matrix predictors are slow.
    slow_scale: factor on the learning rate of those predictors.
  """
  if not learning_rate > 0:
    raise ValueError(f"learning_rate must be positive, got {learning_rate}")
  if clip_norm < 0:
    raise ValueError(f"clip_norm must be >= 0 (0 = no clipping), got {clip_norm}")
  parts = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
  parts.append(optax.scale_by_adam(*betas))
  if slow_networks:
    mask = lambda params: _predictors(params, slow_networks)
    # After Adam: before it, a factor on the gradient cancels out.
    parts.append(optax.masked(optax.scale(slow_scale), mask))
  rate = _rate(learning_rate, schedule, warmup_steps, total_steps)
  return optax.chain(*parts, optax.scale_by_learning_rate(rate))


def _predictors(params, networks: Collection[str]):
  """True for the leaves that belong to a matrix predictor of the named networks."""

  def is_slow(path, _):
    names = [str(getattr(key, "key", key)) for key in path]
    return names[0] in networks and any(_PREDICTOR in name for name in names)

  return jax.tree_util.tree_map_with_path(is_slow, params)


def _rate(
  learning_rate: float, schedule: str, warmup_steps: int, total_steps: int | None
) -> optax.Schedule:
  """The learning rate as a function of the step."""
  if schedule not in SCHEDULES:
    raise ValueError(
      f"schedule must be one of {', '.join(SCHEDULES)}, got {schedule!r}"
    )
  if warmup_steps < 0:
    raise ValueError(f"warmup_steps must be >= 0, got {warmup_steps}")
  if schedule == "constant":
    after = optax.constant_schedule(learning_rate)
  elif total_steps is None or total_steps <= warmup_steps:
    raise ValueError(
      f"a cosine schedule needs total_steps > warmup_steps, got {total_steps} and "
      f"{warmup_steps}"
    )
  else:
    after = optax.cosine_decay_schedule(learning_rate, total_steps - warmup_steps)
  if not warmup_steps:
    return after
  # The first update is made at a warmup_steps-th of the rate, not at zero.
  rise = optax.linear_schedule(
    learning_rate / warmup_steps, learning_rate, max(warmup_steps - 1, 1)
  )
  return optax.join_schedules([rise, after], [warmup_steps])
