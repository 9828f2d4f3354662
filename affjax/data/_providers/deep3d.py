"""Geometry from Deep3DFaceRecon's network, for owners of its weights and a BFM."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from affjax.data._providers.interface import Geometry, Refusal, require_head
from affjax.data._providers.pose import pose_from_landmarks, quality_of_error
from affjax.faces import Crop, Face, mean_landmarks, warp
from affjax.heads import MorphableModel
from affjax.types import ArrayLike, Camera, Template

# Number of faces in a batch of the network; smaller batches are padded.
_CHUNK = 8


class Deep3DProvider:
  """A provider of BFM 2009 heads by a network, posed by the landmarks.

  The network sees the aligned photo in its own crop. Identity and expression hold in
  any crop; the pose does not, and is solved from the landmarks instead.

  Args:
    model: BFM 2009, from `open_head`.
    camera: Camera of the aligned photos.
    regressor: Function from photos in [0, 1] `[N, 224, 224, 3]` to identity `[N, 80]`
      and expression `[N, 64]`.
    alignment: Function from a face's 68 landmarks, px, and the mean head's, dm, to the
      matrix to px of the network's crop.
    retarget: Function from vertices of the BFM to those of `template`; None keeps the
      BFM.
    template: Template of the result of `retarget`.
    files: Values that identify the files of network and model, for `settings`.
  """

  aligned = False

  def __init__(
    self,
    model: MorphableModel,
    camera: Camera,
    *,
    regressor: Callable[[np.ndarray], tuple[ArrayLike, ArrayLike]],
    alignment: Callable[[np.ndarray, np.ndarray], np.ndarray],
    retarget: Callable[[np.ndarray], ArrayLike] | None = None,
    template: Template | None = None,
    files: Mapping[str, str] | None = None,
  ):
    if (retarget is None) != (template is None):
      raise ValueError("retarget and template must be given together")
    self.template = template or model.template
    self._model, self._camera, self._files = model, camera, dict(files or {})
    self._regressor, self._alignment, self._retarget = regressor, alignment, retarget
    self._shape = jax.jit(lambda i, e: model.vertices(i, e))
    mean = mean_landmarks(model.template)
    self._mean = mean - model.template.vertices.mean(0)

  def __call__(
    self,
    images: np.ndarray,
    faces: Sequence[Face],
    crops: Sequence[Crop],
    names: Sequence[str],
  ) -> list[Geometry | Refusal]:
    """Returns the network's heads; refuses what cannot be a head."""
    answers: list[Geometry | Refusal] = []
    for k in range(0, len(images), _CHUNK):
      part = slice(k, k + _CHUNK)
      answers += self._chunk(images[part], faces[part], crops[part])
    return answers

  def settings(self) -> Mapping[str, Any]:
    """Returns what determines the geometry."""
    return {
      "provider": "deep3d",
      "template": self.template.name,
      "model": self._model.template.name,
      **self._files,
    }

  def _chunk(
    self, images: np.ndarray, faces: Sequence[Face], crops: Sequence[Crop]
  ) -> list[Geometry | Refusal]:
    points = [
      warp.transform(c.matrix, f.landmarks68) for f, c in zip(faces, crops, strict=True)
    ]
    looks = [
      warp.warp(image, self._alignment(px, self._mean), 224)
      for image, px in zip(images, points, strict=True)
    ]
    padded = np.stack(looks + looks[-1:] * (_CHUNK - len(looks)))
    shapes = np.asarray(self._shape(*map(jnp.asarray, self._regressor(padded))))
    if self._retarget is not None:
      shapes = np.asarray(self._retarget(shapes))
    return [self._placed(shapes[k], px, crops[k].size) for k, px in enumerate(points)]

  def _placed(
    self, vertices: np.ndarray, px: np.ndarray, size: int
  ) -> Geometry | Refusal:
    try:
      vertices = require_head(vertices, self.template)
    except ValueError as problem:
      return Refusal(f"the network's result is no head: {problem}")
    pose, error = pose_from_landmarks(vertices, self.template, px, self._camera, size)
    return Geometry(vertices, pose, quality_of_error(error), error)
