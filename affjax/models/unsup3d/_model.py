"""Unsup3D: a photo as a depth map, an albedo, a light, a view and two confidences."""

import dataclasses
import functools
import math
import zlib
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from affjax.models import _params
from affjax.models._params import Definition, Params
from affjax.models.unsup3d import _networks
from affjax.models.unsup3d._networks import MapNetConfig
from affjax.models.unsup3d._scene import Light, Scene, render_scene
from affjax.types import ArrayLike

NETWORKS = ("depth", "albedo", "view", "light", "confidence")

# Columns at the left and the right border whose depth is fixed, and its share of the
# way from the nearest to the farthest depth.
_BORDER, _BORDER_SHARE = 2, 0.7


@dataclasses.dataclass(frozen=True)
class Unsup3DConfig:
  """Options of Unsup3D; the defaults are those published for CelebA.

  Attributes:
    width: Channels of the first layer of the depth, albedo and confidence networks.
    code: Channels of the bottleneck of the depth and albedo networks; the confidence
      network has half of them.
    vector_width: Channels of the first layer of the view and light networks.
    affine: Whether the second convolution of the depth network and that of the albedo
      network are affine ones (AffUNet, figure 8).
    backend: Backend of the affine convolutions.
    photos: Photos of one person that share depth and albedo, which follow one another
      in a batch (LAP, Zhang et al. 2021); 1 = each photo is by itself. Batch size and
      held-out samples then count people.
    nearest: Least depth of the canonical view.
    farthest: Largest depth of the canonical view.
    rotation_deg: Largest angle of the view about each axis, degrees.
    translation_xy: Largest translation to the side.
    translation_z: Largest translation along the optical axis.
    ambient: Least and largest ambient light.
    directed: Least and largest directed light.
  """

  width: int = 64
  code: int = 256
  vector_width: int = 32
  affine: bool = False
  backend: str = "auto"
  photos: int = 1
  nearest: float = 0.9
  farthest: float = 1.1
  rotation_deg: float = 60.0
  translation_xy: float = 0.1
  translation_z: float = 0.0
  ambient: tuple[float, ...] = (0.0, 1.0)
  directed: tuple[float, ...] = (0.0, 1.0)

  def __post_init__(self):
    for name in ("width", "code", "vector_width", "photos"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
    if self.code % 2:
      raise ValueError(f"code must be even, got {self.code}")
    if not 0 < self.nearest < self.farthest:
      raise ValueError(
        f"need 0 < nearest < farthest, got {self.nearest} and {self.farthest}"
      )
    for name in ("ambient", "directed"):
      found = getattr(self, name)
      if len(found) != 2 or not 0 <= found[0] <= found[1]:
        raise ValueError(f"{name} must be two numbers 0 <= a <= b, got {found}")

  @property
  def margin(self) -> float:
    """How far the depth in a view may leave the range of the canonical view."""
    return (self.farthest - self.nearest) / 2


@dataclasses.dataclass(frozen=True)
class Unsup3D:
  """The five networks and the renderer (Wu et al. 2020); hashable.

  Attributes:
    config: Options of the networks.
    size: Side of the photos, px: a power of two, at least 16. The published networks
      are those for 64.
  """

  config: Unsup3DConfig = Unsup3DConfig()
  size: int = 64

  def __post_init__(self):
    if self.size < 16 or self.size & (self.size - 1):
      raise ValueError(
        f"size must be a power of two, at least 16, for Unsup3D, got {self.size}"
      )

  @functools.cached_property
  def definitions(self) -> dict[str, Definition]:
    """The networks without their numbers, by the names of `NETWORKS`."""
    return _definitions(self.config, self.size)

  def init(self, seed: int) -> Params:
    """Returns fresh weights of all networks.

    The affine variant starts with the same numbers, and its affine convolutions start
    as plain ones: both variants make the same scene.
    """
    return {
      name: _params.init(definition, seed + zlib.crc32(name.encode()))
      for name, definition in self.definitions.items()
    }

  def __call__(
    self,
    params: Params,
    images: Float[ArrayLike, "n s s 3"],
    *,
    photos: int | None = None,
  ) -> Scene:
    """Returns the scenes of photos.

    Args:
      params: Weights of the five networks.
      images: Photos in [0, 1]; those of one person follow one another.
      photos: Number of photos of each person; default: that of the config. Networks of
        collections take any number.

    Raises:
      ValueError: The photos have another size, are no whole number of collections, or
        the networks are not those of collections.
    """
    if images.ndim != 4 or images.shape[1:] != (self.size, self.size, 3):
      raise ValueError(
        f"images must be [n, {self.size}, {self.size}, 3], got {images.shape}"
      )

    def raw(name: str, **options: Any) -> Any:
      signed = 2 * jnp.asarray(images) - 1
      return _params.apply(self.definitions[name], params[name], signed, **options)

    photos = photos or self.config.photos
    if photos > 1 and self.config.photos == 1:
      raise ValueError(f"photos needs networks of collections, got {photos}")
    with_mirrored = functools.partial(_with_mirrored, photos=photos)
    sigma, feature_sigma = (
      jnp.moveaxis(m, -1, 0)[..., None] for m in raw("confidence")
    )
    return render_scene(
      depth=with_mirrored(self._depth(raw("depth", photos=photos)))[..., 0],
      albedo=with_mirrored(jnp.tanh(raw("albedo", photos=photos)) / 2 + 0.5),
      view=self._view(raw("view")),
      light=self._light(raw("light")),
      sigma=sigma,
      feature_sigma=feature_sigma,
      nearest=self.config.nearest - self.config.margin,
      farthest=self.config.farthest + self.config.margin,
    )

  def _depth(self, raw: Float[Array, "m s s 1"]) -> Float[Array, "m s s 1"]:
    """Returns depths whose mean is about in the middle of their range."""
    config = self.config
    unit = jnp.tanh(raw - jnp.mean(raw, (1, 2), keepdims=True)) / 2 + 0.5
    depth = config.nearest + (config.farthest - config.nearest) * unit
    column = jnp.arange(self.size).reshape(1, 1, -1, 1)
    border = (column < _BORDER) | (column >= self.size - _BORDER)
    fixed = config.nearest + (config.farthest - config.nearest) * _BORDER_SHARE
    return jnp.where(border, fixed, depth)

  def _view(self, unit: Float[Array, "n 6"]) -> Float[Array, "n 6"]:
    config = self.config
    turn = math.radians(config.rotation_deg)
    across = config.translation_xy
    limit = [turn, turn, turn, across, across, config.translation_z]
    return unit * jnp.asarray(limit)[None]

  def _light(self, unit: Float[Array, "n 4"]) -> Light:
    (low, high), (least, most) = self.config.ambient, self.config.directed
    direction = jnp.concatenate([unit[:, 2:], jnp.ones_like(unit[:, :1])], 1)
    length = jnp.sqrt(jnp.sum(direction**2, 1, keepdims=True))
    return Light(
      ambient=low + (high - low) * (unit[:, 0] / 2 + 0.5),
      directed=least + (most - least) * (unit[:, 1] / 2 + 0.5),
      direction=direction / length,
    )


def _with_mirrored(
  maps: Float[Array, "m s s c"], photos: int
) -> Float[Array, "2 n s s c"]:
  """Returns a map for each photo of each collection, and its mirror image."""
  each = jnp.repeat(maps, photos, axis=0)
  return jnp.stack([each, each[:, :, ::-1]])


@functools.lru_cache(maxsize=8)
def _definitions(config: Unsup3DConfig, size: int) -> dict[str, Definition]:
  maps = MapNetConfig(
    size,
    config.width,
    config.code,
    affine=config.affine,
    backend=config.backend,
    collection=config.photos > 1,
  )
  sure = MapNetConfig(size, config.width, config.code // 2)
  makers: dict[str, Callable[[nnx.Rngs], nnx.Module]] = {
    "depth": lambda rngs: _networks.MapNet(maps, outputs=1, rngs=rngs),
    "albedo": lambda rngs: _networks.MapNet(maps, outputs=3, rngs=rngs),
    "view": lambda rngs: _networks.VectorNet(
      size, config.vector_width, outputs=6, rngs=rngs
    ),
    "light": lambda rngs: _networks.VectorNet(
      size, config.vector_width, outputs=4, rngs=rngs
    ),
    "confidence": lambda rngs: _networks.ConfidenceNet(sure, rngs=rngs),
  }
  return {name: _params.define(makers[name]) for name in NETWORKS}
