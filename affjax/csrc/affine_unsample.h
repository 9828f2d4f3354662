// Parts of the backward pass of affine convolution on CPUs: its division among threads,
// and its innermost loop, the gradients of one bilinear sample.
#ifndef AFFJAX_CSRC_AFFINE_UNSAMPLE_H_
#define AFFJAX_CSRC_AFFINE_UNSAMPLE_H_

#include <algorithm>
#include <cstdint>

#include "affine_sampling.h"
#include "matmul.h"
#include "parallel.h"

namespace affjax {

// The division of the backward pass. An item is a group of channels of an image in a
// band of its output rows. Items of different groups or images write different parts of
// the gradient of x; bands of one image write to buffers of their own, which are added
// afterwards. A slot is a sequence of items that share one gradient of the kernel.
struct Division {
  int64_t group;  // largest number of channels
  int64_t groups, bands, items, slots;

  Division(const Problem& p, int64_t threads) {
    // Wide groups repeat less work, narrow groups keep more threads busy.
    const int64_t widest = 4 * kLanes;
    groups = ceil_div(p.channels, widest);
    const int64_t most = ceil_div(p.channels, kLanes);
    while (groups < most && p.batch * groups % threads) ++groups;
    group = round_up(ceil_div(p.channels, groups), kLanes);
    groups = ceil_div(p.channels, group);
    bands = 1;
    while (bands < p.rows && p.batch * groups * bands < threads) ++bands;
    items = p.batch * groups * bands;
    slots = std::min(threads, items);
  }
  int64_t first_item(int64_t slot) const { return items * slot / slots; }
  // Items are ordered by group first, so that a slot has few groups.
  int64_t group_of(int64_t item) const { return item / (items / groups); }
  int64_t image_of(int64_t item) const { return item % (items / groups) / bands; }
  int64_t band_of(int64_t item) const { return item % bands; }
};

// The transposed kernel [out_channels, taps * group] in panels, one for each group of
// channels. It maps gradients of the output to gradients of the columns.
template <typename T>
struct TransposedKernel {
  Buffer<float> data;
  int64_t panels, rows;

  TransposedKernel(xla::ffi::ThreadPool& pool, const T* kernel, const Problem& p,
                   const Division& d)
      : panels(ceil_div(p.taps() * d.group, kPanel)), rows(p.out_channels) {
    data = Buffer<float>(d.groups * panels * kPanel * rows);
    parallel_for(pool, d.groups * panels, [&](int64_t item) {
      float* panel = data.get() + item * kPanel * rows;
      const int64_t first = item / panels * d.group;
      const int64_t width = std::min(d.group, p.channels - first);
      for (int64_t c = 0; c < kPanel; ++c) {
        const int64_t column = item % panels * kPanel + c;
        const int64_t tap = column / width;
        const T* row =
            kernel + (tap * p.channels + first + column % width) * p.out_channels;
        for (int64_t o = 0; o < rows; ++o) {
          panel[o * kPanel + c] = tap < p.taps() ? widen(row[o]) : 0.0f;
        }
      }
    });
  }
  Right of(int64_t group) const {
    return {data.get() + group * panels * kPanel * rows, kPanel * rows, kPanel};
  }
};

inline float sum(Vec value) {
  alignas(64) float lanes[kLanes];
  store(lanes, value);
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int l = 0; l < half; ++l) lanes[l] += lanes[l + half];
  }
  return lanes[0];
}

// Derivatives of a sample along x and y, weighted by `grad` and summed over channels,
// as a vector of partial sums each.
struct Slopes {
  Vec x{}, y{};
};

// Processes one tap of one pixel: replaces the gradients of its samples, in `columns`,
// by the samples, and adds the gradients to the pixels that were read.
template <typename T>
inline Slopes unsample(const Corners<T>& k, float* const* grads, const float* fraction,
                       int64_t channels, float* columns) {
  Slopes slopes;
  const Vec w[4] = {all(k.weight[0]), all(k.weight[1]), all(k.weight[2]),
                    all(k.weight[3])};
  const float fx = fraction[0], fy = fraction[1];
  int64_t i = 0;
  for (; i + kLanes <= channels; i += kLanes) {
    const Vec grad = load(columns + i);
    const Vec v0 = load(k.at[0] + i), v1 = load(k.at[1] + i);
    const Vec v2 = load(k.at[2] + i), v3 = load(k.at[3] + i);
    store(columns + i, w[0] * v0 + w[1] * v1 + (w[2] * v2 + w[3] * v3));
    for (int c = 0; c < 4; ++c) store(grads[c] + i, load(grads[c] + i) + w[c] * grad);
    const Vec left = v2 - v0, right = v3 - v1, top = v1 - v0;
    slopes.y += grad * (left + fx * (right - left));
    slopes.x += grad * (top + fy * (right - left));
  }
  for (; i < channels; ++i) {
    const float grad = columns[i];
    const float v[4] = {widen(k.at[0][i]), widen(k.at[1][i]), widen(k.at[2][i]),
                        widen(k.at[3][i])};
    columns[i] = k.weight[0] * v[0] + k.weight[1] * v[1] +
                 (k.weight[2] * v[2] + k.weight[3] * v[3]);
    for (int c = 0; c < 4; ++c) grads[c][i] += k.weight[c] * grad;
    const float left = v[2] - v[0], right = v[3] - v[1], top = v[1] - v[0];
    slopes.y[0] += grad * (left + fx * (right - left));
    slopes.x[0] += grad * (top + fy * (right - left));
  }
  return slopes;
}

}  // namespace affjax

#endif  // AFFJAX_CSRC_AFFINE_UNSAMPLE_H_
