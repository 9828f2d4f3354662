"""Heads of a person who is known: each frame gives pose and expression only."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from affjax.faces import _pose, warp
from affjax.faces._crop import Crop
from affjax.faces._fit.landmarks import (
  landmark_errors,
  landmarks_of_heads,
  ordered_ndc,
)
from affjax.faces._fit.model_points import ModelPoints, model_points, on_points
from affjax.faces._surface import chart as charts
from affjax.faces._surface import fit as fitting
from affjax.faces._surface import read as reading
from affjax.faces._surface import solve
from affjax.faces._surface.chart import Chart
from affjax.heads import MorphableModel
from affjax.types import Camera

# Number of times that the network looks at a frame: half as often as at a photo, since
# only the places of its points count.
_PASSES = 2
# Prior standard deviation of the weights of expression units around 0.
_SIGMA = 0.15
# Number of frames from which on weights that stay are taken for shape, the percentile
# of a unit's weights in them that stays, and the largest weight that is.
_LEAST_FRAMES, _STAYS, _MOST_REST = 3, 25, 0.2


class FrameFits(NamedTuple):
  """The head of a person in N frames.

  Attributes:
    pose: Poses before the cameras of the crops, see `Fit`.
    weights: Weights of the model's expression units, in [0, 1]; gaze and tongue rest.
    inner_error: Errors of landmarks, see `Fit`.
  """

  pose: Float[np.ndarray, "n 6"]
  weights: Float[np.ndarray, "n e"]
  inner_error: Float[np.ndarray, " n"]


@dataclasses.dataclass(frozen=True, eq=False)
class Person:
  """A person of known identity.

  Attributes:
    model: The embedded head.
    identity: Coefficients of its identity modes, standard deviations.
    rest: Weights of the expression units that are the person's shape: the neutral head
      has them, and `vertices` and `fit` count weights from there.
  """

  model: MorphableModel
  identity: Float[np.ndarray, " k"]
  rest: Float[np.ndarray, " e"]

  @classmethod
  def of(cls, model: MorphableModel, identity: Float[np.ndarray, " k"]) -> "Person":
    """Returns a person whose shape is all identity."""
    return cls(model, identity, np.zeros(len(model.expression_basis), np.float32))

  @functools.cached_property
  def neutral(self) -> Float[np.ndarray, "v 3"]:
    """The vertices of the person without expression, dm."""
    moved = np.tensordot(self.identity, self.model.identity_basis, 1)
    at_rest = np.tensordot(self.rest, self.model.expression_basis, 1)
    return (self.model.template.vertices + moved + at_rest).astype(np.float32)

  def vertices(self, weights: Float[np.ndarray, "n e"]) -> Float[np.ndarray, "n v 3"]:
    """Returns heads with the weights of expression units, without pose, dm."""
    return self.neutral + np.tensordot(weights, self.model.expression_basis, 1)

  def fit(
    self,
    landmarks: Sequence[Float[np.ndarray, "68 2"]],
    crops: Sequence[Crop],
    images: np.ndarray,
    camera: Camera,
  ) -> FrameFits:
    """Finds pose and expression in frames, as `fit_surface` does in photos.

    Args:
      landmarks: The 68 landmarks in each frame, px of the frame.
      crops: Crop of each frame, as `face_crops` returns them.
      images: The crops' pixels, uint8 `[N, S, S, 3]`.
      camera: Camera of the crops.
    """
    pairs = zip(landmarks, crops, strict=True)
    px = np.stack([warp.transform(crop.matrix, marks) for marks, crop in pairs])
    sizes = np.array([crop.size for crop in crops], np.float32)
    poses = fitting.first_poses(self.model, px, [crop.size for crop in crops], camera)
    start = fitting.first_views(poses, camera)
    chart, _ = charts.load(self.model)
    errors, weights = reading.load_errors(), reading.load_weights()
    found = reading.read(chart, weights, images, start, _PASSES)
    chart, points = self._own
    rest = np.zeros((len(px), len(points.sigma)), np.float32)
    seen = fitting.seen_in(
      found,
      rest,
      rest + points.sigma,
      fitting.readable(found, errors),
      ordered_ndc(px, sizes),
      start,
    )
    values, turn, shift = solve.solve(chart, points, seen, camera)
    pose = _pose.vectors(turn, shift).astype(np.float32)
    heads = self.vertices(values).astype(np.float32)
    ndc = landmarks_of_heads(self.model, heads, pose, camera)
    inner, _ = landmark_errors(px, (ndc + 1) * (sizes[:, None, None] / 2) - 0.5)
    return FrameFits(pose, values, inner)

  def rested(self, weights: Float[np.ndarray, "n e"]) -> "Person":
    """Returns the person with what stays in all frames as a part of the shape.

    Where the identity is not quite right, small weights of expression units make up for
    it in every frame.

    Args:
      weights: Weights in frames that differ, as `fit` finds them. A few are not enough
        to tell shape from expression, and the person stays as it is.
    """
    if len(weights) < _LEAST_FRAMES:
      return self
    rest = np.clip(np.percentile(weights, _STAYS, axis=0), 0, _MOST_REST)
    return dataclasses.replace(self, rest=self.rest + rest.astype(np.float32))

  @functools.cached_property
  def _own(self) -> tuple[Chart, ModelPoints]:
    """The chart and the landmarks of the person, which expression units move."""
    chart, points = _moved_by_expression(self.model)
    cells = charts.on_cells(self.model.template, self.neutral)
    places = on_points(self.model, self.neutral[None])[0]
    return (
      dataclasses.replace(chart, mean=cells),
      dataclasses.replace(
        points, mean=places, high=np.maximum(points.high - self.rest, 0)
      ),
    )


@functools.lru_cache(maxsize=2)
def _moved_by_expression(model: MorphableModel) -> tuple[Chart, ModelPoints]:
  """Returns the chart and the landmarks of the mean head with expression units."""
  chart, _ = charts.load(model)
  points, fitted = model_points(model)
  modes = charts.on_cells(model.template, model.expression_basis)
  high = np.zeros(len(model.expression_basis), np.float32)
  high[list(fitted.expression)] = 1  # landmarks say nothing about gaze and tongue
  return dataclasses.replace(chart, modes=modes), dataclasses.replace(
    points,
    modes=on_points(model, model.expression_basis).transpose(1, 2, 0),
    sigma=np.full(len(high), _SIGMA, np.float32),
    low=np.zeros(len(high), np.float32),
    high=high,
  )
