"""VGG features for the perceptual loss.

The paper takes VGG19 (Simonyan and Zisserman 2015), convolutions 1, 3, 5, 9 and 13, as
torchvision ships it; users bring that file. The embedded default is the VGG16 of an
edge detector (HED), up to its eighth convolution.
"""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from safetensors import SafetensorError, safe_open

from affjax.assets import store
from affjax.models import _torch_file
from affjax.ops import conv
from affjax.types import ArrayLike

# Convolutions in each block; a block begins with a 2 x 2 pooling, the first does not.
_VGG16 = (2, 2, 3, 3, 3)
_VGG19 = (2, 2, 4, 4, 4)
_WIDTHS = (64, 128, 256, 512, 512)
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=("kernels", "biases", "mean", "std"),
  meta_fields=("name", "blocks", "layers", "dtype"),
)
@dataclasses.dataclass(frozen=True)
class FeatureNet:
  """A pretrained stack of 3 x 3 convolutions; a pytree, to be passed to a jitted step.

  Attributes:
    name: Name of the weights with a hash of them, for log and checkpoint.
    kernels: Kernel of each convolution, `[3, 3, in, out]`.
    biases: Bias of each convolution, `[out]`.
    mean: Mean of each input channel, which is subtracted.
    std: Standard deviation of each input channel, by which it is divided.
    blocks: Number of convolutions between poolings.
    layers: Numbers of the convolutions whose outputs are the features, from 1.
    dtype: Name of the type that the convolutions are computed in.
  """

  kernels: tuple[Float[ArrayLike, "3 3 _ _"], ...]
  biases: tuple[Float[ArrayLike, " _"], ...]
  mean: Float[ArrayLike, " 3"]
  std: Float[ArrayLike, " 3"]
  name: str
  blocks: tuple[int, ...]
  layers: tuple[int, ...]
  dtype: str


def extract_features(
  net: FeatureNet, images: Float[ArrayLike, "n h w 3"]
) -> list[Float[Array, "n _ _ _"]]:
  """Returns the outputs of `net.layers` after their ReLU, in float32.

  Args:
    net: The network, from `load_features`.
    images: Images in [0, 1], at least one pixel large after all poolings.

  Raises:
    ValueError: The images are too small or not RGB.
  """
  starts = _block_starts(net.blocks)
  poolings = sum(2 <= start <= max(net.layers) for start in starts)
  if images.ndim != 4 or images.shape[-1] != 3 or min(images.shape[1:3]) < 2**poolings:
    raise ValueError(
      f"images must be [n, h, w, 3] with sides of at least {2**poolings} for the "
      f"features of layer {max(net.layers)}, got {images.shape}"
    )
  mean, std = (v.reshape(1, 1, 1, 3) for v in (net.mean, net.std))
  x = (jnp.asarray(images, jnp.float32) - mean) / std
  x = x.astype(net.dtype)
  found = []
  for number, (kernel, bias) in enumerate(
    zip(net.kernels, net.biases, strict=True), start=1
  ):
    if number in starts[1:]:
      x = _max_pool(x)
    x = conv(x, jnp.asarray(kernel).astype(x.dtype))
    x = jax.nn.relu(x + bias.astype(x.dtype).reshape(1, 1, 1, -1))
    if number in net.layers:
      found.append(x.astype(jnp.float32))
  return found


def load_features(
  name_or_path: str | pathlib.Path = "embedded",
  *,
  layers: Sequence[int] | None = None,
  dtype: str = "float32",
) -> FeatureNet:
  """Loads the embedded VGG16, or torchvision's VGG19 or VGG16 from a file.

  Args:
    name_or_path: "embedded", or the path of a `.pth`, `.pt` or `.safetensors` file with
      torchvision's tensor names ("features.0.weight", ...). No code in it is run.
    layers: Numbers of the convolutions whose outputs are wanted, from 1; by default the
      first of each block: 1, 3, 5, 9, 13 in VGG19 (the paper's), 1, 3, 5, 8, 11 in
      VGG16, of which the embedded file holds the first four. Fewer layers cost less:
      those after the last one are dropped.
    dtype: Type of the convolutions' arithmetic, "float32" or "bfloat16".

  Raises:
    ValueError: The file is damaged or of another network, or a layer does not exist.
    FileNotFoundError: There is no such file.
  """
  if dtype not in ("float32", "bfloat16"):
    raise ValueError(f'dtype must be "float32" or "bfloat16", got {dtype!r}')
  if str(name_or_path) == "embedded":
    return _embedded(layers, dtype)
  return _from_torchvision(pathlib.Path(name_or_path), layers, dtype)


def read_safetensors(path: pathlib.Path, *, prefix: str = "") -> dict[str, np.ndarray]:
  """Reads the tensors whose names begin with `prefix`.

  Raises:
    ValueError: The file is damaged or not a safetensors file.
  """
  try:
    with safe_open(path, framework="numpy") as file:
      names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
      return {name: file.get_tensor(name) for name in names}
  except SafetensorError as error:
    raise ValueError(f"{path} is not a readable safetensors file: {error}") from error


def _embedded(layers: Sequence[int] | None, dtype: str) -> FeatureNet:
  tensors = store.open_asset("vgg16.npz")
  held = sum(key.startswith("kernel") for key in tensors)
  layers = _checked_layers(layers, _VGG16, held)
  numbers = range(1, max(layers) + 1)
  return _feature_net(
    "vgg16-hed",
    [tensors[f"kernel{number}"].astype(np.float32) for number in numbers],
    [tensors[f"bias{number}"] for number in numbers],
    mean=tensors["mean"],
    std=np.ones(3, np.float32),
    blocks=_VGG16,
    layers=layers,
    dtype=dtype,
  )


def _from_torchvision(
  path: pathlib.Path, layers: Sequence[int] | None, dtype: str
) -> FeatureNet:
  if path.suffix in (".pth", ".pt"):
    read = _torch_file.read
  elif path.suffix == ".safetensors":
    read = read_safetensors
  else:
    raise ValueError(
      f"feature network must be 'embedded' or a .pth, .pt or .safetensors file, got "
      f"{str(path)!r}"
    )
  # The largest file, VGG19's, holds half a gigabyte of classifier that nobody needs.
  tensors = read(path, prefix="features.")
  # The eighth convolution is the last of VGG19's third block, the first of VGG16's
  # fourth: only VGG19 has a convolution at index 16.
  nineteen = "features.16.weight" in tensors
  blocks = _VGG19 if nineteen else _VGG16
  layers = _checked_layers(layers, blocks, sum(blocks))
  kernels, biases = [], []
  for number, key, shape in _torchvision_layout(blocks)[: max(layers)]:
    kernel, bias = tensors.get(f"{key}.weight"), tensors.get(f"{key}.bias")
    if kernel is None or bias is None or (kernel.shape, bias.shape) != shape:
      found = "nothing" if kernel is None else str(kernel.shape)
      raise ValueError(
        f"{path} is not torchvision's VGG19 or VGG16: convolution {number} ({key}) "
        f"must have a weight of shape {shape[0]} and a bias, got {found}"
      )
    kernels.append(kernel.transpose(2, 3, 1, 0).astype(np.float32))
    biases.append(bias.astype(np.float32))
  return _feature_net(
    "vgg19-torchvision" if nineteen else "vgg16-torchvision",
    kernels,
    biases,
    mean=np.array(_IMAGENET_MEAN, np.float32),
    std=np.array(_IMAGENET_STD, np.float32),
    blocks=blocks,
    layers=layers,
    dtype=dtype,
  )


def _torchvision_layout(
  blocks: tuple[int, ...],
) -> list[tuple[int, str, tuple[tuple[int, ...], tuple[int, ...]]]]:
  """Returns `(number, key, (weight shape, bias shape))` of each convolution.

  Their `nn.Sequential` counts convolution, ReLU, ..., pooling.
  """
  layout, index, width = [], 0, 3
  for count, wider in zip(blocks, _WIDTHS, strict=True):
    for _ in range(count):
      shapes = ((wider, width, 3, 3), (wider,))
      layout.append((len(layout) + 1, f"features.{index}", shapes))
      index, width = index + 2, wider
    index += 1
  return layout


def _checked_layers(
  layers: Sequence[int] | None, blocks: tuple[int, ...], held: int
) -> tuple[int, ...]:
  """Returns the wanted layers, or the first of each block that the weights reach."""
  if layers is None:
    return tuple(start for start in _block_starts(blocks) if start <= held)
  layers = tuple(layers)
  if not layers or list(layers) != sorted(set(layers)) or layers[0] < 1:
    raise ValueError(f"layers must be ascending numbers from 1, got {layers}")
  if layers[-1] > held:
    raise ValueError(f"layers must lie in 1 to {held} for this network, got {layers}")
  return layers


def _block_starts(blocks: tuple[int, ...]) -> tuple[int, ...]:
  """Returns the number of each block's first convolution."""
  return tuple(1 + sum(blocks[:k]) for k in range(len(blocks)))


def _feature_net(
  name: str,
  kernels: Sequence[np.ndarray],
  biases: Sequence[np.ndarray],
  *,
  mean: np.ndarray,
  std: np.ndarray,
  blocks: tuple[int, ...],
  layers: tuple[int, ...],
  dtype: str,
) -> FeatureNet:
  digest = hashlib.sha256()
  for array in (*kernels, *biases):
    digest.update(np.ascontiguousarray(array).tobytes())
  return FeatureNet(
    kernels=tuple(jnp.asarray(kernel) for kernel in kernels),
    biases=tuple(jnp.asarray(bias) for bias in biases),
    mean=jnp.asarray(mean),
    std=jnp.asarray(std),
    name=f"{name}-{digest.hexdigest()[:8]}",
    blocks=blocks,
    layers=layers,
    dtype=dtype,
  )


def _max_pool(x: Array) -> Array:
  """Returns the largest of each 2 x 2; an odd last row or column falls away.

  Strided slices are used because XLA computes the gradient of a window reduction
  slowly.
  """
  height, width = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
  x = jnp.maximum(x[:, 0:height:2], x[:, 1:height:2])
  return jnp.maximum(x[:, :, 0:width:2], x[:, :, 1:width:2])
