"""Levenberg-Marquardt for many small robust least-squares problems."""

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import linalg
from jaxtyping import Array, Bool, Float

State = TypeVar("State")

# Returns the residuals of a state.
Residual = Callable[[State], Float[Array, " m"]]
# Returns the state that a step leads to; a step of zeros leaves the state as it is.
Move = Callable[[State, Float[Array, " n"]], State]
# Returns which unknowns may move, given the state and the gradient of the cost.
Free = Callable[[State, Float[Array, " n"]], Bool[Array, " n"]]

# Problems solved at once; smaller sets are filled up to one of these sizes.
CHUNKS = (1, 4, 16)


class Loss(NamedTuple):
  """A loss of residuals.

  Attributes:
    cost: Its value.
    slope: Its derivative by each residual.
    curvature: Its second derivative by each residual, exact or not, at least 0.
  """

  cost: Float[Array, ""]
  slope: Float[Array, " m"]
  curvature: Float[Array, " m"]


class Minimum(NamedTuple, Generic[State]):
  """The end of a descent.

  Attributes:
    state: The state of least cost among those tried.
    cost: Its cost.
    change: Relative decrease of the cost by the last step, 0 if it was refused.
  """

  state: State
  cost: Float[Array, ""]
  change: Float[Array, ""]


def soft_l1(residual: Float[Array, " m"]) -> Loss:
  """Returns the loss `2 (sqrt(1 + r²) - 1)`, linear far from zero."""
  root = jnp.sqrt(1 + residual**2)
  # The quotient equals 2 (root - 1) without its cancellation near zero.
  cost = 2 * jnp.sum(residual**2 / (1 + root))
  return Loss(cost, 2 * residual / root, 2 / root**3)


def jacobian(
  residual: Residual[State], move: Move[State], state: State, unknowns: int
) -> Float[Array, "m n"]:
  """Returns the derivatives of the residuals by the components of a step."""
  none = jnp.zeros(unknowns, jnp.result_type(*jax.tree.leaves(state)))
  return jax.jacfwd(lambda step: residual(move(state, step)))(none)


def minimize(
  residual: Residual[State],
  loss: Callable[[Float[Array, " m"]], Loss],
  move: Move[State],
  state: State,
  unknowns: int,
  *,
  steps: int,
  tolerance: float = 0.0,
  damping: float = 1e-2,
  free: Free[State] | None = None,
  constrain: Callable[[State], State] = lambda state: state,
) -> Minimum[State]:
  """Descends from a state by damped Gauss-Newton steps; `vmap` batches it.

  Args:
    residual: Residuals, differentiable in forward mode.
    loss: Loss that is minimized.
    move: Update of a state by a step.
    state: Start, a pytree of arrays.
    unknowns: Number of components of a step.
    steps: Largest number of steps, refused ones included.
    tolerance: Largest component of a step with which the descent ends.
    damping: First damping, a share of the Hessian's diagonal. It shrinks with every
      step that lowers the cost and grows with every other one.
    free: Selection of the unknowns that a step may change; all by default.
    constrain: Projection of a moved state onto the states that are allowed.
  """

  def body(carry):
    count, _, damping, now = carry
    slopes = jacobian(residual, move, now.state, unknowns)
    here = loss(residual(now.state))
    may = None if free is None else free(now.state, here.slope @ slopes)
    step = _step(slopes, here, damping, may)
    trial = constrain(move(now.state, step))
    cost = loss(residual(trial)).cost
    better = cost < now.cost
    change = jnp.where(better, (now.cost - cost) / jnp.maximum(now.cost, 1e-6), 0)
    pick = lambda new, old: jnp.where(better, new, old)
    state, least = jax.tree.map(pick, (trial, cost), (now.state, now.cost))
    damping = jnp.clip(damping * jnp.where(better, 0.2, 8.0), 1e-6, 1e6)
    return count + 1, jnp.abs(step).max(), damping, Minimum(state, least, change)

  def going(carry):
    # A step that is not a number goes on, with more damping.
    return (carry[0] < steps) & ~(carry[1] <= tolerance)

  cost = loss(residual(state)).cost
  one = jnp.ones_like(cost)
  carry = (0, one * jnp.inf, one * damping, Minimum(state, cost, one))
  return jax.lax.while_loop(going, body, carry)[-1]


def _step(
  slopes: Float[Array, "m n"],
  loss: Loss,
  damping: Float[Array, ""],
  may: Bool[Array, " n"] | None,
) -> Float[Array, " n"]:
  """Returns the damped Gauss-Newton step of the unknowns that may move."""
  gradient = loss.slope @ slopes
  hessian = (slopes * loss.curvature[:, None]).T @ slopes
  if may is not None:
    gradient = jnp.where(may, gradient, 0)
    hessian = jnp.where(may[:, None] & may[None, :], hessian, 0)
  diagonal = jnp.diagonal(hessian)
  # What no residual depends on stays where it is.
  lift = damping * diagonal + 1e-9 * diagonal.max() + 1e-30
  factor = linalg.cho_factor(hessian + jnp.diag(lift))
  return -linalg.cho_solve(factor, gradient)


def in_chunks(
  solve: Callable[..., Any], *problems: np.ndarray
) -> tuple[np.ndarray, ...]:
  """Solves many problems, some at once, so that no number of them compiles anew.

  Args:
    solve: A function of arrays with a leading axis of one of the sizes `CHUNKS`, which
      returns a tuple of such arrays.
    problems: Its arguments for all problems, at least one.
  """
  parts = []
  for first in range(0, len(problems[0]), CHUNKS[-1]):
    count = min(len(problems[0]) - first, CHUNKS[-1])
    size = next(size for size in CHUNKS if size >= count)
    rows = first + np.minimum(np.arange(size), count - 1)
    found = solve(*(values[rows] for values in problems))
    parts.append([np.asarray(values)[:count] for values in found])
  return tuple(np.concatenate(values) for values in zip(*parts, strict=True))
