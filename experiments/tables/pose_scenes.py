"""Meshes in unknown poses, and their pictures: what `pose_recovery.py` solves."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from affjax import render
from affjax.geometry import mesh, rotation, uv
from affjax.geometry.camera import world_to_clip
from affjax.heads import open_head
from affjax.render import render_head
from affjax.types import Camera

SIZE, SAMPLES, NOISE = 64, 4, 2 / 255
CAMERA = Camera(distance=13.0)
MODES = 6
CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
QUADS = np.array(
  [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
)
COLORS = np.array([[0.9, 0.3, 0.2], [0.2, 0.6, 0.9], [0.3, 0.8, 0.3]])
COLORS = np.concatenate([COLORS, [[0.9, 0.8, 0.2], [0.7, 0.3, 0.8], [0.9, 0.9, 0.9]]])


Rows = jax.Array | np.ndarray


class State(NamedTuple):
  """The unknowns of each image."""

  rotation: Rows  # [N, 3, 3]
  translation: Rows  # [N, 3], dm
  shape: Rows  # [N, K]: log of the scale, then identity coefficients

  def moved(self, step) -> "State":
    """A step `[N, 6 + K]`: turned about the mesh's center, shifted, deformed."""
    turn = rotation.axis_angle_to_matrix(step[:, :3])
    turned = jnp.einsum("nij,njk->nik", turn, self.rotation, precision="highest")
    return State(turned, self.translation + step[:, 3:6], self.shape + step[:, 6:])

  def part(self, rows) -> "State":
    """Some of the pictures."""
    return State(*(v[rows] for v in self))


class Task(NamedTuple):
  """A mesh to recover."""

  draw: Callable  # (state, size) -> pictures [N, size, size, 3] over black
  place: Callable  # state -> vertices in the world [N, V, 3]
  free: tuple[int, ...]  # unknowns that `State.moved` changes
  spread: tuple[float, ...]  # standard deviation of each of `State.shape`


def world(points, state: State):
  """Points in the world."""
  turned = jnp.einsum("nvj,nij->nvi", points, state.rotation, precision="highest")
  return turned + state.translation[:, None]


def cube() -> Task:
  """A cube with an edge of 1 dm, a color on each face."""
  tri = np.concatenate([QUADS[:, [0, 1, 2]], QUADS[:, [0, 2, 3]]]).astype(np.int32)
  colors = np.repeat(np.tile(COLORS, (2, 1)), 3, 0)[None]
  corner_colors = jnp.asarray(colors, jnp.float32)
  own_corners = np.arange(36, dtype=np.int32).reshape(12, 3)
  points = jnp.asarray(0.5 * CORNERS[None], jnp.float32)

  def place(state):
    return world(jnp.repeat(points, len(state.shape), 0), state)

  def draw(state, size):
    clip = world_to_clip(place(state), CAMERA)
    rast = render.rasterize(clip, tri, (size, size))
    color = render.interpolate(corner_colors, rast, own_corners)
    return render.antialias(color, rast, clip, tri)

  return Task(draw, place, tuple(range(6)), ())


def heads(*, deformed: bool) -> Task:
  """The embedded head, optionally of unknown size and identity."""
  model = open_head("embedded")
  template = model.template
  texture = painted(template)
  mean = jnp.asarray(template.vertices)[None]
  basis = jnp.asarray(model.identity_basis[:MODES])  # each is one standard deviation

  def place(state):
    points = jnp.repeat(mean, len(state.shape), 0)
    if deformed:
      points += jnp.einsum(
        "nk,kvc->nvc", state.shape[:, 1:], basis, precision="highest"
      )
      points *= jnp.exp(state.shape[:, :1, None])
    return world(points, state)

  def draw(state, size):
    return render_head(place(state), texture, template, CAMERA, (size, size))[0]

  if not deformed:
    return Task(draw, place, tuple(range(6)), ())
  # Scale and distance look alike through this narrow lens: the distance is known.
  free = (*range(5), *range(6, 7 + MODES))
  return Task(draw, place, free, (0.07,) + (1.0,) * MODES)


def painted(template) -> jax.Array:
  """Skin with lips, brows and eyes, and a light from the upper left painted on."""
  color = np.broadcast_to([0.88, 0.68, 0.58], (*template.masks["skin"].shape, 3))
  for name, paint in (
    ("lips", [0.7, 0.35, 0.35]),
    ("brows", [0.25, 0.18, 0.12]),
    ("eyes", [0.3, 0.25, 0.22]),
    ("mouth", [0.4, 0.2, 0.18]),
  ):
    weight = template.masks[name][..., None]
    color = color * (1 - weight) + np.array(paint) * weight
  normal = mesh.vertex_normals(jnp.asarray(template.vertices)[None], template.faces)
  light = 0.45 + 0.55 * jnp.maximum(normal @ jnp.array([-0.45, 0.55, 0.7]), 0)
  shade = uv.map_from_vertices(light[..., None], uv.uv_table(template, len(color)))
  return jnp.asarray(color, jnp.float32)[None] * shade


def random_state(rng, task: Task, count: int) -> State:
  """Truths: up to 15 degrees about each axis, 0.15 dm off, shapes of one sigma."""
  turn = rotation.axis_angle_to_matrix(random_turn(rng, 15.0, count))
  shift = rng.uniform(-0.15, 0.15, (count, 3))
  shape = rng.normal(size=(count, len(task.spread)))
  shape[:, :1] = rng.uniform(-0.12, 0.12, (count, min(len(task.spread), 1)))
  return State(turn, *(jnp.asarray(v, jnp.float32) for v in (shift, shape)))


def random_start(rng, task: Task, truth: State) -> State:
  """Up to 30 degrees off about each axis, 0.3 dm (0.5 in depth); mean shape."""
  count = len(truth.shape)
  off = rng.uniform(-1, 1, (count, 3)) * [0.3, 0.3, 0.5]
  off[:, 2] *= 5 in task.free
  step = np.concatenate([random_turn(rng, 30.0, count), off], 1)
  bare = truth._replace(shape=jnp.zeros((count, 0)))
  moved = bare.moved(jnp.asarray(step, jnp.float32))
  return moved._replace(shape=jnp.zeros_like(truth.shape))


def random_turn(rng, limit_deg: float, count: int) -> jax.Array:
  """Axis-angle of three turns, each up to a limit."""
  angles = (rng.uniform(-limit_deg, limit_deg, count) for _ in range(3))
  return jnp.asarray(rotation.euler_deg_to_axis_angle(*angles))


def averaged(draw, state: State, size: int, samples: int):
  """A picture of so many samples a pixel along each axis."""
  fine = draw(state, size * samples)
  return fine.reshape(-1, size, samples, size, samples, 3).mean((2, 4))


@functools.partial(jax.jit, static_argnums=0)
def photographed(draw, state: State, noise) -> jax.Array:
  """Pictures with supersampling, noise and eight bits."""
  picture = averaged(draw, state, SIZE, SAMPLES) + noise
  return jnp.round(jnp.clip(picture, 0, 1) * 255) / 255
