"""Errors of held-out heads against their known geometry, during training."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from affjax.eval import MEASURES, Cases, Heads, Truths, Values, chosen, measured
from affjax.geometry import uv
from affjax.models import Reconstructor
from affjax.train.states import Params
from affjax.train.steps import Record
from affjax.types import Batch, Guide

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
    guide: Mean of the coarse heads that guide the networks, NaN without any.
  """

  name: str
  unit: str
  value: float
  baseline: float
  guide: float = np.nan

  def __str__(self) -> str:
    text = f"{self.name} {self.value:.4g} {self.unit}"
    for name, other in (("mean head", self.baseline), ("guide", self.guide)):
      if np.isfinite(other):
        text += f" ({name} {other:.4g}, ratio {self.value / other:.3f})"
    return text


@dataclasses.dataclass(frozen=True, eq=False)
class ShapeEvaluator:
  """Compares predicted heads with their truth, as `affjax evaluate` does.

  Attributes:
    reconstructor: The networks.
    truths: The held-out samples whose geometry is known.
    guide: Coarse heads of the same samples, for guided networks.
  """

  reconstructor: Reconstructor
  truths: Truths
  guide: Guide | None = None

  def __call__(self, params: Params) -> list[ShapeError]:
    """Returns the errors of the networks with these weights."""
    found = measured(Cases(self.truths, self._heads(params)), _NAMES)
    return [
      ShapeError(
        row.name,
        row.unit,
        *(_mean(v, row.name) for v in (found, self._mean_head, self._guides)),
      )
      for row in MEASURES
      if row.name in found
    ]

  @functools.cached_property
  def _mean_head(self) -> dict[str, Values]:
    shape = self.truths.vertices.shape
    same = np.broadcast_to(self.truths.template.vertices, shape).astype(np.float32)
    return measured(Cases(self.truths, Heads(same)), _NAMES)

  @functools.cached_property
  def _guides(self) -> dict[str, Values]:
    if self.guide is None:
      return {}
    heads = Heads(np.asarray(self.guide.vertices), np.asarray(self.guide.pose))
    return measured(Cases(self.truths, heads), _NAMES)

  def _heads(self, params: Params) -> Heads:
    count = len(self.truths)
    size = min(count, _TOGETHER)
    vertices, poses = [], []
    for start in range(0, count, size):
      # The last part is filled up, so that one size is compiled.
      index = np.minimum(np.arange(start, start + size), count - 1)
      guide = jax.tree.map(lambda x, k=index: x[k], self.guide)
      found = self._predict(params, self.truths.photos[index], guide)
      vertices.append(np.asarray(found[0]))
      poses.append(np.asarray(found[1]))
    return Heads(np.concatenate(vertices)[:count], np.concatenate(poses)[:count])

  @functools.cached_property
  def _predict(self) -> Any:
    def predict(
      params: Params, photos: jax.Array, guide: Guide | None
    ) -> tuple[jax.Array, jax.Array]:
      images = photos.astype(jnp.float32) / 255
      found = self.reconstructor(params, images, guide=guide, render=False)
      table = self.reconstructor.table
      return uv.vertices_from_map(found.position, table), found.pose

    return jax.jit(predict)


def shape_evaluator(
  reconstructor: Reconstructor, record: Record, prepare: Callable[[Record], Batch]
) -> ShapeEvaluator | None:
  """Returns the evaluator of held-out samples, None if no geometry is known.

  Args:
    reconstructor: The networks.
    record: The samples as one record.
    prepare: Makes a batch of a record, with the guides of the samples.
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
  guide = jax.tree.map(lambda x: np.asarray(x)[known], prepare(record).guide)
  return ShapeEvaluator(reconstructor, chosen(truths, known.tolist()), guide)


def _mean(found: Mapping[str, Values], name: str) -> float:
  """Returns the mean over samples that have a value; NaN without any."""
  values = found[name][""] if name in found else np.array([np.nan])
  known = values[np.isfinite(values)]
  return float(known.mean()) if len(known) else np.nan
