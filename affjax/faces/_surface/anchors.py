"""The points of the head whose places in a photo are measured, and their errors.

Anchors are vertices of the embedded head's skin. The geometry network's pixels say
where each of them lies in the photo and how the surface around it is turned; FaceMesh
says where its own points lie. `experiments/geometry/statistics.py` chose the anchors
and measured the errors of all these numbers together on held-out synthetic photos: they
are far from independent.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping

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

  The D components of a face are the first K identity modes, then E directions in which
  expressions vary; all of them are independent standard normal in people.

  Attributes:
    points: Anchors on the mean head with the mean expression.
    modes: Displacements of the anchors at component 1.
    normals: Mean normals of the visible skin around the anchors, same head.
    normal_modes: Their derivatives by the components.
    mesh: Points of FaceMesh on that head.
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

  An error is `bias.T f + factors.T z + e`: `f` are functions of the pose, `z` has R
  independent standard normal components, and `e` is independent normal. The numbers are
  x and y of the anchors, x and y of their normals, x and y of FaceMesh's points. Errors
  are in multiples of the deviations that the network predicts for the photo, those of
  FaceMesh in hundredths of a decimeter.

  Attributes:
    bias: Mean error by functions of the pose.
    factors: Errors that many numbers share.
    variance: Variance of the independent part.
    gain: Factor from the estimate of each component to its expectation given that
      estimate; below one where the errors look like shape.
    misfit: Median standardized error of held-out photos.
    calibration: Factor from the predicted deviation of a vertex to the measured one.
  """

  bias: Float[Array, "f q"]
  factors: Float[Array, "r q"]
  variance: Float[Array, " q"]
  gain: Float[Array, " d"]
  misfit: Float[Array, ""]
  calibration: Float[Array, ""]


def reads_surface_of(model: MorphableModel) -> bool:
  """Returns whether `fit_surface` reads a model off pixels: only the embedded head."""
  own = open_head("embedded")
  return model is own or (
    model.identity_basis.shape == own.identity_basis.shape
    and np.array_equal(model.template.faces, own.template.faces)
  )


@dataclasses.dataclass(frozen=True, eq=False)
class Surface:
  """Anchors and statistics with which faces of the embedded head are read.

  Attributes:
    anchors: Anchors on the head.
    errors: Distribution of the errors of what photos say.
    expression_mean: Mean of the expression coefficients of people.
    expression_root: Changes of the E coefficients by the components of expression.
  """

  anchors: Anchors
  errors: Errors
  expression_mean: Float[np.ndarray, " e"]
  expression_root: Float[np.ndarray, "e c"]

  @property
  def identity(self) -> int:
    """Number of identity components, which come first."""
    return self.anchors.modes.shape[-1] - self.expression_root.shape[1]

  def coefficients(
    self, face: Float[np.ndarray, "n d"], count: int
  ) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, "n e"]]:
    """Returns coefficients of `count` identity modes and of the expression units."""
    identity = np.zeros((len(face), count), np.float32)
    identity[:, : self.identity] = face[:, : self.identity]
    change = face[:, self.identity :] @ self.expression_root.T
    expression = np.clip(self.expression_mean + change, 0, 1)
    return identity, expression.astype(np.float32)


@functools.lru_cache(maxsize=2)
def load(model: MorphableModel) -> Surface:
  """Returns what the asset says about the embedded head."""
  return surface(model, store.open_asset(ASSET))


def surface(model: MorphableModel, arrays: Mapping[str, np.ndarray]) -> Surface:
  """Returns what the arrays of `experiments.geometry.measure` say about a model."""
  return Surface(
    anchors(model, arrays),
    errors(arrays),
    np.asarray(arrays["expression_mean"], np.float32),
    np.asarray(arrays["expression_root"], np.float32),
  )


def anchors(model: MorphableModel, arrays: Mapping[str, np.ndarray]) -> Anchors:
  """Returns the anchors that the script's arrays choose on a model."""
  chosen, root = arrays["vertices"], arrays["expression_root"].astype(np.float32)
  places = mesh_points(model.template)
  count = arrays["normal_modes"].shape[2] - len(root)
  mean = mean_vertices(model, arrays)
  bases = np.concatenate([model.identity_basis[:count], model.expression_basis])
  slopes = arrays["normal_modes"] * arrays["normal_scale"]
  middle = slopes[..., count:] @ arrays["expression_mean"]
  return Anchors(
    points=_single(mean[chosen]),
    modes=_components(bases[:, chosen].transpose(1, 2, 0), root),
    normals=_single(arrays["normals"] + middle),
    normal_modes=_components(slopes, root),
    mesh=_single(places(mean)),
    mesh_modes=_components(places(bases).transpose(1, 2, 0), root),
  )


def _single(x: np.ndarray) -> Array:
  return jnp.asarray(x, jnp.float32)


def _components(
  by_coefficients: Float[np.ndarray, "p 3 n"], root: Float[np.ndarray, "e c"]
) -> Float[Array, "p 3 d"]:
  """Returns derivatives by components of those by coefficients."""
  count = by_coefficients.shape[2] - len(root)
  identity, expression = np.split(by_coefficients, [count], 2)
  return _single(np.concatenate([identity, expression @ root], 2))


def mean_vertices(
  model: MorphableModel, arrays: Mapping[str, np.ndarray]
) -> Float[np.ndarray, "v 3"]:
  """Returns the mean head with the mean expression, dm."""
  shift = np.tensordot(arrays["expression_mean"], model.expression_basis, 1)
  return model.template.vertices + shift


def errors(arrays: Mapping[str, np.ndarray]) -> Errors:
  """Returns the distribution that the script's arrays hold."""
  return Errors(
    **{
      field.name: jnp.asarray(arrays[field.name], jnp.float32)
      for field in dataclasses.fields(Errors)
    }
  )


def mesh_points(template: Template) -> Callable[[np.ndarray], np.ndarray]:
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
