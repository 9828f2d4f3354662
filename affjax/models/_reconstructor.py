"""The `Reconstructor`: four networks, a template, a camera and the renderer."""

import dataclasses
import functools
import zlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from affjax.geometry import uv
from affjax.geometry.camera import head_to_world
from affjax.models import _affunet, _alignment, _encoder, _light, _params, _pose
from affjax.render import render_head, shade
from affjax.types import ArrayLike, Camera, Prediction, Template

NETWORKS = ("position", "diffuse", "light", "pose")

# Position maps stay within this many standard deviations of the mean head. A few texels
# cost little in a mean over the map: in a run of stage 3 without a bound the lips left
# by 16. That run also had larger steps and silhouette gradients; which one did it was
# not told apart.
_BOUND = 5.0


@dataclasses.dataclass(frozen=True)
class Networks:
  """The options of the four networks of section 3.1.

  Attributes:
    size: Side of the photos and of the maps, px.
    position: Options of the position network, which sees the photo only.
    diffuse: Options of the diffuse network.
    light: Options of the light network.
    pose: Options of the pose network.
  """

  size: int = 512
  position: _encoder.EncoderConfig = _affunet.AffUNetConfig()  # noqa: RUF009
  diffuse: _encoder.EncoderConfig = _affunet.AffUNetConfig()  # noqa: RUF009
  light: _light.LightNetConfig = _light.LightNetConfig()  # noqa: RUF009
  pose: _pose.PoseNetConfig = _pose.PoseNetConfig()  # noqa: RUF009

  def __post_init__(self):
    if self.size < 8:
      raise ValueError(f"size must be at least 8, got {self.size}")
    if self.position.prior != "none":
      raise ValueError(
        "the position network cannot have prior='geometry': the prior is made from "
        "what it predicts"
      )


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

  @functools.cached_property
  def table(self) -> uv.UVTable:
    """The table between the template's vertices and the maps."""
    return uv.uv_table(self.template, self.networks.size)

  @functools.cached_property
  def definitions(self) -> dict[str, _params.Definition]:
    """The four networks without their numbers, by name."""
    nets = self.networks
    return {
      "position": _params.define_network(nets.position),
      "diffuse": _params.define_network(nets.diffuse),
      "light": _params.define_network(nets.light),
      "pose": _pose.define(nets.pose, nets.size),
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
    pose: Float[ArrayLike, "n 6"] | None = None,
    antialias: bool = True,
    render: bool = True,
  ) -> Prediction:
    """Predicts maps and pose, and renders them.

    Gradients reach every network through the render; where a network is given the
    geometry prior, that way is closed to the gradient.

    Args:
      parameters: Parameters of the four networks, as `init` makes them.
      images: Photos in [0, 1], `size` by `size` px.
      pose: Known poses, which replace those of the pose network.
      antialias: Whether silhouettes are antialiased, which gives them a gradient.
      render: Whether to render; otherwise render and alpha are zero, at no cost.

    Raises:
      ValueError: The images have another size, or the parameters belong to another
        architecture.
    """
    size = self.networks.size
    if images.ndim != 4 or images.shape[1:] != (size, size, 3):
      raise ValueError(f"images must be [N, {size}, {size}, 3], got {images.shape}")
    apply = lambda name, *args: _params.apply(
      self.definitions[name], parameters[name], *args
    )
    residual = apply("position", images, None)
    pose_vector = apply("pose", images) if pose is None else jnp.asarray(pose)
    chex.assert_equal_shape([residual, images])
    chex.assert_shape(pose_vector, (len(images), 6))
    position = self._position(residual)
    vertices = uv.vertices_from_map(position, self.table)
    vertices = head_to_world(vertices, pose_vector)
    alignment = self._alignment(vertices, (size, size))
    diffuse = jax.nn.sigmoid(apply("diffuse", images, alignment))
    chex.assert_equal_shape([diffuse, images])
    light_map, light_color = apply("light", images, alignment)
    chex.assert_shape(light_map, (len(images), -(-size // 8), -(-size // 8), 1))
    picture = jnp.zeros_like(images), jnp.zeros_like(images[..., :1])
    if render:
      texture = shade(diffuse, light_map, light_color)
      picture = render_head(
        vertices, texture, self.template, self.camera, (size, size), antialias=antialias
      )
    return Prediction(
      position=position,
      diffuse=diffuse,
      light=light_map,
      light_color=light_color,
      pose=pose_vector,
      vertices=vertices,
      render=picture[0],
      alpha=picture[1],
    )

  def _position(self, residual: Float[Array, "n s s 3"]) -> Float[Array, "n s s 3"]:
    mean, std = map(jnp.asarray, self._position_statistics)
    return mean + _BOUND * jnp.tanh(residual / _BOUND) * std

  @functools.cached_property
  def _position_statistics(self) -> tuple[np.ndarray, np.ndarray]:
    """Maps `[1, S, S, 3]` of mean and standard deviation; zero outside the charts."""
    mean, std = (
      np.sum(values[self.table.corners] * self.table.weights[..., None], -2)
      for values in (self.template.vertices, self.vertex_std)
    )
    return mean[None].astype(np.float32), std[None].astype(np.float32)

  def _alignment(
    self, vertices: Float[Array, "n v 3"], resolution: tuple[int, int]
  ) -> _alignment.Alignment | None:
    nets = self.networks
    if "geometry" not in (nets.diffuse.prior, nets.light.prior):
      return None
    return _alignment.align(
      vertices, self.template, self.camera, size=nets.size, resolution=resolution
    )
