"""Levenberg-Marquardt for many small robust least-squares problems."""

import dataclasses
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import linalg
from jaxtyping import Array, Bool, Float

State = TypeVar("State")

# Returns the residuals of a state and their derivatives by the components of a step.
Linearize = Callable[[State], tuple[Float[Array, " m"], Float[Array, "m n"]]]
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


@dataclasses.dataclass(frozen=True)
class Prior(Generic[State]):
  """A normal prior of the unknowns.

  Attributes:
    values: Returns the unknowns of a state, to which steps are added.
    precision: Inverse variance of each unknown, 0 for none.
  """

  values: Callable[[State], Float[Array, " n"]]
  precision: Float[Array, " n"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Minimum(Generic[State]):
  """The end of a descent.

  Attributes:
    state: The state of least cost among those tried.
    cost: Its cost.
    change: Relative decrease of the cost by the last step, 0 if it was refused.
  """

  state: State
  cost: Float[Array, "*b"]
  change: Float[Array, "*b"]


# Number of steps so far, largest component of the last step, damping, best state.
Descent = tuple[Any, Float[Array, "*b"], Float[Array, "*b"], Minimum[State]]


def soft_l1(residual: Float[Array, " m"]) -> Loss:
  """Returns the loss `2 (sqrt(1 + r²) - 1)`, linear far from zero."""
  root = jnp.sqrt(1 + residual**2)
  # The quotient equals 2 (root - 1) without its cancellation near zero.
  cost = 2 * jnp.sum(residual**2 / (1 + root))
  return Loss(cost, 2 * residual / root, 2 / root**3)


def minimize(
  linearize: Linearize[State],
  loss: Callable[[Float[Array, " m"]], Loss],
  move: Move[State],
  state: State,
  *,
  steps: int,
  tolerance: float = 0.0,
  damping: float = 1e-2,
  prior: Prior[State] | None = None,
  free: Free[State] | None = None,
  constrain: Callable[[State], State] = lambda state: state,
) -> Minimum[State]:
  """Descends from a state by damped Gauss-Newton steps; `vmap` batches it.

  Args:
    linearize: Residuals and their derivatives.
    loss: Loss of the residuals, which is minimized.
    move: Update of a state by a step.
    state: Start, a pytree of arrays.
    steps: Largest number of steps, refused ones included.
    tolerance: Largest component of a step with which the descent ends.
    damping: First damping, a share of the Hessian's diagonal. It shrinks with every
      step that lowers the cost and grows with every other one.
    prior: Prior whose squares are added to the loss.
    free: Selection of the unknowns that a step may change; all by default.
    constrain: Projection of a moved state onto the states that are allowed.
  """

  def cost_of(state: State) -> Float[Array, ""]:
    cost = loss(linearize(state)[0]).cost
    return cost if prior is None else cost + _square(prior, state)

  def body(carry: Descent[State]) -> Descent[State]:
    count, _, damping, now = carry
    gradient, hessian = _equations(linearize, loss, prior, now.state)
    may = jnp.ones_like(gradient, bool) if free is None else free(now.state, gradient)
    step = _step(gradient, hessian, may, damping)
    trial = constrain(move(now.state, step))
    cost = cost_of(trial)
    better = cost < now.cost
    change = jnp.where(better, (now.cost - cost) / jnp.maximum(now.cost, 1e-6), 0)
    pick = lambda new, old: jnp.where(better, new, old)
    state, least = jax.tree.map(pick, (trial, cost), (now.state, now.cost))
    damping = jnp.clip(damping * jnp.where(better, 0.2, 8.0), 1e-6, 1e6)
    return count + 1, jnp.abs(step).max(), damping, Minimum(state, least, change)

  def going(carry: Descent[State]) -> Bool[Array, ""]:
    # A step that is not a number goes on, with more damping.
    return (carry[0] < steps) & ~(carry[1] <= tolerance)

  cost = cost_of(state)
  one = jnp.ones_like(cost)
  carry = (0, one * jnp.inf, one * damping, Minimum(state, cost, one))
  return jax.lax.while_loop(going, body, carry)[-1]


def _square(prior: Prior[State], state: State) -> Float[Array, ""]:
  return (prior.precision * prior.values(state) ** 2).sum()


def _equations(
  linearize: Linearize[State],
  loss: Callable[[Float[Array, " m"]], Loss],
  prior: Prior[State] | None,
  state: State,
) -> tuple[Float[Array, " n"], Float[Array, "n n"]]:
  """Returns the gradient and the Hessian, in Gauss and Newton's form, of the cost."""
  rows, slopes = linearize(state)
  here = loss(rows)
  gradient = here.slope @ slopes
  hessian = (slopes * here.curvature[:, None]).T @ slopes
  if prior is not None:
    gradient += 2 * prior.precision * prior.values(state)
    hessian += jnp.diag(2 * prior.precision)
  return gradient, hessian


def _step(
  gradient: Float[Array, " n"],
  hessian: Float[Array, "n n"],
  may: Bool[Array, " n"],
  damping: Float[Array, ""],
) -> Float[Array, " n"]:
  """Returns the damped Gauss-Newton step of the unknowns that may move."""
  gradient = jnp.where(may, gradient, 0)
  hessian = jnp.where(may[:, None] & may[None, :], hessian, 0)
  diagonal = jnp.diagonal(hessian)
  # What nothing depends on stays where it is.
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
