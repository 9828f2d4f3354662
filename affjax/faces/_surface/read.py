"""Reads faces off aligned photos: the mean head is laid on them several times."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from affjax import compilation
from affjax.assets import store
from affjax.faces._surface import chart as charts
from affjax.faces._surface import network
from affjax.faces._surface import view as views
from affjax.faces._surface.chart import Chart
from affjax.faces._surface.network import Outputs
from affjax.faces._surface.view import View
from affjax.ops import average_pool, resize_bilinear
from affjax.types import ArrayLike

# Number of times that the mean head is laid on a photo and the network looks.
PASSES = 4
# Number of photos that pass the network at once.
_CHUNK = 8
# Weight of points beside the face, and least weight of one that is not seen.
_BESIDE, _UNSEEN = 0.02, 0.01
# Largest component of a face: people are standard normal.
_FARTHEST = 4.0


class Look(NamedTuple):
  """The result of one pass of the network; `Reading` explains the attributes."""

  face: Float[Array, "n d"]
  view: View
  places: Float[Array, "n p p 2"]
  weight: Float[Array, "n p p 1"]


class Reading(NamedTuple):
  """Faces as the network reads them off N photos.

  Attributes:
    face: Expected components, see `Chart`.
    view: Where the mean head lies best on the photo.
    places: Places of the chart's points in the photo, dm.
    weight: How much each of them is worth.
    deviations: Mean absolute error that is expected of a coordinate of the chart's
      points in head space, dm.
    seen: Share of the face whose skin is seen.
    doubt: How far the face is from the mean one in the photo, in multiples of what the
      network expects of its errors.
  """

  face: Float[ArrayLike, "n d"]
  view: View
  places: Float[ArrayLike, "n p p 2"]
  weight: Float[ArrayLike, "n p p 1"]
  deviations: Float[ArrayLike, "n p p 1"]
  seen: Float[ArrayLike, " n"]
  doubt: Float[ArrayLike, " n"]


@dataclasses.dataclass(frozen=True, eq=False)
class Errors:
  """Errors of readings of held-out synthetic photos.

  Attributes:
    gain: Factor from each component that the network predicts to its expectation. It
      is below one, because the network overfits its training photos.
    covariance: Covariance of the errors of the components after that.
    deviation: Median of `expected_error` there, dm.
    doubt: Median of `Reading.doubt` there.
    calibration: Factor from `Reading.deviations` to the measured root mean squared
      distance of a point, dm.
  """

  gain: Float[np.ndarray, " d"]
  covariance: Float[np.ndarray, "d d"]
  deviation: float
  doubt: float
  calibration: float


def errors(arrays: Mapping[str, np.ndarray]) -> Errors:
  """Returns what the arrays of `experiments.geometry.measure` say about errors."""
  return Errors(
    gain=arrays["gain"].astype(np.float32),
    covariance=arrays["covariance"].astype(np.float32),
    deviation=float(arrays["deviation"]),
    doubt=float(arrays["doubt"]),
    calibration=float(arrays["calibration"]),
  )


def expected_error(deviations: Float[ArrayLike, "n p p 1"]) -> Float[np.ndarray, " n"]:
  """Returns the root mean square of the errors that are expected of each photo, dm."""
  return np.sqrt((np.asarray(deviations) ** 2).mean((1, 2, 3)))


def calibrated(found: Reading, errors: Errors) -> Reading:
  """Returns readings whose components are multiplied with the measured gains."""
  return found._replace(face=np.asarray(found.face) * errors.gain)


@functools.cache
def load_errors() -> Errors:
  """Returns the errors that the asset holds."""
  return errors(store.open_asset(charts.ASSET))


@functools.cache
def load_weights() -> dict[str, np.ndarray]:
  """Returns the weights of the network that the asset holds."""
  prefix = "network/"
  return {
    name.removeprefix(prefix): value.astype(np.float32)
    for name, value in store.open_asset(charts.ASSET).items()
    if name.startswith(prefix)
  }


def read(
  chart: Chart,
  weights: network.Weights,
  images: np.ndarray,
  start: View,
  passes: int = PASSES,
) -> Reading:
  """Returns what photos say about faces.

  Args:
    chart: Chart of the head.
    weights: Weights of the network.
    images: Crops, uint8 `[N, S, S, 3]` of any size, aligned as `face_crops` does it.
    start: Roughly where the mean head is seen.
    passes: Number of times that it is laid on them.

  Raises:
    ValueError: Shapes or dtypes differ, or images have no pixels.
  """
  shape = getattr(images, "shape", ())
  if len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3 or shape[1] < 1:
    raise ValueError(f"images must be [N, S, S, 3] with S >= 1, got {list(shape)}")
  if images.dtype != np.uint8:
    raise ValueError(f"images must be uint8, got {images.dtype}")
  parts: list[Reading] = []
  for first in range(0, max(len(images), 1), _CHUNK):
    piece = images[first : first + _CHUNK], *(x[first : first + _CHUNK] for x in start)
    # Batches are padded to powers of two, so that few shapes are compiled.
    left = (1 << max(len(piece[0]) - 1, 0).bit_length()) - len(piece[0])
    padded = (_padded(np.asarray(x), left) for x in piece)
    found = _read(chart, weights, *padded, passes=passes)
    count = len(piece[0])
    parts.append(_joined([np.asarray(x)[:count] for x in found]))
  return jax.tree.map(lambda *rows: np.concatenate(rows), *parts)


def _padded(x: np.ndarray, count: int) -> np.ndarray:
  """Returns an array that repeats its last row `count` times (no row: zeros)."""
  mode = "edge" if len(x) else "constant"
  return np.pad(x, ((0, count), *((0, 0),) * (x.ndim - 1)), mode=mode)


@compilation.saved(static_argnames=("passes",), kernels=("conv",))
def _read(
  chart: Chart,
  weights: network.Weights,
  images: Array,
  turn: Array,
  shift: Array,
  distance: Array,
  *,
  passes: int,
) -> tuple[Array, ...]:
  """Returns the arrays of a reading, see `_joined`."""
  photos = _resized(images.astype(jnp.float32) / 255, network.SIZE)

  def once(view: View, _: None) -> tuple[View, tuple[Look, Outputs]]:
    out = network.outputs(weights, network.drawn(chart, photos, view))
    found = look(chart, view, out)
    return found.view, (found, out)

  # One network in a loop compiles much faster than one for each pass.
  start = View(turn, shift, distance)
  with jax.default_matmul_precision("highest"):
    _, every = jax.lax.scan(once, start, length=passes)
  found, out = jax.tree.map(lambda x: x[-1], every)
  return tuple(jax.tree.leaves(_reading(chart, found, out)))


def _joined(arrays: Sequence[np.ndarray]) -> Reading:
  """Returns the reading of which `jax.tree.leaves` gave the arrays."""
  face, turn, shift, distance, *rest = arrays
  return Reading(face, View(turn, shift, distance), *rest)


def look(chart: Chart, view: View, out: Outputs) -> Look:
  """Returns what the network says of photos on which the mean head lies in a view."""
  face = jnp.clip(out.face, -_FARTHEST, _FARTHEST)
  points = charts.points(chart.mean[None])[0].reshape(-1, 3)
  flat = lambda x: x.reshape(x.shape[0], -1, x.shape[-1])
  places = jax.vmap(views.places, (None, 0))(points, view)
  places = places + network.PLACE * flat(out.places)
  weight = _weight(chart, out)
  settle = jax.vmap(views.settled, (None, 0, 0, 0))
  settled = settle(points, places, flat(weight)[..., 0], view)
  return Look(face, settled, places.reshape(out.places.shape), weight)


def _reading(chart: Chart, found: Look, out: Outputs) -> Reading:
  deviations = network.POSITION * jnp.exp(out.log_deviations[..., 2:])
  seen = jax.nn.sigmoid(out.seen)
  front = jnp.broadcast_to(chart.face[None], seen.shape)
  sure = front * seen
  size = jnp.abs(out.places).mean(-1, keepdims=True)
  excess = size * jnp.exp(-out.log_deviations[..., :1])
  mean = lambda x, w: (x * w).sum((1, 2, 3)) / jnp.maximum(w.sum((1, 2, 3)), 1e-6)
  return Reading(*found, deviations, mean(seen, front), mean(excess, sure))


def _weight(chart: Chart, out: Outputs) -> Float[Array, "n p p 1"]:
  """Returns how much the place of each of the chart's points is worth."""
  seen = jax.nn.sigmoid(out.seen) + _UNSEEN
  return (
    jnp.asarray(chart.face + _BESIDE)[None]
    * seen
    * jnp.exp(-2 * out.log_deviations[..., :1])
  )


def _resized(photo: Float[Array, "n s s 3"], size: int) -> Float[Array, "n k k 3"]:
  if photo.shape[1] % size == 0:
    return average_pool(photo, photo.shape[1] // size)
  return resize_bilinear(photo, (size, size), antialias=True)
