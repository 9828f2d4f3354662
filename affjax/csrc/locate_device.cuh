// The place of each pixel in a known triangle, on a GPU, with one thread per pixel.
#ifndef AFFJAX_CSRC_LOCATE_DEVICE_CUH_
#define AFFJAX_CSRC_LOCATE_DEVICE_CUH_

#include <algorithm>
#include <cstdint>

#include "coverage.h"
#include "locate.h"

namespace affjax::locate {

// A batch of meshes, and the ids + 1 [batch, height, width] that its images show.
struct Seen {
  const float4* pos;  // [batch, vertices]
  const int *tri, *ids;
  int vertices, triangles, height, width;
};

// Writes the raster and, unless null, the derivatives of its weights.
__global__ void __launch_bounds__(256)
    locate_pixels(const Seen seen, int64_t pixels, float4* rast, float4* slopes) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t p = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; p < pixels;
       p += step) {
    rast[p] = float4{0, 0, 0, 0};
    if (slopes) slopes[p] = float4{0, 0, 0, 0};
    const int id = seen.ids[p];
    if (id <= 0 || id > seen.triangles) continue;
    const int* corner = seen.tri + int64_t{3} * (id - 1);
    const unsigned i = corner[0], j = corner[1], k = corner[2];
    const unsigned count = seen.vertices;
    if (i >= count || j >= count || k >= count) continue;
    const int64_t line = p / seen.width;
    const float4* vertex = seen.pos + line / seen.height * seen.vertices;
    const float4 a = vertex[i], b = vertex[j], c = vertex[k];
    const Corners<float> corners = {a.x, a.y, a.z, a.w, b.x, b.y,
                                    b.z, b.w, c.x, c.y, c.z, c.w};
    const float px = coverage::center(int(p % seen.width), seen.width);
    const float py = coverage::center(int(line % seen.height), seen.height);
    const Place<float> at = place<One>(corners, px, py, 2.0f / seen.width,
                                       2.0f / seen.height, slopes != nullptr);
    rast[p] = float4{at.u, at.v, at.depth, float(id)};
    if (slopes) slopes[p] = float4{at.u_x, at.u_y, at.v_x, at.v_y};
  }
}

inline unsigned blocks_of(int64_t pixels) {
  return unsigned(std::min<int64_t>((pixels - 1) / 256 + 1, 1 << 20));
}

}  // namespace affjax::locate

#endif  // AFFJAX_CSRC_LOCATE_DEVICE_CUH_
