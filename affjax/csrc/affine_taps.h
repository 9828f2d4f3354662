// The places that the taps of an affine convolution read, and their derivatives.
//
// The CPU and CUDA kernels share this code, the C++ equivalent of affjax/ops/theta.py
// (compose, taps, sample_xy) and affjax/ops/_sampling.py (corners, weights,
// derivatives). Matrices are row-major [2][3], rows (x, y), columns
// (dx, dy, 1), in the window frame; coordinates (x, y) = (column, row) in px.
#ifndef AFFJAX_CSRC_AFFINE_TAPS_H_
#define AFFJAX_CSRC_AFFINE_TAPS_H_

#include <math.h>
#include <stdint.h>

#include "host_device.h"

namespace affjax {

struct Point {
  float x, y;
};

struct Affine {
  float m[6];
};

// Returns the offset (dx, dy) of tap `tap` = row * size + column from the kernel's
// middle.
AFFJAX_HD Point tap_offset(int tap, int size) {
  const int middle = (size - 1) / 2;
  return {float(tap % size - middle), float(tap / size - middle)};
}

AFFJAX_HD Affine load_affine(const float* from) {
  return {{from[0], from[1], from[2], from[3], from[4], from[5]}};
}

// Returns the composition that applies `theta` first and `prior` second.
AFFJAX_HD Affine compose(const Affine& prior, const Affine& theta) {
  const float *p = prior.m, *t = theta.m;
  return {{p[0] * t[0] + p[1] * t[3], p[0] * t[1] + p[1] * t[4],
           p[0] * t[2] + p[1] * t[5] + p[2],  //
           p[3] * t[0] + p[4] * t[3], p[3] * t[1] + p[4] * t[4],
           p[3] * t[2] + p[4] * t[5] + p[5]}};
}

// Returns the place of a tap in the input; `center` is the window's center, stride
// times the output pixel.
AFFJAX_HD Point place_by_affine(const Affine& a, Point tap, Point center) {
  return {a.m[0] * tap.x + a.m[1] * tap.y + a.m[2] + center.x,
          a.m[3] * tap.x + a.m[4] * tap.y + a.m[5] + center.y};
}

// Does the same for a free offset of the tap (deformable convolution).
AFFJAX_HD Point place_by_offset(Point offset, Point tap, Point center) {
  return {(center.x + tap.x) + offset.x, (center.y + tap.y) + offset.y};
}

// The pixels that a bilinear sample reads: (row, column), (row, column + 1),
// (row + 1, column), (row + 1, column + 1), which are corners 0 to 3.
//
// Bit k of `corners` is set if corner k is inside the image; the other corners are zero
// and must not be read. `corners` is 0 where nothing is read: more than one pixel
// outside, at infinity, and where a coordinate is NaN. The sample is then 0, or NaN if
// `nan` is set, and has no gradient. Row and column are within [-1, height) and [-1,
// width) for any coordinates.
struct Footprint {
  int row, column;
  float fx, fy;  // fractions towards the right and lower corners, in [0, 1)
  unsigned corners;
  bool nan;
};

AFFJAX_HD Footprint footprint(Point at, int height, int width) {
  Footprint f = {-1, -1, 0.0f, 0.0f, 0u, false};
  f.nan = at.x != at.x || at.y != at.y;
  // The condition is also false for NaN. At x = width all weight is on zeros, and so is
  // the derivative; at x = -1 the sample is zero, but its derivative to the right is
  // not.
  const bool inside =
      at.x >= -1.0f && at.x < float(width) && at.y >= -1.0f && at.y < float(height);
  if (!inside) return f;
  const float column = floorf(at.x), row = floorf(at.y);
  f.column = int(column);
  f.row = int(row);
  f.fx = at.x - column;
  f.fy = at.y - row;
  const unsigned left = f.column >= 0, right = f.column + 1 < width;
  const unsigned upper = f.row >= 0, lower = f.row + 1 < height;
  f.corners = (left & upper) | (right & upper) << 1 | (left & lower) << 2 |
              (right & lower) << 3;
  return f;
}

// Returns the weights of the corners. The sample is w[0] v0 + w[1] v1 + w[2] v2 + w[3]
// v3, added in this order, with zero for a corner outside.
AFFJAX_HD void corner_weights(float fx, float fy, float (&w)[4]) {
  w[0] = (1.0f - fx) * (1.0f - fy);
  w[1] = fx * (1.0f - fy);
  w[2] = (1.0f - fx) * fy;
  w[3] = fx * fy;
}

// Returns the gradient of the coordinates, one-sided to the right and down on the grid.
// dots[k] is the product of corner k (zero if outside) and the gradient of the sample,
// summed over channels. The gradient is zero for footprints that read nothing, for
// which this must not be called.
AFFJAX_HD Point coordinate_gradient(float fx, float fy, const float (&dots)[4]) {
  return {(1.0f - fy) * (dots[1] - dots[0]) + fy * (dots[3] - dots[2]),
          (1.0f - fx) * (dots[2] - dots[0]) + fx * (dots[3] - dots[1])};
}

// Adds the gradient of a tap's coordinates to that of the matrix that placed the tap.
AFFJAX_HD void add_matrix_gradient(Affine& g, Point xy, Point tap) {
  g.m[0] += xy.x * tap.x;
  g.m[1] += xy.x * tap.y;
  g.m[2] += xy.x;
  g.m[3] += xy.y * tap.x;
  g.m[4] += xy.y * tap.y;
  g.m[5] += xy.y;
}

// Computes the gradients of `compose(prior, theta)` from the gradient of its result.
AFFJAX_HD void compose_gradient(const Affine& prior, const Affine& theta,
                                const Affine& grad, Affine& grad_prior,
                                Affine& grad_theta) {
  const float *p = prior.m, *t = theta.m, *g = grad.m;
  for (int column = 0; column < 3; ++column) {
    grad_theta.m[column] = p[0] * g[column] + p[3] * g[3 + column];
    grad_theta.m[3 + column] = p[1] * g[column] + p[4] * g[3 + column];
  }
  for (int row = 0; row < 2; ++row) {
    const float* r = g + 3 * row;
    grad_prior.m[3 * row] = r[0] * t[0] + r[1] * t[1] + r[2] * t[2];
    grad_prior.m[3 * row + 1] = r[0] * t[3] + r[1] * t[4] + r[2] * t[5];
    grad_prior.m[3 * row + 2] = r[2];
  }
}

}  // namespace affjax

#endif  // AFFJAX_CSRC_AFFINE_TAPS_H_
