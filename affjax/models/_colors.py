"""The diffuse map of a guided network: the photo without its light, corrected."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from affjax.geometry import uv
from affjax.models._alignment import Alignment, read
from affjax.types import ArrayLike, Template

# Channels of the diffuse network: two confidences, a residual and a painted color.
OUTPUTS = 8
# Visibility from which on the confidence is left to the network.
_SEEN = 0.25
# Log odds of the confidence in what is seen before anything has been learned, and light
# below which a photo is too dark to be divided by it.
_SURE, _DARK = 2.0, 0.1
# Share of the map at which seen skin counts as much as plain skin for the tone, and the
# bounds of painted colors.
_ENOUGH, _RANGE = 0.01, (0.02, 0.98)


def corrected(
  outputs: Float[Array, "n s s 8"],
  images: Float[ArrayLike, "n h w 3"],
  light: Float[Array, "n s s 3"],
  alignment: Alignment,
  plain: Float[np.ndarray, "1 s s 3"],
  skin: Float[np.ndarray, "1 s s 1"],
) -> Float[Array, "n s s 3"]:
  """Returns the diffuse map in [0, 1].

  Where the photo shows skin it is the photo divided by the light, plus a learned
  residual, as far as a predicted confidence says; elsewhere the same of the mirrored
  texel, as far as a second confidence says; elsewhere a painted color, which starts as
  that of plain skin in the tone of the skin that is seen. Detail of the photo passes at
  full resolution.

  Args:
    outputs: Result of the diffuse network.
    images: Photos in [0, 1].
    light: Predicted light of each texel, with its color.
    alignment: Places and visibility of the texels.
    plain: Diffuse map of no one in particular.
    skin: Where that map shows skin, in [0, 1].
  """
  shown = read(images, alignment.places)
  seen = clipped(shown / jnp.maximum(light, _DARK)) + outputs[..., 2:5]
  gate = jnp.clip(alignment.visible / _SEEN, 0.0, 1.0)
  sure = jax.nn.sigmoid(outputs[..., :2] + _SURE)
  own, other = gate * sure[..., :1], alignment.mirrored(gate) * sure[..., 1:]
  toned = plain * (1 + skin * (_tone(seen, plain, own * skin) - 1))
  start = jnp.clip(toned, *_RANGE)
  painted = jax.nn.sigmoid(outputs[..., 5:] + jnp.log(start / (1 - start)))
  unseen = other * alignment.mirrored(seen) + (1 - other) * painted
  return clipped(own * seen + (1 - own) * unseen)


def _tone(
  seen: Float[Array, "n s s 3"],
  plain: Float[np.ndarray, "1 s s 3"],
  weight: Float[Array, "n s s 1"],
) -> Float[Array, "n 1 1 3"]:
  """Returns the ratio of seen to plain skin, near 1 where little is seen."""
  total = functools.partial(jnp.mean, axis=(1, 2), keepdims=True)
  few = _ENOUGH * plain.mean((1, 2), keepdims=True)
  ratio = (total(weight * seen) + few) / (total(weight * plain) + few)
  return jax.lax.stop_gradient(ratio)


def plain_colors(template: Template, size: int) -> Float[np.ndarray, "1 s s 3"]:
  """Returns the template's diffuse map; gray if it has none."""
  if template.diffuse is None:
    return np.full((1, size, size, 3), 0.5, np.float32)
  channels = np.moveaxis(template.diffuse.astype(np.float32) / 255, -1, 0)
  colors = np.stack([uv.resize_mask(channel, size) for channel in channels], -1)
  return colors[None].astype(np.float32)


def clipped(x: Float[Array, "*b"]) -> Float[Array, "*b"]:
  """Returns values clipped to [0, 1] that keep their gradient outside.

  A plain clip would leave an overexposed texel without a way back.
  """
  return x + jax.lax.stop_gradient(jnp.clip(x, 0.0, 1.0) - x)
