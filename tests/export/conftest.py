"""A small head-like ball: three groups, a UV seam, welded positions."""

import numpy as np
import pytest

from affjax import types
from affjax.export import Expression, head_mesh
from affjax.geometry import mesh, rotation


def _grid(rows, columns, center, radius, box):
  """A sphere unwrapped into a UV box (u0, v0, u1, v1), seam at the back."""
  row, column = np.meshgrid(np.arange(rows + 1), np.arange(columns + 1), indexing="ij")
  down, around = row / rows * np.pi, (column / columns - 0.5) * 2 * np.pi
  point = np.stack(
    [np.sin(down) * np.sin(around), np.cos(down), np.sin(down) * np.cos(around)], -1
  )
  u0, v0, u1, v1 = box
  uv = np.stack([u0 + (u1 - u0) * column / columns, v1 - (v1 - v0) * row / rows], -1)
  corner = np.arange((rows + 1) * (columns + 1)).reshape(rows + 1, columns + 1)
  a, b = corner[:-1, :-1], corner[:-1, 1:]
  c, d = corner[1:, :-1], corner[1:, 1:]
  upper, lower = np.stack([a, c, b], -1), np.stack([b, c, d], -1)
  faces = np.concatenate([upper[1:].reshape(-1, 3), lower[:-1].reshape(-1, 3)])
  points = np.asarray(center) + np.asarray(radius) * point.reshape(-1, 3)
  return points, uv.reshape(-1, 2), faces


def ball_template(rows=12, columns=16):
  """An ellipsoid with two eyes and a row of teeth, as a template."""
  parts = [
    _grid(rows, columns, (0, 0, 0), (0.8, 1.1, 0.9), (0.02, 0.2, 0.98, 0.98)),
    _grid(6, 8, (-0.3, 0.2, 0.75), 0.15, (0.02, 0.02, 0.2, 0.18)),
    _grid(6, 8, (0.3, 0.2, 0.75), 0.15, (0.8, 0.02, 0.98, 0.18)),
    _grid(4, 6, (0, -0.4, 0.75), (0.3, 0.06, 0.1), (0.3, 0.02, 0.6, 0.18)),
  ]
  points, uvs, faces, groups, start = [], [], [], [], 0
  for (point, uv, face), group in zip(parts, (0, 1, 1, 2), strict=True):
    points.append(point)
    uvs.append(uv)
    faces.append(face + start)
    groups.append(np.full(len(face), group))
    start += len(point)
  points, faces_uv = np.concatenate(points), np.concatenate(faces)
  keep, index = mesh.weld(points, 1e-6)
  return types.Template(
    name="ball",
    vertices=points[keep].astype(np.float32),
    faces=index[faces_uv].astype(np.int32),
    uvs=np.concatenate(uvs).astype(np.float32),
    faces_uv=faces_uv.astype(np.int32),
    face_groups=np.concatenate(groups).astype(np.int32),
    group_names=("skin", "eyes", "teeth"),
    masks={},
    landmark_faces=np.zeros(68, np.int32),
    landmark_weights=np.full((68, 3), 1 / 3, np.float32),
  )


def landmark_texture(size=64):
  """A texture whose colour tells its place: red = u, green = v, blue marks the top."""
  place = (np.arange(size) + 0.5) / size
  u, v = np.meshgrid(place, 1 - place)
  return np.stack([u, v, (v > 0.9).astype(float)], -1).astype(np.float32)


@pytest.fixture(scope="session")
def ball():
  return ball_template()


@pytest.fixture(scope="session")
def ball_mesh(ball):
  return head_mesh(ball.vertices, ball)


# Rotation of the ball's eyes at weight 1 of each gaze, degrees around (x, y).
GAZES = {"In": (0, -20), "Out": (0, 20), "Up": (-15, 0), "Down": (15, 0)}
EYES = {"Left": np.array([0.3, 0.2, 0.75]), "Right": np.array([-0.3, 0.2, 0.75])}


def ball_expression(ball, **weights):
  """A jaw that falls with the teeth, a brow, and eyes that turn."""
  points = ball.vertices
  eyes = np.unique(ball.faces[ball.face_groups == 1])
  moves = {name: np.zeros_like(points) for name in ("browInnerUp", "jawOpen")}
  skin = np.setdiff1d(np.arange(len(points)), eyes)
  moves["jawOpen"][skin, 1] = -0.3 * (points[skin, 1] < -0.3)
  moves["browInnerUp"][skin, 1] = 0.05 * (points[skin, 1] > 0.6)
  for side, center in EYES.items():
    mine = eyes[points[eyes, 0] * center[0] > 0]
    for way, (x, y) in GAZES.items():
      sign = 1 if side == "Left" else -1
      matrix = rotation.axis_angle_to_matrix(np.radians([x, sign * y, 0.0]))
      move = np.zeros_like(points)
      move[mine] = (points[mine] - center) @ np.asarray(matrix).T + center
      move[mine] -= points[mine]
      moves[f"eyeLook{way}{side}"] = move
  values = np.array([weights.get(name, 0.0) for name in moves], np.float32)
  stacked = np.stack(list(moves.values())).astype(np.float32)
  return Expression(tuple(moves), stacked, values)


@pytest.fixture(scope="session")
def texture():
  return landmark_texture()
