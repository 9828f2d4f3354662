"""Unsup3D: its networks, its renderer, the mirrored face, collections of photos."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from affjax.models import _params
from affjax.models.unsup3d import (
  NETWORKS,
  Light,
  Unsup3D,
  Unsup3DConfig,
  _layers,
  _rendering,
  aggregate,
  render_scene,
)
from tests.reference import depth as reference

SIZE = 16
SMALL = Unsup3DConfig(width=8, code=8, vector_width=4)


MODEL = Unsup3D(SMALL, SIZE)
make_scene = jax.jit(MODEL.__call__)


@pytest.fixture(scope="module")
def photos():
  return np.random.default_rng(0).random((4, SIZE, SIZE, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def scene(photos):
  return make_scene(MODEL.init(0), photos)


def test_published_networks_have_their_number_of_parameters():
  """Counted by hand from the tables of the paper's supplement, layer by layer."""
  halvings = lambda w: 16 * (3 * w + w * 2 * w + 2 * w * 4 * w + 4 * w * 8 * w)
  norms = 2 * (64 + 128 + 256)  # scale and bias; the last halving has none
  up = lambda a, b, k: k * k * a * b
  maps = halvings(64) + norms + up(512, 256, 4)
  maps += up(256, 512, 4) + up(512, 512, 3)
  for before, after in ((512, 256), (256, 128), (128, 64)):
    maps += up(before, after, 4) + up(after, after, 3) + 4 * after
  maps += up(64, 64, 3) + up(64, 64, 5) + 4 * 64
  vectors = halvings(32) + up(256, 256, 4)
  sure = halvings(64) + norms + up(512, 128, 4) + up(128, 512, 4)
  sure += up(512, 256, 4) + up(256, 128, 4) + 2 * (256 + 128)
  sure += up(128, 64, 4) + up(64, 64, 4) + 4 * 64 + up(64, 2, 5) + up(128, 2, 3)
  wanted = {
    "depth": maps + up(64, 1, 5),
    "albedo": maps + up(64, 3, 5),
    "view": vectors + 256 * 6,
    "light": vectors + 256 * 4,
    "confidence": sure,
  }
  found = Unsup3D().definitions
  assert {name: _params.count(net.shapes) for name, net in found.items()} == wanted
  assert tuple(found) == NETWORKS


def raw_map(model: Unsup3D, photos, *, seed=0, photos_of_one=1):
  """The raw depth maps of photos, and the weights of the depth network."""
  params = model.init(seed)["depth"]
  apply = functools.partial(_params.apply, model.definitions["depth"])
  found = jax.jit(functools.partial(apply, photos=photos_of_one))(params, photos)
  return np.asarray(found), params


@pytest.mark.parametrize(("stride", "padding"), [(2, 1), (1, 0)])
def test_layers_have_the_grid_of_the_published_ones(stride, padding):
  """Kernels of 4 px: convolutions of PyTorch's padding 1 and stride 2, and transposed.

  A transposed convolution adds its kernel to the result for each pixel.
  """
  random = np.random.default_rng(5)
  side = 4 if stride == 2 else 1
  x = random.normal(size=(1, side, side, 2)).astype(np.float32)
  layer = _layers.ConvTranspose(2, 3, stride=stride, rngs=nnx.Rngs(0))
  kernel = np.asarray(layer.conv.kernel[...])[::-1, ::-1]
  wide = np.zeros((side * stride + 4, side * stride + 4, 3))
  for row, column in np.ndindex(side, side):
    place = (
      slice(stride * row, stride * row + 4),
      slice(stride * column, stride * column + 4),
    )
    wide[place] += np.einsum("c,abco->abo", x[0, row, column], kernel)
  size = 2 * side if stride == 2 else 4
  wanted = wide[padding : padding + size, padding : padding + size]
  np.testing.assert_allclose(layer(x)[0], wanted, atol=1e-5)
  halving = _layers.conv(3, 2, kernel_size=4, stride=2, rngs=nnx.Rngs(1))
  padded = np.pad(wanted, ((1, 1), (1, 1), (0, 0)))
  kernel = np.asarray(halving.kernel[...])
  found = halving(wanted[None].astype(np.float32))[0]
  for row, column in np.ndindex(size // 2, size // 2):
    window = padded[2 * row : 2 * row + 4, 2 * column : 2 * column + 4]
    np.testing.assert_allclose(
      found[row, column], np.einsum("abc,abco->o", window, kernel), atol=1e-4
    )


def test_two_convolutions_of_the_variant_are_affine_and_start_as_plain_ones(photos):
  affine = Unsup3D(dataclasses.replace(SMALL, affine=True), SIZE)
  flat = lambda model: {
    jax.tree_util.keystr(path): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(model.init(0))
  }
  first, second = flat(MODEL), flat(affine)
  added = sorted(second.keys() - first.keys())
  layer = "['encoder']['layer2']['conv']['predictor']"
  assert added == [
    f"['{net}']{layer}['{part}']"
    for net in ("albedo", "depth")
    for part in ("bias", "kernel")
  ]
  # Four times the width comes in at this size, the predictor has six outputs.
  assert second[added[1]].shape == (4, 4, 4 * SMALL.width, 6)
  assert not first.keys() - second.keys()
  for name, value in first.items():
    np.testing.assert_array_equal(value, second[name])
  wanted, found = raw_map(MODEL, photos)[0], raw_map(affine, photos)[0]
  np.testing.assert_allclose(found, wanted, atol=1e-4)
  assert wanted.std() > 0.05


def test_shapes_and_ranges(scene):
  config = SMALL
  assert scene.depth.shape == scene.seen_depth.shape == (2, 4, SIZE, SIZE)
  assert scene.albedo.shape == scene.render.shape == (2, 4, SIZE, SIZE, 3)
  assert scene.sigma.shape == (2, 4, SIZE, SIZE, 1)
  assert scene.feature_sigma.shape == (2, 4, SIZE // 4, SIZE // 4, 1)
  assert config.nearest < scene.depth.min() < scene.depth.max() < config.farthest
  assert scene.seen_depth.min() >= 0.8
  assert scene.seen_depth.max() <= 1.2 + 1e-6
  assert 0 < scene.albedo.min() < scene.albedo.max() < 1
  assert scene.sigma.min() > 0
  assert scene.feature_sigma.min() > 0
  assert set(np.unique(scene.mask)) <= {0.0, 1.0}
  assert np.asarray(scene.mask).mean() > 0.5
  light = scene.light
  for values in (light.ambient, light.directed):
    assert 0 < values.min() < values.max() < 1
  np.testing.assert_allclose(np.linalg.norm(light.direction, axis=-1), 1, atol=1e-6)
  assert (light.direction[:, 2] > 0.5).all()
  np.testing.assert_allclose(np.linalg.norm(scene.normal, axis=-1), 1, atol=1e-5)
  np.testing.assert_allclose(scene.depth[..., :2], 1.04, atol=1e-6)
  np.testing.assert_allclose(scene.depth[..., -2:], 1.04, atol=1e-6)
  assert not np.any(scene.view[:, 5])
  assert (np.asarray(scene.render)[:, np.asarray(scene.mask)[..., 0] == 0] == 0.5).all()


def test_views_and_lights_are_bounded(photos):
  params = MODEL.init(0)
  for net in ("view", "light"):
    params[net] = jax.tree.map(lambda w: 30 * w, params[net])
  found = make_scene(params, photos)
  limits = np.array([np.pi / 3] * 3 + [0.1, 0.1])
  share = np.abs(np.asarray(found.view[:, :5])) / limits
  assert 0.99 < share.max() <= 1 + 1e-6
  assert found.light.ambient.min() >= 0
  assert found.light.ambient.max() <= 1 + 1e-6


def test_the_second_face_is_the_mirror_image_of_the_first(scene):
  for maps in (scene.depth, scene.albedo):
    np.testing.assert_array_equal(maps[1], np.asarray(maps[0])[:, :, ::-1])
  assert np.abs(scene.normal[1] - scene.normal[0]).max() > 0.01


@jax.jit
def render(depth, albedo, view, ambient, directed, direction):
  """A scene of the maps of four photos, face and mirror image, without confidence."""
  return render_scene(
    depth=depth,
    albedo=albedo,
    view=view,
    light=Light(ambient, directed, direction),
    sigma=jnp.ones((2, 4, SIZE, SIZE, 1)),
    feature_sigma=jnp.ones((2, 4, SIZE // 4, SIZE // 4, 1)),
    nearest=0.8,
    farthest=1.2,
  )


def composed(
  depth, albedo, view, *, mirrored=False, ambient=1.0, directed=0.0, direction=(0, 0, 1)
):
  """The scene of maps, or of those of one photo; by default both faces are the same."""
  second = (slice(None), slice(None), slice(None, None, -1 if mirrored else 1))
  pair = lambda maps: np.stack([maps, maps[second]])
  each = lambda maps: np.broadcast_to(maps, (4, *np.shape(maps)[1:])).astype(np.float32)
  unit = np.asarray(direction) / np.linalg.norm(direction)
  return render(
    pair(each(depth)),
    pair(each(albedo)),
    each(np.reshape(view, (-1, 6))),
    each([ambient]),
    each([directed]),
    each(unit[None]),
  )


def test_the_identity_view_makes_the_photo_again(photos):
  bumps = 1 + 0.05 * np.random.default_rng(1).normal(size=(4, SIZE, SIZE))
  bumps = np.clip(bumps, 0.9, 1.1)
  found = composed(bumps, photos, np.zeros(6))
  inner = (slice(None), slice(1, -1), slice(1, -1))
  np.testing.assert_allclose(found.seen_depth[0][inner], bumps[inner], atol=1e-4)
  np.testing.assert_allclose(found.render[0][inner], photos[inner], atol=1e-3)
  assert found.mask[inner].min() == 1


def test_symmetric_faces_make_equal_renders(photos):
  """With a symmetric shape and albedo, in any view, both renders are the same."""
  both = lambda maps: (maps + maps[:, :, ::-1]) / 2
  bumps = 1 + 0.02 * np.random.default_rng(2).normal(size=(4, SIZE, SIZE))
  view = [0.05, 0.3, 0.1, 0.01, 0, 0]
  found = composed(both(bumps), both(photos), view, mirrored=True)
  np.testing.assert_allclose(found.render[0], found.render[1], atol=1e-5)
  other = composed(bumps, photos, view, mirrored=True)
  assert np.abs(np.asarray(other.render[0] - other.render[1])).max() > 0.1


GRAY = np.full((1, SIZE, SIZE, 3), 0.5)
WALL = np.ones((1, SIZE, SIZE))


def test_a_turned_plane_has_the_depth_of_the_turned_plane():
  angles, move = np.array([0.1, 0.35, -0.2]), np.array([0.003, -0.004, 0.01])
  found = composed(WALL, GRAY, np.concatenate([angles, move]))
  depth = np.asarray(found.seen_depth[0, 0])
  normal = reference.rotation(angles) @ np.array([0, 0, 1.0])
  wanted = reference.plane_depth(normal, np.array([0, 0, 1.0]) + move, SIZE)
  seen = depth < 1.2 - 1e-6
  assert 0.5 < seen.mean() < 1
  np.testing.assert_allclose(depth[seen], wanted[seen], atol=2e-5)
  np.testing.assert_array_equal(found.mask[0, ..., 0], seen)


def test_a_sphere_turned_about_its_center_stays_where_it_is():
  ball = reference.sphere_depth(np.array([0, 0, 1.0]), 0.06, SIZE, 1.0)
  found = composed(ball[None], GRAY, [0.2, 0.3, 0.0, 0, 0, 0])
  middle = (slice(6, 10), slice(6, 10))
  # Half a degree of the surface lies between two vertices.
  np.testing.assert_allclose(found.seen_depth[0, 0][middle], ball[middle], atol=1.5e-3)
  wrong = composed(ball[None], GRAY, [0.0, 0, 0, 0, 0, 0.01])
  assert np.abs(wrong.seen_depth[0, 0][middle] - ball[middle]).min() > 5e-3


def test_colors_are_read_where_the_point_was():
  """Each pixel of the view shows the canonical pixel that its point comes from."""
  angles = np.array([0.0, 0.3, 0.1])
  columns, rows = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
  places = np.stack([columns, rows, 0 * rows], -1)[None] / SIZE
  found = composed(WALL, places, np.concatenate([angles, np.zeros(3)]))
  matrix = reference.rotation(angles)
  row, column = 10, 6
  seen = float(found.seen_depth[0, 0, row, column]) * reference.ray(column, row, SIZE)
  back = matrix.T @ (seen - [0, 0, 1]) + [0, 0, 1]
  focal = (SIZE - 1) / 2 / np.tan(np.radians(5))
  wanted = focal * back[:2] / back[2] + (SIZE - 1) / 2
  got = np.asarray(found.render[0, 0, row, column, :2]) * SIZE
  np.testing.assert_allclose(got, wanted, atol=5e-3)
  assert np.abs(got - [column, row]).max() > 0.1


def test_shading_is_ambient_and_directed_light():
  normal = np.array([0.3, -0.2, 0.9]) / np.linalg.norm([0.3, -0.2, 0.9])
  plane = reference.plane_depth(normal, np.array([0, 0, 1.0]), SIZE)[None]
  light = np.array([0.5, 0.1, 1])
  lit = functools.partial(composed, plane, GRAY, np.zeros(6), ambient=0.3, directed=0.6)
  wanted = 0.5 * (0.3 + 0.6 * normal @ light / np.linalg.norm(light))
  inner = (slice(1, -1), slice(1, -1))
  found = lit(direction=light).canonical[0, 0][inner]
  np.testing.assert_allclose(found, wanted, atol=1e-3)
  away = lit(direction=-light).canonical[0, 0][inner]
  np.testing.assert_allclose(away, 0.15, atol=1e-6)


def test_depth_has_gradients_through_the_view():
  """The derivative of the depth that a view shows is that of the turned plane."""

  def middle(angle):
    view = jnp.zeros((1, 6)).at[0, 1].set(angle)
    wall = jnp.ones((1, SIZE, SIZE))
    found = _rendering.warped_depth(wall, view, nearest=0.8, farthest=1.2)
    return found[0, 8, 11]

  slope = float(jax.jit(jax.grad(middle))(0.1))
  center = np.array([0, 0, 1.0])
  plane = lambda angle: reference.plane_depth(
    reference.rotation([0, angle, 0]) @ center, center, SIZE
  )[8, 11]
  step = 1e-3
  wanted = (plane(0.1 + step) - plane(0.1 - step)) / (2 * step)
  assert slope == pytest.approx(wanted, rel=1e-2)


def test_aggregation_is_a_weighted_mean_whatever_the_order():
  random = np.random.default_rng(3)
  codes, weights = random.normal(size=(2, 6, 1, 1, 5)).astype(np.float32)
  found = np.asarray(aggregate(codes, weights, 3))
  share = np.exp(weights[:3]) / np.exp(weights[:3]).sum(0)
  np.testing.assert_allclose(found[0], (share * codes[:3]).sum(0), atol=1e-6)
  order = [2, 0, 1, 5, 3, 4]
  again = aggregate(codes[order], weights[order], 3)
  np.testing.assert_allclose(again, found, atol=1e-6)
  np.testing.assert_array_equal(aggregate(codes, weights, 1), codes)
  with pytest.raises(ValueError, match="photos must divide the 6 photos"):
    aggregate(codes, weights, 4)


COLLECTIONS = Unsup3D(dataclasses.replace(SMALL, photos=2), SIZE)


def test_photos_of_a_person_share_a_map_in_any_order(photos):
  found, _ = raw_map(COLLECTIONS, photos, photos_of_one=2)
  assert found.shape == (2, SIZE, SIZE, 1)
  assert np.abs(found[0] - found[1]).max() > 1e-3
  swapped, _ = raw_map(COLLECTIONS, photos[[1, 0, 3, 2]], photos_of_one=2)
  np.testing.assert_allclose(swapped, found, atol=1e-5)
  # Each photo says something.
  other, _ = raw_map(COLLECTIONS, photos[[0, 2, 1, 3]], photos_of_one=2)
  assert np.abs(other - found).max() > 1e-3


def test_a_collection_of_one_photo_is_the_plain_network(photos):
  wanted, plain = raw_map(MODEL, photos)
  found, params = raw_map(COLLECTIONS, photos)
  shared = {name: value for name, value in params.items() if name != "weight"}
  for a, b in zip(jax.tree.leaves(shared), jax.tree.leaves(plain), strict=True):
    np.testing.assert_array_equal(a, b)
  np.testing.assert_allclose(found, wanted, atol=1e-6)
  # Two equal photos say what one says.
  twice, _ = raw_map(COLLECTIONS, np.repeat(photos[:2], 2, 0), photos_of_one=2)
  np.testing.assert_allclose(twice, wanted[:2], atol=1e-5)


def test_the_maps_of_a_collection_are_repeated_for_its_photos(photos):
  found = jax.jit(COLLECTIONS.__call__)(COLLECTIONS.init(0), photos)
  for maps in (found.depth, found.albedo):
    np.testing.assert_array_equal(maps[:, 0], maps[:, 1])
    assert np.abs(np.asarray(maps[:, 0] - maps[:, 2])).max() > 1e-4
  assert np.abs(np.asarray(found.view[0] - found.view[1])).max() > 0
  with pytest.raises(ValueError, match="photos needs networks of collections"):
    MODEL(MODEL.init(0), photos, photos=2)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"width": 0}, "width must be at least 1, got 0"),
    ({"code": 7}, "code must be even, got 7"),
    ({"nearest": 1.2}, "need 0 < nearest < farthest"),
    ({"ambient": (0.5,)}, "ambient must be two numbers"),
    ({"photos": 0}, "photos must be at least 1"),
  ],
)
def test_impossible_options_are_refused(change, message):
  with pytest.raises(ValueError, match=message):
    Unsup3DConfig(**change)


def test_impossible_sizes_are_refused(photos):
  with pytest.raises(ValueError, match="power of two, at least 16"):
    Unsup3D(SMALL, 48)
  with pytest.raises(ValueError, match=r"images must be \[n, 16, 16, 3\]"):
    MODEL(MODEL.init(0), photos[:, :8, :8])
