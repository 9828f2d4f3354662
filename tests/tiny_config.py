"""The smallest config that exercises every part, and photos for it without painting."""

import pathlib

import ml_collections
import numpy as np
from PIL import Image

from affjax import build
from affjax.heads import open_head

SIZE = 32
OVERRIDES = {
  "steps": 4,
  "mesh.data": 1,
  "data.source": "folder",
  "data.batch_size": 2,
  "data.held_out": 2,
  "data.threads": 1,
  "model.size": SIZE,
  "model.architecture": "guided",
  "model.position.width": 4,
  "model.diffuse.width": 4,
  "model.light.width": 4,
  "model.pose.width": 4,
  "model.discriminator.width": 4,
  "model.discriminator.depth": 2,
  "features.layers": "(1,)",
  "log.every": 2,
  "log.tensorboard": False,
  "checkpoint.every": 2,
}


def flags(**changes) -> list[str]:
  """The overrides as command-line arguments; `a__b=1` is `--config.a.b=1`."""
  changed = {name.replace("__", "."): value for name, value in changes.items()}
  values = {**OVERRIDES, **changed}
  return [f"--config.{name}={value}" for name, value in values.items()]


def config(stage: str, **changes) -> ml_collections.ConfigDict:
  """The same as a config of the paper's stage."""
  found = build.default_config()
  values = {**OVERRIDES, "stage": stage, "features.layers": (1,)}
  values |= {name.replace("__", "."): value for name, value in changes.items()}
  with found.unlocked():
    found.update_from_flattened_dict(values)
  return found


def write_photos(
  folder: pathlib.Path, count: int = 8, *, template: str | pathlib.Path = "embedded"
) -> pathlib.Path:
  """Writes photos of noise around a color, with heads and poses, half with maps."""
  folder.mkdir(parents=True)
  head = open_head(template)
  for index in range(count):
    random = np.random.default_rng(index)
    color = random.integers(60, 200, 3)
    pixels = np.clip(color + random.normal(0, 20, (SIZE, SIZE, 3)), 0, 255)
    Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index:02d}.png")
    shape = np.tensordot(random.normal(0, 1, 5), head.identity_basis[:5], 1)
    known = {
      "vertices": (head.template.vertices + shape).astype(np.float32),
      "pose": random.normal(0, 0.1, 6).astype(np.float32),
    }
    if index % 2:
      known["diffuse"] = np.tile(color, (SIZE, SIZE, 1)).astype(np.uint8)
    np.savez(folder / f"{index:02d}.npz", **known)
  return folder
