"""Deep3DFaceRecon's regressor (Deng et al. 2019): photo -> coefficients of BFM 2009.

This is the network of its PyTorch version: ResNet-50 and a linear layer for each group
of coefficients. Users bring the weights, which its authors trained.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from affjax.geometry import rotation
from affjax.models import _params, _resnet, _torch_file
from affjax.models._params import Params
from affjax.models._resnet import ResNetConfig
from affjax.nn import Dense
from affjax.types import ArrayLike

SIZE = 224
"""Side of the photos that the published weights were trained on, px."""

# Groups of coefficients, in the order of the output, and the layers that predict them.
_GROUPS = {
  "identity": 80,
  "expression": 64,
  "albedo": 80,
  "angles": 3,
  "light": 27,
  "translation": 3,
}
_HEADS = (80, 64, 80, 3, 27, 2, 1)
COUNT = sum(_HEADS)
"""Number of coefficients: 257."""

# Scale of the aligned photo, px a dm: its authors' `rescale_factor`.
_SCALE = 102.0
_NOSE_TIP, _MOUTH_CORNERS = 30, (48, 54)
_EYE_CORNERS = ((36, 39), (42, 45))

_OFFER = (
  "its authors offer epoch_20.pth at https://github.com/sicxu/Deep3DFaceRecon_pytorch"
)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Coefficients:
  """The network's output for N photos.

  Attributes:
    identity: Coefficients of the BFM's identity modes, standard deviations.
    expression: Coefficients of its expressions, standard deviations.
    albedo: Coefficients of its albedo modes, standard deviations; not used here.
    angles: Angles about x, y and z, applied in that order, radians.
    light: Nine spherical harmonics for each of red, green, blue.
    translation: Translation of a head whose origin is the mean of the template's
      vertices, dm.
  """

  identity: Float[Array, "n 80"]
  expression: Float[Array, "n 64"]
  albedo: Float[Array, "n 80"]
  angles: Float[Array, "n 3"]
  light: Float[Array, "n 27"]
  translation: Float[Array, "n 3"]


class Deep3D(nnx.Module):
  """A ResNet and a linear layer for each group of coefficients.

  Args:
    config: Options of the ResNet.
    rngs: Random streams for parameter initialization.
  """

  def __init__(self, config: ResNetConfig, *, rngs: nnx.Rngs):
    self.backbone = _resnet.ResNet(config, rngs=rngs)
    self.output = Dense(config.features, COUNT, rngs=rngs)

  def __call__(self, images: Float[ArrayLike, "n h w 3"]) -> Float[Array, "n 257"]:
    """Returns all coefficients of photos in [0, 1], aligned as Deep3D aligns them."""
    return self.output(self.backbone(images))


@functools.lru_cache(maxsize=4)
def define(config: ResNetConfig = ResNetConfig()) -> _params.Definition:  # noqa: B008
  """Returns the network without its numbers."""
  return _params.define(lambda rngs: Deep3D(config, rngs=rngs))


def predict(
  weights: Params,
  images: Float[ArrayLike, "n h w 3"],
  *,
  config: ResNetConfig = ResNetConfig(),  # noqa: B008
) -> Coefficients:
  """Returns the coefficients of aligned photos.

  Args:
    weights: Parameters, from `load`.
    images: RGB photos in [0, 1], 224 px wide for the published weights, aligned by
      Deep3D's five landmarks (eyes, nose tip, mouth corners).
    config: Options of the ResNet.

  Raises:
    ValueError: The images are not RGB, or the weights are of another network.
  """
  if images.ndim != 4 or images.shape[-1] != 3:
    raise ValueError(f"images must be [n, h, w, 3], got {images.shape}")
  return split(_params.apply(define(config), weights, images))


def split(values: Float[ArrayLike, "*b 257"]) -> Coefficients:
  """Splits the network's output into its groups.

  Raises:
    ValueError: The last axis is not 257 long.
  """
  if values.shape[-1] != COUNT:
    raise ValueError(f"values must end in {COUNT} coefficients, got {values.shape}")
  ends = np.cumsum(list(_GROUPS.values()))[:-1]
  parts = jnp.split(values, ends, axis=-1)
  return Coefficients(**dict(zip(_GROUPS, parts, strict=True)))


def pose(
  coefficients: Coefficients, origin: Float[Array, "3"] | np.ndarray
) -> Float[Array, "n 6"]:
  """Returns the pose of head space that places the head as Deep3D does.

  Its camera is ours. Deep3D turns `R = Rz Ry Rx` about the mean of the model's
  vertices, which is not our origin: `R (p - o) + t = R p + (t - R o)`.

  Args:
    coefficients: Coefficients, from `predict`.
    origin: Mean of the vertices of BFM 2009's template, dm.

  Returns:
    Axis-angle (radians) and translation (dm).
  """
  zero = jnp.zeros_like(coefficients.angles[..., 0])
  x, y, z = (
    rotation.axis_angle_to_matrix(
      jnp.stack([zero] * k + [coefficients.angles[..., k]] + [zero] * (2 - k), -1)
    )
    for k in range(3)
  )
  product = functools.partial(jnp.matmul, precision="highest")
  turn = product(product(z, y), x)
  shift = coefficients.translation - product(turn, jnp.asarray(origin, jnp.float32))
  return jnp.concatenate([rotation.matrix_to_axis_angle(turn), shift], -1)


def five_points(landmarks: Float[np.ndarray, "*b 68 d"]) -> Float[np.ndarray, "*b 5 d"]:
  """Returns eyes (right one first), nose tip and mouth corners of 68 landmarks."""
  eyes = [landmarks[..., list(corners), :].mean(-2) for corners in _EYE_CORNERS]
  rest = [landmarks[..., k, :] for k in (_NOSE_TIP, *_MOUTH_CORNERS)]
  return np.stack([*eyes, *rest], -2)


def alignment(
  photo: Float[np.ndarray, "5 2"], head: Float[np.ndarray, "5 3"]
) -> Float[np.ndarray, "2 3"]:
  """Returns Deep3D's crop of a face: scaled and moved, not turned.

  The scaled orthographic camera that takes the mean head's five points nearest to the
  photo's gives the scale, and where the head's origin comes to lie: in the middle of
  the crop.

  Args:
    photo: The photo's `five_points`, px.
    head: The mean head's `five_points`, dm, about the mean of its vertices.

  Returns:
    The matrix from photo px to px of the crop of 224 x 224.

  Raises:
    ValueError: The shapes are wrong, or the points lie in one place.
  """
  if photo.shape != (5, 2) or head.shape != (5, 3):
    raise ValueError(
      f"photo and head must be [5, 2] and [5, 3], got {photo.shape}, {head.shape}"
    )
  known = np.concatenate([head, np.ones((5, 1))], 1).astype(np.float64)
  rows = np.linalg.lstsq(known, photo.astype(np.float64), rcond=None)[0].T
  size = np.linalg.norm(rows[:, :3], axis=1).mean()
  if not size > 1e-6:
    raise ValueError(f"photo must hold five points apart, got {photo.tolist()}")
  scale = _SCALE / size
  move = (SIZE - 1) / 2 - scale * rows[:, 3]
  return np.array([[scale, 0, move[0]], [0, scale, move[1]]])


def load(
  path: str | pathlib.Path,
  *,
  config: ResNetConfig = ResNetConfig(),  # noqa: B008
) -> Params:
  """Reads the published PyTorch weights; nothing in the file is run.

  Args:
    path: `epoch_20.pth`, a checkpoint whose "net_recon" is the network, in either of
      PyTorch's containers. Its other entries (optimizers) are not read.
    config: Options of the ResNet; the default is the published one.

  Raises:
    ValueError: The file is missing, damaged, asks for anything but tensors, or holds
      another network.
  """
  path = pathlib.Path(path)
  try:
    tensors = _torch_file.read(path, within="net_recon")
    return {
      "backbone": _resnet.from_torch(tensors, config, prefix="backbone."),
      "output": _output(tensors, config.features),
    }
  except (OSError, ValueError) as error:
    raise ValueError(
      f"{path} does not hold Deep3DFaceRecon's ResNet-50 (net_recon): {error}; {_OFFER}"
    ) from error


def _output(tensors: Mapping[str, np.ndarray], features: int) -> Params:
  """Returns the seven output layers as one."""
  kernels, biases = [], []
  for number, count in enumerate(_HEADS):
    name = f"final_layers.{number}"
    kernels.append(
      _resnet.tensor(tensors, f"{name}.weight", (count, features, 1, 1))[:, :, 0, 0].T
    )
    biases.append(_resnet.tensor(tensors, f"{name}.bias", (count,)))
  return {
    "kernel": jnp.asarray(np.concatenate(kernels, 1), jnp.float32),
    "bias": jnp.asarray(np.concatenate(biases), jnp.float32),
  }
