"""The held-out samples during training: their losses, pictures and known geometry."""

import dataclasses
import pathlib
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from affjax.train import histograms, pictures, processes, sharding, states, steps
from affjax.train.metrics import Writer
from affjax.train.shapes import ShapeEvaluator
from affjax.train.states import TrainState
from affjax.train.steps import Learner, Record


@dataclasses.dataclass(frozen=True, eq=False)
class HeldOut:
  """Held-out samples and how they are evaluated.

  Attributes:
    learner: The parts of a step.
    mesh: The devices.
    record: The samples as one record, the same in every process.
    feature_net: Network of the perceptual losses on the devices, or `None`.
    shapes: Comparison with the samples' known geometry, or `None`.
  """

  learner: Learner
  mesh: Mesh
  record: Record
  feature_net: Any
  shapes: ShapeEvaluator | None


class HeldOutEvaluator:
  """Evaluates the held-out samples and writes their pictures.

  Every process must call it; the first one writes.
  """

  def __init__(self, samples: HeldOut, writer: Writer, folder: pathlib.Path):
    """Puts the samples on the devices.

    Args:
      samples: The samples.
      writer: Writer of the log.
      folder: Folder of the pictures.
    """
    self._samples, self._writer, self._folder = samples, writer, folder
    self._evaluate = steps.make_evaluate(samples.learner, samples.mesh)
    self._record = sharding.put_shared(samples.record, samples.mesh)

  def __call__(self, state: TrainState, step: int) -> dict[str, float]:
    """Returns the losses of the held-out samples, and writes a sheet of pictures."""
    stage = self._samples.learner.stage
    found = self._evaluate(state, self._samples.feature_net, self._record)
    first = lambda item: item[0] != steps.TOTAL
    scalars = sorted(found.scalars.items(), key=first)
    values = {name: float(value) for name, value in scalars}
    self._write_pictures(found.pictures, step)
    self._writer.scalars(step, {f"held_out/{k}": v for k, v in values.items()})
    shown = " ".join(f"{name} {value:.4g}" for name, value in values.items())
    self._writer.say(f"{stage.name} {step} on held-out samples | {shown}")
    return values

  def metric(self, state: TrainState, name: str) -> float:
    """Returns a loss of the held-out samples."""
    found = self._evaluate(state, self._samples.feature_net, self._record)
    return float(found.scalars[name])

  def shapes(self, state: TrainState, step: int) -> None:
    """Logs the errors of the held-out heads beside those of the mean head."""
    if self._samples.shapes is None:
      return
    averaged = states.exchanged(state).params
    if jax.process_count() > 1:
      averaged = sharding.fetched(averaged, self._samples.mesh)
    if not processes.is_first():
      return
    errors = self._samples.shapes(averaged)
    values = {f"held_out/{error.name}": error.value for error in errors}
    for prefix, attribute in (("mean_head", "baseline"), ("guide", "guide")):
      others = {error.name: getattr(error, attribute) for error in errors}
      values |= {f"{prefix}/{k}": v for k, v in others.items() if np.isfinite(v)}
    self._writer.scalars(step, values)
    shown = "; ".join(str(error) for error in errors)
    name = self._samples.learner.stage.name
    self._writer.say(f"{name} {step} against known geometry | {shown}")

  def histograms(self, state: TrainState, step: int) -> None:
    """Logs how the weights that train and the held-out samples' maps are spread."""
    stage = self._samples.learner.stage
    found = self._evaluate(state, self._samples.feature_net, self._record)
    weights = states.trained(stage, states.exchanged(state).params)
    if jax.process_count() > 1:
      weights = sharding.fetched(weights, self._samples.mesh)
    if not processes.is_first():
      return
    maps = {name: m.addressable_data(0) for name, m in found.pictures.items()}
    self._writer.histograms(step, histograms.of_trees({**weights, "held_out": maps}))

  def _write_pictures(self, maps: dict[str, jax.Array], step: int) -> None:
    if not processes.is_first():
      return
    local = {name: m.addressable_data(0) for name, m in maps.items()}
    vertices = np.asarray(self._samples.learner.regions.pose_points)
    sheet = pictures.sheet(local, low=vertices.min(0), high=vertices.max(0))
    name = f"{self._samples.learner.stage.name}_{step:06d}.png"
    pictures.save(self._folder / name, sheet)
    self._writer.picture(step, sheet)
