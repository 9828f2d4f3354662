"""The 68 standard (iBUG) landmarks of a head."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from affjax.types import Template

JAW = np.arange(17)
BROWS = np.arange(17, 27)
NOSE = np.arange(27, 36)
EYES = np.arange(36, 48)
MOUTH = np.arange(48, 68)
OUTER_EYE_CORNERS = (36, 45)

# The landmark that takes the place of each one in a mirrored picture.
MIRRORED = np.concatenate(
  [
    np.arange(16, -1, -1),
    np.arange(26, 16, -1),
    np.arange(27, 31),
    np.arange(35, 30, -1),
    [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40],
    [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55],
    [64, 63, 62, 61, 60, 67, 66, 65],
  ]
)


def landmarks68(
  vertices: Float[Array, "*b v 3"], template: Template
) -> Float[Array, "*b 68 3"]:
  """Landmark positions on posed or unposed vertices, in the vertices' own space."""
  corners = vertices[..., template.faces[template.landmark_faces], :]
  weights = jnp.broadcast_to(template.landmark_weights[..., None], corners.shape)
  return jnp.sum(corners * weights, -2)


def outer_eye_distance(template: Template) -> float:
  """Distance of the outer eye corners of the mean head, dm."""
  corner = template.vertices[template.faces[template.landmark_faces]]
  points = (corner * template.landmark_weights[..., None]).sum(-2)
  left, right = OUTER_EYE_CORNERS
  return float(np.linalg.norm(points[left] - points[right]))
