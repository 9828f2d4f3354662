"""The points of the head whose places in a photo are measured, and their errors.

Anchors are vertices of the embedded head's skin. The geometry network's pixels say
where each of them lies in the photo and how the surface around it is turned; FaceMesh
says where its own points lie. `experiments/geometry/statistics.py` chose the anchors
and measured the errors of all these numbers together on held-out synthetic photos: they
are far from independent.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from affjax.assets import store
from affjax.heads import MorphableModel, facemesh, open_head
from affjax.types import Template

# Name of the asset.
ASSET = "surface.npz"
# Every so many of FaceMesh's points are used: neighbors say the same.
MESH_STEP = 3
# Number of functions of the pose that biases depend on, see `pose_features`.
FEATURES = 7


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Anchors:
  """Anchors and points of FaceMesh on a morphable model; lengths in dm.

  The D modes are the first K identity modes and all expression units.

  Attributes:
    points: Anchors on the mean head.
    modes: Displacements of the anchors at coefficient 1.
    normals: Mean normals of the visible skin around the anchors, mean head.
    normal_modes: Their derivatives by the coefficients.
    mesh: Points of FaceMesh on the mean head.
    mesh_modes: Displacements of these points.
  """

  points: Float[Array, "a 3"]
  modes: Float[Array, "a 3 d"]
  normals: Float[Array, "a 3"]
  normal_modes: Float[Array, "a 3 d"]
  mesh: Float[Array, "m 3"]
  mesh_modes: Float[Array, "m 3 d"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Errors:
  """Joint distribution of the errors of a photo's Q numbers.

  An error is `bias.T f + shrinkage.T identity + factors.T z + e`: `f` are functions of
  the pose, `z` has R independent normal components, and `e` is independent normal. The
  numbers are x and y of the anchors, x and y of their normals, x and y of FaceMesh's
  points. Errors are in multiples of the deviations that the network predicts for the
  photo, those of FaceMesh in hundredths of a decimeter.

  Attributes:
    bias: Mean error by functions of the pose.
    shrinkage: Mean error by the identity coefficients: a network that is not sure
      answers with a mixture of the true head and the mean head.
    factors: Errors that many numbers share.
    variance: Variance of the independent part.
    expression_mean: Mean of the expression coefficients of people.
    expression_root: Inverse of a root of their covariance.
    calibration: Factor from the predicted deviation of a vertex to the measured one.
  """

  bias: Float[Array, "f q"]
  shrinkage: Float[Array, "k q"]
  factors: Float[Array, "r q"]
  variance: Float[Array, " q"]
  expression_mean: Float[Array, " e"]
  expression_root: Float[Array, "e e"]
  calibration: Float[Array, ""]


def supports(model: MorphableModel) -> bool:
  """Returns whether a model is the embedded head, which the anchors are known on."""
  own = open_head("embedded")
  return model is own or (
    model.identity_basis.shape == own.identity_basis.shape
    and np.array_equal(model.template.faces, own.template.faces)
  )


@functools.lru_cache(maxsize=2)
def load(model: MorphableModel) -> tuple[Anchors, Errors]:
  """Returns the anchors on the embedded head and the distribution of their errors."""
  asset = store.open_asset(ASSET)
  return anchors(model, asset), errors(asset)


def anchors(model: MorphableModel, arrays) -> Anchors:
  """Returns the anchors that the script's arrays choose on a model."""
  single = lambda x: jnp.asarray(x, jnp.float32)
  chosen = arrays["vertices"]
  count = len(arrays["shrinkage"])
  bases = np.concatenate([model.identity_basis[:count], model.expression_basis])
  places = mesh_points(model.template)
  return Anchors(
    points=single(model.template.vertices[chosen]),
    modes=single(bases[:, chosen].transpose(1, 2, 0)),
    normals=single(arrays["normals"]),
    normal_modes=single(arrays["normal_modes"] * arrays["normal_scale"]),
    mesh=single(places(model.template.vertices)),
    mesh_modes=single(places(bases).transpose(1, 2, 0)),
  )


def errors(arrays) -> Errors:
  """Returns the distribution that the script's arrays hold."""
  return Errors(
    **{
      field.name: jnp.asarray(arrays[field.name], jnp.float32)
      for field in dataclasses.fields(Errors)
    }
  )


def mesh_points(template: Template):
  """Returns the function from vertices to the points of FaceMesh that are used."""
  known = facemesh.points(template)
  at = template.faces[known.faces[::MESH_STEP]]
  weights = known.weights[::MESH_STEP]
  return lambda vertices: np.einsum("...pkx,pk->...px", vertices[..., at, :], weights)


def pose_features(turn: Float[Array, "3 3"]) -> Float[Array, " f"]:
  """Returns the functions of a rotation that biases depend on."""
  yaw = turn[0, 2] * jax.lax.rsqrt(jnp.maximum(turn[0, 2] ** 2 + turn[2, 2] ** 2, 1e-9))
  pitch = -turn[1, 2]
  return jnp.stack(
    [jnp.ones_like(yaw), yaw, pitch, yaw**2, pitch**2, yaw * pitch, yaw**3]
  )
