"""Rasterize, texture and antialias in float64 NumPy, by their definition."""

import numpy as np


def rasterize(pos, tri, resolution):
  """The visible triangle of each pixel of one image.

  Args:
    pos: clip space `[V, 4]`.
    tri: `[T, 3]`.
    resolution: (height, width).

  Returns:
    `(raster [H, W, 4], margin [H, W])`: how far (relative to its corners' size) the
    closest decision of a pixel was from falling otherwise; the pixels of small margin
    may differ under rounding.
  """
  height, width = resolution
  raster = np.zeros((height, width, 4))
  nearest = np.full((height, width), np.inf)
  margin = np.full((height, width), np.inf)
  for index, corners in enumerate(np.asarray(pos, np.float64)[np.asarray(tri)]):
    if not np.isfinite(corners).all() or not (corners[:, 3] > 0).any():
      continue
    _draw(raster, nearest, margin, corners, index)
  return raster, margin


def _draw(raster, nearest, margin, corners, index):
  """Tests one triangle at each pixel and keeps it where it is the nearest so far."""
  height, width = nearest.shape
  x = np.broadcast_to((2 * np.arange(width) + 1) / width - 1, nearest.shape)
  y = np.broadcast_to((2 * np.arange(height)[:, None] + 1) / height - 1, nearest.shape)
  origin = np.stack([x, y, 0 * x])
  seen = corners[:, [0, 1, 3], None, None] - corners[:, 3, None, None, None] * origin
  weights, sides, close = [], [], np.full(nearest.shape, np.inf)
  for k in range(3):
    (ax, ay, aw), (bx, by, bw) = seen[(k + 1) % 3], seen[(k + 2) % 3]
    weight = ax * by - ay * bx
    # On an edge: as if the pixel lay a little further right, and less further down.
    right, down = bw * ay - aw * by, aw * bx - bw * ax
    sides.append(np.sign(np.where(weight, weight, np.where(right, right, down))))
    size = np.hypot(ax, ay) * np.hypot(bx, by)
    close = np.fmin(close, np.abs(weight) / np.where(size, size, np.nan))
    weights.append(weight)
  total = sum(weights)
  whole = np.where(total, total, np.nan)
  mean = lambda values: np.tensordot(values, weights, 1) / whole
  w, z = mean(corners[:, 3]), mean(corners[:, 2])
  depth = z / np.where(w, w, np.nan)
  margin[:] = np.where(total, np.minimum(margin, close), margin)
  one_side = (sides[0] == sides[1]) & (sides[1] == sides[2]) & (sides[0] != 0)
  inside = one_side & (w > 0) & (np.abs(depth) <= 1)
  apart = np.abs(depth - nearest)
  margin[:] = np.where(inside & (apart > 0), np.minimum(margin, apart), margin)
  nearer = inside & (depth < nearest)
  nearest[nearer] = depth[nearer]
  found = np.stack([weights[0] / whole, weights[1] / whole, depth, 0 * depth], -1)
  raster[nearer] = found[nearer] + [0, 0, 0, index + 1]


def texture(tex, uv, *, boundary="clamp", texel_centers=False):
  """Bilinear lookup of `tex [H, W, C]` at `uv [..., 2]`."""
  height, width, channels = tex.shape
  out = np.zeros((*uv.shape[:-1], channels))
  for place in np.ndindex(uv.shape[:-1]):
    u, v = uv[place]
    if texel_centers:
      x, y = u * (width - 1), (1 - v) * (height - 1)
    else:
      x, y = u * width - 0.5, (1 - v) * height - 0.5
    column, row = int(np.floor(x)), int(np.floor(y))
    for r, wy in ((row, row + 1 - y), (row + 1, y - row)):
      for c, wx in ((column, column + 1 - x), (column + 1, x - column)):
        if boundary == "wrap":
          texel = tex[r % height, c % width]
        elif boundary == "clamp":
          texel = tex[np.clip(r, 0, height - 1), np.clip(c, 0, width - 1)]
        else:
          hit = 0 <= r < height and 0 <= c < width
          texel = tex[r, c] if hit else 0.0
        out[place] += wx * wy * texel
  return out


def antialias(color, raster, pos, tri):
  """Blends the silhouettes of one image `[H, W, C]`; see rasterizer.md, steps 1-4.

  In step 2 the near pixel's surface is followed over its inner edges towards the far
  pixel, so that triangles smaller than a pixel do not hide the silhouette.
  """
  height, width = color.shape[:2]
  ndc = pos[:, :2] / pos[:, 3:]
  px = (ndc + 1) * np.array([width, height]) / 2 - 0.5
  out = color.astype(np.float64).copy()
  for j in range(height):
    for i in range(width):
      for dj, di in ((0, 1), (1, 0)):
        if j + dj < height and i + di < width:
          _blend(out, color, raster, px, tri, (j, i), (j + dj, i + di))
  return out


def _blend(out, color, raster, px, tri, first, second):
  """One pair of neighbors."""
  id_a, id_b = int(raster[first][3]), int(raster[second][3])
  if id_a == id_b:
    return
  near, far = first, second
  if id_a == 0 or (id_b != 0 and raster[second][2] < raster[first][2]):
    near, far = second, first
  c = _silhouette_between(raster, px, tri, near, far)
  if c is None:
    return
  if c > 0.5:
    out[far] += (c - 0.5) * (color[near] - color[far])
  else:
    out[near] += (0.5 - c) * (color[far] - color[near])


def _silhouette_between(raster, px, tri, near, far):
  """The fraction of the way to the far pixel where the near surface ends, or None."""
  horizontal = near[0] == far[0]
  along, across = (0, 1) if horizontal else (1, 0)  # axes of px: x, y
  center = np.array([near[1], near[0]], float)
  towards = float(far[1] - near[1] + far[0] - near[0])
  at, before = int(raster[near][3]) - 1, None
  while at is not None and at != int(raster[far][3]) - 1:
    exits = []
    for k in range(3):
      a, b = tri[at][(k + 1) % 3], tri[at][(k + 2) % 3]
      below = [px[v][across] <= center[across] for v in (a, b)]
      others = [t for t, f in enumerate(tri) if t != at and a in f and b in f]
      neighbor = others[0] if len(others) == 1 else None
      if below[0] == below[1] or (neighbor is not None and neighbor == before):
        continue
      t = (center[across] - px[a][across]) / (px[b][across] - px[a][across])
      c = (px[a][along] + t * (px[b][along] - px[a][along]) - center[along]) * towards
      exits.append((c, a, b, neighbor))
    if not exits:
      return None
    c, a, b, neighbor = max(exits, key=lambda e: e[0])
    if is_silhouette(px, tri, a, b):
      run, rise = np.abs(px[b] - px[a])[[along, across]]
      steep = rise >= run if horizontal else rise > run
      return np.clip(c, 0, 1) if steep and -1e-3 <= c <= 1 + 1e-3 else None
    if c > 1:
      return None
    at, before = neighbor, at
  return None


def is_silhouette(px, tri, a, b):
  """Returns whether edge a-b borders one triangle, or two on the same side of it."""
  sides = []
  for triangle in tri:
    if a in triangle and b in triangle:
      third = next(v for v in triangle if v not in (a, b))
      run, to = px[b] - px[a], px[third] - px[a]
      sides.append(np.sign(run[0] * to[1] - run[1] * to[0]))
  return len(sides) != 2 or sides[0] * sides[1] >= 0
