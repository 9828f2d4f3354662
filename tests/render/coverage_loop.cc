// The definition of rasterization: every triangle at every pixel, for the tests.
#include <cmath>

#include "coverage.h"

extern "C" void rasterize_by_definition(const float* pos, const int* tri, int batch,
                                        int vertices, int triangles, int height,
                                        int width, int* ids, float* depth) {
  using namespace affjax::coverage;
  for (int b = 0; b < batch; ++b, pos += 4 * vertices) {
    for (int i = 0; i < height * width; ++i) {
      ids[b * height * width + i] = 0;
      depth[b * height * width + i] = INFINITY;
    }
    for (int t = 0; t < triangles; ++t) {
      const int* v = tri + 3 * t;
      Triangle triangle;
      bool known = true;
      for (int k = 0; k < 3; ++k) known &= v[k] >= 0 && v[k] < vertices;
      if (!known) continue;
      if (!set_up(pos + 4 * v[0], pos + 4 * v[1], pos + 4 * v[2], triangle)) continue;
      for (int j = 0; j < height; ++j) {
        for (int i = 0; i < width; ++i) {
          const int at = (b * height + j) * width + i;
          float near;
          if (covers(triangle, center(i, width), center(j, height), near) &&
              near < depth[at]) {
            depth[at] = near;
            ids[at] = t + 1;
          }
        }
      }
    }
  }
}
