// The silhouette edge between two neighbouring pixels: `affjax/render/_silhouettes.py`
// operation by operation, for C++ and CUDA.
#ifndef AFFJAX_CSRC_SILHOUETTES_H_
#define AFFJAX_CSRC_SILHOUETTES_H_

#include <stdint.h>

#include "coverage.h"

namespace affjax::silhouettes {

// As in `_silhouettes.py`.
constexpr float kSlack = 1e-3f;
constexpr int kSteps = 64;
constexpr float kSilhouette = 1.0f, kInner = 0.0f, kUnusable = -1.0f;

// The triangles of one image: x, y (pixels) of three corners, then what each edge is.
struct Surface {
  const float* rows;     // [triangles, 9]
  const int* neighbors;  // [triangles, 3], -1 without
  int triangles;
};

// A pair of neighbouring pixels. Along y, x and y of the surface change places.
struct Pair {
  int near, far;        // triangles, -1 = none
  float row, origin;    // of the near pixel, across and along the pair's axis
  float towards;        // the far pixel: 1 or -1
  bool along_y;
};

// Where a row leaves a triangle that it entered from triangle `before`.
struct Exit {
  float c;     // distance from the near pixel
  int edge;    // -1 without any
  float kind;
  float steep;  // the edge's rise over its run
  int after;   // the triangle behind it
};

AFFJAX_HD Exit leave(const Surface& surface, int triangle, int before, const Pair& pair) {
  Exit best = {-__builtin_huge_valf(), -1, kUnusable, 0.0f, -1};
  const float* row = surface.rows + int64_t{9} * triangle;
  const int* across = surface.neighbors + int64_t{3} * triangle;
  const int x = pair.along_y ? 1 : 0, y = 1 - x;
  for (int k = 0; k < 3; ++k) {
    const int i = 2 * ((k + 1) % 3), j = 2 * ((k + 2) % 3);
    const float ax = row[i + x], ay = row[i + y], bx = row[j + x], by = row[j + y];
    // Half-open, as the fill rule: a row through a corner meets one edge on either side.
    if ((ay <= pair.row) == (by <= pair.row) || row[6 + k] == kUnusable) continue;
    if (across[k] == before) continue;
    const float run = coverage::sub(bx, ax), rise = coverage::sub(by, ay);
    const float part = coverage::div(coverage::sub(pair.row, ay), rise);
    const float at = coverage::add(ax, coverage::mul(part, run));
    const float c = coverage::mul(coverage::sub(at, pair.origin), pair.towards);
    if (!(c > best.c)) continue;
    const float length = coverage::magnitude(run);
    const float steep =
        coverage::div(coverage::magnitude(rise), length > 1e-30f ? length : 1e-30f);
    best = {c, k, row[6 + k], steep, across[k]};
  }
  return best;
}

// Follows the near pixel's surface towards the far pixel. True if it ends on the way at
// a silhouette that this axis blends: edge `edge` of triangle `triangle`.
AFFJAX_HD bool find_edge(const Surface& surface, const Pair& pair, int& triangle,
                         int& edge) {
  triangle = pair.near;
  int before = -2;
  for (int step = 0; step < kSteps; ++step) {
    if (triangle < 0 || triangle >= surface.triangles) return false;
    const Exit exit = leave(surface, triangle, before, pair);
    if (exit.kind == kSilhouette) {
      edge = exit.edge;
      // Edges as steep as flat are blended along x.
      const bool steep = pair.along_y ? exit.steep > 1.0f : exit.steep >= 1.0f;
      return steep && exit.c >= -kSlack && exit.c <= 1.0f + kSlack;
    }
    if (exit.kind != kInner || !(exit.c <= 1.0f)) return false;
    if (exit.after < 0 || exit.after == pair.far) return false;
    before = triangle;
    triangle = exit.after;
  }
  return false;
}

// The images that `edge_of` looks at.
struct Images {
  const int* ids;      // [batch, height, width]
  const float* depth;  // like ids
  const float* rows;   // [batch, triangles, 9]
  const int *neighbors, *tri;
  int height, width, triangles;
};

// Vertices of the edge between pixel (y, x) of an image and the next along an axis, -1
// where there is none to blend along.
AFFJAX_HD void edge_of(const Images& images, int64_t image, int y, int x, bool along_y,
                       int& start, int& end) {
  const int64_t here = (image * images.height + y) * images.width + x;
  const int64_t there = here + (along_y ? images.width : 1);
  // Ids that nobody finds are as none.
  const int first = images.ids[here] > 0 ? images.ids[here] : 0;
  const int second = images.ids[there] > 0 ? images.ids[there] : 0;
  start = end = -1;
  if (first == second) return;
  // A tie in depth goes to the first.
  const bool near_first =
      first > 0 && (second == 0 || images.depth[here] <= images.depth[there]);
  const int row = along_y ? x : y, column = along_y ? y : x;
  const Surface surface = {images.rows + image * images.triangles * 9,
                           images.neighbors, images.triangles};
  const Pair pair = {(near_first ? first : second) - 1,
                     (near_first ? second : first) - 1,
                     static_cast<float>(row),
                     static_cast<float>(near_first ? column : column + 1),
                     near_first ? 1.0f : -1.0f,
                     along_y};
  int triangle, edge;
  if (!find_edge(surface, pair, triangle, edge)) return;
  start = images.tri[int64_t{3} * triangle + (edge + 1) % 3];
  end = images.tri[int64_t{3} * triangle + (edge + 2) % 3];
}

}  // namespace affjax::silhouettes

#endif  // AFFJAX_CSRC_SILHOUETTES_H_
