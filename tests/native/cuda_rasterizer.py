"""Scenes for the CUDA rasterizer and the definition that it must equal to the bit."""

import numpy as np

from tests.native import cuda_host

DRIVER = r"""
#include "cuda_host.h"
#include "rasterizer_device.cuh"

namespace coverage = affjax::coverage;
namespace raster = affjax::raster;

extern "C" const char* search(const float* pos, const int* tri, int* ids, int64_t batch,
                              int64_t vertices, int64_t triangles, int64_t height,
                              int64_t width, int64_t pass_bytes, int64_t tile) {
  raster::Plan plan(batch, triangles, height, width, pass_bytes);
  plan.large_blocks = 3;
  plan.tile = int(tile);
  // The exact size is for the address sanitizer; the contents are arbitrary.
  void* scratch = std::malloc(plan.bytes);
  std::memset(scratch, 0xa5, plan.bytes);
  const raster::Pictures out = {ids, nullptr, nullptr, nullptr};
  raster::rasterize(nullptr, plan, scratch, pos, tri, out, batch, int(vertices),
                    int(triangles), int(height), int(width));
  std::free(scratch);
  return cudaGetLastError() ? cuda_host::error : "";
}

// The definition: every triangle at every pixel, in ascending order of triangles.
extern "C" const char* define(const float* pos, const int* tri, int* ids, int64_t batch,
                              int64_t vertices, int64_t triangles, int64_t height,
                              int64_t width) {
  std::vector<float> depth(batch * height * width, INFINITY);
  std::fill(ids, ids + depth.size(), 0);
  for (int64_t item = 0; item < batch * triangles; ++item) {
    const int64_t image = item / triangles, t = item % triangles;
    const float* corner[3];
    bool there = true;
    for (int k = 0; k < 3; ++k) {
      const int64_t v = tri[3 * t + k];
      there &= v >= 0 && v < vertices;
      corner[k] = pos + 4 * (image * vertices + (there ? v : 0));
    }
    coverage::Triangle triangle;
    if (!there || !coverage::set_up(corner[0], corner[1], corner[2], triangle))
      continue;
    for (int y = 0; y < height; ++y)
      for (int x = 0; x < width; ++x) {
        float near;
        const int64_t p = (image * height + y) * width + x;
        if (coverage::covers(triangle, coverage::center(x, int(width)),
                             coverage::center(y, int(height)), near) &&
            near < depth[p])
          depth[p] = near, ids[p] = int(t) + 1;
      }
  }
  return "";
}

// Pixels of all pictures up to some size whose center the kernel gets wrong.
extern "C" const char* centers(int64_t largest, int64_t* wrong) {
  for (int size = 1; size <= largest; ++size)
    for (int i = 0; i < size; ++i)
      *wrong += raster::quick_center(i, size, 1.0f / size) != coverage::center(i, size);
  return "";
}

// The passes of a call too large to run here: images, side of a tile, bytes.
extern "C" const char* plan(int64_t batch, int64_t triangles, int64_t height,
                            int64_t width, int64_t* out) {
  const raster::Plan plan(batch, triangles, height, width);
  out[0] = plan.images, out[1] = plan.tile, out[2] = plan.bytes;
  return "";
}
"""

KINDS = ("loose", "small", "grid", "behind", "scaled", "corrupt", "slivers")


def scene(seed: int):
  """A batch of images of one kind: `pos [B, V, 4]`, `tri [T, 3]`, height, width."""
  random = np.random.default_rng(seed)
  kind = KINDS[seed % len(KINDS)]
  batch, vertices, triangles = (
    int(random.integers(*r)) for r in ((1, 4), (3, 60), (1, 90))
  )
  height, width = (int(v) for v in random.integers(1, 65, 2))
  pos = random.normal(size=(batch, vertices, 4)) * random.choice([0.3, 1, 3])
  if kind not in ("behind", "scaled", "corrupt"):
    pos[..., 3] = np.abs(pos[..., 3]) + 0.5
  tri = random.integers(0, vertices, (triangles, 3))
  if kind == "small":
    corners = random.normal(size=(batch, triangles, 3, 4)) * [0.06, 0.06, 0.1, 0]
    corners += random.normal(size=(batch, triangles, 1, 4)) * [0.5, 0.5, 0.3, 0]
    corners[..., 3] = 1
    pos = corners.reshape(batch, -1, 4)
    tri = np.arange(3 * triangles).reshape(triangles, 3)
  if kind == "grid":  # corners and edges on pixel centers, equal depths
    height, width = (int(v) for v in 2 ** random.integers(1, 7, 2))
    place = random.integers(-3, 20, pos[..., :2].shape)
    pos[..., :2] = (place + 0.5) / 8 - 1
    pos[..., 2], pos[..., 3] = np.round(pos[..., 2]) / 2, 1
  if kind == "scaled":
    pos *= 10.0 ** random.integers(-30, 30, pos[..., :1].shape)
  if kind == "corrupt":
    bad = [np.nan, np.inf, -np.inf, 1e38, 3e38, 0, -0.0, 1e-40, 1e-30]
    where = random.random(pos.shape) < 0.04
    pos[where] = random.choice(bad, where.sum())
    where = random.random(tri.shape) < 0.05
    tri[where] = random.choice([-1, vertices, 2**31 - 1, -(2**31)], where.sum())
  if kind == "slivers":  # the thinnest are thinner than float32 can tell
    a, b = random.uniform(-1.5, 1.5, (2, batch, triangles, 2))
    c = a + (b - a) * random.random((batch, triangles, 1))
    c += random.choice([0, 1e-8, 1e-6, 1e-3, 1e-1], (batch, triangles, 1))
    plane = np.stack([a, b, c], 2).reshape(batch, -1, 2)
    w = random.uniform(0.5, 1, (*plane.shape[:2], 1))
    pos = np.concatenate([plane * w, 0 * w, w], -1)
    tri = np.arange(3 * triangles).reshape(triangles, 3)
  with np.errstate(over="ignore"):
    return pos.astype(np.float32), tri.astype(np.int32), height, width


def compare(library, seeds) -> tuple[int, int]:
  """Pixels that differ from the definition, and pixels covered."""
  differ = covered = 0
  for seed in seeds:
    pos, tri, height, width = scene(seed)
    sizes = (len(pos), pos.shape[1], len(tri), height, width)
    got = np.full((len(pos), height, width), -7, np.int32)
    want = got.copy()
    cuda_host.set_order(library, (0, 1, seed)[seed % 3])
    # One image a pass, two, or all; tiles of several sizes.
    room = (8, 16 * height * width, 2**25)[seed // 3 % 3]
    tile = (32, 64)[seed // 2 % 2]
    cuda_host.call(library, "search", pos, tri, got, *sizes, room, tile)
    cuda_host.call(library, "define", pos, tri, want, *sizes)
    differ += int(np.sum(got != want))
    covered += int(np.sum(want > 0))
  return differ, covered
