"""The landmarks of a morphable model, and the points that they may slide to."""

import dataclasses
import functools

import jax
import numpy as np
from jaxtyping import Float

from affjax.geometry import mesh
from affjax.heads import MorphableModel, landmarks
from affjax.types import ArrayLike, Template

# Number of candidates for each of the jaw's landmarks, and their largest distance, dm.
_CANDIDATES, _REACH = 64, 0.35
# Prior standard deviation of ARKit's units.
_BLENDSHAPE_SIGMA = 0.35
# First letters of expression units that move no landmark.
_UNSEEN = ("eyeLook", "tongue", "pupil", "iris")
# The first modes of a model are enough: landmarks say nothing about the others.
_MOST_MODES = 80


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class ModelPoints:
  """Points of a morphable model with their D modes.

  The first 51 points are landmarks 17-67, fixed to the surface; 17 groups of M
  candidates for the jaw's landmarks follow, in each of them the landmark itself first.

  Attributes:
    mean: Positions on the mean head, head space, dm.
    modes: Displacements, dm at coefficient 1.
    normals: Unit normals of the candidates on the mean head.
    slide: Distance of each candidate from its landmark on the mean head, dm.
    sigma: Prior standard deviation of each coefficient.
    low: Least value of each coefficient.
    high: Largest value of each coefficient.
  """

  mean: Float[ArrayLike, "q 3"]
  modes: Float[ArrayLike, "q 3 d"]
  normals: Float[ArrayLike, "17 m 3"]
  slide: Float[ArrayLike, "17 m"]
  sigma: Float[ArrayLike, " d"]
  low: Float[ArrayLike, " d"]
  high: Float[ArrayLike, " d"]

  def without_modes(self) -> "ModelPoints":
    """Returns the points of the mean head, which has no coefficients."""
    none = self.sigma[:0]
    modes = self.modes[..., :0]
    return dataclasses.replace(self, modes=modes, sigma=none, low=none, high=none)


@dataclasses.dataclass(frozen=True)
class FittedModes:
  """The part of a model's coefficients that is fitted.

  Attributes:
    identity: Number of identity modes, the first ones.
    expression: Indices of the expression units.
  """

  identity: int
  expression: tuple[int, ...]


@functools.lru_cache(maxsize=8)
def model_points(model: MorphableModel) -> tuple[ModelPoints, FittedModes]:
  """Returns the points of a model, and the coefficients that their modes belong to.

  Coefficients of units with ARKit's names stay in [0, 1], those of other models (BFM,
  FLAME) within 3 standard deviations.

  Raises:
    ValueError: The model has no 68 landmarks, or numbers that are not finite.
  """
  check_fittable(model)
  template = model.template
  fitted = FittedModes(
    identity=min(len(model.identity_basis), _MOST_MODES),
    expression=tuple(
      i
      for i, name in enumerate(model.expression_names)
      if not name.lower().startswith(_UNSEEN)
    ),
  )
  bases = np.concatenate(
    [
      model.identity_basis[: fitted.identity],
      model.expression_basis[list(fitted.expression)],
    ]
  )
  at, weights, slide = _places(template)
  modes = np.einsum("dqkx,qk->qxd", bases[:, at], weights)
  normals = mesh.vertex_normals(template.vertices, template.faces)
  normals = (normals[at] * weights[..., None]).sum(1)[51:]
  normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)
  blendshapes = "jawOpen" in model.expression_names
  sigma, low, high = (_BLENDSHAPE_SIGMA, 0.0, 1.0) if blendshapes else (1.0, -3.0, 3.0)
  per_mode = lambda identity, expression: _single(
    [identity] * fitted.identity + [expression] * len(fitted.expression)
  )
  points = ModelPoints(
    mean=_single((template.vertices[at] * weights[..., None]).sum(1)),
    modes=_single(modes),
    normals=_single(normals.reshape(17, -1, 3)),
    slide=_single(slide),
    sigma=per_mode(1.0, sigma),
    low=per_mode(-3.0, low),
    high=per_mode(3.0, high),
  )
  return points, fitted


def _single(values: np.ndarray | list[float]) -> Float[np.ndarray, "..."]:
  return np.asarray(values, np.float32)


def check_fittable(model: MorphableModel) -> None:
  """Raises a `ValueError` if a model lacks the 68 landmarks or holds NaN."""
  template = model.template
  if len(template.landmark_faces) != 68:
    raise ValueError(
      f"model {template.name!r} must have the 68 standard landmarks to be fitted, got "
      f"{len(template.landmark_faces)}: affjax.heads.with_landmarks adds them"
    )
  for name, values in (
    ("vertices", template.vertices),
    ("identity_basis", model.identity_basis),
    ("expression_basis", model.expression_basis),
  ):
    if not np.isfinite(values).all():
      raise ValueError(f"{name} of model {template.name!r} must be finite, got NaN")


def _places(template: Template) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns vertices and weights `[Q, 3]` of all points, and `ModelPoints.slide`."""
  corners = template.faces[template.landmark_faces]
  points = template.landmark_positions(template.vertices)
  at, weights = [corners[17:]], [template.landmark_weights[17:]]
  # Candidates lie on the part of the head that the landmarks lie on.
  groups = template.face_groups[template.landmark_faces[landmarks.JAW]]
  skin = np.unique(template.faces[np.isin(template.face_groups, groups)])
  slides = []
  for k in landmarks.JAW:
    distance = np.linalg.norm(template.vertices[skin] - points[k], axis=1)
    near = np.argsort(distance, kind="stable")[: _CANDIDATES - 1]
    # Vertices beyond the reach are replaced by the landmark itself.
    far = distance[near] > _REACH
    vertex = skin[near]
    candidate = np.where(far[:, None], corners[k], vertex[:, None])
    weight = np.where(far[:, None], template.landmark_weights[k], [1.0, 0.0, 0.0])
    at += [corners[k][None], candidate]
    weights += [template.landmark_weights[k][None], weight]
    slides.append(np.concatenate([[0.0], np.where(far, 0.0, distance[near])]))
  return np.concatenate(at), np.concatenate(weights), np.stack(slides)
