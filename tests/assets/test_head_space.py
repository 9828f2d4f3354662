"""Identity space builder: each part on a mesh small enough to see through."""

import types

import numpy as np

from experiments.assets import head_regions, head_space, head_space_parts
from experiments.assets.head_space_parts import Region
from experiments.assets.head_types import EYE, SKIN


def _points(count=60):
  return np.random.default_rng(0).uniform(-1, 1, (count, 3))


def test_gaussian_factors_rebuild_the_kernel():
  points = _points()
  amplitude = np.linspace(0.5, 2, len(points))
  factors = head_space._gaussian_factors(points, 0.8, amplitude)
  squared = ((points[:, None] - points) ** 2).sum(-1)
  kernel = amplitude[:, None] * amplitude * np.exp(-squared / (2 * 0.8**2))
  rest = np.diag(kernel - factors.T @ factors)
  assert len(factors) < len(points)
  assert rest.min() > -1e-9
  assert rest.max() <= head_space._UNEXPLAINED * amplitude.max() ** 2


def test_conditioned_factors_look_like_no_other_view():
  rng = np.random.default_rng(1)
  base = _points() * [0.6, 0.6, 0.4] + [0, 7.2, 1.0]
  moves = rng.standard_normal((40, len(base), 3)).astype(np.float32)
  moves[:, :5] = 0
  got = head_space._without_camera(moves, base, base).reshape(moves.shape)
  weights = head_regions.alignment_weights(base)[:, None]
  out = base - (weights * base).sum(0) / weights.sum()
  weighted = weights * got
  np.testing.assert_allclose(weighted.sum(1), 0, atol=2e-4)
  np.testing.assert_allclose(np.cross(out, weighted).sum(1), 0, atol=2e-4)
  np.testing.assert_allclose((weighted * out).sum((1, 2)), 0, atol=2e-4)
  face = head_space._face_weights(base)
  assert (face > 0).sum() > 10
  nearer = (face[:, None] * got[..., :2] * out[:, :2] * out[:, 2:]).sum((1, 2))
  np.testing.assert_allclose(nearer, 0, atol=2e-4)
  np.testing.assert_array_equal(got[:, :5], 0)


def test_largest_modes_of_known_spread():
  rng = np.random.default_rng(2)
  directions = np.linalg.qr(rng.standard_normal((90, 90)))[0]
  size = np.concatenate([[5, 3, 2], np.full(87, 0.01)])
  factors = size[:, None] * directions
  got = head_space._largest(factors, np.ones(90), 3, rng)
  np.testing.assert_allclose(np.linalg.norm(got, axis=1), [5, 3, 2], rtol=1e-3)
  np.testing.assert_allclose(got @ got.T, np.diag([25, 9, 4]), atol=1e-3)


def test_amplitude_has_both_sides():
  base = np.array([[0.5, 7, 1], [-0.5, 7, 1], [3, 7, 1]])
  got = head_space_parts.amplitude(base, (Region((0.5, 7, 1), 0.2, 1.5),))
  np.testing.assert_allclose(got, [1.5, 1.5, 1])


def _with_eye():
  """Two icosahedral eyeballs, and skin that is one more point before each."""
  rng = np.random.default_rng(3)
  ball = rng.standard_normal((20, 3))
  ball *= 0.1 / np.linalg.norm(ball, axis=1, keepdims=True)
  right = np.array([0.3, 0, 0])
  points = np.concatenate([ball + right, ball - right, [[0.3, 0, 0.101]]])
  index = np.arange(18)
  faces = np.stack([index, index + 1, index + 2], -1)
  faces = np.concatenate([faces, faces + 20])
  return points, types.SimpleNamespace(faces=faces, parts=np.full(len(faces), EYE))


def test_eyeballs_shift_and_lids_keep_their_distance():
  points, mesh = _with_eye()
  teeth = np.array([[0, 1, 2]])
  mesh.faces = np.concatenate([mesh.faces, teeth, teeth])
  mesh.parts = np.concatenate([mesh.parts, [4, 5]])
  moves = np.random.default_rng(4).standard_normal((3, len(points), 3))
  got = head_space_parts.with_rigid_parts(moves, points, mesh)
  for eye in (slice(0, 20), slice(20, 40)):
    np.testing.assert_allclose(got[:, eye] - got[:, eye][:, :1], 0, atol=1e-12)
  middle = (points[:20].min(0) + points[:20].max(0)) / 2
  out = points[40] - middle
  apart = (got[:, 40] - got[:, 0]) @ out / np.linalg.norm(out)
  np.testing.assert_allclose(apart, 0, atol=1e-6)


def test_relaxation_leaves_no_fold():
  n = 5
  y, x = np.mgrid[: n + 1, : n + 1] / n
  points = np.stack([x, y, 0 * x], -1).reshape(-1, 3)
  index = np.arange((n + 1) ** 2).reshape(n + 1, n + 1)
  a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
  faces = np.concatenate(
    [np.stack(t, -1).reshape(-1, 3) for t in ((a, b, c), (a, c, d))]
  )
  mesh = types.SimpleNamespace(
    faces=faces, parts=np.full(len(faces), SKIN), mirror=np.arange(len(points))
  )
  modes = np.zeros((1, len(points), 3))
  modes[0, index[2, 2], 0] = 0.5
  count = lambda m: head_space_parts.folded(points + 2 * m[0], points, faces).sum()
  got = head_space_parts.relaxed(modes, points, mesh, np.random.default_rng(0))
  assert count(modes) > 0
  assert count(got) == 0
