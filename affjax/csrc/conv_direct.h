// Convolution by sums over windows, for kernels of any size and stride.
//
// A row of results is one matrix product, whose left factor is read from a copy of the
// input with zeros around it: the window's pixels in a row follow each other in memory.
#ifndef AFFJAX_CSRC_CONV_DIRECT_H_
#define AFFJAX_CSRC_CONV_DIRECT_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "conv_parts.h"
#include "matmul.h"
#include "parallel.h"

namespace affjax {

// One axis of a convolution. Its results m of [low, high) are at `shift` + m `step`,
// and each is a sum over the `window` pixels of the source from `begin` + m `move` on.
struct Axis {
  int64_t low, high, shift, step, begin, move, window;

  int64_t count() const { return high - low; }
  int64_t place(int64_t m) const { return shift + m * step; }
  int64_t start(int64_t m) const { return begin + m * move; }
};

// The axis of the convolution itself, with padding of half the kernel.
inline Axis forward_axis(int64_t size, int64_t kernel, int64_t stride) {
  return {0, ceil_div(size, stride), 0, 1, -((kernel - 1) / 2), stride, kernel};
}

// The axis of the gradient of an input of `size` pixels, of which those with
// (pixel + padding) % stride == phase meet the taps phase, phase + stride, ...
inline Axis gradient_axis(int64_t size, int64_t kernel, int64_t stride, int64_t phase) {
  const int64_t padding = (kernel - 1) / 2;
  const int64_t window = ceil_div(kernel - phase, stride);
  const int64_t low = ceil_div(padding - phase, stride);
  const int64_t first = stride * low + phase - padding;
  return {low,
          low + ceil_div(size - first, stride),
          phase - padding,
          stride,
          1 - window,
          1,
          window};
}

// Images [batch, height, width, channels].
struct Images {
  const float* data;
  int64_t batch, height, width, channels;

  // Copies a rectangle to memory in which pixels take `pixel` floats; pixels outside
  // the image, and the rest of every pixel, are zero.
  void copy(int64_t image, int64_t top, int64_t left, int64_t rows, int64_t columns,
            int64_t pixel, float* to) const {
    const int64_t before = std::clamp<int64_t>(-left, 0, columns);
    const int64_t end = std::clamp<int64_t>(width - left, before, columns);
    for (int64_t i = 0; i < rows; ++i, to += columns * pixel) {
      if (top + i < 0 || top + i >= height) {
        std::fill(to, to + columns * pixel, 0.0f);
        continue;
      }
      std::fill(to, to + before * pixel, 0.0f);
      const float* from =
          data + ((image * height + top + i) * width + left + before) * channels;
      if (pixel == channels) {
        std::memcpy(to + before * pixel, from, 4 * (end - before) * pixel);
      } else {
        for (int64_t j = before; j < end; ++j, from += channels) {
          std::memcpy(to + j * pixel, from, 4 * channels);
          std::fill(to + j * pixel + channels, to + (j + 1) * pixel, 0.0f);
        }
      }
      std::fill(to + end * pixel, to + columns * pixel, 0.0f);
    }
  }
};

// Some results of a convolution, and the matrix [windows' pixels, columns] of their
// taps in the panels that `multiply` reads.
struct Phase {
  Axis y, x;
  float* taps;

  // Fills the matrix with `at(k, column)`.
  template <typename At>
  void pack(xla::ffi::ThreadPool& pool, int64_t depth, int64_t columns,
            const At& at) const {
    parallel_for(pool, ceil_div(columns, kPanel), [&](int64_t panel) {
      const int64_t used = std::min<int64_t>(kPanel, columns - panel * kPanel);
      float* row = taps + panel * depth * kPanel;
      for (int64_t k = 0; k < depth; ++k, row += kPanel) {
        for (int64_t c = 0; c < used; ++c) row[c] = at(k, panel * kPanel + c);
        std::fill(row + used, row + kPanel, 0.0f);
      }
    });
  }
};

// The smallest interval with the results, and with the windows, of several axes.
struct Hull {
  int64_t low, high, begin, end, move;

  template <typename Get>
  Hull(const std::vector<Phase>& phases, const Get& get)
      : low(INT64_MAX), high(0), begin(INT64_MAX), end(INT64_MIN), move(1) {
    for (const Phase& phase : phases) {
      const Axis& axis = get(phase);
      low = std::min(low, axis.low);
      high = std::max(high, axis.high);
      begin = std::min(begin, axis.begin);
      end = std::max(end, axis.begin + axis.window);
      move = axis.move;
    }
  }
  // The first pixel under the windows of results from `m` on, and the number of pixels
  // under those of `count` results.
  int64_t start(int64_t m) const { return begin + m * move; }
  int64_t extent(int64_t count) const { return (count - 1) * move + end - begin; }
};

// Returns how many rows are worked on at a time: as many as keep the copied source in
// the second-level cache, and leave some work for every thread.
inline int64_t rows_at_once(int64_t rows, int64_t floats_a_row, int64_t batch,
                            int64_t threads) {
  constexpr int64_t kFloats = 32 * 1024;
  const int64_t shares = ceil_div(4 * threads, batch);
  const int64_t fitting = std::max<int64_t>(1, kFloats / (floats_a_row + 1));
  return std::clamp<int64_t>(rows / shares, 1, fitting);
}

// Computes one phase's rows [low, high) of results from a copy of the source that
// begins with the hulls' windows of row `first`.
inline void correlate_rows(const Phase& phase, const Hull& y_hull, const Hull& x_hull,
                           const float* copy, int64_t channels, int64_t low,
                           int64_t high, int64_t first, int64_t columns, float* to,
                           int64_t to_width) {
  constexpr int64_t kTaps = 4096;  // floats of a panel that stay in the nearest cache
  const Axis &y = phase.y, &x = phase.x;
  const int64_t row = x_hull.extent(x_hull.high - x_hull.low) * channels;
  const int64_t run = x.window * channels, depth = y.window * run;
  const int64_t lines = std::clamp<int64_t>(kTaps / (run * kPanel + 1), 1,
                                            std::max<int64_t>(1, y.window));
  const int64_t sums_row = round_up(columns, kLanes);
  const bool direct = columns == sums_row;
  float* sums = scratch<float, 1>(direct ? 0 : (high - low) * x.count() * sums_row);
  const ptrdiff_t to_row = y.step * to_width * columns, to_pixel = x.step * columns;
  float* result = to + (y.place(low) * to_width + x.place(x.low)) * columns;
  float* into = direct ? result : sums;
  const ptrdiff_t into_row = direct ? to_row : x.count() * sums_row;
  const ptrdiff_t into_pixel = direct ? to_pixel : sums_row;
  copy += (y.start(low) - y_hull.start(first)) * row +
          (x.start(x.low) - x_hull.start(x_hull.low)) * channels;
  for (int64_t column = 0; column < columns; column += kPanel) {
    const float* taps = phase.taps + column * depth;
    for (int64_t line = 0; line == 0 || line < y.window; line += lines) {
      const int64_t some = std::min(lines, y.window - line);
      for (int64_t m = 0; m < high - low; ++m) {
        multiply({copy + (m * y.move + line) * row, x.move * channels, 1},
                 {taps + line * run * kPanel, 0, kPanel}, into + m * into_row + column,
                 into_pixel, x.count(), std::min<int64_t>(kPanel, columns - column),
                 {run, some, row, run * kPanel}, line > 0);
      }
    }
  }
  if (direct) return;
  for (int64_t m = 0; m < high - low; ++m)
    for (int64_t j = 0; j < x.count(); ++j)
      std::memcpy(result + m * to_row + j * to_pixel,
                  sums + (m * x.count() + j) * sums_row, 4 * columns);
}

// Computes the results of all phases, images [batch, height, width, columns].
inline void correlate(xla::ffi::ThreadPool& pool, const Images& from,
                      const std::vector<Phase>& phases, float* to, int64_t height,
                      int64_t width, int64_t columns) {
  const Hull y(phases, [](const Phase& p) -> const Axis& { return p.y; });
  const Hull x(phases, [](const Phase& p) -> const Axis& { return p.x; });
  const int64_t pixels = x.extent(x.high - x.low);
  const int64_t some = rows_at_once(y.high - y.low, y.move * pixels * from.channels,
                                    from.batch, thread_count(pool));
  const int64_t blocks = ceil_div(y.high - y.low, some);
  parallel_for(pool, from.batch * blocks, [&](int64_t item) {
    const int64_t image = item / blocks, first = y.low + item % blocks * some;
    const int64_t end = std::min(first + some, y.high);
    float* copy = scratch<float, 0>(y.extent(end - first) * pixels * from.channels);
    from.copy(image, y.start(first), x.start(x.low), y.extent(end - first), pixels,
              from.channels, copy);
    for (const Phase& phase : phases) {
      const int64_t low = std::max(first, phase.y.low);
      const int64_t high = std::min(end, phase.y.high);
      if (low >= high) continue;
      correlate_rows(phase, y, x, copy, from.channels, low, high, first, columns,
                     to + image * height * width * columns, width);
    }
  });
}

// Computes the gradient [size, size, channels, out_channels] of a kernel.
inline void direct_kernel_gradient(xla::ffi::ThreadPool& pool, const Images& x,
                                   const Images& grad, int64_t size, int64_t stride,
                                   float* out) {
  const int64_t padding = (size - 1) / 2;
  const int64_t pixels = (grad.width - 1) * stride + size;  // in a row of the copy
  const int64_t row = pixels * x.channels;
  const int64_t grad_row = round_up(grad.channels, kLanes);
  const int64_t run = size * x.channels;  // rows of the kernel in a row of taps
  // The least that makes the sums in registers worth loading.
  const int64_t some = std::clamp<int64_t>(ceil_div(256, grad.width), 1, grad.height);
  const int64_t blocks = ceil_div(grad.height, some);
  const Parts parts(x.batch * blocks, 2, size * run * grad.channels, out);
  parallel_for(pool, parts.count * size, [&](int64_t item) {
    const int64_t part = item / size, tap = item % size;
    const bool direct = grad.channels == grad_row;
    float* copy = scratch<float, 0>(some * row);
    float* grads = scratch<float, 1>(direct ? 0 : some * grad.width * grad_row);
    float* sums = scratch<float, 3>(direct ? 0 : run * grad_row);
    float* result = parts.of(part) + tap * run * grad.channels;
    for (int64_t block = parts.begin(part); block < parts.begin(part + 1); ++block) {
      const int64_t image = block / blocks, first = block % blocks * some;
      const int64_t rows = std::min(some, grad.height - first);
      for (int64_t m = 0; m < rows; ++m) {
        x.copy(image, (first + m) * stride + tap - padding, -padding, 1, pixels,
               x.channels, copy + m * row);
      }
      const float* right =
          grad.data + (image * grad.height + first) * grad.width * grad.channels;
      if (!direct) {
        grad.copy(image, first, 0, rows, grad.width, grad_row, grads);
        right = grads;
      }
      multiply({copy, 1, stride * x.channels}, {right, kPanel, grad_row},
               direct ? result : sums, grad_row, run, grad.channels,
               {grad.width, rows, row, grad.width * grad_row},
               block > parts.begin(part));
    }
    for (int64_t r = 0; r < run && !direct; ++r) {
      std::memcpy(result + r * grad.channels, sums + r * grad_row, 4 * grad.channels);
    }
  });
  parts.add(pool);
}

}  // namespace affjax

#endif  // AFFJAX_CSRC_CONV_DIRECT_H_
