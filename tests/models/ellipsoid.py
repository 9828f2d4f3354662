"""A small head, an ellipsoid, and narrow networks for it."""

import numpy as np

from affjax.models import (
  EncoderConfig,
  LightNetConfig,
  Networks,
  PoseNetConfig,
  Reconstructor,
)
from affjax.types import Camera, Template

# Side of photos and maps.
SIZE = 32


def _template() -> Template:
  """A cylinder-mapped ellipsoid with its seam at the back and open poles."""
  columns, rows = 17, 13
  u, v = np.meshgrid(np.linspace(0.02, 0.98, columns), np.linspace(0.05, 0.95, rows))
  uvs = np.stack([u, v], -1).reshape(-1, 2).astype(np.float32)
  angle, height = 2 * np.pi * (uvs[:, 0] - 0.5), np.pi * (uvs[:, 1] - 0.5)
  points = np.stack(
    [
      0.75 * np.sin(angle) * np.cos(height),
      1.0 * np.sin(height),
      0.85 * np.cos(angle) * np.cos(height),
    ],
    -1,
  )
  first = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).reshape(-1)
  quad = np.stack([first, first + 1, first + 1 + columns, first + columns], -1)
  faces = np.concatenate([quad[:, [0, 1, 2]], quad[:, [0, 2, 3]]]).astype(np.int32)
  return Template(
    name="ellipsoid",
    vertices=points.astype(np.float32),
    faces=faces,
    uvs=uvs,
    faces_uv=faces,
    face_groups=np.zeros(len(faces), np.int32),
    group_names=("skin",),
    masks={"skin": np.ones((16, 16), np.float32)},
    landmark_faces=np.zeros(68, np.int32),
    landmark_weights=np.full((68, 3), 1 / 3, np.float32),
  )


TEMPLATE = _template()


def reconstructor(
  architecture: str = "paper", template: Template = TEMPLATE, size: int = SIZE
) -> Reconstructor:
  """Returns narrow networks of an architecture for a head."""
  networks = Networks(
    size=size,
    architecture=architecture,
    position=EncoderConfig(width=4),
    diffuse=EncoderConfig(width=4),
    light=LightNetConfig(width=4, color=True),
    pose=PoseNetConfig(width=4),
  )
  std = np.full(template.vertices.shape, 0.02, np.float32)
  return Reconstructor(template, Camera(), networks, std)
