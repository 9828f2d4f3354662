"""Geometry by our own fit of a morphable model to the landmarks."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from affjax.data._providers.interface import Geometry, Refusal, require_head
from affjax.faces import Crop, Face
from affjax.heads import MorphableModel
from affjax.types import Camera

# Inner landmarks, % of the interocular distance: as good as fits get, and useless.
_BEST, _WORST = 1.0, 8.0


class EmbeddedProvider:
  """Pose, identity and expression of a morphable model, fitted to each face.

  Args:
    model: gives template and modes.
    camera: of the aligned photos.
    fit: `affjax.faces.fit.fit`.
    worst: mean error of the inner landmarks from which a fit is refused, % of the
      interocular distance.
  """

  aligned = False

  def __init__(
    self,
    model: MorphableModel,
    camera: Camera,
    fit: Callable[..., Sequence[Any]],
    *,
    worst: float = _WORST,
  ):
    if worst <= _BEST:
      raise ValueError(f"worst must be above {_BEST} %, got {worst}")
    self.template = model.template
    self._model, self._camera, self._fit, self._worst = model, camera, fit, worst

  def __call__(
    self,
    images: np.ndarray,
    faces: Sequence[Face],
    crops: Sequence[Crop],
    names: Sequence[str],
  ) -> list[Geometry | Refusal]:
    """The fits; those that failed or are worse than `worst` are refused."""
    return [self._judged(f) for f in self._fit(self._model, faces, crops, self._camera)]

  def settings(self) -> Mapping[str, Any]:
    """What decides the geometry."""
    return {
      "provider": "embedded",
      "template": self.template.name,
      "modes": len(self._model.identity_basis),
      "worst": self._worst,
    }

  def _judged(self, fit) -> Geometry | Refusal:
    error = float(fit.inner_error)
    if not np.isfinite(error) or not np.isfinite(fit.pose).all():
      return Refusal("the fit gave NaN")
    if error > self._worst:
      return Refusal(f"fit error {error:.1f} % is above {self._worst:g} %")
    try:
      vertices = require_head(np.asarray(fit.vertices), self.template)
    except ValueError as problem:
      return Refusal(f"fit is no head: {problem}")
    quality = quality_of_error(error, self._worst)
    pose = np.asarray(fit.pose, np.float32)
    return Geometry(vertices, pose, quality, error)


def quality_of_error(error: float, worst: float = _WORST) -> float:
  """1 for landmark errors up to 1 %, falling linearly to 0.1 at `worst`."""
  share = (error - _BEST) / (worst - _BEST)
  return float(1 - 0.9 * np.clip(share, 0, 1))
