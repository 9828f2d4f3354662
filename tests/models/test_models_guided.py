"""The guided networks: alignment, visibility, guides that are wrong, colors."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax.geometry import camera as cameras
from affjax.geometry import uv
from affjax.heads import open_head
from affjax.models import (
  _alignment,
  _colors,
)
from affjax.models import _guide as _trust
from affjax.ops import bilinear, resize_bilinear
from affjax.types import Camera, Guide
from tests.models.ellipsoid import SIZE, TEMPLATE, reconstructor
from tests.reference import visibility as twin

POSE = np.array([0.1, 0.6, 0.0, 0.05, -0.1, 0.3], np.float32)


@pytest.fixture(scope="module")
def made():
  return reconstructor("guided")


def _images(n=2, size=SIZE):
  return np.random.default_rng(0).random((n, size, size, 3), np.float32)


def _small(photos):
  return np.asarray(resize_bilinear(photos, (SIZE, SIZE), antialias=True))


def _guide(pose=POSE) -> Guide:
  """The same guide twice; the shapes of all tests agree, to compile only once."""
  shift = 0.02 * np.random.default_rng(1).standard_normal(TEMPLATE.vertices.shape)
  vertices = np.repeat((TEMPLATE.vertices + shift)[None], 2, 0).astype(np.float32)
  skin = np.ones((2, SIZE, SIZE, 1), np.float32)
  return Guide(vertices, np.repeat(pose[None], 2, 0), np.ones(2, np.float32), skin)


@functools.lru_cache(maxsize=1)
def _compiled(made):
  return jax.jit(lambda p, x, g: made(p, x, guide=g, render=False))


def _run(made, guide):
  return _compiled(made)(made.init(0), _images(), guide)


def _align(template, pose, size, resolution=(64, 64), **options):
  world = cameras.head_to_world(template.vertices[None], jnp.asarray(pose)[None])
  depth = _alignment.picture_of(world, template, Camera(), resolution)[1]
  told = {"deviation": jnp.zeros((1, size, size, 3)), "known": jnp.ones(1)}
  return world, _alignment.align(world, depth, template, Camera(), **told, **options)


# Where texels lie, and which of them are seen.


def test_alignment_is_the_projection_of_each_texel():
  world, got = _align(TEMPLATE, POSE, 24)
  table = uv.uv_table(TEMPLATE, 24)
  want = cameras.world_to_px(uv.map_from_vertices(world, table), Camera(), 64, 64)
  inside = table.support
  np.testing.assert_allclose(got.places[0][inside], want[0][inside], atol=1e-3)
  assert np.isfinite(got.prior).all()
  visible = np.array(got.visible[0, ..., 0])
  # Yawed towards +x: the front's left half (small u) faces the camera less.
  assert visible[12, 12] > 0.6
  assert visible[12, 1] == 0
  assert (visible[~inside] == 0).all()
  assert visible.max() <= 1


@pytest.mark.parametrize("yaw_deg", [0, 35, 60])
def test_a_nose_hides_what_lies_behind_it(yaw_deg):
  """The depth test against rays through all triangles."""
  template, size = open_head("embedded").template, 96
  pose = np.array([0, np.radians(yaw_deg), 0, 0, 0, 0], np.float32)
  world, got = _align(template, pose, size, (128, 128))
  table = uv.uv_table(template, size)
  points = np.asarray(uv.map_from_vertices(world, table))[0]
  normal = np.asarray(got.cues[0, ..., 1:4])
  eye = np.array([0, 0, Camera().distance])
  sight = (eye - points) / np.linalg.norm(eye - points, axis=-1, keepdims=True)
  cosine = (normal * sight).sum(-1)
  px = np.asarray(got.places[0])
  shown = ((px > 0) & (px < 127)).all(-1)
  rows, columns = np.nonzero(table.inside & shown & (cosine > 0.35))
  # A texel at a silhouette may be either: of a hundred hidden ones, some are.
  parts = np.array_split(points[rows, columns], 12)
  before = np.concatenate(
    [twin.nearest_hit(p, np.asarray(world[0]), template.faces, eye) for p in parts]
  )
  seen = np.asarray(got.visible)[0, rows, columns, 0] > 0
  open_, hidden = before < 0.01, before > 0.1
  assert seen[open_].mean() > 0.97
  assert (~seen[hidden]).mean() > 0.97
  # There is something to hide: behind the nose, the lips, the ears.
  assert hidden.sum() > 50


def test_skin_multiplies_visibility():
  full = _align(TEMPLATE, POSE, 24)[1].visible
  skin = np.ones((1, 64, 64, 1), np.float32)
  skin[:, :, :32] = 0.25
  got = _align(TEMPLATE, POSE, 24, skin=jnp.asarray(skin))[1]
  left = np.asarray(got.places)[..., :1] < 31
  np.testing.assert_allclose(got.visible[left], 0.25 * full[left], atol=1e-6)
  right = np.asarray(got.places)[..., :1] > 32
  np.testing.assert_allclose(got.visible[right], full[right], atol=1e-6)


def test_the_mirrored_texel_is_the_one_across():
  got = _align(open_head("embedded").template, POSE, 24)[1]
  np.testing.assert_array_equal(got.mirrored(got.visible), got.visible[:, :, ::-1])


@pytest.mark.parametrize("yaw_deg", [0, 40])
def test_every_level_samples_where_its_texels_lie(yaw_deg):
  """Sampled point to true point on visible texels: at most 1.5 px of a photo of 64."""
  template, size = open_head("embedded").template, 64
  made = reconstructor("guided", template, size)
  pose = np.array([0.1, np.radians(yaw_deg), 0, 0, 0, 0], np.float32)
  guide = Guide(template.vertices[None], pose[None], np.ones(1, np.float32))
  run = jax.jit(lambda p, x, g: made.places(p, x, guide=g))
  rng = np.random.default_rng(0)
  fresh = made.init(0)
  # As after long training: every matrix is another one.
  stir = lambda v: np.asarray(v) + np.float32(0.1) * rng.standard_normal(v.shape, "f4")
  stirred = jax.tree.map(stir, fresh)
  world = cameras.head_to_world(template.vertices[None], jnp.asarray(pose)[None])

  @functools.partial(jax.jit, static_argnums=0)
  def truth(side):
    true = uv.projection_affine(
      world, template, Camera(), size=side, resolution=(size, size)
    )
    return true[0, ..., 2], _align(template, pose, side)[1].visible[0, ..., 0] > 0.3

  for weights in (fresh, stirred):
    levels = run(weights, _images(1, size), guide)
    for number, places in enumerate(levels, start=1):
      side = size >> (number - 1)
      assert places.shape[1:4] == (side, side, 9)
      true, seen = map(np.asarray, truth(side))
      error = np.linalg.norm(np.asarray(places[0, :, :, 4] - true), axis=-1)[seen]
      print(f"layer {number}: mean {error.mean():.2f} px of {size}")
      assert error.mean() <= 1.5


# Guides.


def test_networks_start_with_the_guide(made):
  guide = _guide()
  got = _run(made, guide)
  np.testing.assert_array_equal(got.pose, guide.pose)
  want = uv.map_from_vertices(guide.vertices, made.table)
  np.testing.assert_allclose(got.position, want, atol=1e-6)


def _with(**changes):
  """The guides with a change of the first one."""
  guide = dict(vars(_guide()))
  for name, (index, value) in changes.items():
    guide[name] = guide[name].copy()
    guide[name][index] = value
  return Guide(**guide)


@pytest.mark.parametrize(
  "guide",
  [
    _with(vertices=((0, 3, 1), np.nan)),
    _with(vertices=((0, 0, 0), np.inf)),
    _with(pose=((0, 1), np.nan)),
    _with(pose=((0, 3), 1.5)),
    _with(pose=((0, 5), -50.0)),
    _with(pose=((0, 5), 9.5)),
    _with(known=(0, np.nan)),
  ],
  ids=["nan", "inf", "nan pose", "beside", "far", "in the lens", "nan known"],
)
def test_a_guide_that_cannot_be_true_is_none(made, guide):
  """And the other photo of the batch is left alone."""
  got, want = _run(made, guide), _run(made, _with(known=(0, 0.0)))
  for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
    np.testing.assert_array_equal(a, b)
    assert np.isfinite(a).all()
  np.testing.assert_array_equal(got.pose[0], 0)
  np.testing.assert_array_equal(got.pose[1], POSE)
  alone = _run(made, _guide())
  np.testing.assert_allclose(got.diffuse[1], alone.diffuse[1], atol=1e-5)


def test_no_guide_is_an_unknown_one(made):
  std = made.vertex_std
  none = _trust.trusted(None, 2, TEMPLATE, std)
  unknown = _trust.trusted(_with(known=(slice(None), 0.0)), 2, TEMPLATE, std)
  for name in ("vertices", "pose", "known"):
    np.testing.assert_array_equal(getattr(none, name), getattr(unknown, name))
  np.testing.assert_array_equal(none.vertices[0], TEMPLATE.vertices)


@pytest.mark.parametrize("yaw_deg", [-90, 90, 180])
def test_everything_is_finite_at_every_yaw(made, yaw_deg):
  guide = _guide(np.array([0, np.radians(yaw_deg), 0, 0, 0, 0], np.float32))
  guide.skin[:] = np.nan
  assert all(np.isfinite(a).all() for a in jax.tree.leaves(_run(made, guide)))


def test_a_guide_far_from_any_head_is_brought_near(made):
  got = _run(made, _with(vertices=((0, 5), 40.0)))
  away = np.abs(got.position[0] - made._position_statistics[0][0])
  assert away.max() <= 5 * 0.02 + 1e-5


def test_a_guide_of_another_head_is_refused(made):
  guide = _guide()
  short = Guide(guide.vertices[:, :-1], guide.pose, guide.known)
  with pytest.raises(ValueError, match=r"guide.vertices must have shape \(2, 221, 3\)"):
    _trust.trusted(short, 2, TEMPLATE, made.vertex_std)


# Colors.


def _corrected(light=1.0, visible=1.0, outputs=None, skin=1.0):
  alignment = _align(TEMPLATE, np.zeros(6, np.float32), 24)[1]
  shown = jnp.where(alignment.visible > 0.3, visible, 0.0)
  alignment = _alignment.Alignment(
    alignment.prior, shown, alignment.cues, alignment.template
  )
  photo = np.full((1, 64, 64, 3), (0.6, 0.4, 0.3), np.float32)
  outputs = np.zeros((1, 24, 24, 8), np.float32) if outputs is None else outputs
  outputs = outputs.copy()
  outputs[..., :2] += 20  # sure of what it sees
  lit = jnp.full((1, 24, 24, 3), light)
  plain = _colors.plain_colors(TEMPLATE, 24)
  skin = np.full((1, 24, 24, 1), skin, np.float32)
  colors = _colors.corrected(jnp.asarray(outputs), photo, lit, alignment, plain, skin)
  return np.asarray(colors[0]), np.asarray(shown[0, ..., 0]) > 0


def test_what_is_seen_is_the_photo_without_its_light():
  got, seen = _corrected(light=1.5)
  np.testing.assert_allclose(
    got[seen], np.tile([0.4, 0.4 / 1.5, 0.2], (seen.sum(), 1)), atol=1e-5
  )
  hidden = ~(seen | seen[:, ::-1])
  # Plain skin, here gray, takes the tone of the skin that is seen.
  want = np.tile([0.4, 0.4 / 1.5, 0.2], (hidden.sum(), 1))
  np.testing.assert_allclose(got[hidden], want, atol=0.02)
  plain, _ = _corrected(light=1.5, skin=0.0)
  np.testing.assert_allclose(plain[hidden], 0.5, atol=1e-5)
  alone, _ = _corrected(light=1.5, visible=0.0)
  np.testing.assert_allclose(alone, 0.5, atol=1e-5)


def test_a_residual_adds_to_what_is_seen():
  outputs = np.zeros((1, 24, 24, 8), np.float32)
  outputs[..., 2:5] = 0.1
  got, seen = _corrected(outputs=outputs)
  np.testing.assert_allclose(
    got[seen], np.tile([0.7, 0.5, 0.4], (seen.sum(), 1)), atol=1e-5
  )


def test_detail_of_the_photo_passes_at_full_resolution(made):
  """The map of a fresh network holds the photo's own pixels where it sees them."""
  got = np.asarray(_run(made, _guide(np.zeros(6, np.float32))).diffuse[0])
  alignment = _align(TEMPLATE, np.zeros(6, np.float32), SIZE, (SIZE, SIZE))[1]
  shown = np.asarray(bilinear(jnp.asarray(_images()[:1]), alignment.places))[0]
  seen = np.asarray(alignment.visible)[0, ..., 0] > 0.5
  related = np.corrcoef(got[seen].ravel(), shown[seen].ravel())[0, 1]
  assert related > 0.7  # the guide differs a little from the mean head


def test_larger_maps_hold_the_detail_of_larger_photos(made):
  """What the networks say is enlarged; the guide and the photo are not."""
  large, guide = made.with_map_size(4 * SIZE), _guide(np.zeros(6, np.float32))
  photos = _images(2, 4 * SIZE)
  got = _compiled(large)(made.init(0), photos, guide)
  assert got.diffuse.shape == (2, 4 * SIZE, 4 * SIZE, 3)
  assert got.light.shape == (2, SIZE // 8, SIZE // 8, 1)
  want = uv.map_from_vertices(guide.vertices, large.table)
  np.testing.assert_allclose(got.position, want, atol=1e-6)
  shape = (4 * SIZE, 4 * SIZE)
  head = dataclasses.replace(TEMPLATE, vertices=guide.vertices[0])
  alignment = _align(head, np.zeros(6, np.float32), 4 * SIZE, shape)[1]
  seen = np.asarray(alignment.visible)[0, ..., 0] > 0.5

  def related(source):
    shown = np.asarray(bilinear(jnp.asarray(source), alignment.places))[0]
    diffuse = np.asarray(got.diffuse[0])
    return np.corrcoef(diffuse[seen].ravel(), shown[seen].ravel())[0, 1]

  assert related(photos[:1]) > 0.7 > related(resize_bilinear(_small(photos[:1]), shape))


def test_networks_see_larger_photos_reduced(made):
  large, photos, guide = made.with_map_size(2 * SIZE), _images(2, 2 * SIZE), _guide()
  stirred = jax.tree.map(lambda v: np.asarray(v) + np.float32(0.01), made.init(0))
  got = _compiled(large)(stirred, photos, guide)
  small = _compiled(made)(stirred, _small(photos), guide)
  np.testing.assert_allclose(got.pose, small.pose, atol=1e-5)
  np.testing.assert_allclose(got.light_color, small.light_color, atol=1e-3)
  np.testing.assert_allclose(got.light, small.light, atol=0.02)


def test_maps_are_not_smaller_than_the_networks(made):
  assert made.with_map_size(8).networks.side == SIZE
  with pytest.raises(ValueError, match="map_size must be 0 or at least size = 32"):
    dataclasses.replace(made.networks, map_size=8)


def test_clipped_values_keep_their_gradient():
  x = jnp.array([-1.0, 0.5, 2.0])
  np.testing.assert_array_equal(_colors.clipped(x), [0.0, 0.5, 1.0])
  np.testing.assert_array_equal(jax.grad(lambda v: _colors.clipped(v).sum())(x), 1.0)


def test_the_light_learns_from_the_diffuse_map_but_places_do_not(made):
  weights = made.init(0)
  loss = lambda p: jnp.sum(made(p, _images(), guide=_guide(), render=False).diffuse)
  gradient = jax.jit(jax.grad(loss))(weights)
  size = {
    k: max(float(jnp.abs(g).max()) for g in jax.tree.leaves(v))
    for k, v in gradient.items()
  }
  assert size["diffuse"] > 0
  assert size["light"] > 0
  assert size["position"] == size["pose"] == 0


def test_guided_networks_need_their_alignment():
  made = reconstructor("guided")
  from affjax.models import _params

  definition, weights = made.definitions["position"], made.init(0)["position"]
  with pytest.raises(ValueError, match="needs an alignment whose side divides by 8"):
    _params.apply(definition, weights, _images(), None)
