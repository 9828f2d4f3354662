"""Landmarks of a video without jitter, and which face is which from frame to frame.

The One-Euro filter (Casiez, Roussel and Vogel 2012): a low pass whose cutoff frequency
grows with the speed, so that what rests is calm and what moves does not lag.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jax import core
from jaxtyping import Float
from scipy import optimize

from affjax.faces import _detect, _mesh
from affjax.faces._find import Face
from affjax.heads import landmarks


class Filtered(NamedTuple):
  """State of the filter after a frame; a pytree of arrays.

  Attributes:
    time: of the frame, s.
    given: the frame's values as they came, px say.
    values: filtered, of the same shape.
    speed: filtered too, px/s.
  """

  time: Any
  given: Any
  values: Any
  speed: Any


def start(values, time: float) -> Filtered:
  """The state after the first frame, which passes as it is.

  Args:
    values: an array of any shape, NumPy's or JAX's.
    time: of the frame, s.

  Raises:
    ValueError: a value or the time is not finite.
  """
  _check_finite(values, "values")
  _check_finite(time, "time")
  return Filtered(time, values, values, values * 0.0)


def step(
  state: Filtered,
  values,
  time: float,
  *,
  min_cutoff: float = 1.0,
  beta: float = 0.4,
  speed_cutoff: float = 1.0,
) -> Filtered:
  """The state after one more frame; every number has its own filter.

  Algorithm 1 of the paper, with the time since the last frame in place of a fixed rate:

      speed  = low_pass(speed_cutoff) of (values - last values) / dt
      cutoff = min_cutoff + beta |speed|
      values = low_pass(cutoff) of values

  where a low pass moves by the part `1 / (1 + 1 / (2 pi cutoff dt))` to what is new.
  One thing differs: the paper's speed is from the last filtered values, so that the lag
  counts as speed, more so the more frames a second there are.

  To set it: lower `min_cutoff` until what rests is calm, then raise `beta` until what
  moves does not lag. At a steady speed v the lag is `v / (2 pi (min_cutoff + beta v))`.

  Args:
    state: after the frame before.
    values: of the shape of the first ones, px.
    time: of the frame, s; frames may come at any intervals.
    min_cutoff: of what rests, Hz.
    beta: by how much the cutoff grows with the speed, Hz per px/s; 0.4 suits a face
      whose eyes are 100 px apart, less a larger one.
    speed_cutoff: of the speed itself, Hz.

  Raises:
    ValueError: a value is not finite, the shape is another one, time does not go on, or
      a parameter is out of its range. Under `jit` only shapes and parameters are looked
      at.
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


def _part(cutoff, dt):
  """How far a low pass goes towards a new value."""
  return 1 / (1 + 1 / (2 * math.pi * cutoff * dt))


def _check_finite(values, name: str) -> None:
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
    identity: the same number in every frame that shows this face, counted from 0.
    face: with its landmarks filtered.
  """

  identity: int
  face: Face


@dataclasses.dataclass(frozen=True, eq=False)
class _Track:
  box: np.ndarray  # as detected last
  state: Filtered


class Tracker:
  """Follows the faces of a video and filters their landmarks.

  A face is the one of an earlier frame whose box it overlaps most; pairs are made so
  that the sum of overlaps is largest. Others are new. A face that is not seen for a
  while is forgotten: who comes back later is new.

  Args:
    min_cutoff: see `step`, Hz.
    beta: as `step`'s, but speeds are in interocular distances a second: the same for
      near and far faces. `experiments/tables/video_jitter.py` chose it.
    speed_cutoff: see `step`, Hz.
    overlap: least intersection over union of a face's boxes in two frames.
    patience: seconds after which a face that is not seen is forgotten.
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
    """The faces of the next frame, in their order, with identities.

    Args:
      faces: as `find.find_faces` gives them.
      time: of the frame, s.

    Raises:
      ValueError: time does not go on, or a landmark or iris is not finite; the tracker
        is as before.
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
      tracked.append(TrackedFace(identity, _moved(face, state.values)))
    self._tracks, self._time = known, time
    return tracked

  def _identified(self, known: dict[int, _Track], faces: Sequence[Face]) -> list[int]:
    boxes = np.array([track.box for track in known.values()]).reshape(-1, 4)
    shared = np.array([_detect.overlap(f.box, boxes) for f in faces])
    found: dict[int, int] = {}
    if shared.size:
      names = list(known)
      for k, other in zip(*optimize.linear_sum_assignment(-shared), strict=True):
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
  """Everything that is filtered of a face, px."""
  return np.concatenate([face.landmarks.reshape(-1), face.iris.reshape(-1)])


def _moved(face: Face, points: Float[np.ndarray, " 1424"]) -> Face:
  """The face with other landmarks."""
  whole, iris = points[:1404].reshape(468, 3), points[1404:].reshape(2, 5, 2)
  box = np.concatenate([whole[:, :2].min(0), whole[:, :2].max(0)])
  return Face(box, face.score, whole, _mesh.standard68(whole), iris)
