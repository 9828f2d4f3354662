"""The Reconstructor on a small sphere-like head."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from affjax.geometry import camera as cameras
from affjax.geometry import uv
from affjax.models import (
  NETWORKS,
  Networks,
  Reconstructor,
  _params,
  _reconstructor,
)
from affjax.render import shade
from affjax.types import Camera, Prediction
from tests.models.ellipsoid import SIZE, TEMPLATE, reconstructor


def _images(n=2):
  return np.random.default_rng(0).random((n, SIZE, SIZE, 3), np.float32)


@pytest.fixture(scope="module", params=["paper", "guided"])
def made(request):
  return reconstructor(request.param)


@pytest.fixture(scope="module")
def weights(made):
  return made.init(0)


@pytest.fixture(scope="module")
def unrendered(made):
  """The prediction without its render, compiled once for two photos."""
  return jax.jit(lambda weights, images: made(weights, images, render=False))


# Shapes and errors.


@pytest.mark.smoke
def test_prediction_has_every_field(made, weights):
  assert sorted(weights) == sorted(NETWORKS)
  got = jax.jit(made)(weights, _images())
  assert isinstance(got, Prediction)
  shapes = {f.name: getattr(got, f.name).shape for f in dataclasses.fields(got)}
  assert shapes == {
    "position": (2, SIZE, SIZE, 3),
    "diffuse": (2, SIZE, SIZE, 3),
    "light": (2, SIZE // 8, SIZE // 8, 1),
    "light_color": (2, 3),
    "pose": (2, 6),
    "vertices": (2, len(TEMPLATE.vertices), 3),
    "render": (2, SIZE, SIZE, 3),
    "alpha": (2, SIZE, SIZE, 1),
  }
  assert {getattr(got, name).dtype for name in shapes} == {jnp.dtype("float32")}
  assert 0.2 < float(got.alpha.mean()) < 0.7
  assert float(got.render.min()) >= 0
  assert float(got.render.max()) <= 1
  assert float(got.diffuse.min()) >= 0
  assert float(got.diffuse.max()) <= 1


@pytest.mark.usefixtures("unchecked_shapes")  # abstract arrays have no values
def test_paper_size_by_shapes_only():
  made = Reconstructor(TEMPLATE, Camera(), Networks(), TEMPLATE.vertices * 0)
  shapes = {name: d.shapes for name, d in made.definitions.items()}
  images = jax.ShapeDtypeStruct((1, 512, 512, 3), jnp.float32)
  # A dict, because a Prediction holds arrays only.
  run = lambda p, x: vars(made(p, x, render=False))
  got = jax.eval_shape(run, shapes, images)
  assert got["position"].shape == (1, 512, 512, 3)
  assert got["light"].shape == (1, 64, 64, 1)
  assert _params.count(shapes["pose"]) < 1.2e6


def test_errors(made, weights):
  with pytest.raises(ValueError, match=r"images must be \[N, 32, 32, 3\]"):
    made(weights, _images()[:, :16])
  with pytest.raises(ValueError, match="another architecture"):
    jax.eval_shape(made, {**weights, "diffuse": weights["light"]}, _images())
  with pytest.raises(ValueError, match="vertex_std must have"):
    dataclasses.replace(made, vertex_std=np.zeros((3, 3)))
  with pytest.raises(ValueError, match="size must be at least 8"):
    Networks(size=4)
  with pytest.raises(ValueError, match="size must be a multiple of 8"):
    Networks(size=36, architecture="guided")
  with pytest.raises(ValueError, match=r"one of paper, .* got 'unet'"):
    Networks(architecture="unet")


# Values.


def test_position_is_the_mean_plus_bounded_residuals_in_units_of_std(
  made, weights, unrendered
):
  still = {
    **weights,
    "position": jax.tree.map(jnp.zeros_like, weights["position"]),
    "pose": jax.tree.map(jnp.zeros_like, weights["pose"]),
  }
  got = unrendered(still, _images())
  want = uv.map_from_vertices(TEMPLATE.vertices, made.table)
  np.testing.assert_allclose(got.position[0], want, atol=1e-6)
  np.testing.assert_allclose(got.vertices[0], TEMPLATE.vertices, atol=0.03)
  np.testing.assert_array_equal(got.render, 0)
  bias = still["position"]["layer11"]["bias"] + 1
  still["position"]["layer11"]["bias"] = bias
  moved = unrendered(still, _images())
  step = 0.02 * 5 * np.tanh(1 / 5)  # no further than five standard deviations
  step = np.where(made.table.support[..., None], np.full((1, 1, 3), step), 0)
  np.testing.assert_allclose(moved.position[0] - got.position[0], step, atol=1e-6)


def test_a_known_pose_replaces_the_predicted_one(made, weights):
  known = jnp.array([[0.1, 0.6, 0.0, 0.05, -0.1, 0.3]])
  run = lambda p, x: made(p, x, pose=known, render=False)
  got = jax.jit(run)(weights, _images(1))
  np.testing.assert_array_equal(got.pose, known)
  head_space = uv.vertices_from_map(got.position, made.table)
  want = cameras.head_to_world(head_space, known)
  np.testing.assert_allclose(got.vertices, want, atol=1e-5)


def test_shade_multiplies_and_clips():
  diffuse = jnp.full((1, 16, 16, 3), 0.5)
  light_map = jnp.full((1, 2, 2, 1), 1.5)
  color = jnp.array([[1.0, 0.5, 2.0]])
  got = shade(diffuse, light_map, color)
  np.testing.assert_allclose(got[0, 3, 4], [0.75, 0.375, 1.0], atol=1e-6)


# Gradients and transformations.


def test_the_render_reaches_every_network(made, weights):
  photo = jnp.asarray(_images(1))
  loss = lambda p: jnp.mean(jnp.abs(made(p, photo).render - photo))
  gradient = jax.jit(jax.grad(loss))(weights)
  for name in NETWORKS:
    leaves = jax.tree.leaves(gradient[name])
    assert all(np.isfinite(g).all() for g in leaves), name
    assert max(float(jnp.abs(g).max()) for g in leaves) > 0, name


def test_four_devices_equal_one(weights, unrendered):
  images = _images(4)
  mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
  spread = jax.NamedSharding(mesh, PartitionSpec("data"))
  got = unrendered(weights, jax.device_put(images, spread))
  want = jax.tree.map(
    lambda *halves: jnp.concatenate(halves),
    *(unrendered(weights, half) for half in (images[:2], images[2:])),
  )
  for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
    np.testing.assert_allclose(a, b, atol=2e-4)


def test_renderer_gets_the_shaded_texture(made, weights, monkeypatch):
  def render(vertices, texture, template, camera, resolution, *, antialias=True):
    assert (antialias, resolution, camera) == (False, (SIZE, SIZE), Camera())
    return texture, jnp.ones_like(texture[..., :1])

  monkeypatch.setattr(_reconstructor, "render_head", render)
  run = lambda p, x: made(p, x, antialias=False)
  got = jax.jit(run)(weights, _images(1))
  want = shade(got.diffuse, got.light, got.light_color)
  np.testing.assert_allclose(got.render, want, atol=1e-6)
