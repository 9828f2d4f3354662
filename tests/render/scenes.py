"""Small scenes for the renderer's tests."""

import numpy as np

from affjax.types import Template


def random_scene(seed, *, vertices=24, triangles=20, batch=1, perspective=True):
  """Clip-space triangles of all sizes, some of them through the picture's border."""
  rng = np.random.default_rng(seed)
  size = np.exp(rng.uniform(-3, 0.7, (batch, vertices, 1)))
  xy = rng.uniform(-1, 1, (batch, 1, 2)) * 0.5 + size * rng.normal(
    size=(batch, vertices, 2)
  )
  z = rng.uniform(-0.9, 0.9, (batch, vertices, 1))
  w = rng.uniform(0.5, 3, (batch, vertices, 1)) if perspective else np.ones_like(z)
  pos = np.concatenate([xy * w, z * w, w], -1).astype(np.float32)
  tri = np.array([rng.choice(vertices, 3, replace=False) for _ in range(triangles)])
  return pos, tri.astype(np.int32)


def dyadic_grid(n=5, seed=0):
  """A jittered grid with coordinates that float32 holds exactly: ties are exact."""
  rng = np.random.default_rng(seed)
  place = np.linspace(-0.75, 0.75, n)
  xy = np.stack(np.meshgrid(place, place), -1).reshape(-1, 2)
  xy = np.round((xy + rng.uniform(-0.1, 0.1, xy.shape)) * 64) / 64
  z = np.zeros((len(xy), 1))
  pos = np.concatenate([xy, z, np.ones_like(z)], 1)[None].astype(np.float32)
  quads = [(r * n + c, r * n + c + 1) for r in range(n - 1) for c in range(n - 1)]
  tri = [t for a, b in quads for t in ((a, b, b + n), (a, b + n, a + n))]
  return pos, np.array(tri, np.int32)


def cube(angle=0.6, scale=0.45, shift=(0.05, -0.03)):
  """A turned cube `[1, 8, 4]` and its 12 triangles."""
  corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
  c, s = np.cos(angle), np.sin(angle)
  turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
  tilt = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
  points = corners @ (tilt @ turn).T * scale * 0.7
  w = 2 + points[:, 2:]
  xy = (points[:, :2] + shift) * 2
  pos = np.concatenate([xy, 0.3 * points[:, 2:] * w, w], 1)[None].astype(np.float32)
  quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4)]
  quads.append((1, 5, 7, 3))
  tri = [t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))]
  return pos, np.array(tri, np.int32)


def square_template():
  """A unit plate of two triangles in head space with the whole UV square on it."""
  return Template(
    name="plate",
    vertices=np.array(
      [[-0.5, -0.5, 0], [0.5, -0.5, 0], [0.5, 0.5, 0], [-0.5, 0.5, 0]], np.float32
    ),
    faces=np.array([[0, 1, 2], [0, 2, 3]], np.int32),
    uvs=np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32),
    faces_uv=np.array([[0, 1, 2], [0, 2, 3]], np.int32),
    face_groups=np.array([0, 1], np.int32),
    group_names=("skin", "eyes"),
    masks={},
    landmark_faces=np.zeros(0, np.int32),
    landmark_weights=np.zeros((0, 3), np.float32),
  )


def bumpy_ball(seed, *, bumps=0.15, rings=10):
  """A closed ball `[1, V, 4]` of radius 0.6 in the picture, orthographic."""
  rng = np.random.default_rng(seed)
  theta = np.linspace(0, np.pi, rings + 1)[1:-1]
  phi = np.arange(2 * rings) * np.pi / rings + 0.1
  ring = np.stack(
    [
      np.outer(np.sin(theta), np.cos(phi)),
      np.outer(np.sin(theta), np.sin(phi)),
      np.outer(np.cos(theta), np.ones_like(phi)),
    ],
    -1,
  ).reshape(-1, 3)
  points = np.concatenate([ring, [[0, 0, 1], [0, 0, -1]]])
  points *= 1 + bumps * rng.uniform(-1, 1, (len(points), 1))
  turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
  points = 0.6 * points @ turn + rng.uniform(-0.05, 0.05, 3)
  m, top, tri = 2 * rings, len(ring), []
  for c in range(m):
    d = (c + 1) % m
    tri += [(top, c, d), (top + 1, (rings - 2) * m + d, (rings - 2) * m + c)]
    for r in range(rings - 2):
      a, b = r * m + c, r * m + d
      tri += [(a, a + m, b + m), (a, b + m, b)]
  pos = np.concatenate([points, np.ones((len(points), 1))], 1)[None]
  return pos.astype(np.float32), np.array(tri, np.int32)
