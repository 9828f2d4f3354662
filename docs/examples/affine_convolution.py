# %% [markdown]
# # Affine convolution in your own network
#
# A convolution reads every window of its input in the same orientation. An affine
# convolution moves the taps of each window by a matrix, so a network can learn to read
# a rotated input as if it were upright. This page trains a small Flax network that
# turns rotated digits upright, and compares it with two plain convolutions of the same
# size.
#
# Run it with `python docs/examples/affine_convolution.py FOLDER`. It takes about half a
# minute on two CPU cores and writes `FOLDER/affine_convolution.png`.

# %%
import pathlib
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from PIL import Image

from affjax import nn, ops
from affjax.ops import theta

FOLDER = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")
SIZE = 28
STEPS = 250

# %% [markdown]
# ## Data
# The digits are five-by-seven bitmaps, enlarged and smoothed. `ops.bilinear` samples
# them at rotated coordinates; samples outside the image are zero.

# %%
BITMAPS = {
  "2": "01110 10001 00001 00010 00100 01000 11111",
  "3": "11111 00010 00100 00010 00001 10001 01110",
  "4": "00010 00110 01010 10010 11111 00010 00010",
  "5": "11111 10000 11110 00001 00001 10001 01110",
  "7": "11111 00001 00010 00100 01000 01000 01000",
}


def digits() -> jax.Array:
  """Returns the upright digits `[5, SIZE, SIZE, 1]` in [0, 1]."""
  bits = [[list(map(float, row)) for row in b.split()] for b in BITMAPS.values()]
  small = jnp.asarray(bits)[..., None]
  image = ops.resize_bilinear(small, (20, 14))
  pad = ((0, 0), (4, 4), (7, 7), (0, 0))
  return ops.gaussian_blur(jnp.pad(image, pad), sigma=0.7)


def rotated(images: jax.Array, angle: jax.Array) -> jax.Array:
  """Rotates images `[N, H, W, C]` about their centers by angles `[N]`, radians."""
  middle = (SIZE - 1) / 2
  y, x = jnp.mgrid[:SIZE, :SIZE] - middle
  c, s = (f(angle)[:, None, None] for f in (jnp.cos, jnp.sin))
  places = jnp.stack([c * x[None] - s * y[None], s * x[None] + c * y[None]], -1)
  return ops.bilinear(images, places + middle)


def batch(key: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
  """Returns rotated digits and the same digits upright."""
  which, turn = jax.random.split(key)
  upright = digits()[jax.random.randint(which, (count,), 0, len(BITMAPS))]
  angle = jax.random.uniform(turn, (count,), minval=-1.0, maxval=1.0)
  return rotated(upright, angle), upright


# %% [markdown]
# ## Network
# An encoder looks at the whole image and predicts one matrix for it. The matrix acts on
# absolute coordinates (equation 2 of the paper); `theta.from_absolute` converts it to
# the form that the layer takes. `nn.AffineConv` reads its windows there. The layer also
# has a predictor of its own, which adds a correction for each pixel.


# %%
class Upright(nnx.Module):
  """Maps rotated images to upright ones.

  Args:
    affine: Whether windows are warped; plain convolutions otherwise.
    rngs: Random streams for parameter initialization.
  """

  def __init__(self, *, affine: bool, rngs: nnx.Rngs):
    self.encoder = nnx.List(
      [nn.Conv(i, o, stride=2, rngs=rngs) for i, o in ((1, 16), (16, 32), (32, 64))]
    )
    self.to_matrix = nn.Dense(4 * 4 * 64, 6, rngs=rngs) if affine else None
    layer = nn.AffineConv if affine else nn.Conv
    self.first = layer(1, 16, rngs=rngs)
    self.second = nn.Conv(16, 1, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    if self.to_matrix is None:
      return self.second(jax.nn.relu(self.first(x)))
    code = x
    for conv in self.encoder:
      code = jax.nn.relu(conv(code))
    change = 0.1 * self.to_matrix(code.reshape(len(x), -1)).reshape(-1, 1, 1, 2, 3)
    absolute = jnp.broadcast_to(
      theta.identity((1, 1, 1)) + change, (len(x), SIZE, SIZE, 2, 3)
    )
    prior = theta.from_absolute(absolute, SIZE, SIZE, 1)
    return self.second(jax.nn.relu(self.first(x, prior=prior)))


# %% [markdown]
# ## Training


# %%
def trained(*, affine: bool) -> nnx.Module:
  model = Upright(affine=affine, rngs=nnx.Rngs(0))
  schedule = optax.cosine_decay_schedule(3e-3, STEPS)
  optimizer = nnx.Optimizer(model, optax.adam(schedule), wrt=nnx.Param)

  @nnx.jit
  def step(model: Upright, optimizer: nnx.Optimizer, key: jax.Array) -> jax.Array:
    x, upright = batch(key, 32)
    loss, grads = nnx.value_and_grad(lambda m: jnp.mean((m(x) - upright) ** 2))(model)
    optimizer.update(model, grads)
    return loss

  for k in range(STEPS):
    step(model, optimizer, jax.random.key(k))
  return model


x, upright = batch(jax.random.key(STEPS), 256)
results = {}
for name, affine in (("plain", False), ("affine", True)):
  start = time.perf_counter()
  results[name] = trained(affine=affine)(x)
  error = float(jnp.sqrt(jnp.mean((results[name] - upright) ** 2)))
  print(f"{name}: error {error:.3f} after {time.perf_counter() - start:.0f} s")

# %% [markdown]
# ## Result
# From top to bottom: the rotated digits, the result of plain convolutions, the result
# of affine convolution, and the ground truth. A plain convolution of this size cannot
# move pixels far enough; the affine one reads them where they are.

# %%
rows = (x, results["plain"], results["affine"], upright)
sheet = np.concatenate([np.concatenate(list(r[:12, ..., 0]), 1) for r in rows])
pixels = np.kron(np.clip(sheet, 0, 1), np.ones((3, 3)))
Image.fromarray((255 * pixels).astype(np.uint8)).save(FOLDER / "affine_convolution.png")
