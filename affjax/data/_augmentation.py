"""Augmentation of photos: color, blur, noise and compression.

Geometry, maps and masks stay; only the photo changes. The host draws the random numbers
by the record's own generator and stores them in the record; the accelerator applies
them inside the training step, where they cost almost nothing. Only the JPEG compression
runs on the host.
"""

import dataclasses
import functools
import io
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt32
from PIL import Image

from affjax.data._record_source import Record
from affjax.types import ArrayLike

# Weights of red, green, blue in luma (ITU-R BT.601).
_LUMA = (0.299, 0.587, 0.114)
_TAPS = 4
_PREFIX = "augment_"


@dataclasses.dataclass(frozen=True)
class Ranges:
  """The ranges of the augmentation; all zeros change nothing.

  Attributes:
    brightness: b; factor in [1/(1 + b), 1 + b], log-uniform.
    contrast: c; factor in [1/(1 + c), 1 + c] about mid-gray, log-uniform.
    saturation: s; factor in [1 - s, 1 + s].
    hue_deg: h; rotation of the hue in [-h, h], degrees.
    gamma: g; exponent in [1/(1 + g), 1 + g], log-uniform.
    grey: chance of a photo without color.
    blur: chance of a blurred photo.
    blur_px: largest standard deviation of the blur, pixels, at most 2.
    noise: largest standard deviation of sensor noise, for values in [0, 1].
    jpeg: chance of another JPEG compression.
    jpeg_quality: lowest and highest quality of that compression.
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
        f"jpeg_quality must be two increasing numbers in [1, 100], got {low}, {high}"
      )

  @property
  def recolors(self) -> bool:
    """Whether any color changes."""
    ranges = (self.brightness, self.contrast, self.saturation, self.hue_deg)
    return any(value > 0 for value in (*ranges, self.gamma, self.grey))

  @property
  def active(self) -> bool:
    """Whether anything changes at all."""
    return self.recolors or max(self.blur, self.noise, self.jpeg) > 0


def augmented(record: Record, ranges: Ranges, rng: np.random.Generator) -> Record:
  """Compresses the photo of a record, and adds the numbers that `develop` needs.

  Args:
    record: Record of a source.
    ranges: Ranges of the augmentation.
    rng: Generator of this record.
  """
  out = dict(record)
  if rng.random() < ranges.jpeg:
    low, high = ranges.jpeg_quality
    out["image"] = _compressed(out["image"], int(rng.integers(low, high + 1)))
  if ranges.recolors:
    out[f"{_PREFIX}color"] = _color_matrix(ranges, rng)
    out[f"{_PREFIX}gamma"] = np.asarray(_factor(rng, ranges.gamma), np.float32)
  if ranges.blur > 0:
    blurred = rng.random() < ranges.blur
    out[f"{_PREFIX}blur_px"] = np.asarray(
      blurred * rng.uniform(0, ranges.blur_px), np.float32
    )
  if ranges.noise > 0:
    out[f"{_PREFIX}noise"] = np.asarray(rng.uniform(0, ranges.noise), np.float32)
    out[f"{_PREFIX}seed"] = np.asarray(rng.integers(2**32, dtype=np.uint64), np.uint32)
  return out


def develop(
  image: Float[ArrayLike, "n h w 3"], record: Mapping[str, ArrayLike]
) -> Float[Array, "n h w 3"]:
  """Blurs and recolors photos and adds noise as their records say; runs under `jit`.

  Args:
    image: Photos, sRGB-encoded, in [0, 1].
    record: Stacked records; photos stay as they are without the fields of `augmented`.
  """
  fields = {name: jnp.asarray(value) for name, value in record.items()}
  found = lambda name: fields.get(f"{_PREFIX}{name}")
  changed = jnp.asarray(image)
  if (sigma := found("blur_px")) is not None:
    changed = jax.vmap(_blurred)(changed, sigma)
  matrix, gamma = found("color"), found("gamma")
  if matrix is not None and gamma is not None:
    bright = jax.vmap(_recolored)(changed, matrix, gamma)
    changed = jnp.clip(bright, 0, 1)
  noise, seed = found("noise"), found("seed")
  if noise is not None and seed is not None:
    changed = jnp.clip(jax.vmap(_noisy)(changed, noise, seed), 0, 1)
  return changed


def _factor(rng: np.random.Generator, reach: float) -> float:
  most = math.log1p(reach)
  return math.exp(rng.uniform(-most, most))


def _color_matrix(ranges: Ranges, rng: np.random.Generator) -> np.ndarray:
  """Returns saturation, hue, contrast and brightness as one matrix, `[3, 4]`."""
  saturation = 1 + rng.uniform(-ranges.saturation, ranges.saturation)
  if rng.random() < ranges.grey:
    saturation = 0.0
  luma = np.tile(_LUMA, (3, 1))
  saturate = saturation * np.eye(3) + (1 - saturation) * luma
  # A rotation about the gray axis keeps grays gray.
  angle = math.radians(rng.uniform(-ranges.hue_deg, ranges.hue_deg))
  gray, side = np.full((3, 3), 1 / 3), math.sqrt(1 / 3)
  cross = side * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
  turn = math.cos(angle) * (np.eye(3) - gray) + gray + math.sin(angle) * cross
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


def _recolored(
  image: Float[Array, "h w 3"], matrix: Float[Array, "3 4"], gamma: Float[Array, ""]
) -> Float[Array, "h w 3"]:
  # Written out, because accelerators round a matrix product to fewer bits.
  color = [sum(matrix[k, c] * image[..., c] for c in range(3)) for k in range(3)]
  linear = jnp.stack(color, -1) + matrix[:, 3][None, None]
  return jnp.clip(linear, 1e-4, 1) ** gamma


def _blurred(
  image: Float[Array, "h w 3"], sigma: Float[Array, ""]
) -> Float[Array, "h w 3"]:
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


def _noisy(
  image: Float[Array, "h w 3"], amount: Float[Array, ""], seed: UInt32[Array, ""]
) -> Float[Array, "h w 3"]:
  return image + amount * jax.random.normal(jax.random.key(seed), image.shape)
