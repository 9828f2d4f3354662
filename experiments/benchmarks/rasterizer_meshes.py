"""The meshes that `rasterizer.py` draws."""

import dataclasses

import numpy as np

from affjax.types import Template

COVERED = 0.36


def ball(triangles: int) -> tuple[np.ndarray, np.ndarray]:
  """Clip-space vertices `[1, V, 4]` of a turned ball, and so many triangles."""
  n = next(n for n in range(3, 10_000) if 4 * n * (n - 1) >= triangles)
  theta = np.linspace(0, np.pi, n + 1)[1:-1, None]
  phi = np.arange(2 * n)[None] * np.pi / n + 0.1
  ring = [np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi)]
  ring = np.stack([*ring, np.broadcast_to(np.cos(theta), ring[0].shape)], -1)
  points = np.concatenate([ring.reshape(-1, 3), [[0, 0, 1], [0, 0, -1]]])
  points = points @ np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
  points *= np.sqrt(4 * COVERED / np.pi)
  m, row = 2 * n, np.arange(n - 2)[:, None] * 2 * n
  here, right = np.arange(m)[None], (np.arange(m)[None] + 1) % m
  a, b = (row + here).reshape(-1), (row + right).reshape(-1)
  last, top = (n - 2) * m, len(points) - 2
  here, right = here[0], right[0]
  tri = np.concatenate(
    [
      np.stack([np.full(m, top), here, right], 1),
      np.stack([a, a + m, b + m], 1),
      np.stack([a, b + m, b], 1),
      np.stack([np.full(m, top + 1), last + right, last + here], 1),
    ]
  )
  pos = np.concatenate([points, np.ones((len(points), 1))], 1)[None]
  return pos.astype(np.float32), tri[:triangles].astype(np.int32)


def halved(points: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Each triangle in four, cut at the middles of its edges."""
  edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), 1)
  unique, which = np.unique(edges, axis=0, return_inverse=True)
  ab, bc, ca = (len(points) + which.reshape(-1, 3)).T
  a, b, c = faces.T
  four = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
  middles = points[unique].mean(1).astype(points.dtype)
  faces = np.stack([np.stack(f, 1) for f in four], 1).reshape(-1, 3)
  return np.concatenate([points, middles]), faces.astype(np.int32)


def finer(template: Template) -> Template:
  """The same head of four times as many triangles."""
  vertices, faces = halved(template.vertices, template.faces)
  uvs, faces_uv = halved(template.uvs, template.faces_uv)
  groups = np.repeat(template.face_groups, 4)
  return dataclasses.replace(
    template,
    vertices=vertices,
    faces=faces,
    uvs=uvs,
    faces_uv=faces_uv,
    face_groups=groups,
    masks={},
  )
