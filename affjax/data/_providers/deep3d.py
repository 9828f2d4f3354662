"""Geometry by Deep3DFaceRecon's regressor, for those who own its weights and a BFM."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from affjax.data._providers.embedded import quality_of_error
from affjax.data._providers.interface import Geometry, Refusal, require_head
from affjax.faces import Crop, Face, mean_landmarks, solve_pose, warp
from affjax.geometry import camera as cameras
from affjax.heads import MorphableModel, landmarks
from affjax.types import Camera, Template

# Faces that are given to the network at once; fewer are filled up.
_CHUNK = 8


class Deep3DProvider:
  """Identity and expression of BFM 2009 from a network, placed by the landmarks.

  The network looks at the aligned photo once more as it is used to; what it says about
  shape holds in any crop. The pose comes from the landmarks, as the network's own pose
  belongs to its own crop.

  Args:
    model: `heads.bfm.load_2009`'s.
    camera: of the aligned photos.
    regressor: takes photos in [0, 1] `[N, 224, 224, 3]`, gives identity `[N, 80]` and
      expression `[N, 64]`.
    alignment: takes a face's 68 landmarks, px, and the mean head's, dm; gives the
      matrix to px of the network's crop.
    retarget: from vertices of the BFM to those of `template`; None keeps the BFM.
    template: what `retarget` gives; the BFM's own if there is none.
    files: what tells the network's and the model's files from others, for `settings`.
  """

  aligned = False

  def __init__(
    self,
    model: MorphableModel,
    camera: Camera,
    *,
    regressor: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    alignment: Callable[[np.ndarray, np.ndarray], np.ndarray],
    retarget: Callable[[np.ndarray], np.ndarray] | None = None,
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
    """What the network says; heads that are none are refused."""
    answers: list[Geometry | Refusal] = []
    for k in range(0, len(images), _CHUNK):
      part = slice(k, k + _CHUNK)
      answers += self._chunk(images[part], faces[part], crops[part])
    return answers

  def settings(self) -> Mapping[str, Any]:
    """What decides the geometry."""
    return {
      "provider": "deep3d",
      "template": self.template.name,
      "model": self._model.template.name,
      **self._files,
    }

  def _chunk(self, images, faces, crops) -> list[Geometry | Refusal]:
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

  def _placed(self, vertices, px, size: int) -> Geometry | Refusal:
    try:
      vertices = require_head(vertices, self.template)
    except ValueError as problem:
      return Refusal(f"the network's head is none: {problem}")
    pose, error = placed(vertices, self.template, px, self._camera, size)
    return Geometry(vertices, pose, quality_of_error(error), error)


def placed(
  vertices: np.ndarray, template: Template, px: np.ndarray, camera: Camera, size: int
) -> tuple[np.ndarray, float]:
  """The pose in which a head's landmarks meet those of a photo, and how well they do.

  Args:
    vertices: head space, dm.
    template: whose vertices they are.
    px: the 68 landmarks in the aligned photo.
    camera: of the photo.
    size: width and height of the photo.

  Returns:
    The pose `[6]`, and the mean distance of landmarks 17 to 67 in % of the distance of
    the outer eye corners.
  """
  points = landmarks.landmarks68(jnp.asarray(vertices), template)
  pose = solve_pose(np.asarray(points), px, camera, size).astype(np.float32)
  world = cameras.head_to_world(points, jnp.asarray(pose))
  found = np.asarray(cameras.world_to_px(world, camera, size, size))
  left, right = landmarks.OUTER_EYE_CORNERS
  eyes = np.linalg.norm(px[left] - px[right])
  off = np.linalg.norm(found - px, axis=-1)[17:].mean()
  return pose, float(100 * off / max(eyes, 1e-6))
