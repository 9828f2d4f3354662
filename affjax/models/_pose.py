"""The pose network: photo -> rotation and translation of the head, or its change."""

import dataclasses
import functools

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from affjax.models import _params
from affjax.models._alignment import PICTURE
from affjax.nn import Block, Conv, Normal
from affjax.types import ArrayLike

# Scale and bound of the output (rotation, rad; translation, dm). A photo shows about
# 2.2 dm across at the head's distance of 10 dm, so a step of depth moves the picture
# less than a step to the side. The bounds keep the head in front of the camera.
_SCALE = (0.5, 0.5, 0.5, 0.3, 0.3, 1.0)
LIMIT = (3.2, 3.2, 3.2, 4.0, 4.0, 6.0)
# The last feature map has at most this side.
_LAST = 4


@dataclasses.dataclass(frozen=True)
class PoseNetConfig:
  """Options of the pose network.

  Attributes:
    width: Channels of the first layer; each later one doubles them, up to eightfold.
    dtype: Type of the arithmetic inside, "float32" or "bfloat16".
  """

  width: int = 16
  dtype: str = "float32"

  def __post_init__(self):
    if self.width < 1:
      raise ValueError(f"width must be >= 1, got {self.width}")
    if self.dtype not in ("float32", "bfloat16"):
      raise ValueError(f"dtype must be 'float32' or 'bfloat16', got {self.dtype!r}")


class PoseNet(nnx.Module):
  """Plain convolutions of stride 2 down to at most 4 x 4, then one as large as that.

  Each stage but the first, which is the largest, adds a convolution of stride 1: on
  synthetic faces of 64² that brought the error of the yaw from 8.1° to 5.7° in as many
  steps, doubling the width only to 6.9° at more cost. The last convolution has no
  padding and a kernel as large as its input, so that its one output pixel sees every
  place with weights of its own. Four stages at 64², seven at 512²: 0.30 and 1.19
  million parameters at width 16.

  A guided network also sees the picture of a coarse head, and says what to add to that
  head's pose; it starts with zeros.

  Args:
    config: Options of the network.
    size: Side of the photos, px.
    guided: Whether the network is guided.
    rngs: Random streams for parameter initialization.
  """

  def __init__(
    self, config: PoseNetConfig, *, size: int, guided: bool = False, rngs: nnx.Rngs
  ):
    channels = 3 + (PICTURE + 1 if guided else 0)
    features, side, depth = config.width, size, 0
    while side > _LAST:
      for stride in (2,) if depth == 0 else (2, 1):
        layer = Conv(channels, features, stride=stride, dtype=config.dtype, rngs=rngs)
        depth += 1
        setattr(self, f"layer{depth}", Block(layer, features, rngs=rngs))
        channels = features
      side = -(-side // 2)
      features = min(2 * features, 8 * config.width)
    self.output = Conv(
      channels,
      6,
      kernel_size=side,
      padding="valid",
      kernel_init=Normal(0.0 if guided else 0.1),
      dtype=config.dtype,
      out_dtype="float32",
      rngs=rngs,
    )
    self.depth = depth
    self.size = size

  def __call__(
    self,
    images: Float[ArrayLike, "n h w 3"],
    picture: Float[Array, "n h w 5"] | None = None,
  ) -> Float[Array, "n 6"]:
    """Returns axis-angle rotation (radians) and translation (dm).

    Args:
      images: Photos in [0, 1].
      picture: Picture of the coarse head as the photo would show it (`picture_of`), and
        1 where the head is known; for a guided network.
    """
    if images.shape[1:3] != (self.size, self.size):
      raise ValueError(
        f"this pose network takes images of {self.size} x {self.size} px, got shape "
        f"{images.shape}"
      )
    x = images if picture is None else jnp.concatenate([images, picture], -1)
    for number in range(1, self.depth + 1):
      x = getattr(self, f"layer{number}")(x)
    limit = jnp.array([LIMIT], jnp.float32)
    raw = self.output(x)[:, 0, 0, :] * jnp.array([_SCALE], jnp.float32)
    return limit * jnp.tanh(raw / limit)


@functools.lru_cache(maxsize=32)
def define(
  config: PoseNetConfig, size: int, *, guided: bool = False
) -> _params.Definition:
  """Returns the network for photos of `size` x `size` px, without its numbers."""
  if size < _LAST:
    raise ValueError(f"size must be at least {_LAST}, got {size}")
  return _params.define(
    lambda rngs: PoseNet(config, size=size, guided=guided, rngs=rngs)
  )
