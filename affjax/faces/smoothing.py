"""The faces of a video: their identity from frame to frame, landmarks without jitter.

Landmarks pass the One-Euro filter (Casiez, Roussel and Vogel 2012), a low pass whose
cutoff frequency grows with the speed: resting points are calm, moving ones do not lag.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy
from jax import core
from jaxtyping import Float

from affjax.faces import _detect, _mesh
from affjax.faces._find import Face
from affjax.heads import landmarks
from affjax.types import ArrayLike

Values = Float[ArrayLike, "..."] | float
Time = Float[ArrayLike, ""] | float


class Filtered(NamedTuple):
  """The state of the filter after a frame, a pytree of arrays.

  Attributes:
    time: Time of the frame, s.
    given: Values of the frame before the filter, e.g. px.
    values: Filtered values, of the same shape.
    speed: Filtered speed of each value, px/s.
  """

  time: Time
  given: Values
  values: Values
  speed: Values


def start(values: Values, time: Time) -> Filtered:
  """Returns the state after the first frame, which passes unchanged.

  Args:
    values: Array of any shape.
    time: Time of the frame, s.

  Raises:
    ValueError: A value or the time is not finite.
  """
  _check_finite(values, "values")
  _check_finite(time, "time")
  return Filtered(time, values, values, values * 0.0)


def step(
  state: Filtered,
  values: Values,
  time: Time,
  *,
  min_cutoff: float = 1.0,
  beta: float = 0.4,
  speed_cutoff: float = 1.0,
) -> Filtered:
  """Returns the state after one more frame; every number has its own filter.

  This is algorithm 1 of the paper with the time since the last frame in place of a
  fixed rate:

      speed  = low_pass(speed_cutoff) of (values - last values) / dt
      cutoff = min_cutoff + beta |speed|
      values = low_pass(cutoff) of values

  where a low pass moves by the share `1 / (1 + 1 / (2 pi cutoff dt))` towards the new
  value. The speed differs from the paper's, which is measured from the last filtered
  values, so that the lag counts as speed, the more so the more frames a second.

  To tune the filter, lower `min_cutoff` until resting points are calm, then raise
  `beta` until moving ones do not lag. At a steady speed v the lag is
  `v / (2 pi (min_cutoff + beta v))`.

  Args:
    state: State after the frame before.
    values: Values of the frame, px, of the same shape as the first ones.
    time: Time of the frame, s; frames may come at any intervals.
    min_cutoff: Cutoff frequency at rest, Hz.
    beta: Growth of the cutoff with the speed, Hz per px/s; 0.4 suits a face whose eyes
      are 100 px apart, a smaller value a larger face.
    speed_cutoff: Cutoff frequency of the speed's own filter, Hz.

  Raises:
    ValueError: A value is not finite, the shape differs, the time does not increase, or
      a parameter is out of its range. Under `jit` only shapes and parameters are
      checked.
  """
  _check_parameters(min_cutoff, beta, speed_cutoff)
  if np.shape(values) != np.shape(state.values):
    raise ValueError(
      f"values must have the shape {np.shape(state.values)} of the frame before, got "
      f"{np.shape(values)}"
    )
  _check_finite(values, "values")
  _check_finite(time, "time")
  dt = time - state.time
  if not isinstance(dt, core.Tracer) and not dt > 0:
    raise ValueError(f"time must go on from {state.time} s, got {time} s")
  moved = (values - state.given) / dt
  speed = state.speed + _part(speed_cutoff, dt) * (moved - state.speed)
  part = _part(min_cutoff + beta * abs(speed), dt)
  filtered = state.values + part * (values - state.values)
  return Filtered(time, values, filtered, speed)


def _part(cutoff: Values, dt: Time) -> Values:
  """Returns the share by which a low pass moves towards a new value."""
  return 1 / (1 + 1 / (2 * math.pi * cutoff * dt))


def _check_finite(values: Values, name: str) -> None:
  if isinstance(values, core.Tracer):
    return
  if not np.isfinite(values).all():
    raise ValueError(f"{name} must be finite, got NaN or infinity")


def _check_parameters(min_cutoff: float, beta: float, speed_cutoff: float) -> None:
  for name, value in (("min_cutoff", min_cutoff), ("speed_cutoff", speed_cutoff)):
    if not 0 < value < math.inf:
      raise ValueError(f"{name} must be positive, Hz, got {value}")
  if not 0 <= beta < math.inf:
    raise ValueError(f"beta must not be negative, got {beta}")


@dataclasses.dataclass(frozen=True, eq=False)
class TrackedFace:
  """A face of a frame.

  Attributes:
    identity: Number of the face, the same in every frame, counted from 0.
    face: Face with filtered landmarks.
  """

  identity: int
  face: Face


@dataclasses.dataclass(frozen=True, eq=False)
class _Track:
  box: np.ndarray  # of the last detection
  state: Filtered


class Tracker:
  """Follows the faces of a video and filters their landmarks.

  Faces are paired with those of earlier frames so that the sum of the overlaps of their
  boxes is largest. Faces without a pair are new. A face that is not seen for a while is
  forgotten: if it comes back later, it is new.

  Args:
    min_cutoff: Cutoff frequency at rest, Hz; see `step`.
    beta: Growth of the cutoff with the speed in interocular distances a second, Hz,
      which makes it the same for near and far faces; chosen by
      `experiments/tables/video_jitter.py`.
    speed_cutoff: Cutoff frequency of the speed's own filter, Hz.
    overlap: Least intersection over union of a face's boxes in two frames.
    patience: Time after which a face that is not seen is forgotten, s.
  """

  def __init__(
    self,
    *,
    min_cutoff: float = 1.0,
    beta: float = 40.0,
    speed_cutoff: float = 2.0,
    overlap: float = 0.3,
    patience: float = 0.5,
  ):
    _check_parameters(min_cutoff, beta, speed_cutoff)
    if not 0 < overlap <= 1:
      raise ValueError(f"overlap must lie in (0, 1], got {overlap}")
    if not patience >= 0:
      raise ValueError(f"patience must not be negative, s, got {patience}")
    self._min_cutoff, self._beta = min_cutoff, beta
    self._speed_cutoff = speed_cutoff
    self._overlap, self._patience = overlap, patience
    self._tracks: dict[int, _Track] = {}
    self._time, self._next = -math.inf, 0

  def update(self, faces: Sequence[Face], time: float) -> list[TrackedFace]:
    """Returns the faces of the next frame, in their order, with identities.

    Args:
      faces: Faces of the frame, as `find_faces` returns them.
      time: Time of the frame, s.

    Raises:
      ValueError: The time does not increase, or a landmark or iris is not finite; the
        tracker stays as it was.
    """
    if not self._time < time < math.inf:
      raise ValueError(f"time must go on from {self._time} s, got {time} s")
    for face in faces:
      _check_finite(_points(face), "landmarks and iris")
    known = {
      k: track
      for k, track in self._tracks.items()
      if time - track.state.time <= self._patience
    }
    identities = self._identified(known, faces)
    tracked = []
    for identity, face in zip(identities, faces, strict=True):
      state = self._filtered(known.get(identity), face, time)
      known[identity] = _Track(face.box, state)
      tracked.append(TrackedFace(identity, _moved(face, np.asarray(state.values))))
    self._tracks, self._time = known, time
    return tracked

  def _identified(self, known: dict[int, _Track], faces: Sequence[Face]) -> list[int]:
    boxes = np.array([track.box for track in known.values()]).reshape(-1, 4)
    shared = np.array([_detect.overlap(f.box, boxes) for f in faces])
    found: dict[int, int] = {}
    if shared.size:
      names = list(known)
      for k, other in zip(*scipy.optimize.linear_sum_assignment(-shared), strict=True):
        if shared[k, other] >= self._overlap:
          found[int(k)] = names[other]
    for k in range(len(faces)):
      if k not in found:
        found[k] = self._next
        self._next += 1
    return [found[k] for k in range(len(faces))]

  def _filtered(self, track: _Track | None, face: Face, time: float) -> Filtered:
    if track is None:
      return start(_points(face), time)
    left, right = landmarks.OUTER_EYE_CORNERS
    eyes = float(np.linalg.norm(face.landmarks68[left] - face.landmarks68[right]))
    return step(
      track.state,
      _points(face),
      time,
      min_cutoff=self._min_cutoff,
      beta=self._beta / max(eyes, 1e-3),
      speed_cutoff=self._speed_cutoff,
    )


def _points(face: Face) -> Float[np.ndarray, " 1424"]:
  """Returns the coordinates of a face that are filtered, px."""
  return np.concatenate([face.landmarks.reshape(-1), face.iris.reshape(-1)])


def _moved(face: Face, points: Float[np.ndarray, " 1424"]) -> Face:
  """Returns the face with other landmarks."""
  whole, iris = points[:1404].reshape(468, 3), points[1404:].reshape(2, 5, 2)
  box = np.concatenate([whole[:, :2].min(0), whole[:, :2].max(0)])
  return Face(box, face.score, whole, _mesh.standard68(whole), iris, face.evidence)
