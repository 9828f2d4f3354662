# %% [markdown]
# # Fit a texture with the differentiable renderer
#
# Given images of a mesh from known views, gradient descent through the renderer finds
# the texture that explains them. This page renders the embedded head with a painted
# texture, forgets the texture, and recovers it from the images.
#
# Run it with `python docs/examples/fit_texture.py FOLDER`. It takes less than half a
# minute on two CPU cores and writes `FOLDER/fit_texture.png`.

# %%
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image

from affjax import render
from affjax.geometry.camera import head_to_world, world_to_clip
from affjax.heads import open_head
from affjax.types import Camera

FOLDER = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")
SIZE, TEXELS, STEPS = 128, 128, 60
template = open_head("embedded").template
camera = Camera(distance=14.0)

# %% [markdown]
# ## Views
# A pose is an axis-angle rotation and a translation. The views go around the head, from
# a little above and a little below.

# %%
yaws = np.radians([-150, -100, -50, 0, 50, 100, 150])
poses = np.zeros((len(yaws), 6), np.float32)
poses[:, 1], poses[:, 0] = yaws, np.radians([15, -15, 10, 0, -10, 15, -15])
heads = jnp.broadcast_to(template.vertices, (len(poses), *template.vertices.shape))
world = head_to_world(heads, jnp.asarray(poses))


# %% [markdown]
# ## Rendering
# These are the primitives of `affjax.render`, as for any mesh. UVs have vertices of
# their own (`faces_uv`), because a vertex on a seam has several. Only the texture
# changes here, so the raster and the UVs are computed once.

# %%
pos = world_to_clip(world, camera)
rast = jax.jit(render.rasterize, static_argnums=2)(pos, template.faces, (SIZE, SIZE))
uv = render.interpolate(jnp.asarray(template.uvs)[None], rast, template.faces_uv)
mask = (rast[..., 3:] > 0).astype(jnp.float32)


def images_of(texture: jax.Array) -> jax.Array:
  """Renders a texture `[1, TEXELS, TEXELS, 3]` in all views over black."""
  color = render.texture(texture, uv) * mask
  return render.antialias(color, rast, pos, template.faces)


# %% [markdown]
# ## The texture to find
# Skin color with rings and a grid, so that every part of the map can be recognized.

# %%
row, column = np.indices((TEXELS, TEXELS)) / TEXELS
rings = np.sin(40 * np.hypot(row - 0.5, column - 0.5))
grid = (np.indices((TEXELS, TEXELS)) % 16 < 2).any(0)
truth = np.array([0.85, 0.62, 0.5]) + 0.12 * rings[..., None] * np.array([1, 0.2, -0.8])
truth = np.where(grid[..., None], np.array([0.25, 0.3, 0.45]), truth)
truth = jnp.asarray(truth[None].clip(0, 1), jnp.float32)
targets = jax.jit(images_of)(truth)

# %% [markdown]
# ## Fitting
# The loss is the squared difference of the images. It is quadratic in the texture, and
# its gradient reaches each visible texel through `texture`'s bilinear weights.

# %%
optimizer = optax.adam(0.1)


def loss_of(texture: jax.Array) -> jax.Array:
  return jnp.sum((images_of(texture) - targets) ** 2) / jnp.sum(mask)


@jax.jit
def step(texture: jax.Array, state: optax.OptState):
  loss, gradient = jax.value_and_grad(loss_of)(texture)
  change, state = optimizer.update(gradient, state)
  return optax.apply_updates(texture, change), state, loss


texture = jnp.full_like(truth, 0.5)
start, state = images_of(texture), optimizer.init(texture)
first = float(loss_of(texture))
for _ in range(STEPS):
  texture, state, loss = step(texture, state)
print(f"squared error per pixel: first {first:.4f}, last {float(loss):.6f}")

# %% [markdown]
# ## Result
# From top to bottom: the target images, the start, and the fitted texture. At the
# right, the texture itself: the true one and the fitted one. Texels that no view shows
# keep their gray.

# %%
rows = [
  np.concatenate(list(np.asarray(r)), 1) for r in (targets, start, images_of(texture))
]
maps = [np.asarray(m[0]) for m in (truth, jnp.full_like(truth, 0.5), texture)]
sheet = np.concatenate(
  [np.concatenate(pair, 1) for pair in zip(rows, maps, strict=True)]
)
pixels = (255 * sheet.clip(0, 1)).astype(np.uint8)
Image.fromarray(pixels).save(FOLDER / "fit_texture.png")
