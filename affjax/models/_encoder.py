"""Layers 1 to 4, the encoder that AffUNet and the light network share."""

import abc
import dataclasses

from flax import nnx
from jaxtyping import Array, Float

from affjax.models._alignment import Alignment
from affjax.nn import AffineConv, Block, Conv
from affjax.ops import bilinear, theta
from affjax.types import ArrayLike

PRIORS = ("none", "geometry")


@dataclasses.dataclass(frozen=True)
class EncoderConfig(abc.ABC):
  """Options that the networks with affine convolutions have in common.

  Attributes:
    width: Channels of layer 1; each stride-2 layer doubles them.
    affine: Whether layers 2 to 4 are affine; plain ones are the paper's ablation.
    frame: Frame of the predicted matrices, "window" or "absolute"; see `AffineConv`.
    prior: "none", as in the paper, or "geometry": the photo is aligned with the UV map
      from layer 2 on, whose matrices start from the place of each texel in the photo.
    kernel_size: Kernel size of layers 1 to 4, px.
    backend: Backend of the affine convolutions.
    dtype: Type of the arithmetic inside, "float32" or "bfloat16"; parameters,
      coordinates and outputs are float32.
  """

  width: int = 32
  affine: bool = True
  frame: str = "window"
  prior: str = "none"
  kernel_size: int = 3
  backend: str = "auto"
  dtype: str = "float32"

  def __post_init__(self):
    if self.width < 1 or self.kernel_size < 1:
      raise ValueError(
        f"width and kernel_size must be >= 1, got {self.width} and {self.kernel_size}"
      )
    if self.prior not in PRIORS:
      raise ValueError(f"prior must be one of {PRIORS}, got {self.prior!r}")
    if self.prior == "geometry" and not self.affine:
      raise ValueError("prior='geometry' needs affine=True: plain layers take none")
    if self.dtype not in ("float32", "bfloat16"):
      raise ValueError(f"dtype must be 'float32' or 'bfloat16', got {self.dtype!r}")

  @abc.abstractmethod
  def build(self, rngs: nnx.Rngs) -> nnx.Module:
    """Returns a new module with these options."""


class Encoder(nnx.Module):
  """One plain convolution, then three affine ones of stride 2.

  Args:
    config: Options of the network.
    rngs: Random streams for parameter initialization.
  """

  def __init__(self, config: EncoderConfig, *, rngs: nnx.Rngs):
    self.prior = config.prior
    w = config.width
    self.layer1 = plain_block(config, 3, w, kernel_size=config.kernel_size, rngs=rngs)
    self.layer2 = _down_block(config, w, 2 * w, rngs=rngs)
    self.layer3 = _down_block(config, 2 * w, 4 * w, rngs=rngs)
    self.layer4 = _down_block(config, 4 * w, 8 * w, rngs=rngs)

  def __call__(
    self, images: Float[ArrayLike, "n h w 3"], alignment: Alignment | None
  ) -> tuple[Array, Array, Array, Array]:
    """Returns the features of the four layers, at 1, 1/2, 1/4, 1/8 of the resolution.

    With the geometry prior all four lie in UV space: layer 1's are read through the
    grid, layer 2 reads through its matrices.
    """
    full = self.layer1(images)
    if self.prior == "none":
      half = self.layer2(full)
    elif alignment is None or alignment.grid.shape[1:3] != images.shape[1:3]:
      got = None if alignment is None else alignment.grid.shape
      raise ValueError(
        "prior='geometry' needs an alignment whose grid is as large as the images, "
        f"{images.shape}, got {got}"
      )
    else:
      half = self.layer2(full, prior=theta.from_grid(alignment.grid))
      full = bilinear(full, alignment.grid)
    quarter = self.layer3(half)
    return full, half, quarter, self.layer4(quarter)


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
    in_features, out_features, kernel_size=kernel_size, dtype=config.dtype, rngs=rngs
  )
  return Block(layer, out_features, rngs=rngs)


def _down_block(
  config: EncoderConfig, in_features: int, out_features: int, *, rngs: nnx.Rngs
) -> Block:
  """Returns a block of stride 2, affine unless `config.affine` is off."""
  if config.affine:
    layer = AffineConv(
      in_features,
      out_features,
      kernel_size=config.kernel_size,
      stride=2,
      frame=config.frame,
      backend=config.backend,
      dtype=config.dtype,
      rngs=rngs,
    )
  else:
    layer = Conv(
      in_features,
      out_features,
      kernel_size=config.kernel_size,
      stride=2,
      dtype=config.dtype,
      rngs=rngs,
    )
  return Block(layer, out_features, rngs=rngs)
