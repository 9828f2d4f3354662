"""Mip-mapped texture lookup in float64 NumPy, pixel by pixel: the definition."""

import numpy as np

from tests.reference import rasterizer


def pyramid(tex, limit=None):
  """Levels of `tex [H, W, C]`: each texel the mean of what lies under it, by area.

  Level after level, as means of means are rounded to whole texels only where a size is
  odd.
  """
  levels = [np.asarray(tex, np.float64)]
  while max(levels[-1].shape[:2]) > 1 and (limit is None or len(levels) <= limit):
    rows, columns = (_overlap(n, max(n // 2, 1)) for n in levels[-1].shape[:2])
    levels.append(np.einsum("ij,kl,jlc->ikc", rows, columns, levels[-1]))
  return levels


def _overlap(before, after):
  """`[after, before]`: the share of each old texel in the mean of each new one."""
  share = np.zeros((after, before))
  for i in range(after):
    low, high = i * before / after, (i + 1) * before / after
    for j in range(before):
      share[i, j] = max(0.0, min(high, j + 1) - max(low, j)) / (high - low)
  return share


def level(jacobian):
  """`log2` of the major axis of the footprint; `jacobian [2, 2]` in texels a pixel."""
  longest = np.linalg.svd(jacobian, compute_uv=False)[0]
  return np.log2(longest) if longest > 0 else -np.inf


def texture(tex, uv, derivatives, *, bias=0.0, limit=None, linear=True, **options):
  """Lookup of `tex [H, W, C]` at `uv [..., 2]` with `derivatives [..., 2, 2]`.

  Args:
    options: `boundary`, `texel_centers`.
  """
  centers = options.get("texel_centers", False)
  levels = pyramid(tex, limit)
  height, width = tex.shape[:2]
  size = np.array([width, height]) - centers
  out = np.zeros((*uv.shape[:-1], tex.shape[-1]))
  for place in np.ndindex(uv.shape[:-1]):
    wanted = level(derivatives[place] * size[:, None]) + bias
    wanted = np.clip(wanted, 0, len(levels) - 1)
    near = int(np.floor(wanted)) if linear else int(np.floor(wanted + 0.5))
    share = wanted - near if linear else 0.0
    out[place] = (1 - share) * _read(levels, near, uv[place], **options)
    if share:
      out[place] += share * _read(levels, near + 1, uv[place], **options)
  return out


def _read(levels, index, place, *, boundary="clamp", texel_centers=False):
  """One level, whose texels cover [0, 1] of the texture evenly edge to edge."""
  height, width = levels[0].shape[:2]
  u, v = place
  if texel_centers:  # [0, 1] runs from center to center
    u = (u * (width - 1) + 0.5) / width
    v = 1 - ((1 - v) * (height - 1) + 0.5) / height
  return rasterizer.texture(levels[index], np.array([u, v]), boundary=boundary)
