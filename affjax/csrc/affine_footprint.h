// The places where the taps of affine convolution read their input, for a tile of
// output pixels.
//
// The arithmetic is that of `affine_taps.h`, with one pixel per lane.
#ifndef AFFJAX_CSRC_AFFINE_FOOTPRINT_H_
#define AFFJAX_CSRC_AFFINE_FOOTPRINT_H_

#include <cstdint>
#include <limits>

#include "affine_taps.h"
#include "matmul.h"

namespace affjax {

constexpr int64_t kTile =
    112;  // largest number of output pixels, in whole blocks and vectors
static_assert(kTile % kLanes == 0 && kTile % 2 == 0);

// The kind of a call's coordinates: affine matrices [batch, rows, columns, 2, 3], or a
// displacement for each tap [batch, rows, columns, size * size, 2].
enum class Coords { kAffine, kOffsets };

struct Problem {
  int64_t batch, height, width, channels;
  int64_t rows, columns, out_channels;
  int64_t size, stride;
  Coords coords;
  bool prior;

  int64_t taps() const { return size * size; }
  int64_t pixels() const { return rows * columns; }
  bool offsets() const { return coords == Coords::kOffsets; }
  int64_t coordinates() const { return offsets() ? 2 * taps() : 6; }
  Point tap(int64_t index) const { return tap_offset(int(index), int(size)); }
};

// The places that one tap reads for the pixels of a tile.
struct TapFootprint {
  // The input pixels around the place: upper left, upper right, lower left, lower
  // right, as row * width + column, or -1 outside.
  alignas(64) int32_t corner[4][kTile];
  alignas(64) float weight[4][kTile];
  alignas(64) float fraction[2][kTile];  // towards the right and down
  alignas(64) int32_t moves[2][kTile];   // whether the sample changes with x and with y
};

// Clips a coordinate to [-1, size] and splits it into a pixel and a fraction in [0, 1].
inline void split(Vec place, float size, VecInt* pixel, Vec* fraction) {
  place = place < -1.0f ? all(-1.0f) : place > size ? all(size) : place;
  VecInt whole = __builtin_convertvector(place, VecInt);
  whole += __builtin_convertvector(whole, Vec) > place;  // a true mask is -1
  const VecInt last = VecInt{} + (int32_t(size) - 1);
  whole = whole > last ? last : whole;
  *pixel = whole;
  *fraction = place - __builtin_convertvector(whole, Vec);
}

// Fills kLanes pixels of a footprint, starting at `lane`, from their places.
inline void place_tap(const Problem& p, Vec x, Vec y, int64_t lane, TapFootprint* out) {
  const float width = float(p.width), height = float(p.height);
  const VecInt nowhere = (x != x) | (y != y);
  const VecInt moves_x = ~nowhere & (x >= -1.0f) & (x < width);
  const VecInt moves_y = ~nowhere & (y >= -1.0f) & (y < height);
  VecInt left, top;
  Vec fx, fy;
  split(nowhere ? all(-1.0f) : x, width, &left, &fx);
  split(nowhere ? all(-1.0f) : y, height, &top, &fy);
  const VecInt in_x[2] = {left >= 0, left < int32_t(p.width) - 1};
  const VecInt in_y[2] = {top >= 0, top < int32_t(p.height) - 1};
  const Vec wx[2] = {1.0f - fx, fx}, wy[2] = {1.0f - fy, fy};
  const VecInt first = top * int32_t(p.width) + left;
  for (int c = 0; c < 4; ++c) {
    const int right = c & 1, down = c >> 1;
    const VecInt inside = in_x[right] & in_y[down] & ~nowhere;
    const VecInt corner = first + (right + down * int32_t(p.width));
    *reinterpret_cast<VecInt*>(out->corner[c] + lane) = inside ? corner : VecInt{} - 1;
    // A NaN place gives a NaN sample through this weight times zero.
    const Vec outside = all(c ? 0.0f : std::numeric_limits<float>::quiet_NaN());
    store(out->weight[c] + lane, nowhere ? outside : wx[right] * wy[down]);
  }
  store(out->fraction[0] + lane, fx);
  store(out->fraction[1] + lane, fy);
  *reinterpret_cast<VecInt*>(out->moves[0] + lane) = moves_x;
  *reinterpret_cast<VecInt*>(out->moves[1] + lane) = moves_y;
}

// Computes the footprints of all taps for `count` pixels of an image, starting at pixel
// `first`.
//
// `coords` and `prior` belong to the image. Lanes past `count` repeat the last pixel.
inline void place_taps(const Problem& p, const float* coords, const float* prior,
                       int64_t first, int64_t count, TapFootprint* out) {
  for (int64_t lane = 0; lane < count; lane += kLanes) {
    alignas(64) float center[2][kLanes], matrix[6][kLanes];
    const float* own[kLanes];
    for (int l = 0; l < kLanes; ++l) {
      const int64_t pixel = first + (lane + l < count ? lane + l : count - 1);
      center[0][l] = float(pixel % p.columns * p.stride);
      center[1][l] = float(pixel / p.columns * p.stride);
      own[l] = coords + pixel * p.coordinates();
      if (p.offsets()) continue;
      Affine theta = load_affine(own[l]);
      if (p.prior) theta = compose(load_affine(prior + pixel * 6), theta);
      for (int k = 0; k < 6; ++k) matrix[k][l] = theta.m[k];
    }
    for (int64_t tap = 0; tap < p.taps(); ++tap) {
      const Point d = p.tap(tap);
      Vec xy[2];
      for (int axis = 0; axis < 2; ++axis) {
        if (p.offsets()) {
          alignas(64) float moved[kLanes];
          for (int l = 0; l < kLanes; ++l) moved[l] = own[l][2 * tap + axis];
          xy[axis] = load(moved) + (axis ? d.y : d.x);
        } else {
          const auto row = matrix + 3 * axis;
          xy[axis] = load(row[0]) * d.x + load(row[1]) * d.y + load(row[2]);
        }
        xy[axis] += load(center[axis]);
      }
      place_tap(p, xy[0], xy[1], lane, out + tap);
    }
  }
}

}  // namespace affjax

#endif  // AFFJAX_CSRC_AFFINE_FOOTPRINT_H_
