// The three passes of a plain convolution, each by the faster of two algorithms.
#ifndef AFFJAX_CSRC_CONV_PASSES_H_
#define AFFJAX_CSRC_CONV_PASSES_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "conv_direct.h"
#include "lease.h"
#include "parallel.h"
#include "winograd.h"
#include "winograd_gradient.h"

namespace affjax {

// The sizes of a convolution of images [batch, height, width, channels] with a kernel
// [size, size, channels, out_channels].
struct Convolution {
  int64_t batch, height, width, channels, out_channels, size, stride;

  int64_t rows() const { return ceil_div(height, stride); }
  int64_t columns() const { return ceil_div(width, stride); }
  Tiles tiles() const { return {batch, height, width}; }
  // Whether Winograd's algorithm is faster, as measured, for sums over `depth`
  // channels: tiles must be mostly inside the image, and products must outweigh
  // transforms.
  bool winograd(int64_t depth) const {
    constexpr int64_t kLeast = 8;
    return size == 3 && stride == 1 && depth >= kLeast &&
           5 * batch * height * width >= 2 * kOutSide * kOutSide * tiles().count();
  }
};

inline void forward(xla::ffi::ThreadPool& pool, const Convolution& c, const float* x,
                    const float* kernel, float* y) {
  if (c.batch == 0) return;
  if (c.winograd(c.channels)) {
    KernelPlanes planes{nullptr, c.channels, c.out_channels};
    const Lease memory(planes.size());
    planes.data = memory.get();
    fill_planes(pool, {kernel, c.channels, c.out_channels, false}, planes);
    winograd(pool, c.tiles(), x, planes, y);
    return;
  }
  const int64_t depth = c.size * c.size * c.channels;
  const Lease memory(depth * round_up(c.out_channels, kPanel));
  const Phase phase{forward_axis(c.height, c.size, c.stride),
                    forward_axis(c.width, c.size, c.stride), memory.get()};
  phase.pack(pool, depth, c.out_channels,
             [&](int64_t k, int64_t o) { return kernel[k * c.out_channels + o]; });
  correlate(pool, {x, c.batch, c.height, c.width, c.channels}, {phase}, y, c.rows(),
            c.columns(), c.out_channels);
}

inline void input_gradient(xla::ffi::ThreadPool& pool, const Convolution& c,
                           const float* kernel, const float* grad, float* out) {
  if (c.batch == 0) return;
  if (c.winograd(c.out_channels)) {
    KernelPlanes planes{nullptr, c.out_channels, c.channels};
    const Lease memory(planes.size());
    planes.data = memory.get();
    fill_planes(pool, {kernel, c.channels, c.out_channels, true}, planes);
    winograd(pool, c.tiles(), grad, planes, out);
    return;
  }
  const int64_t columns = round_up(c.channels, kPanel);
  const Lease memory(c.size * c.size * c.out_channels * columns);
  float* taps = memory.get();
  std::vector<Phase> phases;
  for (int64_t down = 0; down < c.stride; ++down) {
    for (int64_t right = 0; right < c.stride; ++right) {
      const Phase phase{gradient_axis(c.height, c.size, c.stride, down),
                        gradient_axis(c.width, c.size, c.stride, right), taps};
      const int64_t y_window = phase.y.window, x_window = phase.x.window;
      if (phase.y.count() == 0 || phase.x.count() == 0) continue;
      // The taps are turned by half a circle.
      const int64_t depth = y_window * x_window * c.out_channels;
      phase.pack(pool, depth, c.channels, [&](int64_t k, int64_t channel) {
        const int64_t o = k % c.out_channels, tap = k / c.out_channels;
        const int64_t i = down + c.stride * (y_window - 1 - tap / x_window);
        const int64_t j = right + c.stride * (x_window - 1 - tap % x_window);
        return kernel[((i * c.size + j) * c.channels + channel) * c.out_channels + o];
      });
      phases.push_back(phase);
      taps += depth * columns;
    }
  }
  correlate(pool, {grad, c.batch, c.rows(), c.columns(), c.out_channels}, phases, out,
            c.height, c.width, c.channels);
}

inline void kernel_gradient(xla::ffi::ThreadPool& pool, const Convolution& c,
                            const float* x, const float* grad, float* out) {
  if (c.batch == 0) {
    std::fill(out, out + c.size * c.size * c.channels * c.out_channels, 0.0f);
  } else if (c.winograd(c.channels)) {
    winograd_kernel_gradient(pool, c.tiles(), x, c.channels, grad, c.out_channels, out);
  } else {
    direct_kernel_gradient(pool, {x, c.batch, c.height, c.width, c.channels},
                           {grad, c.batch, c.rows(), c.columns(), c.out_channels},
                           c.size, c.stride, out);
  }
}

}  // namespace affjax

#endif  // AFFJAX_CSRC_CONV_PASSES_H_
