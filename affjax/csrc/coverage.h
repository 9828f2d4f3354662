// The pixels that a triangle covers, and its depth there. Every backend of
// `affjax.render.rasterize` computes the same bits (`affjax/render/_exact.py` and
// `_xla.py` in JAX).
//
// A pixel sees a triangle along a ray. With the corners moved so that the ray is the
// origin, the cross product of two corners has the sign of the side on which the pixel
// lies, and the size of the third corner's perspective-correct weight (Olano and Greer
// 1997, "Triangle scan conversion using 2D homogeneous coordinates"). No corner is
// divided by its w, so a triangle through w = 0 needs no clipping.
//
// Coverage is watertight: a moved corner is rounded in the same way for all triangles
// that share it; the signs of the cross products of the rounded corners are exact; and
// a pixel on an edge counts as moved a little to the right, and still less down. So a
// mesh without holes covers a pixel as often as the exact mesh of the rounded corners
// does.
//
// Results are the same on all machines: every operation below is one IEEE float32
// operation, none is contracted (g++ -ffp-contract=off), and no intermediate result is
// subnormal, so it does not matter whether the machine flushes subnormal numbers.
#ifndef AFFJAX_CSRC_COVERAGE_H_
#define AFFJAX_CSRC_COVERAGE_H_

#include <stdint.h>

#include "host_device.h"

namespace affjax::coverage {

// Smaller coordinates are set to zero. The product of two others is a multiple of
// 2^-126.
constexpr float kTinyCoordinate = 0x1p-40f;
// Smaller terms of z and w are set to zero.
constexpr float kTinyTerm = 0x1p-90f;
// A corner whose coordinates are all smaller has no direction.
constexpr float kTinyCorner = 0x1p-80f;
// For bounding boxes, a corner with a smaller w (and its largest coordinate in [1, 2))
// counts as at or behind the eye.
constexpr float kTinyW = 0x1p-18f;
// An upper bound, as a fraction of the image, on how far rounding can move a corner.
constexpr float kSlack = 1e-6f;

#if defined(__CUDA_ARCH__)
AFFJAX_HD float add(float a, float b) { return __fadd_rn(a, b); }
AFFJAX_HD float sub(float a, float b) { return __fsub_rn(a, b); }
AFFJAX_HD float mul(float a, float b) { return __fmul_rn(a, b); }
AFFJAX_HD float div(float a, float b) { return __fdiv_rn(a, b); }
AFFJAX_HD float fma(float a, float b, float c) { return __fmaf_rn(a, b, c); }
#else
AFFJAX_HD float add(float a, float b) { return a + b; }
AFFJAX_HD float sub(float a, float b) { return a - b; }
AFFJAX_HD float mul(float a, float b) { return a * b; }
AFFJAX_HD float div(float a, float b) { return a / b; }
AFFJAX_HD float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
#endif

AFFJAX_HD float magnitude(float v) { return v < 0 ? -v : v; }

AFFJAX_HD float without_tiny(float v, float least) {
  return magnitude(v) < least ? 0.0f : v;
}

struct Corner {
  float x, y, z, w;
};

// Scaled corners in ascending order, so that two triangles compute a shared edge in the
// same way.
struct Triangle {
  Corner a, b, c;
};

// Returns the reciprocal of a positive float, rounded to a power of two, which is exact
// as a factor.
AFFJAX_HD float scale_of(float largest) {
  union {
    float value;
    uint32_t bits;
  } number;
  number.value = largest;
  uint32_t exponent = number.bits >> 23;
  if (exponent > 253) exponent = 253;
  number.bits = (254 - exponent) << 23;
  return number.value;
}

// Scales a point to a largest coordinate in [1, 2) (in [2, 4) from 2^127 on). Returns
// false if it is not finite or has no direction.
AFFJAX_HD bool scaled(const float* p, Corner& corner) {
  const float x = magnitude(p[0]), y = magnitude(p[1]);
  const float z = magnitude(p[2]), w = magnitude(p[3]);
  float largest = x > y ? x : y;
  largest = z > largest ? z : largest;
  largest = w > largest ? w : largest;
  const bool finite = x <= 0x1.fffffep127f && y <= 0x1.fffffep127f &&
                      z <= 0x1.fffffep127f && w <= 0x1.fffffep127f;
  if (!finite || !(largest >= kTinyCorner)) return false;
  const float scale = scale_of(largest);
  corner.x = without_tiny(mul(p[0], scale), kTinyCoordinate);
  corner.y = without_tiny(mul(p[1], scale), kTinyCoordinate);
  corner.z = without_tiny(mul(p[2], scale), kTinyCoordinate);
  corner.w = without_tiny(mul(p[3], scale), kTinyCoordinate);
  return true;
}

// Orders corners by x, then y, w, z.
AFFJAX_HD bool before(const Corner& p, const Corner& q) {
  if (p.x != q.x) return p.x < q.x;
  if (p.y != q.y) return p.y < q.y;
  if (p.w != q.w) return p.w < q.w;
  return p.z < q.z;
}

AFFJAX_HD bool same_place(const Corner& p, const Corner& q) {
  return p.x == q.x && p.y == q.y && p.w == q.w;
}

AFFJAX_HD void sort(Corner& p, Corner& q) {
  if (before(q, p)) {
    const Corner swapped = p;
    p = q;
    q = swapped;
  }
}

// Prepares a triangle for `covers`. Returns false for a triangle that covers nothing: a
// corner is not finite or has no direction, no corner is in front of the eye, or two
// corners coincide.
AFFJAX_HD bool set_up(const float* p, const float* q, const float* r, Triangle& t) {
  if (!scaled(p, t.a) || !scaled(q, t.b) || !scaled(r, t.c)) return false;
  if (!(t.a.w > 0 || t.b.w > 0 || t.c.w > 0)) return false;
  sort(t.a, t.b);
  sort(t.b, t.c);
  sort(t.a, t.b);
  return !same_place(t.a, t.b) && !same_place(t.b, t.c);
}

// Returns the center of pixel i of `size` in [-1, 1].
AFFJAX_HD float center(int i, int size) {
  return sub(div(static_cast<float>(2 * i + 1), static_cast<float>(size)), 1.0f);
}

// Computes the first and last pixel that the triangle may cover along one axis, with
// corners at `(p, pw)` and so on. They may differ between machines because `covers` is
// false outside of them.
AFFJAX_HD void span(float p, float pw, float q, float qw, float r, float rw, int size,
                    int& first, int& last) {
  first = 0;
  last = size - 1;
  // A triangle that reaches behind the eye may appear anywhere.
  if (!(pw > kTinyW && qw > kTinyW && rw > kTinyW)) return;
  const float half = 0.5f * size;
  p = (p / pw + 1.0f) * half - 0.5f;
  q = (q / qw + 1.0f) * half - 0.5f;
  r = (r / rw + 1.0f) * half - 0.5f;
  float low = p < q ? p : q, high = p < q ? q : p;
  low = (r < low ? r : low) - kSlack * size;
  high = (r > high ? r : high) + kSlack * size;
  if (!(low <= size - 1 && high >= 0)) {
    last = -1;
    return;
  }
  // For numbers that are not negative, truncation towards zero gives floor and ceil.
  if (high < size - 1) last = static_cast<int>(high);
  if (low > 0) {
    first = static_cast<int>(low);
    if (static_cast<float>(first) < low) ++first;
  }
}

// Computes the bounding box of the pixels that the triangle may cover. Returns false if
// it is empty.
AFFJAX_HD bool box(const Triangle& t, int width, int height, int& x0, int& y0, int& x1,
                   int& y1) {
  span(t.a.x, t.a.w, t.b.x, t.b.w, t.c.x, t.c.w, width, x0, x1);
  span(t.a.y, t.a.w, t.b.y, t.b.w, t.c.y, t.c.w, height, y0, y1);
  return x0 <= x1 && y0 <= y1;
}

// Returns a corner's coordinate relative to the pixel's ray.
AFFJAX_HD float moved(float x, float center, float w) {
  return without_tiny(sub(x, mul(center, w)), kTinyCoordinate);
}

// Returns `ax by - bx ay` with the sign of the exact value. Products that are equal
// after rounding differ by the difference of their rounding errors, which are floats.
AFFJAX_HD float cross(float ax, float ay, float bx, float by) {
  const float first = mul(ax, by), second = mul(bx, ay);
  const float value = sub(first, second);
  if (value != 0.0f) return value;
  return sub(fma(ax, by, -first), fma(bx, ay, -second));
}

// Returns on which side of an edge the pixel lies, given its cross product `value`. A
// pixel on the edge takes the side to its right, or below it if the edge is horizontal.
AFFJAX_HD bool side(float value, float ax, float ay, float aw, float bx, float by,
                    float bw) {
  if (value != 0.0f) return value > 0.0f;
  const float right = cross(bw, aw, by, ay);
  if (right != 0.0f) return right > 0.0f;
  return cross(aw, bw, ax, bx) > 0.0f;
}

AFFJAX_HD float weighted(float wa, float a, float wb, float b, float wc, float c) {
  return add(
      add(without_tiny(mul(wa, a), kTinyTerm), without_tiny(mul(wb, b), kTinyTerm)),
      without_tiny(mul(wc, c), kTinyTerm));
}

// Returns whether the triangle covers the pixel with its center at (px, py), and
// computes its z/w there.
AFFJAX_HD bool covers(const Triangle& t, float px, float py, float& near) {
  const float ax = moved(t.a.x, px, t.a.w), ay = moved(t.a.y, py, t.a.w);
  const float bx = moved(t.b.x, px, t.b.w), by = moved(t.b.y, py, t.b.w);
  const float cx = moved(t.c.x, px, t.c.w), cy = moved(t.c.y, py, t.c.w);
  const float weight_a = cross(bx, by, cx, cy);
  const float weight_b = cross(ax, ay, cx, cy);
  const float weight_c = cross(ax, ay, bx, by);
  const bool side_a = side(weight_a, bx, by, t.b.w, cx, cy, t.c.w);
  const bool side_b = side(weight_b, ax, ay, t.a.w, cx, cy, t.c.w);
  const bool side_c = side(weight_c, ax, ay, t.a.w, bx, by, t.b.w);
  if (side_a != side_c || side_a == side_b) return false;
  const float w = weighted(weight_a, t.a.w, -weight_b, t.b.w, weight_c, t.c.w);
  // In front of the eye, the weights and w have the same sign.
  if (!(side_a ? w > 0.0f : w < 0.0f)) return false;
  const float z = weighted(weight_a, t.a.z, -weight_b, t.b.z, weight_c, t.c.z);
  near = div(z, w);
  return near >= -1.0f && near <= 1.0f;
}

}  // namespace affjax::coverage

#endif  // AFFJAX_CSRC_COVERAGE_H_
