"""The One-Euro filter against a scalar version, and identities in a video."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax.faces import Face, smoothing, standard68

RATE = 30.0


def _scalar(values, times, min_cutoff, beta, speed_cutoff):
  """The paper's algorithm for one number, in plain floats."""
  part = lambda cutoff, dt: 1.0 / (1.0 + 1.0 / (2.0 * math.pi * cutoff) / dt)
  filtered, speed = values[0], 0.0
  result = [filtered]
  for k in range(1, len(values)):
    dt = times[k] - times[k - 1]
    a = part(speed_cutoff, dt)
    speed = a * (values[k] - values[k - 1]) / dt + (1.0 - a) * speed
    a = part(min_cutoff + beta * abs(speed), dt)
    filtered = a * values[k] + (1.0 - a) * filtered
    result.append(filtered)
  return result


def _run(values, times, **options):
  state = smoothing.start(values[0], times[0])
  result = [state.values]
  for value, time in zip(values[1:], times[1:], strict=True):
    state = smoothing.step(state, value, time, **options)
    result.append(state.values)
  return np.stack(result)


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
@pytest.mark.parametrize(("min_cutoff", "beta", "speed_cutoff"), [
  (1.0, 0.05, 1.0), (0.3, 0.0, 1.0), (2.0, 0.5, 3.0)
])  # fmt: skip
def test_every_number_is_filtered_as_the_scalar_is(
  array, min_cutoff, beta, speed_cutoff
):
  """Irregular times, an array of shape [2, 3]."""
  rng = np.random.default_rng(0)
  times = np.cumsum(rng.uniform(0.005, 0.2, 40))
  values = np.cumsum(rng.normal(size=(40, 2, 3)), 0).astype(np.float32)
  options = {"min_cutoff": min_cutoff, "beta": beta, "speed_cutoff": speed_cutoff}
  found = _run([array(v) for v in values], [float(t) for t in times], **options)
  for i in range(2):
    for j in range(3):
      scalars = [float(v) for v in values[:, i, j]]
      expected = _scalar(scalars, times, min_cutoff, beta, speed_cutoff)
      np.testing.assert_allclose(found[:, i, j], expected, atol=1e-4)


def test_jitter_of_what_rests_is_a_third():
  times = np.arange(300) / RATE
  noise = np.random.default_rng(1).normal(size=(300, 50))
  found = _run(100 + noise, times, min_cutoff=1.0, beta=0.005)[60:]
  assert (found - 100).std() < noise.std() / 3
  # And a frame differs from the next by much less.
  assert np.diff(found, axis=0).std() < np.diff(noise, axis=0).std() / 6


@pytest.mark.parametrize("speed", [20.0, 200.0, -1000.0])
def test_lag_behind_a_steady_motion(speed):
  """The lag is that of the docstring, and shorter than with a fixed cutoff."""
  times = np.arange(300) / RATE
  beta, min_cutoff = 0.05, 1.0
  lag = abs(speed * times[-1] - _run(speed * times, times, beta=beta)[-1])
  expected = abs(speed) / (2 * math.pi * (min_cutoff + beta * abs(speed)))
  assert lag == pytest.approx(expected, rel=0.02, abs=1e-6)
  fixed = abs(speed * times[-1] - _run(speed * times, times, beta=0.0)[-1])
  assert lag < fixed * min_cutoff / (min_cutoff + 0.9 * beta * abs(speed))


def test_what_is_constant_stays_at_any_times():
  times = [0.0, 0.001, 5.0, 5.5, 100.0]
  found = _run(np.full((5, 4), 7.25), times)
  np.testing.assert_array_equal(found, 7.25)


def test_twice_the_frames_are_filtered_alike():
  """The result depends on time, not on the rate: a slow wave at 60 and at 30 Hz."""
  wave = lambda t: 50 * np.sin(2 * np.pi * 0.5 * t)
  fast, slow = np.arange(241) / 60, np.arange(121) / 30
  gap = _run(wave(fast), fast)[::2] - _run(wave(slow), slow)
  assert np.abs(gap[30:]).max() < 1.0


def test_scan_and_vmap():
  times = jnp.arange(20) / RATE
  values = jnp.asarray(np.random.default_rng(2).normal(size=(20, 3)), jnp.float32)

  def one(column):
    state = smoothing.start(column[0], times[0])
    advance = lambda s, x: (smoothing.step(s, x[0], x[1]),) * 2
    return jax.lax.scan(advance, state, (column[1:], times[1:]))[1].values

  found = jax.jit(jax.vmap(one, 1, 1))(values)
  expected = _run(np.asarray(values), [float(t) for t in times])[1:]
  np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(("values", "time", "message"), [
  (np.array([1.0, np.nan]), 0.1, "values must be finite"),
  (jnp.array([jnp.inf, 0.0]), 0.1, "values must be finite"),
  (np.zeros(2), math.nan, "time must be finite"),
  (np.zeros(2), 0.0, "time must go on from 0.0 s, got 0.0 s"),
  (np.zeros(2), -1.0, "time must go on"),
  (np.zeros(3), 0.1, r"shape \(2,\)"),
])  # fmt: skip
def test_bad_frames_are_refused(values, time, message):
  state = smoothing.start(np.zeros(2), 0.0)
  with pytest.raises(ValueError, match=message):
    smoothing.step(state, values, time)


@pytest.mark.parametrize(("options", "message"), [
  ({"min_cutoff": 0.0}, "min_cutoff"),
  ({"min_cutoff": math.nan}, "min_cutoff"),
  ({"beta": -1.0}, "beta"),
  ({"beta": math.inf}, "beta"),
  ({"speed_cutoff": -1.0}, "speed_cutoff"),
])  # fmt: skip
def test_bad_parameters_are_refused(options, message):
  state = smoothing.start(np.zeros(2), 0.0)
  with pytest.raises(ValueError, match=message):
    smoothing.step(state, np.zeros(2), 0.1, **options)


def test_bad_first_frames_are_refused():
  with pytest.raises(ValueError, match="values"):
    smoothing.start(np.array([np.nan]), 0.0)
  with pytest.raises(ValueError, match="time"):
    smoothing.start(np.zeros(1), math.inf)


def _face(x, y, *, size=100.0, rng=None):
  """A face around a place; its points are the same up to noise."""
  shape = np.random.default_rng(9).uniform(-0.5, 0.5, (468, 3))
  shape[[33, 263], :2] = [(-0.3, -0.1), (0.3, -0.1)]
  points = shape * size + [x, y, 0]
  if rng is not None:
    points = points + rng.normal(scale=0.1, size=points.shape)
  box = np.concatenate([points[:, :2].min(0), points[:, :2].max(0)])
  iris = points[:10, :2].reshape(2, 5, 2)
  return Face(box, 0.9, points, standard68(points), iris)


def _identities(tracked):
  return [one.identity for one in tracked]


def test_faces_keep_their_identities_in_any_order():
  """Two faces pass close to each other; the second one is found first at times."""
  tracker = smoothing.Tracker()
  for k in range(30):
    left, right = _face(100 + 3 * k, 200), _face(400 - 3 * k, 260)
    order = [left, right] if k % 3 else [right, left]
    found = _identities(tracker.update(order, k / RATE))
    assert found == ([1, 0] if k % 3 else [0, 1])


def test_new_faces_start_and_lost_ones_end():
  tracker = smoothing.Tracker(patience=0.5)
  a, b = _face(100, 100), _face(400, 100)
  assert _identities(tracker.update([a], 0.0)) == [0]
  assert _identities(tracker.update([b, a], 0.1)) == [1, 0]
  assert _identities(tracker.update([b], 0.2)) == [1]
  assert tracker.update([], 0.3) == []
  assert _identities(tracker.update([a, b], 0.5)) == [0, 1]  # back in time
  assert _identities(tracker.update([a], 2.0)) == [2]  # too late
  assert _identities(tracker.update([_face(800, 800)], 2.1)) == [3]  # far away


def test_what_passes_between_two_is_a_matter_of_the_sum():
  """One box overlaps both of the last frame; each still gets its own."""
  tracker = smoothing.Tracker(overlap=0.1)
  tracker.update([_face(100, 100), _face(160, 100)], 0.0)
  found = tracker.update([_face(140, 100), _face(200, 100)], 0.1)
  assert _identities(found) == [0, 1]


def test_landmarks_of_a_resting_face_grow_calm():
  tracker, rng, still = smoothing.Tracker(), np.random.default_rng(3), _face(200, 200)
  seen, raw = [], []
  for k in range(90):
    face = _face(200, 200, rng=rng)
    (one,) = tracker.update([face], k / RATE)
    seen.append(one.face)
    raw.append(face)
  for field in ("landmarks", "iris"):
    calm, rough = (np.stack([getattr(f, field) for f in x[30:]]) for x in (seen, raw))
    expected = getattr(still, field)
    assert (calm - expected).std() < (rough - expected).std() / 2
  last = seen[-1]
  np.testing.assert_array_equal(last.landmarks68, standard68(last.landmarks))
  assert last.box[0] == last.landmarks[:, 0].min()
  assert last.score == 0.9


def test_near_and_far_faces_are_filtered_alike():
  """Twice the size and twice the motion: twice the landmarks."""
  near, far = smoothing.Tracker(), smoothing.Tracker()
  for k in range(20):
    x = 30 * math.sin(k / 5)
    (a,) = far.update([_face(300 + x, 300)], k / RATE)
    (b,) = near.update([_face(600 + 2 * x, 600, size=200.0)], k / RATE)
    np.testing.assert_allclose(2 * a.face.landmarks, b.face.landmarks, rtol=1e-9)


def test_trackers_refuse_what_is_wrong_and_stay_as_they_are():
  tracker, face = smoothing.Tracker(), _face(100, 100)
  tracker.update([face], 1.0)
  bad = dataclasses.replace(face, iris=np.full((2, 5, 2), np.nan))
  with pytest.raises(ValueError, match="iris must be finite"):
    tracker.update([face, bad], 1.1)
  for time in (1.0, 0.5, math.nan, math.inf):
    with pytest.raises(ValueError, match="time must go on"):
      tracker.update([face], time)
  assert _identities(tracker.update([face], 1.1)) == [0]


@pytest.mark.parametrize(
  "options",
  [{"overlap": 0.0}, {"patience": -1.0}, {"patience": math.nan}, {"beta": -1}],
)
def test_trackers_refuse_bad_options(options):
  with pytest.raises(ValueError, match=next(iter(options))):
    smoothing.Tracker(**options)
