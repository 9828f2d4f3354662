"""What of a morphable model a fit looks at: its landmarks and where they may slide."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from affjax.geometry import mesh
from affjax.heads import MorphableModel, landmarks

# Candidates for each of the jaw's landmarks, and how far away they lie, dm.
CANDIDATES, REACH = 64, 0.35
# Units that no landmark sees.
_UNSEEN = ("eyeLook", "tongue", "pupil", "iris")
# The first modes of a model are enough: landmarks say nothing about the others.
_MOST_MODES = 80


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Marks:
  """Points of a morphable model with their D modes.

  The first P points are fixed to the surface; 17 groups of M candidates for the jaw's
  landmarks follow, in each of them the landmark itself first.

  Attributes:
    mean: head space, dm.
    modes: dm at coefficient 1.
    normals: of the candidates on the mean head, unit length.
    slide: distance of each candidate from its landmark on the mean head, dm.
    sigma: prior standard deviation of each coefficient.
    low: least value of each coefficient.
    high: its largest value.
  """

  mean: Float[Array, "q 3"]
  modes: Float[Array, "q 3 d"]
  normals: Float[Array, "17 m 3"]
  slide: Float[Array, "17 m"]
  sigma: Float[Array, " d"]
  low: Float[Array, " d"]
  high: Float[Array, " d"]


@dataclasses.dataclass(frozen=True)
class Units:
  """Which of a model's coefficients are fitted.

  Attributes:
    identity: number of identity modes, the first ones.
    expression: indices of the expression units.
  """

  identity: int
  expression: tuple[int, ...]


@functools.lru_cache(maxsize=8)
def of_model(
  model: MorphableModel, *, expression_sigma: float = 0.35
) -> tuple[Marks, Units]:
  """The marks of a model, and the coefficients that belong to their modes.

  Args:
    model: with 68 landmarks. Coefficients of units with ARKit's names stay in [0, 1],
      those of other models (BFM, FLAME) within 3 standard deviations.
    expression_sigma: prior standard deviation of ARKit's units.

  Raises:
    ValueError: the model has no 68 landmarks, or numbers that are not finite.
  """
  template = model.template
  check_fittable(model)
  units = Units(
    identity=min(len(model.identity_basis), _MOST_MODES),
    expression=tuple(
      i
      for i, name in enumerate(model.expression_names)
      if not name.lower().startswith(_UNSEEN)
    ),
  )
  bases = np.concatenate(
    [
      model.identity_basis[: units.identity],
      model.expression_basis[list(units.expression)],
    ]
  )
  at, weights, slide = _places(model)
  modes = np.einsum("dqkx,qk->qxd", bases[:, at], weights)
  normals = np.asarray(
    mesh.vertex_normals(jnp.asarray(template.vertices), template.faces)
  )
  normals = (normals[at] * weights[..., None]).sum(1)[51:]
  normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)
  faces = "jawOpen" in model.expression_names
  e = len(units.expression)
  sigma = [expression_sigma if faces else 1.0] * e
  single = lambda x: jnp.asarray(x, jnp.float32)
  marks = Marks(
    mean=single((template.vertices[at] * weights[..., None]).sum(1)),
    modes=single(modes),
    normals=single(normals.reshape(17, -1, 3)),
    slide=single(slide),
    sigma=single([1.0] * units.identity + sigma),
    low=single([-3.0] * units.identity + [0.0 if faces else -3.0] * e),
    high=single([3.0] * units.identity + [1.0 if faces else 3.0] * e),
  )
  return marks, units


def check_fittable(model: MorphableModel) -> None:
  """Raises a `ValueError` if the model cannot be fitted; see `of_model`."""
  template = model.template
  if len(template.landmark_faces) != 68:
    raise ValueError(
      f"model {template.name!r} must have the 68 standard landmarks to be fitted, got "
      f"{len(template.landmark_faces)}: affjax.heads.landmark_sets gives them"
    )
  for name, values in (
    ("vertices", template.vertices),
    ("identity_basis", model.identity_basis),
    ("expression_basis", model.expression_basis),
  ):
    if not np.isfinite(values).all():
      raise ValueError(f"{name} of model {template.name!r} must be finite, got NaN")


def _places(model: MorphableModel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Vertices `[Q, 3]` and weights of all points, and the candidates' distances."""
  template = model.template
  corners = template.faces[template.landmark_faces]
  points = (template.vertices[corners] * template.landmark_weights[..., None]).sum(1)
  at, weights = [corners[17:]], [template.landmark_weights[17:]]
  # Candidates share the part of the head that the landmarks lie on.
  groups = template.face_groups[template.landmark_faces[landmarks.JAW]]
  skin = np.unique(template.faces[np.isin(template.face_groups, groups)])
  slides = []
  for k in landmarks.JAW:
    distance = np.linalg.norm(template.vertices[skin] - points[k], axis=1)
    near = np.argsort(distance, kind="stable")[: CANDIDATES - 1]
    # Further ones repeat the landmark itself.
    far = distance[near] > REACH
    vertex = skin[near]
    candidate = np.where(far[:, None], corners[k], vertex[:, None])
    weight = np.where(far[:, None], template.landmark_weights[k], [1.0, 0.0, 0.0])
    at += [corners[k][None], candidate]
    weights += [template.landmark_weights[k][None], weight]
    slides.append(np.concatenate([[0.0], np.where(far, 0.0, distance[near])]))
  return np.concatenate(at), np.concatenate(weights), np.stack(slides)
