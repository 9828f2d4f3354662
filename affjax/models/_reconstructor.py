"""The `Reconstructor`: four networks, a template, a camera and the renderer."""

import dataclasses
import functools
import zlib
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from affjax.geometry import uv
from affjax.geometry.camera import head_to_world
from affjax.models import (
  _alignment,
  _architectures,
  _colors,
  _encoder,
  _guide,
  _light,
  _params,
  _places,
  _pose,
)
from affjax.models._alignment import Alignment
from affjax.ops import resize_bilinear
from affjax.render import light_texture, render_head, shade
from affjax.types import ArrayLike, Camera, Guide, Prediction, Template

NETWORKS = ("position", "diffuse", "light", "pose")

# Position maps stay within this many standard deviations of the mean head, or of the
# guide. A few texels
# cost little in a mean over the map: in a run of stage 3 without a bound the lips left
# by 16. That run also had larger steps and silhouette gradients; which one did it was
# not told apart.
_BOUND = 5.0
# Factor on the change of a known pose: a fit's is off by a few degrees, while without
# one the whole pose is to be found. With the same unit for both, the first steps of
# training would spoil the poses that are known.
_KNOWN = 0.2


@dataclasses.dataclass(frozen=True)
class Networks:
  """The options of the four networks of section 3.1.

  Attributes:
    size: Side at which the networks see photos and predict maps, px; a multiple of 8
      for guided networks.
    architecture: Name of the architecture, one of `ARCHITECTURES`.
    position: Options of the position network.
    diffuse: Options of the diffuse network.
    light: Options of the light network.
    pose: Options of the pose network.
    map_size: Side of the photos that are given and of the maps that are returned, px;
      0 = `size`. Larger photos are reduced for the networks, what they say is enlarged,
      and the detail of a guided network's diffuse map comes from the larger photos.
  """

  size: int = 512
  architecture: str = "paper"
  position: _encoder.EncoderConfig = _encoder.EncoderConfig()  # noqa: RUF009
  diffuse: _encoder.EncoderConfig = _encoder.EncoderConfig()  # noqa: RUF009
  light: _light.LightNetConfig = _light.LightNetConfig()  # noqa: RUF009
  pose: _pose.PoseNetConfig = _pose.PoseNetConfig()  # noqa: RUF009
  map_size: int = 0

  def __post_init__(self):
    _architectures.architecture(self.architecture)
    if self.size < 8:
      raise ValueError(f"size must be at least 8, got {self.size}")
    if self.guided and self.size % 8:
      raise ValueError(
        f"size must be a multiple of 8 for architecture {self.architecture!r}, got "
        f"{self.size}"
      )
    if self.map_size and self.map_size < self.size:
      raise ValueError(
        f"map_size must be 0 or at least size = {self.size}, got {self.map_size}"
      )

  @property
  def side(self) -> int:
    """Side of the photos that are given and of the maps that are returned, px."""
    return self.map_size or self.size

  @property
  def row(self) -> _encoder.Architecture:
    """The architecture."""
    return _architectures.architecture(self.architecture)

  @property
  def guided(self) -> bool:
    """Whether the networks take a guide."""
    return self.row.guided


@dataclasses.dataclass(frozen=True)
class _Start:
  """The heads from which the networks start, for N photos.

  Attributes:
    position: Position maps, dm.
    pose: Poses.
    freedom: Factor on the change of each pose.
    alignment: Alignment of a guided network.
    picture: Picture of the head for a guided pose network.
    guide: The guide that is believed.
  """

  position: Float[Array, "n s s 3"]
  pose: Float[Array, "n 6"]
  freedom: Float[Array, "n 1"]
  alignment: Alignment | None = None
  picture: Float[Array, "n h w 5"] | None = None
  guide: Guide | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Reconstructor:
  """A function from photos to `Prediction`s; hashed by identity, static under `jit`.

  Attributes:
    template: The head whose vertices are predicted.
    camera: Camera of the photos.
    networks: Options of the four networks.
    vertex_std: Standard deviation of each coordinate over heads, `[V, 3]`, dm: the unit
      of the position network's output. The template's vertices are the mean.
  """

  template: Template
  camera: Camera
  networks: Networks
  vertex_std: np.ndarray

  def __post_init__(self):
    if self.vertex_std.shape != self.template.vertices.shape:
      raise ValueError(
        f"vertex_std must have the shape of the template's vertices, "
        f"{self.template.vertices.shape}, got {self.vertex_std.shape}"
      )

  def with_map_size(self, side: int) -> "Reconstructor":
    """Returns the same networks for larger photos and maps; see `Networks.map_size`.

    Args:
      side: Side of photos and maps, px; at least that of the networks is taken.
    """
    side = max(side, self.networks.size)
    return dataclasses.replace(
      self, networks=dataclasses.replace(self.networks, map_size=side)
    )

  @functools.cached_property
  def table(self) -> uv.UVTable:
    """The table between the template's vertices and the maps."""
    return uv.uv_table(self.template, self.networks.side)

  @functools.cached_property
  def definitions(self) -> dict[str, _params.Definition]:
    """The four networks without their numbers, by name."""
    nets = self.networks
    outputs = _colors.OUTPUTS if nets.guided else 3
    return {
      "position": _architectures.define(nets.row, nets.position, 3),
      "diffuse": _architectures.define(nets.row, nets.diffuse, outputs),
      "light": _light.define(nets.row, nets.light),
      "pose": _pose.define(nets.pose, nets.size, guided=nets.guided),
    }

  def init(self, seed: int) -> _params.Params:
    """Returns fresh parameters of the four networks, one subtree each."""
    return {
      name: _params.init(definition, seed + zlib.crc32(name.encode()))
      for name, definition in self.definitions.items()
    }

  def __call__(
    self,
    parameters: _params.Params,
    images: Float[ArrayLike, "n h w 3"],
    *,
    guide: Guide | None = None,
    pose: Float[ArrayLike, "n 6"] | None = None,
    antialias: bool = True,
    render: bool = True,
  ) -> Prediction:
    """Predicts maps and pose, and renders them.

    Gradients reach every network through the render; where a texel of a guided network
    lies in the photo has none.

    Args:
      parameters: Parameters of the four networks, as `init` makes them.
      images: Photos in [0, 1], `networks.side` by `networks.side` px.
      guide: Coarse heads of the photos, for guided networks. One that cannot be true
        (NaN, or a pose out of the photo) counts as none; without one the networks
        correct the mean head before the camera, and are told so.
      pose: Known poses, which replace those of the pose network.
      antialias: Whether silhouettes are antialiased, which gives them a gradient.
      render: Whether to render; otherwise render and alpha are zero, at no cost.

    Raises:
      ValueError: The images have another size, the guide is of other heads, or the
        parameters belong to another architecture.
    """
    size, side = self.networks.size, self.networks.side
    if images.ndim != 4 or images.shape[1:] != (side, side, 3):
      raise ValueError(f"images must be [N, {side}, {side}, 3], got {images.shape}")
    apply = functools.partial(self._apply, parameters, _resized(images, size))
    start = self._start(guide, len(images))
    residual = _resized(apply("position", start.alignment), side)
    position = start.position + self._bounded(residual)
    chex.assert_equal_shape([position, images])
    if pose is None:
      limit = jnp.array([_pose.LIMIT], jnp.float32)
      change = apply("pose", start.picture) * start.freedom
      pose = jnp.clip(start.pose + change, -limit, limit)
    chex.assert_shape(pose, (len(images), 6))
    vertices = head_to_world(uv.vertices_from_map(position, self.table), pose)
    alignment = self._alignment(vertices, position, start.guide, size)
    light = apply("light", alignment)
    if alignment is not None:
      light = _light.settled(light[0], alignment), light[1]
    chex.assert_shape(light[0], (len(images), -(-size // 8), -(-size // 8), 1))
    outputs = _resized(apply("diffuse", alignment), side)
    if side != size:
      alignment = self._alignment(vertices, position, start.guide, side)
    diffuse = self._diffuse(outputs, images, light, alignment)
    chex.assert_equal_shape([diffuse, images])
    picture = jnp.zeros_like(images), jnp.zeros_like(images[..., :1])
    if render:
      texture, shape = shade(diffuse, *light), (side, side)
      picture = render_head(
        vertices, texture, self.template, self.camera, shape, antialias=antialias
      )
    return Prediction(
      position=position,
      diffuse=diffuse,
      light=light[0],
      light_color=light[1],
      pose=jnp.asarray(pose),
      vertices=vertices,
      render=picture[0],
      alpha=picture[1],
    )

  def _apply(
    self,
    parameters: _params.Params,
    images: Float[ArrayLike, "n h w 3"],
    name: str,
    known: Any,
  ) -> Any:
    """Returns what a network says of photos, given what is known of them."""
    return _params.apply(self.definitions[name], parameters[name], images, known)

  def _diffuse(
    self,
    outputs: Float[Array, "n s s o"],
    images: Float[ArrayLike, "n h w 3"],
    light: tuple[Float[Array, "n l l 1"], Float[Array, "n 3"]],
    alignment: Alignment | None,
  ) -> Float[Array, "n s s 3"]:
    """Returns diffuse maps: painted ones, or the photos' own, corrected."""
    if alignment is None:
      return jax.nn.sigmoid(outputs)
    texels = light_texture(*light, self.networks.side)
    return _colors.corrected(
      outputs, images, texels, alignment, self._plain, self._skin
    )

  def places(
    self,
    parameters: _params.Params,
    images: Float[ArrayLike, "n h w 3"],
    *,
    guide: Guide | None = None,
    network: str = "position",
  ) -> list[Float[Array, "n i j k 2"]]:
    """Returns where layers 1 to 4 of a network read the photo (x, y), px.

    Args:
      parameters: As for a call.
      images: As for a call.
      guide: As for a call; it alone places the windows of guided networks.
      network: "position" or "diffuse".

    Returns:
      The place of each of the K² taps of each output pixel, by layer. Output pixels of
      a guided network are texels of maps of size S, S/2, S/4 and S/8.
    """
    merged: Any = nnx.merge(self.definitions[network].graph, parameters[network])
    images = _resized(images, self.networks.size)
    alignment = self._start(guide, len(images)).alignment
    return _places.places_of(merged.encoder, images, alignment)

  def alignment(self, guide: Guide) -> Alignment:
    """Returns where heads show the texels of the map in their photos.

    Args:
      guide: The heads, true or coarse ones. One that cannot be true counts as the mean
        head before the camera.
    """
    guide = _guide.trusted(guide, len(guide.pose), self.template, self.vertex_std)
    position = uv.map_from_vertices(jnp.asarray(guide.vertices), self.table)
    vertices = head_to_world(guide.vertices, guide.pose)
    return self._seen(vertices, position, guide, self.networks.size)[0]

  def _start(self, guide: Guide | None, count: int) -> _Start:
    """Returns the mean head, or the guide."""
    if not self.networks.guided:
      mean = jnp.broadcast_to(
        self._position_statistics[0], (count, *self._position_statistics[0].shape[1:])
      )
      return _Start(mean, jnp.zeros((count, 6)), jnp.ones((count, 1)))
    guide = _guide.trusted(guide, count, self.template, self.vertex_std)
    position = uv.map_from_vertices(jnp.asarray(guide.vertices), self.table)
    vertices = head_to_world(guide.vertices, guide.pose)
    alignment, picture = self._seen(vertices, position, guide, self.networks.size)
    known = jnp.broadcast_to(guide.known[:, None, None, None], picture[..., :1].shape)
    picture = jnp.concatenate([picture, known], -1)
    freedom = 1 - (1 - _KNOWN) * jnp.asarray(guide.known)[:, None]
    return _Start(position, jnp.asarray(guide.pose), freedom, alignment, picture, guide)

  def _alignment(
    self,
    vertices: Float[Array, "n v 3"],
    position: Float[Array, "n s s 3"],
    guide: Guide | None,
    size: int,
  ) -> Alignment | None:
    """Returns where predicted heads lie in the photo, for guided networks."""
    return None if guide is None else self._seen(vertices, position, guide, size)[0]

  def _seen(
    self,
    vertices: Float[Array, "n v 3"],
    position: Float[Array, "n s s 3"],
    guide: Guide,
    size: int,
  ) -> tuple[Alignment, Float[Array, "n h w 4"]]:
    """Returns the alignment with heads in world space, and their picture."""
    mean, std = self._position_statistics
    deviation = _resized((position - mean) / np.maximum(std, 1e-4), size)
    shape = (size, size)
    picture, depth = _alignment.picture_of(vertices, self.template, self.camera, shape)
    alignment = _alignment.align(
      vertices,
      depth,
      self.template,
      self.camera,
      deviation=deviation,
      known=jnp.asarray(guide.known),
      skin=None if guide.skin is None else _resized(guide.skin, size),
    )
    return alignment, picture

  def _bounded(self, residual: Float[Array, "n s s 3"]) -> Float[Array, "n s s 3"]:
    """Returns the change of the position map, dm."""
    std = jnp.asarray(self._position_statistics[1])
    return _BOUND * jnp.tanh(residual / _BOUND) * std

  @functools.cached_property
  def _position_statistics(self) -> tuple[np.ndarray, np.ndarray]:
    """Maps `[1, S, S, 3]` of mean and standard deviation; zero outside the charts."""
    mean, std = (
      np.sum(values[self.table.corners] * self.table.weights[..., None], -2)
      for values in (self.template.vertices, self.vertex_std)
    )
    return mean[None].astype(np.float32), std[None].astype(np.float32)

  @functools.cached_property
  def _plain(self) -> Float[np.ndarray, "1 s s 3"]:
    """The diffuse map from which painting starts."""
    return _colors.plain_colors(self.template, self.networks.side)

  @functools.cached_property
  def _skin(self) -> Float[np.ndarray, "1 s s 1"]:
    """Where that map shows skin, without eyes and the inside of the mouth."""
    side = self.networks.side
    mask = self.template.masks.get("skin")
    if mask is None:
      return np.ones((1, side, side, 1), np.float32)
    return uv.resize_mask(mask.astype(np.float32), side)[None, ..., None]


def _resized(values: Float[ArrayLike, "n h w c"], side: int) -> Float[Array, "n s s c"]:
  """Returns maps of another size, averaged where they shrink."""
  return resize_bilinear(values, (side, side), antialias=True)
