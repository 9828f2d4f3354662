"""Shows the scale of the perceptual distance on the embedded portrait.

    python -m experiments.tables.perceptual

Prints `affjax.eval.perceptual_distance` at 256 px between the portrait of the astronaut
and what becomes of it, over the whole picture; and over its middle half where only the
rest is noise: 0, as it must be. Writes
`experiments/results/perceptual.json`. Seconds on one core.
"""

import io
import pathlib

import numpy as np
from PIL import Image, ImageFilter

from affjax.assets import store
from affjax.eval import perceptual_distance
from experiments.benchmarks import measuring

RESULT = pathlib.Path(__file__).parents[1] / "results" / "perceptual.json"
SIZE = 256


def main() -> None:
  """Measures, prints and writes."""
  portrait = Image.open(io.BytesIO(store.read_asset("astronaut.jpg"))).convert("RGB")
  portrait = portrait.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
  pixels = np.asarray(portrait, np.float32)[None] / 255
  whole, middle = np.ones((2, 1, SIZE, SIZE, 1), np.float32)
  middle[:, : SIZE // 4] = middle[:, -SIZE // 4 :] = 0
  middle[:, :, : SIZE // 4] = middle[:, :, -SIZE // 4 :] = 0
  blurred = lambda px: portrait.filter(ImageFilter.GaussianBlur(px))
  rows = {
    "80 % as bright": (0.8 * pixels, whole),
    "blurred by 1 px": (np.asarray(blurred(1))[None] / 255, whole),
    "blurred by 2 px": (np.asarray(blurred(2))[None] / 255, whole),
    "flat gray": (np.full_like(pixels, 0.5), whole),
    "mirrored": (pixels[:, :, ::-1], whole),
    "noise": (np.random.default_rng(0).random(pixels.shape), whole),
    "noise around the mask": (
      np.where(middle > 0, pixels, np.random.default_rng(0).random(pixels.shape)),
      middle,
    ),
  }
  values = {
    name: round(float(perceptual_distance(np.float32(image), pixels, mask)[0]), 3)
    for name, (image, mask) in rows.items()
  }
  for name, value in values.items():
    print(f"{name:24} {value}")
  measuring.write_json(
    RESULT,
    {
      "command": "python -m experiments.tables.perceptual",
      "size": SIZE,
      "machine": measuring.machine("cpu", 1),
      "distance": values,
    },
  )


if __name__ == "__main__":
  main()
