"""Heads of a person who is known: each frame gives pose and expression only."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from affjax.faces import _pose, warp
from affjax.faces._crop import Crop
from affjax.faces._fit.landmarks import (
  landmark_errors,
  landmarks_of_heads,
  ordered_ndc,
)
from affjax.faces._surface import chart as charts
from affjax.faces._surface import fit as fitting
from affjax.faces._surface import read as reading
from affjax.faces._surface import solve
from affjax.heads import MorphableModel
from affjax.types import Camera

# Number of times that the network looks at a frame: half as often as at a photo, since
# it tells the expression and the places only.
_PASSES = 2


class FrameFits(NamedTuple):
  """The head of a person in N frames.

  Attributes:
    pose: Poses before the cameras of the crops, see `Fit`.
    expression: Independent components of the expression, standard normal in people.
    inner_error: Errors of landmarks, see `Fit`.
  """

  pose: Float[np.ndarray, "n 6"]
  expression: Float[np.ndarray, "n c"]
  inner_error: Float[np.ndarray, " n"]


@dataclasses.dataclass(frozen=True, eq=False)
class Person:
  """A person of known identity.

  Attributes:
    model: The embedded head.
    identity: Coefficients of its identity modes, standard deviations.
  """

  model: MorphableModel
  identity: Float[np.ndarray, " k"]

  @functools.cached_property
  def neutral(self) -> Float[np.ndarray, "v 3"]:
    """The vertices of the person without expression, dm."""
    moved = np.tensordot(self.identity, self.model.identity_basis, 1)
    return (self.model.template.vertices + moved).astype(np.float32)

  def weights(self, expression: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n e"]:
    """Returns the weights of the model's expression units."""
    _, components = charts.load(self.model)
    none = np.zeros((len(expression), components.identity), np.float32)
    return components.coefficients(np.concatenate([none, expression], 1))[1]

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
    said = reading.read(chart, weights, images, start, _PASSES)
    found = reading.calibrated(said, errors)
    trusted = fitting.readable(found, errors)
    face = np.where(trusted[:, None], found.face, 0)[:, len(self.identity) :]
    seen = fitting.seen_in(
      found,
      face.astype(np.float32),
      np.full(face.shape, solve.EXPRESSION, np.float32),
      trusted,
      ordered_ndc(px, sizes),
      start,
    )
    values, turn, shift = solve.solve(*self._own, seen, camera)
    pose = _pose.vectors(turn, shift).astype(np.float32)
    heads = self.vertices(self.weights(values)).astype(np.float32)
    ndc = landmarks_of_heads(self.model, heads, pose, camera)
    inner, _ = landmark_errors(px, (ndc + 1) * (sizes[:, None, None] / 2) - 0.5)
    return FrameFits(pose, values, inner)

  @functools.cached_property
  def _own(self) -> tuple[charts.Chart, solve.ModelPoints]:
    """The chart and the landmarks of the person, which the expression alone moves."""
    chart, components = charts.load(self.model)
    count, identity = components.identity, jnp.asarray(self.identity, jnp.float32)
    mean = chart.mean + jnp.tensordot(identity, chart.modes[:count], 1)
    points = solve.points_of(self.model, components)
    own = dataclasses.replace(
      points,
      mean=points.mean + points.modes[..., :count] @ np.float32(self.identity),
      modes=points.modes[..., count:],
      sigma=points.sigma[count:],
      low=points.low[count:],
      high=points.high[count:],
    )
    return dataclasses.replace(chart, mean=mean, modes=chart.modes[count:]), own
