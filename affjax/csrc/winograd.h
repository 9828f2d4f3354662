// Convolution with kernels of 3 x 3 px and stride 1 by Winograd's minimal filtering
// F(4 x 4, 3 x 3): Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks",
// 2016.
//
// An output tile of 4 x 4 pixels comes from an input tile of 6 x 6, by 36 products a
// pair of channels instead of 144. The polynomials are interpolated at 0, +-1/sqrt(2),
// +-sqrt(2) and infinity, which are kinder to float32 than the paper's 0, +-1, +-2.
#ifndef AFFJAX_CSRC_WINOGRAD_H_
#define AFFJAX_CSRC_WINOGRAD_H_

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "matmul.h"
#include "parallel.h"

namespace affjax {

constexpr int kOutSide = 4, kInSide = 6, kPlanes = kInSide * kInSide;
constexpr float kNear = 0.70710678f, kFar = 1.41421356f;  // the points +-p
constexpr float kNear3 = 0.35355339f, kFar3 = 2.82842712f;
constexpr float kThird = 1.0f / 3, kSixth = 1.0f / 6;

// The one-dimensional transforms. Each applies a matrix to a line of pixels or planes.

inline void transform_input(const Vec (&d)[6], Vec (&to)[6]) {
  const Vec near = kNear * (d[3] - 2.0f * d[1]), near_even = d[4] - 2.0f * d[2];
  const Vec far = kFar * (d[3] - 0.5f * d[1]), far_even = d[4] - 0.5f * d[2];
  to[0] = (d[0] - 2.5f * d[2]) + d[4];
  to[1] = near_even + near;
  to[2] = near_even - near;
  to[3] = far_even + far;
  to[4] = far_even - far;
  to[5] = (d[5] - 2.5f * d[3]) + d[1];
}

inline void transform_kernel(const Vec (&k)[3], Vec (&to)[6]) {
  const Vec near = (-2 * kThird * kNear) * k[1];
  const Vec near_even = (-2 * kThird) * k[0] - kThird * k[2];
  const Vec far = (kSixth * kFar) * k[1];
  const Vec far_even = kSixth * k[0] + kThird * k[2];
  to[0] = k[0];
  to[1] = near_even + near;
  to[2] = near_even - near;
  to[3] = far_even + far;
  to[4] = far_even - far;
  to[5] = k[2];
}

inline void transform_output(const Vec (&m)[6], Vec (&to)[4]) {
  const Vec near_even = m[1] + m[2], near = m[1] - m[2];
  const Vec far_even = m[3] + m[4], far = m[3] - m[4];
  to[0] = m[0] + near_even + far_even;
  to[1] = kNear * near + kFar * far;
  to[2] = 0.5f * near_even + 2.0f * far_even;
  to[3] = m[5] + kNear3 * near + kFar3 * far;
}

// The transposes of the last two, which take gradients of outputs to gradients of
// planes, and these to gradients of the kernel.

inline void return_output(const Vec (&g)[4], Vec (&to)[6]) {
  const Vec near_even = g[0] + 0.5f * g[2], near = kNear * g[1] + kNear3 * g[3];
  const Vec far_even = g[0] + 2.0f * g[2], far = kFar * g[1] + kFar3 * g[3];
  to[0] = g[0];
  to[1] = near_even + near;
  to[2] = near_even - near;
  to[3] = far_even + far;
  to[4] = far_even - far;
  to[5] = g[3];
}

inline void return_kernel(const Vec (&u)[6], Vec (&to)[3]) {
  const Vec near_even = u[1] + u[2], near = u[1] - u[2];
  const Vec far_even = u[3] + u[4], far = u[3] - u[4];
  to[0] = u[0] - (2 * kThird) * near_even + kSixth * far_even;
  to[1] = (kSixth * kFar) * far - (2 * kThird * kNear) * near;
  to[2] = u[5] + kThird * (far_even - near_even);
}

// Applies a transform to the columns and then to the rows of a square. The functions
// are passed by value, and must capture by value, so that addresses stay in registers.
template <int kFrom, int kTo, typename Load, typename Store>
inline void transform(void (&line)(const Vec (&)[kFrom], Vec (&)[kTo]), Load load_at,
                      Store store_at) {
  alignas(64) Vec half[kTo][kFrom];
  for (int j = 0; j < kFrom; ++j) {
    Vec from[kFrom], to[kTo];
    for (int i = 0; i < kFrom; ++i) from[i] = load_at(i, j);
    line(from, to);
    for (int i = 0; i < kTo; ++i) half[i][j] = to[i];
  }
  for (int i = 0; i < kTo; ++i) {
    Vec to[kTo];
    line(half[i], to);
    for (int j = 0; j < kTo; ++j) store_at(i, j, to[j]);
  }
}

// The tiles of 4 x 4 pixels of a batch of images [batch, height, width, channels].
struct Tiles {
  int64_t batch, height, width;

  int64_t rows() const { return ceil_div(height, kOutSide); }
  int64_t columns() const { return ceil_div(width, kOutSide); }
  int64_t count() const { return batch * rows() * columns(); }
};

// The pixels of a tile, and the part of it that lies in the image.
struct Place {
  int64_t image, row, column, height, width;

  Place(const Tiles& tiles, int64_t tile)
      : image(tile / (tiles.rows() * tiles.columns())),
        row(tile / tiles.columns() % tiles.rows() * kOutSide),
        column(tile % tiles.columns() * kOutSide),
        height(std::min<int64_t>(kOutSide, tiles.height - row)),
        width(std::min<int64_t>(kOutSide, tiles.width - column)) {}
};

// Some channels of images [batch, height, width, all].
struct Channels {
  const float* images;
  int64_t all, first, count;

  int64_t padded() const { return round_up(count, kLanes); }
};

// Transforms a tile of kSide^2 pixels, which begins kBefore pixels before its place,
// and stores vectors of its channels in the planes. Pixels outside the image are zero.
template <int kSide, int kBefore>
void transform_tile(void (&line)(const Vec (&)[kSide], Vec (&)[kInSide]),
                    const Tiles& tiles, const Channels& from, const Place& at,
                    float* planes, ptrdiff_t plane) {
  const int64_t top = at.row - kBefore, left = at.column - kBefore;
  const int64_t padded = from.padded();
  const float* pixels =
      from.images + ((at.image * tiles.height + top) * tiles.width + left) * from.all +
      from.first;
  ptrdiff_t row = tiles.width * from.all, pixel = from.all;
  const bool inside = top >= 0 && left >= 0 && top + kSide <= tiles.height &&
                      left + kSide <= tiles.width;
  if (!inside || padded != from.count) {
    float* copy = scratch<float, 2>(kSide * kSide * padded);
    for (int64_t i = 0; i < kSide; ++i) {
      for (int64_t j = 0; j < kSide; ++j) {
        float* to = copy + (i * kSide + j) * padded;
        const bool present = top + i >= 0 && top + i < tiles.height && left + j >= 0 &&
                             left + j < tiles.width;
        const int64_t used = present ? from.count : 0;
        if (present) std::memcpy(to, pixels + i * row + j * pixel, 4 * used);
        std::fill(to + used, to + padded, 0.0f);
      }
    }
    pixels = copy;
    row = kSide * padded;
    pixel = padded;
  }
  for (int64_t c = 0; c < padded; c += kLanes) {
    transform(
        line, [=](int i, int j) { return load(pixels + i * row + j * pixel + c); },
        [=](int i, int j, Vec v) { store(planes + (i * kInSide + j) * plane + c, v); });
  }
}

// Distance of planes of a size. Odd multiples of a cache line put the same place of all
// planes in different cache sets.
inline int64_t plane_size(int64_t size) {
  constexpr int64_t kLine = 16;
  return (ceil_div(size, kLine) | 1) * kLine;
}

// The transformed kernel: planes of the layout that `multiply` reads.
struct KernelPlanes {
  float* data;
  int64_t depth, columns;

  int64_t panels() const { return ceil_div(columns, kPanel); }
  int64_t plane() const { return plane_size(panels() * depth * kPanel); }
  int64_t size() const { return kPlanes * plane(); }
  Right right(int64_t plane_index, int64_t panel) const {
    return {data + plane_index * plane() + panel * depth * kPanel, depth * kPanel,
            kPanel};
  }
};

// A kernel [3, 3, channels, out_channels], read as it is or, for the gradient of the
// input, turned by half a circle and with inputs and outputs exchanged.
struct Kernel3 {
  const float* data;
  int64_t channels, out_channels;
  bool turned;

  // Copies `columns` columns of `rows` rows of the matrix of a tap, which becomes
  // [rows, kPanel].
  void copy(int64_t tap, int64_t row, int64_t rows, int64_t column, int64_t columns,
            float* to) const {
    if (turned) {
      const float* from = data + ((8 - tap) * channels + column) * out_channels + row;
      for (int64_t c = 0; c < columns; ++c)
        for (int64_t r = 0; r < rows; ++r)
          to[r * kPanel + c] = from[c * out_channels + r];
    } else {
      const float* from = data + (tap * channels + row) * out_channels + column;
      for (int64_t r = 0; r < rows; ++r)
        std::copy(from + r * out_channels, from + r * out_channels + columns,
                  to + r * kPanel);
    }
  }
};

inline void fill_planes(xla::ffi::ThreadPool& pool, const Kernel3& kernel,
                        const KernelPlanes& to) {
  constexpr int64_t kRun = 16;
  const int64_t runs = ceil_div(to.depth, kRun);
  parallel_for(pool, to.panels() * runs, [&](int64_t item) {
    const int64_t panel = item / runs, first = item % runs * kRun;
    const int64_t rows = std::min(kRun, to.depth - first), plane = to.plane();
    const int64_t column = panel * kPanel;
    const int64_t used = std::min<int64_t>(kPanel, to.columns - column);
    float taps[9][kRun][kPanel] = {};
    for (int64_t tap = 0; tap < 9; ++tap)
      kernel.copy(tap, first, rows, column, used, taps[tap][0]);
    for (int64_t i = 0; i < rows * kPanel; i += kLanes) {
      const float* from = taps[0][0] + i;
      float* planes = to.data + (panel * to.depth + first) * kPanel + i;
      transform(
          transform_kernel,
          [=](int y, int x) { return load(from + (3 * y + x) * kRun * kPanel); },
          [=](int y, int x, Vec u) { store(planes + (kInSide * y + x) * plane, u); });
    }
  });
}

// Returns how many tiles are worked on at a time, at most: the measured times hardly
// depend on it between 12 and 48.
inline int64_t tiles_at_once(int64_t count) {
  constexpr int64_t kMost = 24;
  return ceil_div(count, ceil_div(count, kMost));
}

// Transforms the sums of a tile back and writes `count` channels of its pixels.
inline void write_tile(const float* sums, ptrdiff_t plane, const Place& at,
                       int64_t count, float* to, ptrdiff_t row, ptrdiff_t pixel) {
  for (int64_t o = 0; o < count; o += kLanes) {
    const int64_t used = std::min<int64_t>(kLanes, count - o);
    const auto load_at = [=](int i, int j) {
      return load(sums + (i * kInSide + j) * plane + o);
    };
    if (at.height == kOutSide && at.width == kOutSide && used == kLanes) {
      transform(transform_output, load_at,
                [=](int i, int j, Vec v) { store(to + i * row + j * pixel + o, v); });
      continue;
    }
    float pixels[kOutSide * kOutSide * kLanes];
    float* into = pixels;
    transform(transform_output, load_at, [=](int i, int j, Vec v) {
      store(into + (i * kOutSide + j) * kLanes, v);
    });
    for (int64_t i = 0; i < at.height; ++i)
      for (int64_t j = 0; j < at.width; ++j)
        std::memcpy(to + i * row + j * pixel + o, pixels + (i * kOutSide + j) * kLanes,
                    4 * used);
  }
}

// Convolves x [tiles, kernel.depth] to y [tiles, kernel.columns].
inline void winograd(xla::ffi::ThreadPool& pool, const Tiles& tiles, const float* x,
                     const KernelPlanes& kernel, float* y) {
  const Channels from{x, kernel.depth, 0, kernel.depth};
  const int64_t count = tiles.count(), all = kernel.columns;
  const int64_t some = tiles_at_once(count);
  const int64_t blocks = ceil_div(count, some);
  // If there are few tiles, several threads transform the same ones and divide their
  // outputs.
  const int64_t shares =
      std::min(ceil_div(kernel.panels(), 2), ceil_div(thread_count(pool), blocks));
  const int64_t in_plane = plane_size(some * from.padded());
  parallel_for(pool, blocks * shares, [&](int64_t item) {
    const int64_t first = item / shares * some, end = std::min(first + some, count);
    const int64_t panel = kernel.panels() * (item % shares) / shares;
    const int64_t last = kernel.panels() * (item % shares + 1) / shares;
    const int64_t column = panel * kPanel;
    const int64_t columns = std::min(last * kPanel, all) - column;
    const int64_t sums_row = round_up(columns, kLanes);
    const int64_t out_plane = plane_size(some * sums_row);
    float* planes = scratch<float, 0>(kPlanes * in_plane);
    float* sums = scratch<float, 1>(kPlanes * out_plane);
    for (int64_t t = first; t < end; ++t) {
      transform_tile<kInSide, 1>(transform_input, tiles, from, Place(tiles, t),
                                 planes + (t - first) * from.padded(), in_plane);
    }
    for (int64_t p = 0; p < kPlanes; ++p) {
      multiply({planes + p * in_plane, from.padded(), 1}, kernel.right(p, panel),
               sums + p * out_plane, sums_row, end - first, columns, kernel.depth,
               false);
    }
    for (int64_t t = first; t < end; ++t) {
      const Place at(tiles, t);
      float* to =
          y + ((at.image * tiles.height + at.row) * tiles.width + at.column) * all;
      write_tile(sums + (t - first) * sums_row, out_plane, at, columns, to + column,
                 tiles.width * all, all);
    }
  });
}

}  // namespace affjax

#endif  // AFFJAX_CSRC_WINOGRAD_H_
