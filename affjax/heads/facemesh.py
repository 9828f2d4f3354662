"""The positions of FaceMesh's 468 points on the surface of a head.

`experiments/assets/facemesh_correspondence.py` computes them: it runs the landmark
network on renders of the head and reads the surface under each point.
"""

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Int

from affjax.assets import store
from affjax.heads import _embedded
from affjax.types import ArrayT, Template

COUNT = 468
_SCRIPT = "experiments/assets/facemesh_correspondence.py"


@dataclasses.dataclass(frozen=True, eq=False)
class FaceMeshPoints:
  """FaceMesh's 468 points on a template.

  Attributes:
    faces: int32, the triangle of the template under each point.
    weights: barycentric weights in that triangle.
    sigma: standard deviation, along each axis of the surface, of the network's point
      over people, expressions and poses, dm.
    contour: whether a point belongs to FaceMesh's outline. Those slide along the
      silhouette as the head turns and have no fixed position on the surface.
  """

  faces: Int[np.ndarray, "468"]
  weights: Float[np.ndarray, "468 3"]
  sigma: Float[np.ndarray, "468"]
  contour: Bool[np.ndarray, "468"]


def points(template: Template) -> FaceMeshPoints:
  """Returns FaceMesh's points on the embedded head.

  Raises:
    ValueError: the template is not the embedded head.
  """
  own = _embedded.load().template
  if template is not own and not (
    np.array_equal(template.faces, own.faces)
    and template.vertices.shape == own.vertices.shape
  ):
    raise ValueError(
      f"FaceMesh's points are not known on template {template.name!r}: compute them "
      f"with {_SCRIPT} and read its .npz with facemesh.load"
    )
  return _checked(store.open_asset("facemesh.npz"), template, "facemesh.npz")


def load(path: str | pathlib.Path, template: Template) -> FaceMeshPoints:
  """Reads FaceMesh's points on a template from the script's `.npz`.

  Raises:
    AssetError: the file is not a readable `.npz`.
    ValueError: the file was made for another template.
  """
  arrays = store.read_npz(pathlib.Path(path).read_bytes(), str(path))
  return _checked(arrays, template, str(path))


def _checked(
  arrays: Mapping[str, np.ndarray], template: Template, name: str
) -> FaceMeshPoints:
  shapes = {"faces": (COUNT,), "weights": (COUNT, 3), "sigma": (COUNT,)}
  shapes |= {"contour": (COUNT,), "template_size": (2,)}
  for key, shape in shapes.items():
    if key not in arrays or arrays[key].shape != shape:
      found = arrays[key].shape if key in arrays else "none"
      raise ValueError(f"{name}: {key} must have shape {shape}, got {found}")
  size = (len(template.vertices), len(template.faces))
  if tuple(arrays["template_size"].tolist()) != size:
    raise ValueError(
      f"{name} is for a template of {arrays['template_size'].tolist()} vertices and "
      f"triangles, {template.name!r} has {list(size)}"
    )
  faces, weights, sigma = arrays["faces"], arrays["weights"], arrays["sigma"]
  if faces.dtype.kind not in "iu":
    raise ValueError(f"{name}: faces must be whole numbers, got {faces.dtype}")
  if faces.min() < 0 or faces.max() >= size[1]:
    raise ValueError(f"{name}: faces must lie in [0, {size[1]})")
  if not (np.abs(weights.sum(1) - 1) < 1e-3).all() or not (weights >= -1e-6).all():
    raise ValueError(f"{name}: weights must not be negative, with sum 1")
  if not ((sigma >= 0) & np.isfinite(sigma)).all():
    raise ValueError(f"{name}: sigma must be finite and not negative")
  if arrays["contour"].dtype != bool:
    raise ValueError(f"{name}: contour must be bool, got {arrays['contour'].dtype}")
  return FaceMeshPoints(
    faces.astype(np.int32),
    weights.astype(np.float32),
    sigma.astype(np.float32),
    arrays["contour"],
  )


def positions(
  vertices: Float[ArrayT, "*b v 3"], template: Template, points: FaceMeshPoints
) -> Float[ArrayT, "*b 468 3"]:
  """Returns the points on posed or unposed vertices, in the vertices' own space."""
  return template.surface_points(vertices, points.faces, points.weights)
