// Edges of a triangle on a GPU, which tell whether a whole rectangle lies outside it.
#ifndef AFFJAX_CSRC_RASTERIZER_EDGES_CUH_
#define AFFJAX_CSRC_RASTERIZER_EDGES_CUH_

#include "coverage.h"

namespace affjax::raster {

using coverage::Corner;
using coverage::Triangle;

// The function whose sign `coverage::side` takes, which is linear in the pixel's place
// except for the rounding of the moved corners. It tells whether a whole rectangle lies
// on one side.
struct Edge {
  float value, by_x, by_y;
  float doubt;  // an upper bound of the error of this form and of the moved corners

  __device__ Edge(const Corner& p, const Corner& q)
      : value(p.x * q.y - q.x * p.y),
        by_x(q.w * p.y - p.w * q.y),
        by_y(p.w * q.x - q.w * p.x) {
    const float px = fabsf(p.x), py = fabsf(p.y), pw = fabsf(p.w);
    const float qx = fabsf(q.x), qy = fabsf(q.y), qw = fabsf(q.w);
    // About a dozen roundings by at most 2^-24 of `size`, and the numbers that are set
    // to zero.
    const float size = (px + pw) * (qy + qw) + (qx + qw) * (py + pw);
    doubt =
        0x1p-19f * size + 4 * coverage::kTinyCoordinate * (px + py + pw + qx + qy + qw);
  }
};

struct Span {
  float low, high;
};

// Returns the side of the edge on which all pixels of a rectangle certainly lie, or 0.
__device__ inline int side_of(const Edge& edge, const Span& x, const Span& y) {
  const float x1 = edge.by_x * x.low, x2 = edge.by_x * x.high;
  const float y1 = edge.by_y * y.low, y2 = edge.by_y * y.high;
  if (edge.value + fminf(x1, x2) + fminf(y1, y2) > edge.doubt) return 1;
  return edge.value + fmaxf(x1, x2) + fmaxf(y1, y2) < -edge.doubt ? -1 : 0;
}

struct Edges {
  Edge a, b, c;  // opposite the corners

  __device__ explicit Edges(const Triangle& t)
      : a(t.b, t.c), b(t.a, t.c), c(t.a, t.b) {}

  // Returns whether the triangle certainly covers no pixel of a rectangle.
  __device__ bool miss(const Span& x, const Span& y) const {
    const int on_a = side_of(a, x, y), on_b = side_of(b, x, y), on_c = side_of(c, x, y);
    return on_a * on_c < 0 || on_a * on_b > 0 || on_b * on_c > 0;
  }
};

}  // namespace affjax::raster

#endif  // AFFJAX_CSRC_RASTERIZER_EDGES_CUH_
