// The silhouette edge between two neighboring pixels, for C++ and CUDA, with the same
// operations as `affjax/render/_silhouettes.py`.
#ifndef AFFJAX_CSRC_SILHOUETTES_H_
#define AFFJAX_CSRC_SILHOUETTES_H_

#include <stdint.h>

#include "coverage.h"

namespace affjax::silhouettes {

// These constants equal those of `_silhouettes.py`.
constexpr float kSlack = 1e-3f;
constexpr int kSteps = 64;
constexpr float kSilhouette = 1.0f, kInner = 0.0f, kUnusable = -1.0f;

// The triangles of one image: x and y (pixels) of three corners, then the kind of each
// edge.
struct Surface {
  const float* rows;     // [triangles, 9]
  const int* neighbors;  // [triangles, 3], -1 if there is none
  int triangles;
};

// A pair of neighboring pixels. Along y, x and y of the surface are exchanged.
struct Pair {
  int near, far;      // triangles, -1 if there is none
  float row, origin;  // the near pixel's coordinates across and along the pair's axis
  float towards;      // direction of the far pixel: 1 or -1
  bool along_y;
};

// Where a row leaves a triangle that it entered from triangle `before`.
struct Exit {
  float c;   // distance from the near pixel
  int edge;  // -1 if there is none
  float kind;
  float steep;  // the edge's rise over its run
  int after;    // the triangle across it
};

AFFJAX_HD Exit leave(const Surface& surface, int triangle, int before,
                     const Pair& pair) {
  Exit best = {-__builtin_huge_valf(), -1, kUnusable, 0.0f, -1};
  const float* row = surface.rows + int64_t{9} * triangle;
  const int* across = surface.neighbors + int64_t{3} * triangle;
  const int x = pair.along_y ? 1 : 0, y = 1 - x;
  for (int k = 0; k < 3; ++k) {
    const int i = 2 * ((k + 1) % 3), j = 2 * ((k + 2) % 3);
    const float ax = row[i + x], ay = row[i + y], bx = row[j + x], by = row[j + y];
    // Half-open, as the fill rule: a row through a corner meets one edge on each side.
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

// Follows the near pixel's surface towards the far pixel. Returns true if it ends at a
// silhouette that this axis blends, edge `edge` of triangle `triangle`.
AFFJAX_HD bool find_edge(const Surface& surface, const Pair& pair, int& triangle,
                         int& edge) {
  triangle = pair.near;
  int before = -2;
  for (int step = 0; step < kSteps; ++step) {
    if (triangle < 0 || triangle >= surface.triangles) return false;
    const Exit exit = leave(surface, triangle, before, pair);
    if (exit.kind == kSilhouette) {
      edge = exit.edge;
      // Edges at exactly 45 degrees are blended along x.
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

// The images that `edge_of` reads.
struct Images {
  const int* ids;      // [batch, height, width]
  const float* depth;  // like ids
  const float* rows;   // [batch, triangles, 9]
  const int *neighbors, *tri;
  int height, width, triangles;
};

// Computes the vertices of the edge between pixel (y, x) of an image and the next along
// an axis, -1 if there is none to blend along.
AFFJAX_HD void edge_of(const Images& images, int64_t image, int y, int x, bool along_y,
                       int& start, int& end) {
  const int64_t here = (image * images.height + y) * images.width + x;
  const int64_t there = here + (along_y ? images.width : 1);
  // Ids without a triangle count as empty.
  const int first = images.ids[here] > 0 ? images.ids[here] : 0;
  const int second = images.ids[there] > 0 ? images.ids[there] : 0;
  start = end = -1;
  if (first == second) return;
  // At equal depths the first pixel is the nearer one.
  const bool near_first =
      first > 0 && (second == 0 || images.depth[here] <= images.depth[there]);
  const int row = along_y ? x : y, column = along_y ? y : x;
  const Surface surface = {images.rows + image * images.triangles * 9, images.neighbors,
                           images.triangles};
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
