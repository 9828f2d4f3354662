"""Training of the network that reads faces: its data, against known answers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax.faces._surface import chart as charts
from affjax.faces._surface import network, read
from affjax.faces._surface import view as views
from affjax.faces._surface.view import View
from affjax.geometry import rotation
from affjax.ops import bilinear
from affjax.types import Camera
from experiments.geometry import reshape, train, truths


@pytest.fixture(scope="module")
def shard() -> dict[str, np.ndarray]:
  head = truths.head()
  rng = np.random.default_rng(0)
  skin = np.full((2, 96, 96), 255, np.uint8)
  skin[1] = 0
  expressions = head.components.expression_mean[None].repeat(2, 0)
  pose = np.array([[0.1, 0.2, 0, 0, 0.05, 0.1], [0, -0.9, 0, 0, 0, 0]], np.float32)
  return {
    "photo": np.zeros((2, 192, 192, 3), np.uint8),
    "skin": skin,
    "identity": rng.normal(size=(2, head.components.identity)).astype(np.float32),
    "expression": expressions,
    "pose": pose,
    "distance": np.float32(4.5),
  }


@pytest.fixture(scope="module")
def true(shard) -> truths.Truth:
  return truths.truth(truths.head(), shard)


def test_truth_is_that_of_the_head_and_the_camera(shard, true):
  head = truths.head()
  cells = head.chart.cells(jnp.asarray(true.face))
  np.testing.assert_allclose(true.points, charts.points(cells), atol=1e-3)
  turn = jax.vmap(rotation.axis_angle_to_matrix)(jnp.asarray(shard["pose"][:, :3]))
  world = np.einsum("nij,npqj->npqi", turn, true.points)
  world += shard["pose"][:, None, None, 3:]
  np.testing.assert_allclose(true.world, world, atol=1e-4)
  expected = world[..., :2] * (4.5 / (4.5 - world[..., 2:]))
  np.testing.assert_allclose(true.places, expected, atol=1e-4)


def test_what_is_seen(true):
  """The front of an uncovered face is seen, its turned side and a mask are not."""
  head = truths.head()
  front = np.asarray(head.chart.face[..., 0]) > 0.9
  front[:, :11] = front[:, 21:] = False
  assert true.seen[0, front].mean() > 0.85
  assert true.seen[1].sum() == 0
  bare = truths.truth(
    head, {**bare_skin(), "pose": np.float32([[0, -0.9, 0, 0, 0, 0]])}
  )
  left, right = bare.seen[0, :, :14].mean(), bare.seen[0, :, 18:].mean()
  assert min(left, right) < 0.1 < 0.3 < max(left, right)


def bare_skin() -> dict[str, np.ndarray]:
  components = truths.head().components
  return {
    "skin": np.full((1, 96, 96), 255, np.uint8),
    "identity": np.zeros((1, components.identity), np.float32),
    "expression": components.expression_mean[None],
    "distance": np.float32(10.0),
  }


def test_what_the_network_should_answer(shard, true):
  """Where the mean head lies, plus the answer, is where the face is."""
  head = truths.head()
  turn = jax.vmap(rotation.axis_angle_to_matrix)(jnp.asarray(shard["pose"][:, :3]))
  shift = jnp.asarray(shard["pose"][:, 3:])
  view = View(turn, shift, jnp.log(jnp.asarray(true.distance)))
  target = train.targets(head.chart, jax.tree.map(jnp.asarray, true), view)
  found = network.Outputs(
    target.face,
    target.places,
    target.normals,
    target.positions,
    jnp.zeros((2, 32, 32, 3)),
    20 * jnp.ones((2, 32, 32, 1)),
  )
  look = read.look(head.chart, view, found)
  np.testing.assert_allclose(look.places, true.places, atol=1e-4)
  np.testing.assert_allclose(look.face, np.clip(true.face, -4, 4))
  mean = charts.points(head.chart.mean[None])
  positions = mean + network.POSITION * target.positions
  np.testing.assert_allclose(positions, true.points, atol=1e-4)


def test_a_view_that_is_not_moved_lies_well(true):
  head = truths.head()
  known = jax.tree.map(jnp.asarray, true)
  away = []
  for roughness in (0.0, 4.0):
    view = train.rough_views(jax.random.key(0), head.chart, known, roughness=roughness)
    place = jax.vmap(views.places, (None, 0))(head.chart.mean, view)
    place = np.asarray(charts.points(place))
    face = np.asarray(head.chart.face[..., 0]) > 0.5
    away.append(np.abs(place - true.places)[:, face].mean())
  assert away[0] < 0.04
  assert away[1] > 1.5 * away[0]


def reshaped(shard, true):
  """Returns the true truth about photos of other people, and that of `reshape`."""
  head = truths.head()
  other = {**shard, "identity": shard["identity"][::-1].copy()}
  expected = jax.tree.map(jnp.asarray, truths.truth(head, other))
  known = jax.tree.map(jnp.asarray, true)
  return expected, reshape.moved(head.chart, known, expected.face)


def test_the_truth_about_another_identity_is_that_of_its_photo(shard, true):
  expected, found = reshaped(shard, true)
  for name in ("points", "world", "places", "distance"):
    got, want = getattr(found, name), getattr(expected, name)
    np.testing.assert_allclose(got, want, atol=1e-3, err_msg=name)
  assert np.abs(found.places - true.places).max() > 0.03


def test_a_warped_photo_shows_each_point_where_it_lies_now(shard, true):
  """The colors of a ramp tell from which px each one comes."""
  _, new = reshaped(shard, true)
  known = jax.tree.map(jnp.asarray, true)
  row, column = np.mgrid[:192, :192].astype(np.float32)
  ramp = jnp.asarray(np.stack([column, row, 0 * row], -1))[None].repeat(2, 0)
  warped = reshape.warped(ramp, known, new)
  px = [np.asarray(views.places_px(t.places, Camera(), 192)) for t in (known, new)]
  color = np.asarray(bilinear(warped, jnp.asarray(px[1])))[..., :2]
  # The front of the face: elsewhere a point may hide another one.
  front = np.asarray(truths.head().chart.face[..., 0]) > 0.9
  front[:, :11] = front[:, 21:] = False
  front &= ((np.array(px)[:, 0] > 8) & (np.array(px)[:, 0] < 184)).all((0, -1))
  away = np.linalg.norm(color - px[0], axis=-1)[0, front].mean()
  moved = np.linalg.norm(px[1] - px[0], axis=-1)[0, front].mean()
  assert moved > 1.0
  assert away < 0.2 * moved


def test_the_last_answer_to_a_photo_is_kept():
  memory = train.Memory()
  turn = np.stack([np.eye(3, dtype=np.float32)] * 2)
  shift = np.arange(6, dtype=np.float32).reshape(2, 3)
  view = View(turn, shift, np.ones(2, np.float32))
  memory.keep(np.array([5, 9]), train.Answers(view, np.array([True, False])))
  found = memory.of(np.array([9, 1, 5]))
  np.testing.assert_array_equal(found.view.shift, [shift[1], np.zeros(3), shift[0]])
  np.testing.assert_array_equal(found.known, [False, False, True])
