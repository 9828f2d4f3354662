"""The head that lies where the network and landmarks say; many faces at once.

The network says of 1,024 points of the face where they lie in the photo, and which face
to expect. Landmarks say more about eyelids and lips. Both are data of one least-squares
problem, whose unknowns are the pose and the components of the face; what the network
expects of the components is their prior. Identity hardly moves from it, expression
does.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from affjax import compilation
from affjax.faces import _least_squares
from affjax.faces._least_squares import Loss, Prior
from affjax.faces._surface import chart as charts
from affjax.faces._surface import view as views
from affjax.faces._surface.chart import Chart
from affjax.faces._surface.view import View
from affjax.heads import landmarks
from affjax.types import ArrayLike

# Deviations of the identity and expression components from what the network expects;
# that of an identity that several photos share.
IDENTITY, EXPRESSION, SHARED = 0.1, 1.0, 1e-3
# Deviation of a landmark, as a share of the interocular distance, and the multiple of
# it from about which on a landmark loses its weight.
_LANDMARK, _OUTLIER = 0.01, 4.0
# The jaw's landmarks are not fixed to the skin.
_INNER = slice(17, 68)
_STEPS = 10


class Seen(NamedTuple):
  """What is known of N faces.

  Attributes:
    face: Expected components.
    deviation: Their standard deviations.
    places: Places of the chart's points in the photo, dm.
    weight: Weight of each of them; of any scale, or zero in all of a face whose places
      are not known.
    marks: Places of the 68 landmarks, dm.
  """

  face: Float[ArrayLike, "n d"]
  deviation: Float[ArrayLike, "n d"]
  places: Float[ArrayLike, "n q 2"]
  weight: Float[ArrayLike, "n q"]
  marks: Float[ArrayLike, "n 68 2"]


class _State(NamedTuple):
  view: View
  change: Float[Array, " d"]


def solve(
  chart: Chart, seen: Seen, start: View
) -> tuple[Float[np.ndarray, "n d"], View]:
  """Returns the components of faces, and the views in which they lie as they are seen.

  Args:
    chart: Chart of the head.
    seen: What is known of the faces.
    start: Where the descent begins; distances of the camera stay as they are.
  """
  run = functools.partial(_solve_chunk, chart)
  face, *view = _least_squares.in_chunks(run, *map(np.asarray, (*seen, *start)))
  return face, View(*view)


@compilation.saved()
def _solve_chunk(chart: Chart, *known: Array) -> tuple[Array, ...]:
  def one(*known: Array):
    seen, view = Seen(*known[:-3]), View(*known[-3:])
    return _solve(chart, seen, view)

  with jax.default_matmul_precision("highest"):
    return jax.vmap(one)(*known)


def _solve(chart: Chart, seen: Seen, start: View) -> tuple[Array, ...]:
  """Returns the components and the view of one face."""
  flat = lambda x: charts.points(x).reshape(len(x), -1, 3)
  points, modes = flat(chart.mean[None])[0], flat(chart.modes)
  marks, mark_modes = chart.marks[_INNER], chart.mark_modes[:, _INNER]
  trust = views.trust(jnp.asarray(seen.weight))
  right, left = (seen.marks[k] for k in landmarks.OUTER_EYE_CORNERS)
  size = jnp.maximum(jnp.linalg.norm(right - left), 1e-6) * _LANDMARK
  target = jnp.concatenate([seen.places, seen.marks[_INNER]])
  scale = jnp.concatenate([trust, jnp.full(len(marks), 1 / size)])[:, None]
  mean, basis = (
    jnp.concatenate([points, marks]),
    jnp.concatenate([modes, mark_modes], 1),
  )
  basis = basis * seen.deviation[:, None, None]
  middle = mean + jnp.tensordot(seen.face / seen.deviation, basis, 1)

  def linearize(state: _State):
    head = middle + jnp.tensordot(state.change, basis, 1)
    slopes = views.slopes(head, state.view)[..., :6]
    turned = jnp.einsum("dpx,yx->dpy", basis, state.view.turn)
    by_face = jnp.einsum("piy,dpy->pid", slopes[..., 3:], turned)
    error = views.places(head, state.view) - target
    slopes = jnp.concatenate([slopes, by_face], -1) * scale[..., None]
    return (error * scale).reshape(-1), slopes.reshape(error.size, -1)

  unit = jnp.concatenate([jnp.full(6, 0.0), jnp.ones(len(seen.face))])
  found = _least_squares.minimize(
    linearize,
    functools.partial(_loss, free=2 * len(points)),
    _moved,
    _State(start, jnp.zeros_like(seen.face)),
    steps=_STEPS,
    prior=Prior(_unknowns, unit),
  )
  state = found.state
  return seen.face + seen.deviation * state.change, *state.view


def _unknowns(state: _State) -> Float[Array, " n"]:
  return jnp.concatenate([jnp.zeros(6), state.change])


def _moved(state: _State, step: Float[Array, " n"]) -> _State:
  view = views.moved(state.view, jnp.append(step[:6], 0.0))
  return _State(view, state.change + step[6:])


def _loss(rows: Float[Array, " m"], *, free: int) -> Loss:
  """Returns squares of the first rows, and Geman and McClure's loss of pairs after."""
  square = (rows[free:].reshape(-1, 2) ** 2).sum(-1)
  limit = _OUTLIER**2
  robust = jnp.repeat((limit / (limit + square)) ** 2, 2)
  weight = 2 * jnp.concatenate([jnp.ones(free), robust])
  cost = (rows[:free] ** 2).sum() + (limit * square / (limit + square)).sum()
  return Loss(cost, weight * rows, weight)
