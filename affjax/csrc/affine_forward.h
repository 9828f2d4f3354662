// The forward pass of affine convolution on CPUs.
//
// A tile of output pixels is sampled into a buffer that stays in cache and multiplied
// there with the kernel; the matrix of all samples ("columns", size^2 times the input)
// never exists.
#ifndef AFFJAX_CSRC_AFFINE_FORWARD_H_
#define AFFJAX_CSRC_AFFINE_FORWARD_H_

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "affine_sampling.h"
#include "matmul.h"
#include "parallel.h"

namespace affjax {

// The kernel [taps * channels, out_channels] in panels of float32, the layout that
// `multiply` reads.
template <typename T>
struct PackedKernel {
  Buffer<float> data;
  int64_t depth;
  int64_t panels;

  PackedKernel(xla::ffi::ThreadPool& pool, const T* kernel, int64_t depth,
               int64_t columns)
      : data(depth * round_up(columns, kPanel)),
        depth(depth),
        panels(ceil_div(columns, kPanel)) {
    parallel_for(pool, panels, [&](int64_t panel) {
      const int64_t used = std::min<int64_t>(kPanel, columns - panel * kPanel);
      float* to = data.get() + panel * depth * kPanel;
      const T* from = kernel + panel * kPanel;
      for (int64_t k = 0; k < depth; ++k, to += kPanel, from += columns) {
        widen_row(from, used, to);
        std::fill(to + used, to + kPanel, 0.0f);
      }
    });
  }
  Right from(int64_t k) const {
    return {data.get() + k * kPanel, depth * kPanel, kPanel};
  }
};

// Number of floats per pixel, approximately, that are sampled before they are
// multiplied.
constexpr int64_t kDepth = 256;

// Returns the number of pixels per tile; if there are few tiles, it divides them evenly
// among the threads.
inline int64_t tile_size(int64_t pixels, int64_t batch, int64_t threads) {
  int64_t tiles = ceil_div(pixels, kTile);
  while (tiles < pixels && tiles * batch < 8 * threads && tiles * batch % threads) {
    ++tiles;
  }
  return ceil_div(pixels, tiles);
}

template <typename T>
void forward(xla::ffi::ThreadPool& pool, const Problem& p, const T* x,
             const float* coords, const float* prior, const T* kernel, T* out) {
  const int64_t depth = p.taps() * p.channels;
  const PackedKernel<T> packed(pool, kernel, depth, p.out_channels);
  const int64_t tile = tile_size(p.pixels(), p.batch, thread_count(pool));
  const int64_t tiles = ceil_div(p.pixels(), tile);
  const int64_t group =
      std::max<int64_t>(1, kDepth / p.channels);  // number of taps processed at a time
  const int64_t sums_row = round_up(p.out_channels, kLanes);
  const bool direct = std::is_same_v<T, float> && sums_row == p.out_channels;
  const Outside outside(p.channels);
  parallel_for(pool, p.batch * tiles, [&](int64_t item) {
    const int64_t n = item / tiles, first = item % tiles * tile;
    const int64_t count = std::min(tile, p.pixels() - first);
    TapFootprint* footprints = scratch<TapFootprint, 0>(p.taps());
    float* columns = scratch<float, 0>(kTile * group * p.channels);
    float* sums = scratch<float, 1>(direct ? 0 : kTile * sums_row);
    const T* image = x + n * p.height * p.width * p.channels;
    T* result = out + (n * p.pixels() + first) * p.out_channels;
    float* products = direct ? reinterpret_cast<float*>(result) : sums;
    place_taps(p, coords + n * p.pixels() * p.coordinates(), prior + n * p.pixels() * 6,
               first, count, footprints);
    for (int64_t tap = 0; tap < p.taps(); tap += group) {
      const int64_t taps = std::min(group, p.taps() - tap);
      const int64_t row = taps * p.channels;
      for (int64_t i = 0; i < count; ++i) {
        for (int64_t t = 0; t < taps; ++t) {
          const TapFootprint& f = footprints[tap + t];
          prefetch(f, std::min(i + kAhead, count - 1), image, p.channels, p.channels);
          sample(Corners<T>(f, i, image, p.channels, outside), p.channels,
                 columns + i * row + t * p.channels);
        }
      }
      multiply({columns, row, 1}, packed.from(tap * p.channels), products, sums_row,
               count, p.out_channels, row, tap > 0);
    }
    if (direct) return;
    for (int64_t i = 0; i < count; ++i) {
      narrow_row(products + i * sums_row, p.out_channels, result + i * p.out_channels);
    }
  });
}

}  // namespace affjax

#endif  // AFFJAX_CSRC_AFFINE_FORWARD_H_
