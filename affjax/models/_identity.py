"""Face encoders: an aligned face -> a vector that tells people apart.

The embedded default is dlib's ResNet. The paper's table 2 takes Light CNN 29, whose
weights users bring.
"""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from affjax.assets import store
from affjax.models import _face_resnet, _light_cnn, _params, _torch_file
from affjax.models._params import Params
from affjax.types import ArrayLike

Matrix = Float[np.ndarray, "2 3"]
_EYES, _MOUTH = (range(36, 42), range(42, 48)), range(48, 60)
# Light CNN's alignment of its 128 px test images: row of the eyes, and distance from
# the middle of the eyes to the middle of the mouth, px.
_EYE_ROW, _EYE_TO_MOUTH = 40.0, 48.0


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=("params",),
  meta_fields=("name", "kind"),
)
@dataclasses.dataclass(frozen=True)
class IdentityNet:
  """A face encoder with its weights; a pytree.

  Attributes:
    params: Weights.
    name: Name of the weights with a hash of them, for tables.
    kind: Architecture: "dlib-resnet", "light-cnn-29-v1" or "light-cnn-29-v2".
  """

  params: Params
  name: str
  kind: str

  @property
  def size(self) -> int:
    """Width and height of the aligned faces, px."""
    return _KINDS[self.kind].size


@dataclasses.dataclass(frozen=True)
class _Kind:
  size: int
  embed: Callable[[Params, ArrayLike], Array]
  align: Callable[[Float[np.ndarray, "68 2"]], Matrix]


@jax.jit
def extract_identity(
  net: IdentityNet, images: Float[ArrayLike, "n s s 3"]
) -> Float[Array, "n d"]:
  """Returns the embeddings of aligned faces, not normalized.

  Args:
    net: The encoder, from `load_identity`.
    images: Faces in [0, 1], `net.size` px wide, cut out along `identity_alignment`.

  Raises:
    ValueError: The images have another size.
  """
  if images.shape[1:] != (net.size, net.size, 3):
    raise ValueError(
      f"images must be [n, {net.size}, {net.size}, 3] for {net.name}, got "
      f"{images.shape}"
    )
  return _KINDS[net.kind].embed(net.params, images)


def identity_alignment(
  net: IdentityNet, landmarks: Float[np.ndarray, "68 2"]
) -> Matrix:
  """Returns the similarity from photo px to px of the aligned face.

  dlib's ResNet: the least-squares similarity onto dlib's mean face, without brows, jaw
  and lower lip, with a margin of a quarter of it on each side. Light CNN: eyes level,
  their middle in the middle column of row 40, 48 rows above the middle of the mouth.

  Args:
    net: The encoder.
    landmarks: The 68 landmarks, photo px.

  Raises:
    ValueError: The landmarks are not finite, or lie in one place.
  """
  landmarks = np.asarray(landmarks, np.float64)
  if not np.isfinite(landmarks).all():
    raise ValueError("landmarks must be finite")
  with np.errstate(divide="ignore", invalid="ignore"):
    matrix = _KINDS[net.kind].align(landmarks)
  if not np.isfinite(matrix).all():
    raise ValueError("landmarks must not lie in one place")
  return matrix


def load_identity(name_or_path: str | pathlib.Path = "embedded") -> IdentityNet:
  """Loads the embedded face encoder, or Light CNN 29 from a file.

  Args:
    name_or_path: "embedded" for dlib's ResNet, or the path of one of Light CNN's
      checkpoints, `LightCNN_29Layers_checkpoint.pth.tar` or
      `LightCNN_29Layers_V2_checkpoint.pth.tar`. No code in it is run.

  Raises:
    ValueError: The file is missing, damaged or of another network.
  """
  if str(name_or_path) == "embedded":
    params = _face_resnet.from_asset(store.open_asset("identity.npz"))
    return _net("dlib-resnet", params)
  path = pathlib.Path(name_or_path)
  try:
    variant, params = _light_cnn.from_torch(_torch_file.read(path))
  except (OSError, ValueError) as error:
    raise ValueError(
      f"{path} does not hold Light CNN 29: {error}; identity encoder must be "
      "'embedded' or a checkpoint of https://github.com/AlfredXiangWu/LightCNN"
    ) from error
  return _net(f"light-cnn-29-{variant}", params)


def _net(kind: str, params: Params) -> IdentityNet:
  digest = hashlib.sha256()
  for leaf in jax.tree.leaves(params):
    digest.update(np.ascontiguousarray(leaf).tobytes())
  return IdentityNet(params, f"{kind}-{digest.hexdigest()[:8]}", kind)


def _align_dlib(landmarks: Float[np.ndarray, "68 2"]) -> Matrix:
  asset = store.open_asset("identity.npz")
  points = asset["chip/points"].astype(np.float64)
  return _similarity(landmarks[asset["chip/landmarks"]], points)


def _align_light_cnn(landmarks: Float[np.ndarray, "68 2"]) -> Matrix:
  left, right = (landmarks[list(eye)].mean(0) for eye in _EYES)
  middle = (left + right) / 2
  across = (right - left) / np.linalg.norm(right - left)
  down = np.array([-across[1], across[0]])
  mouth = landmarks[list(_MOUTH)].mean(0)
  linear = np.stack([across, down]) * (_EYE_TO_MOUTH / ((mouth - middle) @ down))
  target = np.array([(_light_cnn.SIZE - 1) / 2, _EYE_ROW])
  return np.concatenate([linear, (target - linear @ middle)[:, None]], 1)


def _similarity(source: np.ndarray, target: np.ndarray) -> Matrix:
  """Returns the least-squares similarity, without reflection, between 2D points."""
  start, end = source.mean(0), target.mean(0)
  a, b = ((p - m) @ [1, 1j] for p, m in ((source, start), (target, end)))
  factor = np.vdot(a, b) / np.vdot(a, a).real
  linear = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
  return np.concatenate([linear, (end - linear @ start)[:, None]], 1)


@functools.cache
def _light_cnn_definition(variant: str) -> _params.Definition:
  return _params.define(lambda rngs: _light_cnn.LightCNN(variant, rngs=rngs))


def _embed_light_cnn(variant: str) -> Callable[[Params, ArrayLike], Any]:
  return lambda params, images: _params.apply(
    _light_cnn_definition(variant), params, images
  )


_KINDS = {
  "dlib-resnet": _Kind(_face_resnet.SIZE, _face_resnet.embed, _align_dlib),
} | {
  f"light-cnn-29-{variant}": _Kind(
    _light_cnn.SIZE, _embed_light_cnn(variant), _align_light_cnn
  )
  for variant in _light_cnn.VARIANTS
}
