"""Errors of held-out heads against their known geometry, during training."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from affjax.eval import MEASURES, Cases, Heads, Truths, Values, chosen, measured
from affjax.geometry import uv
from affjax.models import Reconstructor
from affjax.train.states import Params
from affjax.train.steps import Record

_NAMES = (
  "position, raw",
  "position, similarity",
  "normals, visible face",
  "rotation",
  "translation across",
  "landmarks, inner",
)
# Number of samples that are predicted together.
_TOGETHER = 8


@dataclasses.dataclass(frozen=True)
class ShapeError:
  """The mean of a measure over the held-out samples.

  Attributes:
    name: Name of the measure, one of `affjax.eval.MEASURES`.
    unit: Its unit.
    value: Mean of the networks.
    baseline: Mean of the mean head, NaN for measures of poses.
  """

  name: str
  unit: str
  value: float
  baseline: float

  def __str__(self) -> str:
    text = f"{self.name} {self.value:.4g} {self.unit}"
    if np.isfinite(self.baseline):
      ratio = self.value / self.baseline
      text += f" (mean head {self.baseline:.4g}, ratio {ratio:.3f})"
    return text


@dataclasses.dataclass(frozen=True, eq=False)
class ShapeEvaluator:
  """Compares predicted heads with their truth, as `affjax evaluate` does.

  Attributes:
    reconstructor: The networks.
    truths: The held-out samples whose geometry is known.
  """

  reconstructor: Reconstructor
  truths: Truths

  def __call__(self, params: Params) -> list[ShapeError]:
    """Returns the errors of the networks with these weights."""
    found = measured(Cases(self.truths, self._heads(params)), _NAMES)
    return [
      ShapeError(
        row.name, row.unit, _mean(found, row.name), _mean(self._mean_head, row.name)
      )
      for row in MEASURES
      if row.name in found
    ]

  @functools.cached_property
  def _mean_head(self) -> dict[str, Values]:
    shape = self.truths.vertices.shape
    same = np.broadcast_to(self.truths.template.vertices, shape).astype(np.float32)
    return measured(Cases(self.truths, Heads(same)), _NAMES)

  def _heads(self, params: Params) -> Heads:
    count = len(self.truths)
    size = min(count, _TOGETHER)
    vertices, poses = [], []
    for start in range(0, count, size):
      # The last part is filled up, so that one size is compiled.
      index = np.minimum(np.arange(start, start + size), count - 1)
      found = self._predict(params, self.truths.photos[index])
      vertices.append(np.asarray(found[0]))
      poses.append(np.asarray(found[1]))
    return Heads(np.concatenate(vertices)[:count], np.concatenate(poses)[:count])

  @functools.cached_property
  def _predict(self) -> Any:
    def predict(params: Params, photos: jax.Array) -> tuple[jax.Array, jax.Array]:
      images = photos.astype(jnp.float32) / 255
      found = self.reconstructor(params, images, render=False)
      table = self.reconstructor.table
      return uv.vertices_from_map(found.position, table), found.pose

    return jax.jit(predict)


def shape_evaluator(
  reconstructor: Reconstructor, record: Record
) -> ShapeEvaluator | None:
  """Returns the evaluator of held-out samples, None if no geometry is known.

  Args:
    reconstructor: The networks.
    record: The samples as one record.
  """
  known = np.flatnonzero(np.asarray(record["has_pose"]))
  if not len(known):
    return None
  truths = Truths(
    names=[str(k) for k in range(len(record["image"]))],
    template=reconstructor.template,
    camera=reconstructor.camera,
    photos=np.asarray(record["image"]),
    visible=np.asarray(record["visible"])[..., 0] > 127,
    vertices=np.asarray(record["vertices"], np.float32),
    pose=np.asarray(record["pose"], np.float32),
  )
  return ShapeEvaluator(reconstructor, chosen(truths, known.tolist()))


def _mean(found: Mapping[str, Values], name: str) -> float:
  """Returns the mean over samples that have a value; NaN without any."""
  values = found[name][""] if name in found else np.array([np.nan])
  known = values[np.isfinite(values)]
  return float(known.mean()) if len(known) else np.nan
