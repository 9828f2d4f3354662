"""Geometry from a morphable model that is fitted to the photos."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from affjax.data._providers import pose
from affjax.data._providers.interface import Geometry, Refusal, require_head
from affjax.faces import Crop, Face, Fit, fit_faces
from affjax.heads import MorphableModel
from affjax.types import Camera


def fit_landmarks(
  model: MorphableModel,
  faces: Sequence[Face],
  crops: Sequence[Crop],
  images: np.ndarray,
  camera: Camera,
) -> list[Fit]:
  """Returns `fit_faces`, which needs no pixels, with the signature of `fit_surface`."""
  del images
  return fit_faces(model, faces, crops, camera)


class FitProvider:
  """A provider that fits pose, identity and expression of a model to each face.

  Args:
    model: Morphable model.
    camera: Camera of the aligned photos.
    fit: `affjax.faces.fit_surface`, or a function with its signature.
    name: Name of the provider in the settings of a data set.
    worst: Mean error of the inner landmarks above which a fit is refused, % of the
      interocular distance.
  """

  aligned = False

  def __init__(
    self,
    model: MorphableModel,
    camera: Camera,
    fit: Callable[..., Sequence[Fit]],
    *,
    name: str = "fit",
    worst: float = pose.WORST,
  ):
    if worst <= pose.BEST:
      raise ValueError(f"worst must be above {pose.BEST} %, got {worst}")
    self.template = model.template
    self._model, self._camera, self._fit, self._worst = model, camera, fit, worst
    self._name = name

  def __call__(
    self,
    images: np.ndarray,
    faces: Sequence[Face],
    crops: Sequence[Crop],
    names: Sequence[str],
  ) -> list[Geometry | Refusal]:
    """Returns the fits; refuses those that failed or are worse than `worst`."""
    fits = self._fit(self._model, faces, crops, images, self._camera)
    return [self._checked(fit) for fit in fits]

  def settings(self) -> Mapping[str, Any]:
    """Returns what determines the geometry."""
    return {
      "provider": self._name,
      "template": self.template.name,
      "modes": len(self._model.identity_basis),
      "worst": self._worst,
    }

  def _checked(self, fit: Fit) -> Geometry | Refusal:
    error = float(fit.inner_error)
    if not np.isfinite(error) or not np.isfinite(fit.pose).all():
      return Refusal("the fit gave NaN")
    if error > self._worst:
      return Refusal(f"fit error {error:.1f} % is above {self._worst:g} %")
    try:
      vertices = require_head(np.asarray(fit.vertices), self.template)
    except ValueError as problem:
      return Refusal(f"the fit is no head: {problem}")
    quality = pose.quality_of_error(error, self._worst)
    return Geometry(vertices, np.asarray(fit.pose, np.float32), quality, error)
