"""The network that reads a face where the mean head has been laid on the photo.

The photo is drawn into the chart of the face as if the mean head lay there as it is
said to. What is then out of place, and how shading and outlines differ, says how the
face differs from the mean one. A U-Net of plain convolutions whose layers have biases
of their own at each place (after Taigman et al. 2014, *DeepFace*: in an aligned face
each place has its own meaning) answers with the components of the face, and for each
point of the chart with its place in the photo, its normal, its position on the head,
what to expect of the errors of these three, and whether its skin is seen. The fit uses
the components and the places; the others teach the network what to look at.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from affjax.faces._surface import chart as charts
from affjax.faces._surface import view as views
from affjax.faces._surface.chart import CELLS, POINTS, SAMPLES, Chart
from affjax.faces._surface.view import View
from affjax.ops import average_pool, bilinear, conv, resize_bilinear, upsample_nearest
from affjax.types import Camera

# Side of the photos, px.
SIZE = 192
# Units of places (dm), of components of normals, and of positions (dm).
PLACE, NORMAL, POSITION = 0.02, 0.15, 0.02
# Number of channels of the drawn photo and of the mean head.
_CHANNELS = 3 * SAMPLES**2 + 6
# Number of features at 64, 32, 16 and 8 places a side.
_WIDTHS = (24, 48, 88, 144)
# Features of the context, and of each place that the context and the components read.
_CONTEXT, _SHARED, _READ = 256, 24, 12
# Bounds of the logarithm of deviations.
_LEAST, _MOST = -5.0, 3.0

Weights = Mapping[str, Array | np.ndarray]


class Outputs(NamedTuple):
  """Outputs of the network for N photos.

  Attributes:
    face: Expected components of the faces.
    places: Differences of the points' places from the mean head's, in units of PLACE.
    normals: Differences of x and y of their normals in camera space, in units of
      NORMAL.
    positions: Differences of their positions in head space, in units of POSITION.
    log_deviations: Logarithms of the mean absolute errors that are expected of
      `places`, `normals` and `positions`, in the same units.
    seen: Log odds that the skin at the point is seen.
  """

  face: Float[Array, "n d"]
  places: Float[Array, "n p p 2"]
  normals: Float[Array, "n p p 2"]
  positions: Float[Array, "n p p 3"]
  log_deviations: Float[Array, "n p p 3"]
  seen: Float[Array, "n p p 1"]


def shapes(components: int) -> dict[str, tuple[int, ...]]:
  """Returns the shapes `[K, K, C, O]` of the kernels for D components.

  Each kernel has a bias `<name>/bias`; those of `places_of` have biases of their own at
  each place, `<name>/place`, too.
  """
  a, b, c, d = _WIDTHS
  every, half = 8 * 8 * _SHARED, (POINTS // 2) ** 2 * _READ
  return {
    "in": (3, 3, _CHANNELS, a),
    "d32": (3, 3, a, b),
    "d32b": (3, 3, b, b),
    "d32c": (3, 3, b, b),
    "d16": (3, 3, b, c),
    "d16b": (3, 3, c, c),
    "d16c": (3, 3, c, c),
    "d8": (3, 3, c, d),
    "d8b": (3, 3, d, d),
    "d8c": (3, 3, d, d),
    "gather": (1, 1, d, _SHARED),
    "context": (1, 1, every, _CONTEXT),
    "spread": (1, 1, _CONTEXT, every),
    "join": (1, 1, _SHARED, d),
    "face": (1, 1, _CONTEXT, components),
    "look": (1, 1, b, _READ),
    "read": (1, 1, half, components),
    "u16": (3, 3, d, c),
    "u16b": (3, 3, c, c),
    "u16c": (3, 3, c, c),
    "u32": (3, 3, c, b),
    "u32b": (3, 3, b, b),
    "u32c": (3, 3, b, b),
    "out": (3, 3, b, 11),
  }


def places_of(components: int) -> dict[str, tuple[int, int, int]]:
  """Returns the shapes `[H, W, O]` of the biases that differ from place to place."""
  sides = {"in": 64, "d32": 32, "d16": 16, "d8": 8, "u16": 8, "u32": 16, "out": 32}
  wide = shapes(components)
  return {name: (side, side, wide[name][3]) for name, side in sides.items()}


def outputs(weights: Weights, inputs: Float[Array, "n 64 64 k"]) -> Outputs:
  """Applies the network to the result of `drawn`."""

  def linear(name: str, x: Array, stride: int = 1) -> Array:
    y = conv(x, jnp.asarray(weights[name]), stride=stride)
    y = y + jnp.asarray(weights[f"{name}/bias"])[None, None, None]
    own = weights.get(f"{name}/place")
    return y if own is None else y + jnp.asarray(own)[None]

  layer = lambda name, x, stride=1: jax.nn.relu(linear(name, x, stride))
  more = lambda name, x: x + layer(f"{name}c", x + layer(f"{name}b", x))
  x64 = layer("in", inputs)
  x32 = more("d32", layer("d32", x64, 2))
  x16 = more("d16", layer("d16", x32, 2))
  x8 = more("d8", layer("d8", x16, 2))
  n = len(x8)
  shared = layer("gather", x8)
  context = layer("context", shared.reshape(n, 1, 1, -1))
  x8 = x8 + layer("join", layer("spread", context).reshape(shared.shape))
  x16 = more("u16", x16 + _double(layer("u16", x8)))
  x32 = more("u32", x32 + _double(layer("u32", x16)))
  look = average_pool(linear("look", x32), 2).reshape(n, 1, 1, -1)
  face = (linear("face", context) + linear("read", look))[:, 0, 0]
  out = linear("out", x32)
  places, normals, positions, log, seen = jnp.split(out, (2, 4, 7, 10), -1)
  return Outputs(face, places, normals, positions, jnp.clip(log, _LEAST, _MOST), seen)


def drawn(
  chart: Chart, photos: Float[Array, "n s s 3"], view: View
) -> Float[Array, "n 64 64 k"]:
  """Returns the photos as the mean head lays them into the chart, and the mean head.

  Args:
    chart: Chart of the head.
    photos: Photos in [0, 1], aligned as `face_crops` does it, for the usual camera.
    view: Where the mean head is laid on them.
  """
  n, side = photos.shape[:2]
  seen = lambda function: jax.vmap(function, (None, 0))(chart.mean, view)
  grid = lambda x: x.reshape(n, CELLS, CELLS, -1)
  world, places = grid(seen(views.world)), grid(seen(views.places))
  fine = resize_bilinear(places, (CELLS * SAMPLES, CELLS * SAMPLES))
  colors = bilinear(photos, views.places_px(fine, Camera(), side))
  blocks = colors.reshape(n, CELLS, SAMPLES, CELLS, SAMPLES, 3).swapaxes(2, 3)
  parts = [2 * grid(blocks) - 1, charts.normals(world), places, world[..., 2:]]
  return jnp.concatenate(parts, -1)


def _double(x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c"]:
  return upsample_nearest(x, (2 * x.shape[1], 2 * x.shape[2]))
