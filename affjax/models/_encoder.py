"""Layers 1 to 4, the encoder that AffUNet and the light network share."""

import dataclasses
import functools
from collections.abc import Callable

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from affjax.models._alignment import CUES, Alignment
from affjax.nn import AffineConv, Block, Conv, DeformableConv
from affjax.ops import average_pool, theta
from affjax.types import ArrayLike

# Kinds of layers 2 to 4, and the dilation of each of them where it is not 1.
LAYERS: dict[str, Callable[..., Conv | AffineConv | DeformableConv]] = {
  "affine": AffineConv,
  "absolute": functools.partial(AffineConv, frame="absolute"),
  "plain": Conv,
  "dilated": Conv,
  "deformable": DeformableConv,
}
_DILATIONS = {"dilated": (1, 4, 4)}
# Shift that a guided layer can add to where geometry places its windows, as a share of
# the photo: a fit is off by about one 64th. Without a bound the layers lose the
# alignment within a few hundred steps.
_REACH = 0.25 / 64


@dataclasses.dataclass(frozen=True)
class Architecture:
  """One row of the table of architectures.

  Attributes:
    help: One line for people.
    network: Class of the position and the diffuse network; it is called with
      `(config, architecture, outputs=..., rngs=...)`, and its instances with
      `(images, alignment)`; they return maps of the size of the images.
    layers: Kind of layers 2 to 4: "affine" (in the window frame), "absolute" (affine in
      the absolute frame), "plain", "dilated" or "deformable".
    context: Whether position and diffuse network have a fully connected bottleneck.
    guided: Whether a coarse head places the windows of the first layer, and the maps
      are corrections of what it and the photo say.
    share: Factor on the widths of position and diffuse network, with which all
      architectures have about as many parameters.
  """

  help: str
  network: Callable[..., nnx.Module]
  layers: str = "affine"
  context: bool = False
  guided: bool = False
  share: float = 1.0


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
  """Options that the position, the diffuse and the light network have in common.

  Attributes:
    width: Channels of layer 1; each stride-2 layer doubles them.
    kernel_size: Kernel size of layers 1 to 4, px.
    backend: Backend of the affine convolutions.
    dtype: Type of the arithmetic inside, "float32" or "bfloat16"; parameters,
      coordinates and outputs are float32.
  """

  width: int = 32
  kernel_size: int = 3
  backend: str = "auto"
  dtype: str = "float32"

  def __post_init__(self):
    if self.width < 1 or self.kernel_size < 1:
      raise ValueError(
        f"width and kernel_size must be >= 1, got {self.width} and {self.kernel_size}"
      )
    if self.dtype not in ("float32", "bfloat16"):
      raise ValueError(f"dtype must be 'float32' or 'bfloat16', got {self.dtype!r}")


class Encoder(nnx.Module):
  """One plain convolution, then three of stride 2, affine ones in the paper.

  In a guided encoder all four lie in UV space: the windows of layer 1 lie in the photo
  where the alignment says, so that its output pixels are texels; later windows lie over
  the middle of the texels that they sum up, which a stride of 2 alone misses by half a
  texel each. The affine layers compose what they learn with that.

  Args:
    config: Options of the network.
    architecture: The kind of network.
    width: Channels of layer 1.
    rngs: Random streams for parameter initialization.
  """

  def __init__(
    self,
    config: EncoderConfig,
    architecture: Architecture,
    *,
    width: int,
    rngs: nnx.Rngs,
  ):
    w, cues = width, CUES if architecture.guided else 0
    down = functools.partial(_down_block, config, architecture, rngs=rngs)
    self.guided = architecture.guided
    self.layer1 = plain_block(config, 3, w, kernel_size=config.kernel_size, rngs=rngs)
    self.layer2 = down(2, w, 2 * w)
    self.layer3 = down(3, 2 * w + cues, 4 * w)
    self.layer4 = down(4, 4 * w, 8 * w)

  def __call__(
    self, images: Float[ArrayLike, "n h w 3"], alignment: Alignment | None
  ) -> tuple[Array, Array, Array, Array]:
    """Returns the features of the four layers, at 1, 1/2, 1/4, 1/8 of the resolution.

    Args:
      images: Photos in [0, 1].
      alignment: Alignment of a guided encoder, else None.

    Raises:
      ValueError: A guided encoder gets no alignment, or its side does not divide by 8.
    """
    if not self.guided:
      full = self.layer1(images)
      half = self.layer2(full)
      quarter = self.layer3(half)
      return full, half, quarter, self.layer4(quarter)
    if alignment is None or alignment.cues.shape[1] % 8:
      got = None if alignment is None else alignment.cues.shape
      raise ValueError(
        f"a guided network needs an alignment whose side divides by 8, got {got}"
      )
    full = self.layer1(images, prior=alignment.prior)
    half = self.layer2(full, prior=over_the_middle(full))
    quarter = self.layer3(self.told(half, alignment), prior=over_the_middle(half))
    return full, half, quarter, self.layer4(quarter, prior=over_the_middle(quarter))

  @staticmethod
  def told(
    half: Float[Array, "n i j c"], alignment: Alignment
  ) -> Float[Array, "n i j d"]:
    """Returns the input of a guided layer 3: the features and the cues."""
    cues = average_pool(alignment.cues, 2).astype(half.dtype)
    return jnp.concatenate([half, cues], -1)


def over_the_middle(x: Float[Array, "n h w c"]) -> Float[Array, "n i j 2 3"]:
  """Returns the matrices of a layer of stride 2 whose windows lie over 2 x 2 pixels."""
  return theta.identity((len(x), x.shape[1] // 2, x.shape[2] // 2), offset=0.5)


def plain_block(
  config: EncoderConfig,
  in_features: int,
  out_features: int,
  *,
  kernel_size: int = 3,
  rngs: nnx.Rngs,
) -> Block:
  """Returns a block around a plain convolution of stride 1."""
  layer = Conv(
    in_features,
    out_features,
    kernel_size=kernel_size,
    backend=config.backend,
    dtype=config.dtype,
    rngs=rngs,
  )
  return Block(layer, out_features, rngs=rngs)


def _down_block(
  config: EncoderConfig,
  architecture: Architecture,
  number: int,
  in_features: int,
  out_features: int,
  *,
  rngs: nnx.Rngs,
) -> Block:
  """Returns the block of layer 2, 3 or 4, of stride 2."""
  kind, options = architecture.layers, dict[str, int]()
  if kind in _DILATIONS:
    options["dilation"] = _DILATIONS[kind][number - 2]
  reach = {"reach": _REACH} if architecture.guided else {}
  layer = LAYERS[kind](
    in_features,
    out_features,
    kernel_size=config.kernel_size,
    stride=2,
    backend=config.backend,
    dtype=config.dtype,
    rngs=rngs,
    **options,
    **reach,
  )
  return Block(layer, out_features, rngs=rngs)
