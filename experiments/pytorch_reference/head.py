"""The head, its camera, and the way from position maps to pixels."""

import dataclasses
import math

import numpy as np
import torch
from torch import Tensor, nn

from affjax.geometry import uv
from affjax.losses import Regions
from affjax.models import Reconstructor


@dataclasses.dataclass(frozen=True)
class Camera:
  """A pinhole camera on the z axis that looks along -z; angles in degrees, else dm."""

  fov_deg: float
  distance: float
  near: float
  far: float

  def to_clip(self, world: Tensor) -> Tensor:
    """Projects points `[..., 3]` of a square photo; row 0 lies at y/w = -1."""
    focal = 1 / math.tan(math.radians(self.fov_deg) / 2)
    x, y, depth = world[..., 0], world[..., 1], self.distance - world[..., 2]
    span = self.far - self.near
    z = (self.far + self.near) / span * depth - 2 * self.far * self.near / span
    return torch.stack([focal * x, -focal * y, z, depth], -1)


class Head(nn.Module):
  """The tables of a head model, which are data: constants that no network changes.

  Attributes:
    faces: Triangles as indices of vertices, `[T, 3]`.
    uvs: UV coordinates `[U, 2]`.
    faces_uv: The same triangles as indices of UV coordinates.
    mean: Position map of the mean head, `[S, S, 3]`, dm.
    std: Standard deviation of each coordinate of the map over heads, dm.
    texel_corners: The three vertices of the triangle under each texel, `[S, S, 3]`.
    texel_weights: Their barycentric weights, zero outside the charts.
    support: Texels of the charts and the gutter around them, 1 or 0.
    skin: Weight of each texel as skin, in [0, 1].
    read_texels: Texels from which each UV coordinate reads its vertex, `[U, K]`.
    read_weights: Their weights.
    uv_vertex: Vertex of each UV coordinate, `[U]`.
    detail: Part of the mean head's vertices that a map of this size cannot hold.
    pose_points: Points of the head that compare poses, `[P, 3]`.
    mirror: Texel of the mirrored place of each texel, `[S, S]`.
    size: S.
  """

  def __init__(self, networks: Reconstructor, regions: Regions):
    super().__init__()
    template, table = networks.template, networks.table
    self.size = size = table.size
    columns = np.arange(size * size).reshape(size, size)[:, ::-1]
    maps = {
      name: uv.map_from_vertices(values.astype(np.float32), table)
      for name, values in (("mean", template.vertices), ("std", networks.vertex_std))
    }
    tables = {
      **maps,
      "faces": template.faces,
      "uvs": template.uvs,
      "faces_uv": template.faces_uv,
      "texel_corners": table.corners,
      "texel_weights": table.weights,
      "support": regions.support.astype(np.float32),
      "skin": regions.skin.astype(np.float32),
      "read_texels": table.read_texels,
      "read_weights": table.read_weights,
      "uv_vertex": table.uv_vertex,
      "detail": table.detail,
      "pose_points": regions.pose_points,
      "mirror": columns if regions.mirror is None else regions.mirror,
    }
    for name, values in tables.items():
      tensor = torch.from_numpy(np.array(values))
      tensor = tensor if tensor.is_floating_point() else tensor.long()
      self.register_buffer(name, tensor, persistent=False)

  def position_map(self, vertices: Tensor) -> Tensor:
    """Writes vertices `[N, V, 3]` into maps `[N, S, S, 3]`, zero beside the charts."""
    corners = vertices[:, self.texel_corners]
    return (corners * self.texel_weights[..., None]).sum(3)

  def vertices(self, position: Tensor) -> Tensor:
    """Reads vertices off position maps; those on a seam are averaged over its sides."""
    texels = position.flatten(1, 2)[:, self.read_texels]
    read = (texels * self.read_weights[..., None]).sum(2)
    detail = self.detail.expand(len(position), -1, -1)
    return detail.index_add(1, self.uv_vertex, read)

  def mirrored(self, maps: Tensor) -> Tensor:
    """Returns the maps of the mirrored head."""
    return maps.flatten(1, 2)[:, self.mirror]


def posed(points: Tensor, pose: Tensor) -> Tensor:
  """Turns and shifts points `[P, 3]` or `[N, P, 3]` by poses `[N, 6]`: `R p + t`."""
  x, y, z = pose[:, :3].unbind(1)
  zero = torch.zeros_like(x)
  cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).unflatten(1, (3, 3))
  turn = torch.linalg.matrix_exp(cross)
  return points @ turn.transpose(1, 2) + pose[:, None, 3:]
