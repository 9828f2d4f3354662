"""The pictures of `docs/rendering.md`, drawn by the code that the page shows.

    python -m experiments.figures.rendering

A minute on two CPU cores. `rendering_pose.png` comes from
`experiments/tables/pose_recovery.py`.
"""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from affjax import render

DOCS = pathlib.Path(__file__).parents[2] / "docs"
CELL = 288
BACKGROUND = 0.93


def page() -> dict:
  """The names that the page's code defines."""
  blocks = re.findall(r"```python\n(.*?)```", (DOCS / "rendering.md").read_text(), re.S)
  names = {"__name__": "rendering"}
  exec("\n".join(blocks), names)
  return names


def main() -> None:
  """Draws everything."""
  names = page()
  save("cube", cubes(names))
  save("texture", textures(names))
  save("globe", globes(names))
  save("glass", glasses(names))


def cubes(names: dict) -> list[np.ndarray]:
  """Sampled, antialiased, supersampled, at 48 pixels."""
  pos = names["place"](names["pose"])
  tri, size = names["tri"], 48
  rast = render.rasterize(pos, tri, (size, size))
  uv = render.interpolate(names["uvs"], rast, names["tri_uv"])
  mask = (rast[..., 3:] > 0).astype(jnp.float32)
  sampled = render.texture(names["checkers"](4), uv) * mask + BACKGROUND * (1 - mask)

  def smooth(size):
    rast = render.rasterize(pos, tri, (size, size))
    uv = render.interpolate(names["uvs"], rast, names["tri_uv"])
    mask = (rast[..., 3:] > 0).astype(jnp.float32)
    color = render.texture(names["checkers"](4), uv) * mask + BACKGROUND * (1 - mask)
    return render.antialias(color, rast, pos, tri)

  pictures = [sampled, smooth(size), names["supersampled"](smooth, size, 4)]
  return [enlarged(p[0]) for p in pictures]


def textures(names: dict) -> list[np.ndarray]:
  """A view's target, the grey start, what was found; and the map found."""
  start = jnp.full_like(names["truth"], 0.5)
  shown = [names["targets"][0, 0], names["look"](names["views"], start)[0, 0]]
  shown += [names["look"](names["views"], names["found"])[0, 0], names["found"][0]]
  return [enlarged(p) for p in shown]


def globes(names: dict) -> list[np.ndarray]:
  """The globe without and with mip maps, whole and enlarged."""
  tex = names["continents"](512)
  draw = jax.jit(names["globe_picture"], static_argnums=(1, 3))
  pictures = [np.asarray(draw(tex, 96, 0.5, flag)[0]) for flag in (False, True)]
  cells = []
  for picture in pictures:
    middle = picture[28:52, 36:60]
    cells.append(np.concatenate([enlarged(picture), enlarged(middle)], 0))
  return cells


def glasses(names: dict) -> list[np.ndarray]:
  """The glass cube over a plain background, at three opacities."""
  cells = []
  for opacity in (0.2, 0.5, 0.8):
    color, alpha = names["glass"](names["pose"], 192, 4, opacity)
    cells.append(enlarged((color + BACKGROUND * (1 - alpha))[0]))
  return cells


def enlarged(picture) -> np.ndarray:
  """Whole pixels, so that they can be seen."""
  picture = np.clip(np.asarray(picture, np.float64), 0, 1)
  image = Image.fromarray((picture * 255).round().astype(np.uint8))
  return np.asarray(image.resize((CELL, CELL), Image.Resampling.NEAREST))


def save(name: str, cells: list[np.ndarray]) -> None:
  """Writes cells side by side."""
  gap = np.full((cells[0].shape[0], 8, 3), 255, np.uint8)
  row = [part for cell in cells for part in (cell, gap)][:-1]
  path = DOCS / "images" / f"rendering_{name}.png"
  image = Image.fromarray(np.concatenate(row, 1)).quantize(
    192, dither=Image.Dither.NONE
  )
  image.save(path, optimize=True)
  print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
  main()
