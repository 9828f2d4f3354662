"""Measures what the image loss does through an antialiased silhouette.

  python -m experiments.training.image_loss_silhouette

Optimises the pose alone (120 steps of Adam, 64 x 64) from 0.17 dm beside the truth,
with textures between the true one and its mean colour, under the image loss of
`affjax.losses` and under a mean over the whole image. Writes
`experiments/results/image_loss_silhouette.json`: the mean error of a coordinate of the
posed head at the end, dm. The table in `docs/losses.md` is from it. Four minutes on two
CPU cores.
"""

import functools
import json
import pathlib
import platform

import jax
import jax.numpy as jnp
import numpy as np
import optax

from affjax import losses
from affjax.geometry import camera
from affjax.heads import open_head
from affjax.ops import gaussian_blur
from affjax.render import composite, render_head
from affjax.types import Camera

SIZE = 64
STEPS = 120
TRUE = jnp.array([[0.1, 0.2, -0.05, 0.0, 0.0, 0.0]])
START = TRUE + jnp.array([[0.05, -0.1, 0.05, 0.12, -0.08, -0.3]])


def own_area(render, alpha, image, visible):
  """The loss of the package."""
  return losses.image_l1(render, alpha, image, visible).value


def whole_image(render, alpha, image, visible):
  """The mean over all pixels, which the paper's eq. 3 suggests."""
  return jnp.mean(visible * jnp.abs(render - alpha * image))


def smooth_texture() -> jax.Array:
  """A map of skin-like waves."""
  x, y = np.meshgrid(np.linspace(0, 1, SIZE), np.linspace(0, 1, SIZE))
  waves = [
    0.6 + 0.25 * np.sin(20 * x) * np.cos(17 * y),
    0.45 + 0.2 * np.sin(13 * y),
    0.4 + 0.2 * np.cos(25 * x),
  ]
  return jnp.asarray(np.stack(waves, -1)[None], jnp.float32)


@functools.partial(jax.jit, static_argnames="antialias")
def draw(pose, texture, antialias: bool = True):
  """The template's mean head."""
  template = open_head("embedded").template
  vertices = camera.head_to_world(jnp.asarray(template.vertices)[None], pose)
  return render_head(
    vertices, texture, template, Camera(), (SIZE, SIZE), antialias=antialias
  )


def pose_error(pose) -> float:
  """Mean error of a coordinate, dm."""
  points = jnp.asarray(open_head("embedded").template.vertices[::20])
  return float(losses.pose_l1(pose, TRUE, jnp.ones(1), points).value)


def optimised(loss, texture, image, visible, *, antialias: bool) -> float:
  """The pose error after optimising the pose under a loss."""
  step = jax.jit(jax.grad(lambda p: loss(*draw(p, texture, antialias), image, visible)))
  optimizer, pose = optax.adam(0.01), START
  state = optimizer.init(pose)
  for _ in range(STEPS):
    update, state = optimizer.update(step(pose), state)
    pose = optax.apply_updates(pose, update)
  return pose_error(pose)


def main():
  texture = smooth_texture()
  colour = jnp.broadcast_to(texture.mean((1, 2), keepdims=True), texture.shape)
  noise = np.random.default_rng(0).uniform(size=(1, SIZE, SIZE, 3))
  background = gaussian_blur(jnp.asarray(noise, jnp.float32), sigma=3) * 2 - 0.5
  render, alpha = draw(TRUE, texture)
  image = composite(background, render, alpha)
  results = {"start": pose_error(START)}
  for texture_name, blend in (("true", 1.0), ("half way", 0.5), ("one colour", 0.0)):
    used = blend * texture + (1 - blend) * colour
    for visible_name, visible in (("unknown", jnp.ones_like(alpha)), ("known", alpha)):
      for name, loss, antialias in (
        ("own area", own_area, True),
        ("own area, no silhouette", own_area, False),
        ("whole image", whole_image, True),
      ):
        key = f"texture: {texture_name}; background: {visible_name}; {name}"
        error = optimised(loss, used, image, visible, antialias=antialias)
        results[key] = round(error, 4)
        print(key, results[key], flush=True)
  versions = {"jax": jax.__version__, "python": platform.python_version()}
  path = pathlib.Path(__file__).parents[1] / "results" / "image_loss_silhouette.json"
  path.parent.mkdir(exist_ok=True)
  path.write_text(
    json.dumps({"versions": versions, "error_dm": results}, indent=2) + "\n"
  )


if __name__ == "__main__":
  main()
