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
from jaxtyping import Array, Bool, Float

from affjax import compilation
from affjax.faces import _least_squares
from affjax.faces._fit import solver
from affjax.faces._fit.model_points import ModelPoints, model_points, on_points
from affjax.faces._fit.solver import FitSettings, State
from affjax.faces._least_squares import Loss, Prior
from affjax.faces._surface import chart as charts
from affjax.faces._surface import view as views
from affjax.faces._surface.chart import Chart, Components
from affjax.faces._surface.view import View
from affjax.heads import MorphableModel
from affjax.types import ArrayLike, Camera

# Deviations of the identity and expression components from what the network expects;
# that of an identity that several photos share.
IDENTITY, EXPRESSION, SHARED = 0.1, 1.0, 1e-3
# Deviations of landmarks, % of the interocular distance.
_SETTINGS = FitSettings(inner=1.0, opening=0.5, across=4.0, along=12.0, steps=10)


class Seen(NamedTuple):
  """The data about N faces from which their heads are found.

  Attributes:
    face: Expected components.
    deviation: Their standard deviations.
    places: Places of the chart's points in the photo, dm.
    weight: Weight of each of them; of any scale, or zero in all of a face whose places
      are not known.
    landmarks: Image coordinates of the 68 landmarks, in the order of `solver.Seen`.
    turn: Rotation from which the descent begins.
    shift: Translation from which it begins, dm.
  """

  face: Float[ArrayLike, "*n d"]
  deviation: Float[ArrayLike, "*n d"]
  places: Float[ArrayLike, "*n q 2"]
  weight: Float[ArrayLike, "*n q"]
  landmarks: Float[ArrayLike, "*n 68 2"]
  turn: Float[ArrayLike, "*n 3 3"]
  shift: Float[ArrayLike, "*n 3"]


@functools.lru_cache(maxsize=2)
def points_of(model: MorphableModel, made_of: Components) -> ModelPoints:
  """Returns the points of landmarks, moved by the components of a face."""
  mean, modes = charts.on_vertices(model, made_of)
  points, _ = model_points(model)
  single = lambda x: np.asarray(x, np.float32)
  unit = np.ones(len(modes), np.float32)
  return ModelPoints(
    single(on_points(model, mean[None])[0]),
    single(on_points(model, modes).transpose(1, 2, 0)),
    points.normals, points.slide, unit, -np.inf * unit, np.inf * unit,
  )  # fmt: skip


def solve(
  chart: Chart, points: ModelPoints, seen: Seen, camera: Camera
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns the components of faces that lie as they are seen, and their poses.

  Args:
    chart: Chart of the head.
    points: Points of its landmarks, see `points_of`.
    seen: The data about the faces.
    camera: Camera of the photos, which are square.

  Returns:
    Components `[N, D]`, rotation matrices `[N, 3, 3]` and translations `[N, 3]`.
  """

  def run(*rows: np.ndarray) -> tuple[Array, ...]:
    return _solve_chunk(chart, points, Seen(*rows), camera=camera)

  face, turn, shift = _least_squares.in_chunks(run, *map(np.asarray, seen))
  return face, turn, shift


@compilation.saved(static_argnames=("camera",))
def _solve_chunk(
  chart: Chart, points: ModelPoints, seen: Seen, *, camera: Camera
) -> tuple[Array, ...]:
  def one(seen: Seen):
    return _solve(chart, points, seen, camera)

  with jax.default_matmul_precision("highest"):
    return jax.vmap(one)(seen)


def _solve(
  chart: Chart, points: ModelPoints, seen: Seen, camera: Camera
) -> tuple[Array, ...]:
  """Returns the components and the pose of one face."""
  landmarks, turn, shift = map(jnp.asarray, (seen.landmarks, seen.turn, seen.shift))
  flat = lambda x: charts.points(x).reshape(len(x), -1, 3)
  mean, modes = flat(chart.mean[None])[0], flat(chart.modes)
  trust = views.trust(jnp.asarray(seen.weight))[:, None]
  distance = jnp.log(camera.distance)

  def by_network(state: State) -> tuple[Array, Array]:
    view = View(state.turn, state.shift, distance)
    head = mean + jnp.tensordot(state.values, modes, 1)
    slopes = views.slopes(head, view)[..., :6]
    turned = jnp.einsum("dpx,yx->dpy", modes, state.turn)
    by_face = jnp.einsum("piy,dpy->pid", slopes[..., 3:], turned)
    slopes = jnp.concatenate([slopes, jnp.zeros_like(slopes[..., :1]), by_face], -1)
    rows = (views.places(head, view) - seen.places) * trust
    return rows, slopes * trust[..., None]

  def linearize(state: State) -> tuple[Array, Array]:
    rows, slopes = by_network(state)
    more = solver.errors(points, landmarks, state, camera, _SETTINGS)
    rows = jnp.concatenate([rows, more[0]]).reshape(-1)
    return rows, jnp.concatenate([slopes, more[1]]).reshape(rows.size, -1)

  def free(state: State, gradient: Float[Array, " n"]) -> Bool[Array, " n"]:
    # The zoom is known; a component stays at a bound while the cost falls beyond it.
    low, high = state.values <= points.low, state.values >= points.high
    stuck = (low & (gradient[7:] > 0)) | (high & (gradient[7:] < 0))
    return jnp.concatenate([jnp.ones(6, bool), jnp.zeros(1, bool), ~stuck])

  found = _least_squares.minimize(
    linearize,
    functools.partial(_loss, count=2 * len(mean)),
    solver.moved,
    State(turn, shift, jnp.zeros(()), jnp.asarray(seen.face)),
    steps=_SETTINGS.steps,
    prior=Prior(
      lambda state: jnp.concatenate([jnp.zeros(7), state.values - seen.face]),
      jnp.concatenate([jnp.zeros(7), seen.deviation**-2]),
    ),
    free=free,
    constrain=lambda state: state._replace(
      values=jnp.clip(state.values, points.low, points.high)
    ),
  )
  return found.state.values, found.state.turn, found.state.shift


def _loss(rows: Float[Array, " m"], *, count: int) -> Loss:
  """Returns the squares of the first rows, and the robust loss of those after."""
  first, rest = rows[:count], solver.robust_loss(rows[count:], _SETTINGS)
  join = lambda a, b: jnp.concatenate([a, b])
  slope = join(2 * first, rest.slope)
  curvature = join(jnp.full(count, 2.0), rest.curvature)
  return Loss((first**2).sum() + rest.cost, slope, curvature)
