"""SIDE and MAD of a run on held-out photos, beside a constant depth."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from affjax import build
from affjax.eval import DepthErrors, Truths, depth_errors, unsup3d_depths
from affjax.heads import open_head
from affjax.types import Camera

# Photos that are predicted together.
_TOGETHER = 16
Depths = Float[np.ndarray, "n s s"]


def truths_of(options: build.Options, record: dict[str, np.ndarray]) -> Truths:
  """Returns the held-out photos with their geometry."""
  return Truths(
    names=[str(k) for k in range(len(record["image"]))],
    template=open_head(options.model.template).template,
    camera=Camera(options.model.camera.fov_deg, options.model.camera.distance),
    photos=record["image"],
    visible=record["visible"][..., 0] > 127,
    vertices=record["vertices"].astype(np.float32),
    pose=record["pose"].astype(np.float32),
  )


def seen_depths(run: build.Unsup3DRun, photos: np.ndarray) -> Depths:
  """Returns the depth that the networks see in uint8 photos."""
  predict = jax.jit(lambda params, images: run.model(params, images).seen_depth[0])
  found = []
  for first in range(0, len(photos), _TOGETHER):
    # The last part is filled up, so that one size is compiled.
    index = np.minimum(np.arange(first, first + _TOGETHER), len(photos) - 1)
    images = jnp.asarray(photos[index], jnp.float32) / 255
    found.append(np.asarray(predict(run.params, images)))
  return np.concatenate(found)[: len(photos)]


def evaluate(workdir: pathlib.Path, record: dict[str, np.ndarray]) -> dict[str, Any]:
  """Returns the errors of each held-out photo: of the run, and of a constant depth."""
  run = build.load_unsup3d(workdir)
  truths = truths_of(run.config, record)
  truth = unsup3d_depths(truths)
  rows = {
    "method": seen_depths(run, truths.photos),
    "constant": np.ones_like(truth),
  }
  errors = {name: depth_errors(depths, truth) for name, depths in rows.items()}
  return {"step": run.step, **{name: _plain(found) for name, found in errors.items()}}


def _plain(found: DepthErrors) -> dict[str, list[float]]:
  numbers = lambda values: [float(value) for value in values]
  return {
    "side_percent": numbers(100 * found.side),
    "mad_deg": numbers(found.mad),
    "pixels": numbers(found.pixels),
  }
