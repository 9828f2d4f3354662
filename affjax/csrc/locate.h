// The place of a pixel in a known triangle, and its gradient in the corners. The
// results equal those of `affjax/render/_location.py`, the definition, to rounding.
//
// `L` is the type of numbers: one float (`One`, also on a GPU) or many at once.
#ifndef AFFJAX_CSRC_LOCATE_H_
#define AFFJAX_CSRC_LOCATE_H_

#include "host_device.h"

namespace affjax::locate {

// If the sum of the areas is smaller than this, 1 replaces the sum.
constexpr float kTinyArea = 1e-30f;
constexpr float kTinyTotal = 1e-6f;

// One pixel at a time.
struct One {
  using Number = float;
  static AFFJAX_HD float fill(float v) { return v; }
  static AFFJAX_HD float if_tiny(float v, float yes, float no) {
    return v < kTinyArea && -v < kTinyArea ? yes : no;
  }
  static AFFJAX_HD float least(float a, float b) { return b < a ? b : a; }
  static AFFJAX_HD float most(float a, float b) { return b > a ? b : a; }
};

// Clip-space corners. A gradient in them has no z.
template <class Number>
struct Corners {
  Number x0, y0, z0, w0, x1, y1, z1, w1, x2, y2, z2, w2;
};

// The weights of the first two corners, z/w, and (du/dX, du/dY, dv/dX, dv/dY).
template <class Number>
struct Place {
  Number u, v, depth, u_x, u_y, v_x, v_y;
};

// The quantities that value and gradient share: corners moved so that the pixel's ray
// is the origin, the areas opposite them as fractions of their sum, and the derivatives
// of these along X and Y.
template <class L>
struct Areas {
  using Number = typename L::Number;
  Number x0, y0, x1, y1, x2, y2;
  Number part0, part1, part2;
  Number total;   // sum of the areas, or 1 if it is too small
  Number counts;  // 1, or 0 if the sum is too small
  Number along_x0, along_x1, along_x, along_y0, along_y1, along_y;

  AFFJAX_HD Areas(const Corners<Number>& c, Number px, Number py, bool slopes) {
    const Number one = L::fill(1.0f), zero = L::fill(0.0f);
    x0 = c.x0 - px * c.w0, y0 = c.y0 - py * c.w0;
    x1 = c.x1 - px * c.w1, y1 = c.y1 - py * c.w1;
    x2 = c.x2 - px * c.w2, y2 = c.y2 - py * c.w2;
    const Number area0 = x1 * y2 - x2 * y1, area1 = x2 * y0 - x0 * y2;
    const Number area2 = x0 * y1 - x1 * y0;
    const Number sum = area0 + area1 + area2;
    total = L::if_tiny(sum, one, sum);
    counts = L::if_tiny(sum, zero, one);
    part0 = area0 / total, part1 = area1 / total, part2 = area2 / total;
    if (!slopes) {
      along_x0 = along_x1 = along_x = along_y0 = along_y1 = along_y = zero;
      return;
    }
    along_x0 = y1 * c.w2 - c.w1 * y2, along_x1 = y2 * c.w0 - c.w2 * y0;
    along_x = along_x0 + along_x1 + (y0 * c.w1 - c.w0 * y1);
    along_y0 = c.w1 * x2 - x1 * c.w2, along_y1 = c.w2 * x0 - x2 * c.w0;
    along_y = along_y0 + along_y1 + (c.w0 * x1 - x0 * c.w1);
  }
};

// `per_x` and `per_y` are 2 / width and 2 / height of the image. Derivatives are 0
// unless requested.
template <class L>
AFFJAX_HD Place<typename L::Number> place(const Corners<typename L::Number>& c,
                                          typename L::Number px, typename L::Number py,
                                          float per_x, float per_y, bool slopes) {
  using Number = typename L::Number;
  const Areas<L> a(c, px, py, slopes);
  const Number zero = L::fill(0.0f), one = L::fill(1.0f);
  Place<Number> out;
  const Number z = a.part0 * c.z0 + a.part1 * c.z1 + a.part2 * c.z2;
  out.depth = z / (a.part0 * c.w0 + a.part1 * c.w1 + a.part2 * c.w2);
  // Corrects weights of covered pixels that rounding moved out of [0, 1].
  const Number in0 = L::least(L::most(a.part0, zero), one);
  const Number in1 = L::least(L::most(a.part1, zero), one);
  const Number in2 = L::least(L::most(a.part2, zero), one);
  const Number total = L::most(in0 + in1 + in2, L::fill(kTinyTotal));
  out.u = in0 / total;
  out.v = in1 / total;
  const Number by_x = L::fill(per_x) / a.total, by_y = L::fill(per_y) / a.total;
  out.u_x = (a.along_x0 - a.part0 * a.along_x) * by_x;
  out.v_x = (a.along_x1 - a.part1 * a.along_x) * by_x;
  out.u_y = (a.along_y0 - a.part0 * a.along_y) * by_y;
  out.v_y = (a.along_y1 - a.part1 * a.along_y) * by_y;
  return out;
}

// Adds the gradient of `value * (p q' - p' q)`, a cross product of two corners'
// numbers.
template <class Number>
AFFJAX_HD void add_cross(Number value, Number p, Number q, Number p_next, Number q_next,
                         Number& to_p, Number& to_q, Number& to_p_next,
                         Number& to_q_next) {
  to_p = to_p + value * q_next;
  to_q_next = to_q_next + value * p;
  to_p_next = to_p_next - value * q;
  to_q = to_q - value * p_next;
}

// Computes the gradient in the corners for cotangents `g` of a place (z/w has none).
template <class L>
AFFJAX_HD Corners<typename L::Number> pull(const Corners<typename L::Number>& c,
                                           typename L::Number px, typename L::Number py,
                                           float per_x, float per_y, bool slopes,
                                           const Place<typename L::Number>& g) {
  using Number = typename L::Number;
  const Areas<L> a(c, px, py, slopes);
  const Number zero = L::fill(0.0f);
  Number part0 = g.u, part1 = g.v, sum = zero;
  Corners<Number> d = {zero, zero, zero, zero, zero, zero,
                       zero, zero, zero, zero, zero, zero};
  if (slopes) {
    const Number by_x = L::fill(per_x) / a.total, by_y = L::fill(per_y) / a.total;
    const Number ux = g.u_x * by_x, vx = g.v_x * by_x;
    const Number uy = g.u_y * by_y, vy = g.v_y * by_y;
    part0 = part0 - ux * a.along_x - uy * a.along_y;
    part1 = part1 - vx * a.along_x - vy * a.along_y;
    sum = zero - (ux * (a.along_x0 - a.part0 * a.along_x) +
                  vx * (a.along_x1 - a.part1 * a.along_x) +
                  uy * (a.along_y0 - a.part0 * a.along_y) +
                  vy * (a.along_y1 - a.part1 * a.along_y));
    const Number all_x = zero - (ux * a.part0 + vx * a.part1);
    const Number all_y = zero - (uy * a.part0 + vy * a.part1);
    add_cross(ux + all_x, a.y1, c.w1, a.y2, c.w2, d.y1, d.w1, d.y2, d.w2);
    add_cross(vx + all_x, a.y2, c.w2, a.y0, c.w0, d.y2, d.w2, d.y0, d.w0);
    add_cross(all_x, a.y0, c.w0, a.y1, c.w1, d.y0, d.w0, d.y1, d.w1);
    add_cross(uy + all_y, c.w1, a.x1, c.w2, a.x2, d.w1, d.x1, d.w2, d.x2);
    add_cross(vy + all_y, c.w2, a.x2, c.w0, a.x0, d.w2, d.x2, d.w0, d.x0);
    add_cross(all_y, c.w0, a.x0, c.w1, a.x1, d.w0, d.x0, d.w1, d.x1);
  }
  sum = a.counts * (sum - (part0 * a.part0 + part1 * a.part1)) / a.total;
  const Number area0 = part0 / a.total + sum, area1 = part1 / a.total + sum;
  add_cross(area0, a.x1, a.y1, a.x2, a.y2, d.x1, d.y1, d.x2, d.y2);
  add_cross(area1, a.x2, a.y2, a.x0, a.y0, d.x2, d.y2, d.x0, d.y0);
  add_cross(sum, a.x0, a.y0, a.x1, a.y1, d.x0, d.y0, d.x1, d.y1);
  d.w0 = d.w0 - px * d.x0 - py * d.y0;
  d.w1 = d.w1 - px * d.x1 - py * d.y1;
  d.w2 = d.w2 - px * d.x2 - py * d.y2;
  return d;
}

}  // namespace affjax::locate

#endif  // AFFJAX_CSRC_LOCATE_H_
