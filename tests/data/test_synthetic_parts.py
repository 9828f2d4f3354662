import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax.data._synthetic import (
  fields,
  layout,
  lens,
  light,
  noise,
  occlusion,
  palette,
)
from affjax.data._synthetic.parameters import Light, PhotoLens
from affjax.data._synthetic.solids import (
  Point,
  capsule,
  ellipsoid,
  gradient,
  march,
  smooth_union,
  torus,
)


def test_noise_is_one_field_at_every_resolution():
  line = lambda n: np.stack([np.linspace(-3, 3, n)] * 3, -1).astype(np.float32)
  coarse = noise.value_noise(line(25), 7)
  fine = noise.value_noise(line(97), 7)
  np.testing.assert_allclose(fine[::4], coarse, atol=1e-5)
  assert np.abs(np.diff(fine)).max() < 0.5
  assert np.abs(fine).max() <= 1


def test_noise_has_its_statistics_and_seeds_differ():
  points = np.random.default_rng(0).uniform(-50, 50, (20000, 3)).astype(np.float32)
  a, b = noise.value_noise(points, 1), noise.value_noise(points, 2)
  assert abs(float(a.mean())) < 0.01
  assert 0.35 < float(a.std()) < 0.45
  assert abs(np.corrcoef(a, b)[0, 1]) < 0.03


def test_octaves_beyond_the_finest_fade_out():
  points = np.random.default_rng(0).uniform(-5, 5, (500, 3)).astype(np.float32)
  cut = noise.fractal(points, 3, frequency=2, octaves=4, finest=2)
  first = noise.fractal(points, 3, frequency=2, octaves=1)
  np.testing.assert_allclose(cut, first, atol=1e-6)
  nothing = noise.fractal(points, 3, frequency=8, octaves=2, finest=2)
  np.testing.assert_array_equal(nothing, 0)


def test_spots_are_as_many_as_asked():
  points = np.random.default_rng(0).uniform(-20, 20, (40000, 3)).astype(np.float32)
  few = noise.spots(points, 1, frequency=1, radius=0.4, chance=0.2)
  many = noise.spots(points, 1, frequency=1, radius=0.4, chance=1.0)
  assert float(few.mean()) == pytest.approx(0.2 * float(many.mean()), rel=0.2)
  assert 0 <= float(many.min()) <= float(many.max()) <= 1


def test_skin_covers_the_human_range():
  melanin = jnp.linspace(0, 1, 11)
  encoded = palette.to_srgb(palette.skin(melanin, jnp.full(11, 0.35), jnp.float32(0)))
  assert (np.diff(encoded, axis=0) < 0).all()
  assert (encoded[:, 0] > encoded[:, 1]).all()
  assert (encoded[:, 1] > encoded[:, 2]).all()
  assert encoded[0].mean() > 0.75
  assert encoded[-1].mean() < 0.3


def _points(*values):
  return Point(*(jnp.asarray(v, jnp.float32) for v in zip(*values, strict=True)))


def test_distances_of_solids():
  places = _points((2.0, 0, 0), (0.5, 0, 0), (0, 3.0, 0))
  np.testing.assert_allclose(
    ellipsoid(places, (1.0, 1.0, 1.0)), [1, -0.5, 2], atol=1e-4
  )
  rod = capsule(places, (0.0, 0.0, 0.0), (0.0, 2.0, 0.0), 0.5)
  np.testing.assert_allclose(rod, [1.5, 0, 0.5], atol=1e-4)
  np.testing.assert_allclose(torus(places, 1.0, 1.0, 0.2)[:2], [0.8, 0.3], atol=1e-4)
  assert float(smooth_union(jnp.float32(0.1), jnp.float32(0.1), 0.2)) < 0.1


def test_a_march_finds_a_sphere_and_its_normal():
  ball = lambda p: ellipsoid(p, (1.0, 1.0, 1.0))
  x = jnp.array([[0.0, 0.5, 1.5]])
  zero = jnp.zeros_like(x)
  hit = march(
    lambda p: ball(Point(p.x + x, p.y, p.z)),
    Point(jnp.float32(0), jnp.float32(0), jnp.float32(5)),
    Point(zero, zero, zero - 1),
    near=1.0,
    far=9.0,
    steps=30,
  )
  np.testing.assert_allclose(hit.distance[0, :2], [4, 5 - 0.75**0.5], atol=0.01)
  assert abs(float(hit.gap[0, 0])) < 0.01
  assert float(hit.gap[0, 2]) == pytest.approx(0.5, abs=0.02)
  normal = gradient(ball, _points((0.6, 0.0, 0.8)))
  np.testing.assert_allclose(jnp.stack(normal).ravel(), [0.6, 0, 0.8], atol=0.01)


def _light(**changes):
  base = dict(
    direction=np.eye(4, 3, dtype=np.float32),
    intensity=np.zeros(4, np.float32),
    wrap=np.full(4, 0.1, np.float32),
    sky=np.float32(0.5),
    ground=np.float32(0.5),
    shadow=np.float32(1),
    color=np.ones(3, np.float32),
    gloss=np.float32(0),
  )
  return Light(**{**base, **changes})


def test_ambient_light_is_even_and_lamps_light_their_side():
  normal = jnp.array([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0]])
  np.testing.assert_allclose(light.irradiance(normal, _light()), 0.5, atol=1e-6)
  lamp = _light(intensity=np.array([1, 0, 0, 0], np.float32))
  bright, dark, _ = light.irradiance(normal, lamp)
  assert bright == pytest.approx(1.5, abs=1e-4)
  assert dark == pytest.approx(0.5, abs=1e-4)


def test_the_light_map_is_smooth_positive_and_keeps_a_constant(head):
  texels = layout.layout(head.template, 64)
  count = len(head.template.vertices)
  flat = light.light_map(
    jnp.full(count, 0.7), texels.corners, texels.weights, texels.support
  )
  assert flat.shape == (8, 8, 1)
  np.testing.assert_allclose(flat, 0.7 ** (1 / 2.2), rtol=0.01)


def test_visibility_knows_open_and_hidden_places(head):
  table = occlusion.visibility(head.template)
  open_share = occlusion.openness(table)
  points = layout.anatomy(head.template).landmark_corners[:, 0]
  nose, inner_eye = open_share[points[30]], open_share[points[39]]
  assert nose > 0.85
  assert inner_eye < nose
  ahead = occlusion.towards(table, jnp.array([[0.0, 0, 1], [0, 0, -1]]))
  assert ahead[points[30], 0] > 0.9
  assert ahead[points[30], 1] < 0.3


def test_fields_lie_on_their_features(head):
  points = head.template.landmark_positions(head.template.vertices)
  found = fields.feature_fields(points, points)
  assert all(np.isfinite(value).all() for value in found.values())
  assert found["nose"][30] > 0.8
  assert found["cheek"][30] < 0.3
  assert found["chin"][8] > 0.5
  assert np.abs(found["brow_across"][17:27]).max() < 0.09
  assert found["moustache"][33] >= 0
  mirrored = fields.feature_fields(points * [-1, 1, 1], points)
  for name, value in found.items():
    np.testing.assert_allclose(mirrored[name], value, atol=1e-5)


def test_an_ideal_lens_changes_nothing():
  image = np.random.default_rng(0).random((16, 16, 3)).astype(np.float32)
  zero, one = np.float32(0), np.float32(1)
  ideal = PhotoLens(
    zero, np.zeros(2, np.float32), one, one, one, np.ones(3, np.float32), zero,
    np.uint32(1),
  )  # fmt: skip
  out = jax.jit(lens.develop)(image, ideal)
  np.testing.assert_allclose(out, image, atol=2e-3)
  blocky = jax.jit(lens.develop)(image, ideal._replace(blocks=one))
  assert 0.005 < np.abs(blocky - image).mean() < 0.2
