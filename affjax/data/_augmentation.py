"""Photos as other cameras and programs would have left them.

Geometry, maps and masks stay; only the photo changes. What is drawn at random is drawn
on the host, by the record's own generator, and goes along with the record as a few
numbers: the accelerator develops the photo inside the training step, where it costs
next to nothing. Only the JPEG is made on the host.
"""

import dataclasses
import functools
import io
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from PIL import Image

# Weights of red, green, blue in luma (ITU-R BT.601).
_LUMA = (0.299, 0.587, 0.114)
_TAPS = 4
_PREFIX = "augment_"


@dataclasses.dataclass(frozen=True)
class Ranges:
  """How far photos are changed; all 0 = not at all.

  Attributes:
    brightness: b; factor in [1/(1 + b), 1 + b], log-uniform.
    contrast: the same, about mid-grey.
    saturation: s; factor in [1 - s, 1 + s].
    hue_deg: turn of the hue in [-h, h], degrees.
    gamma: g; exponent in [1/(1 + g), 1 + g], log-uniform.
    grey: chance of a photo without colour.
    blur: chance of a blurred photo.
    blur_px: the greatest standard deviation of the blur, pixels, at most 2.
    noise: the greatest standard deviation of sensor noise, of a range of [0, 1].
    jpeg: chance of another round of JPEG compression.
    jpeg_quality: the least and the greatest quality.
  """

  brightness: float = 0.0
  contrast: float = 0.0
  saturation: float = 0.0
  hue_deg: float = 0.0
  gamma: float = 0.0
  grey: float = 0.0
  blur: float = 0.0
  blur_px: float = 1.5
  noise: float = 0.0
  jpeg: float = 0.0
  jpeg_quality: tuple[int, int] = (30, 90)

  def __post_init__(self):
    for name, most in (
      ("brightness", 4.0),
      ("contrast", 4.0),
      ("saturation", 1.0),
      ("hue_deg", 180.0),
      ("gamma", 4.0),
      ("grey", 1.0),
      ("blur", 1.0),
      ("blur_px", 2.0),
      ("noise", 0.5),
      ("jpeg", 1.0),
    ):
      value = getattr(self, name)
      if not 0 <= value <= most:
        raise ValueError(f"{name} must lie in [0, {most:g}], got {value}")
    low, high = self.jpeg_quality
    if not 1 <= low <= high <= 100:
      raise ValueError(
        f"jpeg_quality must be two numbers of [1, 100] in order, got {low}, {high}"
      )

  @property
  def recolors(self) -> bool:
    """Whether any colour changes."""
    ranges = (self.brightness, self.contrast, self.saturation, self.hue_deg)
    return any(value > 0 for value in (*ranges, self.gamma, self.grey))

  @property
  def active(self) -> bool:
    """Whether anything changes at all."""
    return self.recolors or max(self.blur, self.noise, self.jpeg) > 0


def augmented(
  record: Mapping[str, Any], ranges: Ranges, rng: np.random.Generator
) -> dict[str, Any]:
  """A record with its photo compressed again, and with what `develop` needs.

  Args:
    record: as sources give it.
    ranges: what may change.
    rng: the record's own.
  """
  out = dict(record)
  if rng.random() < ranges.jpeg:
    low, high = ranges.jpeg_quality
    out["image"] = _compressed(out["image"], int(rng.integers(low, high + 1)))
  if ranges.recolors:
    out[f"{_PREFIX}color"] = _color_matrix(ranges, rng)
    out[f"{_PREFIX}gamma"] = np.float32(_factor(rng, ranges.gamma))
  if ranges.blur > 0:
    blurred = rng.random() < ranges.blur
    out[f"{_PREFIX}blur_px"] = np.float32(blurred * rng.uniform(0, ranges.blur_px))
  if ranges.noise > 0:
    out[f"{_PREFIX}noise"] = np.float32(rng.uniform(0, ranges.noise))
    out[f"{_PREFIX}seed"] = np.uint32(rng.integers(2**32, dtype=np.uint64))
  return out


def develop(
  image: Float[Array, "n h w 3"], record: Mapping[str, Array]
) -> Float[Array, "n h w 3"]:
  """The photos as their records say: blurred, recoloured, noisy; for `jit`.

  Args:
    image: encoded, in [0, 1].
    record: stacked; without fields of `augmented` the photos stay as they are.
  """
  found = lambda name: record.get(f"{_PREFIX}{name}")
  changed = image
  if (sigma := found("blur_px")) is not None:
    changed = jax.vmap(_blurred)(changed, sigma)
  if (matrix := found("color")) is not None:
    bright = jax.vmap(_recolored)(changed, matrix, found("gamma"))
    changed = jnp.clip(bright, 0, 1)
  if (noise := found("noise")) is not None:
    changed = jnp.clip(jax.vmap(_noisy)(changed, noise, found("seed")), 0, 1)
  return changed


def _factor(rng: np.random.Generator, reach: float) -> float:
  most = math.log1p(reach)
  return math.exp(rng.uniform(-most, most))


def _color_matrix(ranges: Ranges, rng: np.random.Generator) -> np.ndarray:
  """Saturation, then hue, then contrast and brightness, as float32 `[3, 4]`."""
  saturation = 1 + rng.uniform(-ranges.saturation, ranges.saturation)
  if rng.random() < ranges.grey:
    saturation = 0.0
  luma = np.tile(_LUMA, (3, 1))
  saturate = saturation * np.eye(3) + (1 - saturation) * luma
  # A turn about the grey axis keeps greys grey.
  angle = math.radians(rng.uniform(-ranges.hue_deg, ranges.hue_deg))
  grey, side = np.full((3, 3), 1 / 3), math.sqrt(1 / 3)
  cross = side * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
  turn = math.cos(angle) * (np.eye(3) - grey) + grey + math.sin(angle) * cross
  contrast = _factor(rng, ranges.contrast)
  gain = _factor(rng, ranges.brightness)
  matrix = np.zeros((3, 4), np.float32)
  matrix[:, :3] = gain * contrast * (turn @ saturate)
  matrix[:, 3] = gain * 0.5 * (1 - contrast)
  return matrix


def _compressed(image: np.ndarray, quality: int) -> np.ndarray:
  stream = io.BytesIO()
  Image.fromarray(image).save(stream, "JPEG", quality=quality)
  with Image.open(stream) as again:
    return np.asarray(again)


def _recolored(image, matrix, gamma):
  # Written out: a product of matrices would be rounded to fewer bits on accelerators.
  color = [sum(matrix[k, c] * image[..., c] for c in range(3)) for k in range(3)]
  linear = jnp.stack(color, -1) + matrix[:, 3][None, None]
  return jnp.clip(linear, 1e-4, 1) ** gamma


def _blurred(image, sigma):
  offsets = jnp.arange(-_TAPS, _TAPS + 1)
  kernel = jnp.exp(-0.5 * (offsets / jnp.maximum(sigma, 1e-3)) ** 2)
  kernel = kernel / jnp.sum(kernel)
  for axis in (0, 1):
    widths = [(_TAPS, _TAPS) if axis == k else (0, 0) for k in range(3)]
    padded, size = jnp.pad(image, widths, mode="edge"), image.shape[axis]
    taps = (
      kernel[k] * jax.lax.slice_in_dim(padded, k, k + size, axis=axis)
      for k in range(2 * _TAPS + 1)
    )
    image = functools.reduce(jnp.add, taps)
  return image


def _noisy(image, amount, seed):
  return image + amount * jax.random.normal(jax.random.key(seed), image.shape)
