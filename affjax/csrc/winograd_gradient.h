// The gradient of the kernel of a 3 x 3 convolution by Winograd's algorithm: the
// transpose of `winograd.h`, in which the planes of the kernel's gradient are products
// of the planes of inputs and of gradients.
#ifndef AFFJAX_CSRC_WINOGRAD_GRADIENT_H_
#define AFFJAX_CSRC_WINOGRAD_GRADIENT_H_

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "conv_parts.h"
#include "winograd.h"

namespace affjax {

// Transforms planes [36, channels, row] of a kernel's gradient and stores it as
// [9, all_channels, out_channels], from the first of its channels on.
inline void write_kernel(const float* planes, ptrdiff_t plane, int64_t row,
                         int64_t channels, int64_t all_channels, int64_t out_channels,
                         float* to) {
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t o = 0; o < out_channels; o += kLanes) {
      const int64_t used = std::min<int64_t>(kLanes, out_channels - o);
      float taps[9 * kLanes];
      float* into = taps;
      transform(
          return_kernel,
          [=](int i, int j) {
            return load(planes + (i * kInSide + j) * plane + c * row + o);
          },
          [=](int i, int j, Vec v) { store(into + (3 * i + j) * kLanes, v); });
      for (int64_t tap = 0; tap < 9; ++tap) {
        std::memcpy(to + (tap * all_channels + c) * out_channels + o,
                    taps + tap * kLanes, 4 * used);
      }
    }
  }
}

// Computes the gradient [3, 3, channels, out_channels] from x [tiles, channels] and the
// gradient of the result [tiles, out_channels].
inline void winograd_kernel_gradient(xla::ffi::ThreadPool& pool, const Tiles& tiles,
                                     const float* x, int64_t channels,
                                     const float* grad, int64_t out_channels,
                                     float* out) {
  constexpr int64_t kGroup = 64;  // channels of the input that are taken together
  constexpr int64_t kSome = 48;   // tiles that are taken together
  const int64_t groups = ceil_div(channels, kGroup);
  const Channels from{grad, out_channels, 0, out_channels};
  const int64_t count = tiles.count(), row = from.padded();
  const int64_t some = std::min(kSome, count);
  const Parts parts(count, 2 * some, 9 * channels * out_channels, out);
  const int64_t grad_plane = plane_size(some * row);
  const int64_t kernel_plane = plane_size(kGroup * row);
  parallel_for(pool, parts.count * groups, [&](int64_t item) {
    const int64_t part = item / groups, group = item % groups;
    const int64_t channel = group * kGroup;
    const Channels input{x, channels, channel, std::min(kGroup, channels - channel)};
    const int64_t in_plane = plane_size(some * input.padded());
    float* in_planes = scratch<float, 0>(kPlanes * in_plane);
    float* grad_planes = scratch<float, 1>(kPlanes * grad_plane);
    float* sums = scratch<float, 3>(kPlanes * kernel_plane);
    const int64_t begin = parts.begin(part), end = parts.begin(part + 1);
    for (int64_t first = begin; first < end; first += some) {
      const int64_t number = std::min(some, end - first);
      for (int64_t t = 0; t < number; ++t) {
        const Place at(tiles, first + t);
        transform_tile<kInSide, 1>(transform_input, tiles, input, at,
                                   in_planes + t * input.padded(), in_plane);
        transform_tile<kOutSide, 0>(return_output, tiles, from, at,
                                    grad_planes + t * row, grad_plane);
      }
      for (int64_t p = 0; p < kPlanes; ++p) {
        multiply({in_planes + p * in_plane, 1, input.padded()},
                 {grad_planes + p * grad_plane, kPanel, row}, sums + p * kernel_plane,
                 row, input.count, out_channels, number, first > begin);
      }
    }
    write_kernel(sums, kernel_plane, row, input.count, channels, out_channels,
                 parts.of(part) + channel * out_channels);
  });
  parts.add(pool);
}

}  // namespace affjax

#endif  // AFFJAX_CSRC_WINOGRAD_GRADIENT_H_
