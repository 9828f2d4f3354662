"""The four networks with the head and the renderer: photos to predictions."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from affjax.losses import Regions
from affjax.models import Reconstructor
from experiments.pytorch_reference import (
  affine_conv,
  antialiasing,
  networks,
  rasterizer,
  weights,
)
from experiments.pytorch_reference.head import Camera, Head, posed

# Position maps stay within this many standard deviations of the mean head.
_BOUND = 5.0
# affjax's architectures that PyTorch has, and the frame of their predicted matrices; it
# has neither dilated and deformable layers nor networks that a coarse head guides.
FRAMES = {
  "paper": "window",
  "paper_absolute": "absolute",
  "plain": "window",
  "plain_global": "window",
}


@dataclasses.dataclass(frozen=True)
class Prediction:
  """What the networks and the renderer make of N photos; names as in affjax.

  Attributes:
    position: Position maps, `[N, S, S, 3]`, dm.
    pose: Axis-angle rotations (radians) and translations (dm), `[N, 6]`.
    vertices: Vertices after the pose, `[N, V, 3]`, dm.
    diffuse: Diffuse maps in [0, 1], `[N, S, S, 3]`.
    light: Light maps, `[N, S/8, S/8, 1]`.
    light_color: Colors of the light, `[N, 3]`.
    render: The heads over black, `[N, H, W, 3]`.
    alpha: Coverage, `[N, H, W, 1]`.
  """

  position: Tensor
  pose: Tensor
  vertices: Tensor
  diffuse: Tensor | None = None
  light: Tensor | None = None
  light_color: Tensor | None = None
  render: Tensor | None = None
  alpha: Tensor | None = None


class Model(nn.Module):
  """The position, diffuse, light and pose networks and the renderer.

  Args:
    position: Photos to standard deviations from the mean head.
    diffuse: Photos to diffuse maps before the sigmoid.
    light: Photos to light maps and colors.
    pose: Photos to poses.
    head: The head's tables.
    camera: Camera of the photos.
  """

  def __init__(
    self,
    position: nn.Module,
    diffuse: nn.Module,
    light: nn.Module,
    pose: nn.Module,
    head: Head,
    camera: Camera,
  ):
    super().__init__()
    self.position, self.diffuse, self.light, self.pose = position, diffuse, light, pose
    self.head, self.camera = head, camera
    self.surface = antialiasing.mesh(head.faces)

  def forward(
    self, images: Tensor, *, antialias: bool = True, render: bool = True
  ) -> Prediction:
    """Predicts maps and pose of photos `[N, S, S, 3]` in [0, 1], and renders them.

    Args:
      images: The photos.
      antialias: Whether silhouettes are blended, which gives them a gradient.
      render: Whether to go on from the shape to texture and picture.
    """
    away = _BOUND * torch.tanh(self.position(images) / _BOUND)
    position = self.head.mean + away * self.head.std
    pose = self.pose(images)
    vertices = posed(self.head.vertices(position), pose)
    if not render:
      return Prediction(position, pose, vertices)
    diffuse = torch.sigmoid(self.diffuse(images))
    light, color = self.light(images)
    picture, alpha = self.render(
      vertices, shaded(diffuse, light, color), antialias=antialias
    )
    return Prediction(
      position, pose, vertices, diffuse, light, color, render=picture, alpha=alpha
    )

  def render(
    self, vertices: Tensor, texture: Tensor, *, antialias: bool
  ) -> tuple[Tensor, Tensor]:
    """Renders heads over black; returns pictures and coverage."""
    head = self.head
    clip = self.camera.to_clip(vertices)
    raster = rasterizer.rasterize(clip, head.faces, head.size)
    uv = rasterizer.interpolate(head.uvs, raster, head.faces_uv)
    covered = (raster[..., 3:] > 0).to(texture.dtype)
    layers = torch.cat([rasterizer.texture(texture, uv) * covered, covered], -1)
    if antialias:
      layers = antialiasing.antialias(layers, raster, clip, self.surface)
    return layers[..., :3], layers[..., 3:]


def shaded(diffuse: Tensor, light: Tensor, color: Tensor) -> Tensor:
  """Returns textures: diffuse times enlarged light times its color, at most 1."""
  size = (diffuse.shape[1], diffuse.shape[2])
  enlarged = networks.resized(light.permute(0, 3, 1, 2), size).permute(0, 2, 3, 1)
  return (diffuse * enlarged * color[:, None, None]).clamp(0, 1)


def twin(
  ours: Reconstructor,
  params: Mapping[str, Any],
  regions: Regions,
  *,
  form: networks.Form = affine_conv.stacked,
) -> Model:
  """Returns the model with the tables and the weights of affjax's `Reconstructor`.

  Args:
    ours: The reconstructor, of an architecture among `FRAMES`.
    params: Its weights, from which widths and options follow.
    regions: Regions of the loss terms.
    form: Form of the affine convolutions.

  Raises:
    ValueError: PyTorch's networks do not include the architecture.
  """
  name = ours.networks.architecture
  if name not in FRAMES:
    raise ValueError(f"architecture must be one of {', '.join(FRAMES)}, got {name!r}")
  options = {"frame": FRAMES[name], "form": form}
  states = {name: weights.to_state(value) for name, value in params.items()}
  size, camera = ours.networks.size, ours.camera
  model = Model(
    position=networks.affunet_like(states["position"], **options),
    diffuse=networks.affunet_like(states["diffuse"], **options),
    light=networks.light_like(states["light"], **options),
    pose=networks.PoseNet(_width(states["pose"], "layer1.conv"), size=size),
    head=Head(ours, regions),
    camera=Camera(camera.fov_deg, camera.distance, camera.near, camera.far),
  )
  model.load_state_dict(weights.to_state(params))
  return model


def twin_discriminator(params: Mapping[str, Any]) -> networks.Discriminator:
  """Returns the discriminator with the weights of affjax's."""
  state = weights.to_state(params)
  blocks = [n for n in state if n.startswith("scale0.") and ".conv.weight" in n]
  width = _width(state, "scale0.layer1")
  found = networks.Discriminator(width, len(blocks), len(params))
  found.load_state_dict(state)
  return found


def _width(state: Mapping[str, Tensor], layer: str) -> int:
  return len(state[f"{layer}.weight"])
