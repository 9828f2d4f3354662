"""The head of one person from one or several photos: a maximum a posteriori estimate.

Unknown are the identity, which all photos share, and for each photo its pose, its
expression and the common errors of its numbers. Levenberg-Marquardt steps; the photos'
own unknowns are eliminated from each step's equations, so that their cost grows only
linearly with the number of photos.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy import linalg
from jaxtyping import Array, Float

from affjax.faces._dense_fit import head_model
from affjax.faces._dense_fit.anchors import Anchors, Errors
from affjax.faces._dense_fit.head_model import Local
from affjax.faces._dense_fit.reading import Observed


@dataclasses.dataclass(frozen=True)
class SolverSettings:
  """Priors and effort.

  Attributes:
    steps: Number of steps.
    outlier: Number of deviations from which on a point loses its weight (Cauchy).
    shift: Prior deviations of the translation, dm; the crop has found the face.
    distance: Prior deviation of the logarithm of the camera's distance; 0 = known.
    damping: First damping, a share of the diagonal.
  """

  steps: int = 8
  outlier: float = 3.0
  shift: tuple[float, float, float] = (0.3, 0.3, 1.0)
  distance: float = 0.0
  damping: float = 1e-3


class Equations(NamedTuple):
  """Normal equations of a person of P photos; K shared and L own unknowns."""

  shared: Float[Array, " k"]
  own: Float[Array, "p l"]
  shared_shared: Float[Array, "k k"]
  own_shared: Float[Array, "p l k"]
  own_own: Float[Array, "p l l"]


class Person(NamedTuple):
  """A person and the photos.

  Attributes:
    identity: Identity coefficients.
    local: What is each photo's own.
    cost: Twice the negative logarithm of the posterior density, less a constant.
    change: Relative decrease of the cost by the last step that was accepted.
    misfit: Median standardized error of what each photo shows; about one if the photo
      is as the synthetic ones are.
  """

  identity: Float[Array, " k"]
  local: Local
  cost: Float[Array, ""]
  change: Float[Array, ""]
  misfit: Float[Array, " p"]


def solve(
  anchors: Anchors,
  errors: Errors,
  observed: Observed,
  present: Float[Array, " p"],
  start: Local,
  settings: SolverSettings,
) -> Person:
  """Returns the most probable person.

  Args:
    anchors: Anchors on the head.
    errors: Distribution of the errors.
    observed: What each of P photos says.
    present: 1 for each photo, 0 for places that are empty.
    start: Where the descent starts.
    settings: Priors and effort.
  """
  identity = jnp.zeros(len(errors.shrinkage))

  def cost_of(identity: Array, local: Local):
    def one(observed: Observed, local: Local, start: Local):
      error = head_model.rows(anchors, errors, observed, identity, local).errors
      return _robust(error, settings)[0] + _prior(errors, local, start, settings)

    return identity @ identity + present @ jax.vmap(one)(observed, local, start)

  def body(_, carry):
    identity, local, cost, change, damping = carry
    eq = equations(anchors, errors, observed, present, identity, local, start, settings)
    shared, own = step(eq, _free(eq, local), damping)
    trial = jnp.clip(identity + shared, -4, 4), jax.vmap(head_model.moved)(local, own)
    value = cost_of(*trial)
    better = value < cost
    pick = lambda new, old: jnp.where(better, new, old)
    identity, local = jax.tree.map(pick, trial, (identity, local))
    change = jnp.where(better, (cost - value) / jnp.maximum(cost, 1e-6), change)
    damping = jnp.clip(damping * jnp.where(better, 0.1, 10.0), 1e-6, 1e6)
    return identity, local, pick(value, cost), change, damping

  cost = cost_of(identity, start)
  carry = (identity, start, cost, jnp.ones(()), jnp.asarray(settings.damping))
  identity, local, cost, change, _ = jax.lax.fori_loop(0, settings.steps, body, carry)
  misfit = jax.vmap(lambda o, x: _misfit(anchors, errors, o, identity, x))
  return Person(identity, local, cost, change, misfit(observed, local))


def equations(
  anchors: Anchors,
  errors: Errors,
  observed: Observed,
  present: Float[Array, " p"],
  identity: Float[Array, " k"],
  local: Local,
  start: Local,
  settings: SolverSettings,
) -> Equations:
  """Returns half the gradient and half the Hessian (Gauss and Newton's) of the cost."""
  k = len(identity)
  precision = _precision(errors, settings)

  def one(observed: Observed, local: Local, start: Local, share: Array):
    row = head_model.rows(anchors, errors, observed, identity, local)
    weight = share * _robust(row.errors, settings)[1]
    slopes = jnp.concatenate([row.by_identity, row.by_local], 1)
    weighted = slopes * weight[:, None]
    gradient, hessian = weighted.T @ row.errors, weighted.T @ slopes
    own = gradient[k:] + precision @ _away(errors, local, start)
    return (
      gradient[:k],
      own,
      hessian[:k, :k],
      hessian[k:, :k],
      hessian[k:, k:] + precision,
    )

  shared, own, ss, os, oo = jax.vmap(one)(observed, local, start, present)
  return Equations(shared.sum(0) + identity, own, ss.sum(0) + jnp.eye(k), os, oo)


def step(
  eq: Equations, free: Float[Array, "p l"], damping: Float[Array, ""]
) -> tuple[Float[Array, " k"], Float[Array, "p l"]]:
  """Returns the damped step of the shared unknowns and of each photo's own."""
  own = eq.own * free
  crossed = eq.own_shared * free[..., None]
  inner = jax.vmap(lambda h, f: _held(h, f, damping))(eq.own_own, free)
  factor = jax.vmap(jnp.linalg.cholesky)(inner)
  half = lambda right: jax.vmap(lambda l, r: linalg.solve_triangular(l, r, lower=True))(
    factor, right
  )
  gradient, mixed = half(own[..., None])[..., 0], half(crossed)
  diagonal = damping * jnp.diagonal(eq.shared_shared)
  schur = eq.shared_shared + jnp.diag(diagonal)
  schur = schur - jnp.einsum("plk,plj->kj", mixed, mixed)
  right = eq.shared - jnp.einsum("plk,pl->k", mixed, gradient)
  shared = -linalg.cho_solve(linalg.cho_factor(schur), right)
  back = gradient + mixed @ shared
  own = -jax.vmap(lambda l, r: linalg.solve_triangular(l, r, lower=True, trans=1))(
    factor, back
  )
  return shared, own * free


def _held(h: Float[Array, "l l"], free: Float[Array, " l"], damping) -> Array:
  """Returns a damped Hessian in which unknowns that are not free stand alone."""
  diagonal = jnp.diagonal(h)
  kept = h * free[:, None] * free[None]
  return kept + jnp.diag(jnp.where(free > 0, damping * diagonal, 1.0))


def _free(eq: Equations, local: Local) -> Float[Array, "p l"]:
  """Returns 0 for expressions at a bound beyond which the cost falls, 1 otherwise."""
  value = local.expression
  e = value.shape[1]
  slope = eq.own[:, 7 : 7 + e]
  stuck = ((value <= 0) & (slope > 0)) | ((value >= 1) & (slope < 0))
  ones = jnp.ones_like(eq.own)
  return ones.at[:, 7 : 7 + e].set(1.0 - stuck)


def _robust(
  errors: Float[Array, " q"], settings: SolverSettings
) -> tuple[Float[Array, ""], Float[Array, " q"]]:
  """Returns Cauchy's loss of the points' errors, and the weights of the numbers."""
  limit = settings.outlier**2
  square = (errors.reshape(-1, 2) ** 2).sum(1)
  return limit * jnp.log1p(square / limit).sum(), jnp.repeat(
    1 / (1 + square / limit), 2
  )


def _away(errors: Errors, local: Local, start: Local) -> Float[Array, " l"]:
  """Returns a photo's own unknowns less their prior means."""
  return jnp.concatenate(
    [
      jnp.zeros(3),
      local.shift,
      (local.distance - start.distance)[None],
      local.expression - errors.expression_mean,
      local.factors,
    ]
  )


def _precision(errors: Errors, settings: SolverSettings) -> Float[Array, "l l"]:
  """Returns the prior precision of a photo's own unknowns."""
  place = [1 / s**2 for s in settings.shift]
  distance = 1 / max(settings.distance, 1e-4) ** 2
  # The rotation has hardly a prior: enough for a photo that shows nothing.
  pose = jnp.diag(jnp.array([1e-2] * 3 + place + [distance]))
  root = errors.expression_root
  return linalg.block_diag(pose, root.T @ root, jnp.eye(len(errors.factors)))


def _prior(
  errors: Errors, local: Local, start: Local, settings: SolverSettings
) -> Float[Array, ""]:
  away = _away(errors, local, start)
  return away @ _precision(errors, settings) @ away


def _misfit(anchors: Anchors, errors: Errors, observed, identity, local) -> Array:
  """Returns the median length of the standardized errors that are known."""
  error = head_model.rows(anchors, errors, observed, identity, local).errors
  known = head_model.scales(anchors, observed)[1].reshape(-1, 2)[:, 0] > 0
  length = jnp.linalg.norm(error.reshape(-1, 2), axis=1)
  # The median of the length of two independent standard normals.
  return jnp.nanmedian(jnp.where(known, length, jnp.nan)) / jnp.sqrt(jnp.log(4.0))
