// Affine convolution on CPUs: forward and backward, behind XLA's FFI.
//
// A tile of output pixels is sampled into a buffer that stays in cache and multiplied
// there with the kernel; the matrix of all samples ("columns", size^2 times the input)
// never exists. The backward pass samples again. It serves plain convolutions as well,
// those of the matrices that predict matrices among them.
//
// Results do not depend on which thread computes what: every sum has one order, fixed by
// the sizes and the number of threads.
#if defined(__clang__)
#pragma clang fp contract(fast)
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=fast")
#endif

#include <cstring>
#include <new>
#include <string>
#include <type_traits>

#include "affine_footprint.h"
#include "matmul.h"
#include "parallel.h"

namespace affjax {
namespace {

namespace ffi = xla::ffi;

// ---- Numbers: float32, or bfloat16 as the upper half of one ----

using affjax::load;  // beside the one below

struct Bf16 {
  uint16_t bits;
};

inline Vec load(const Bf16* from) {
  typedef uint16_t Half __attribute__((vector_size(2 * kLanes), aligned(2), may_alias));
  typedef uint32_t Bits __attribute__((vector_size(4 * kLanes)));
  const Bits bits =
      __builtin_convertvector(*reinterpret_cast<const Half*>(from), Bits) << 16;
  Vec value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline float widen(float value) { return value; }
inline float widen(Bf16 value) {
  const uint32_t bits = uint32_t(value.bits) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

inline void narrow(float value, float* to) { *to = value; }
inline void narrow(float value, Bf16* to) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  // To the nearest, ties to even; NaN stays NaN.
  const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  to->bits = uint16_t(value != value ? bits >> 16 | 0x40 : rounded);
}

template <typename T>
void widen_row(const T* from, int64_t count, float* to) {
  for (int64_t i = 0; i < count; ++i) to[i] = widen(from[i]);
}

template <typename T>
void narrow_row(const float* from, int64_t count, T* to) {
  for (int64_t i = 0; i < count; ++i) narrow(from[i], to + i);
}

// ---- Sampling ----

// A row of zeros to read outside the image, and one to throw gradients away.
struct Outside {
  Buffer<float> zeros, waste;
  explicit Outside(int64_t channels) : zeros(channels), waste(channels) {
    std::memset(zeros.get(), 0, channels * sizeof(float));
    std::memset(waste.get(), 0, channels * sizeof(float));
  }
};

template <typename T>
struct Corners {
  const T* at[4];
  float weight[4];

  Corners(const TapFootprint& f, int64_t pixel, const T* image, int64_t channels,
          const Outside& outside) {
    for (int c = 0; c < 4; ++c) {
      const int64_t corner = f.corner[c][pixel];
      at[c] = corner < 0 ? reinterpret_cast<const T*>(outside.zeros.get())
                         : image + corner * channels;
      weight[c] = f.weight[c][pixel];
    }
  }
};

// Pixels between asking for memory and reading it.
constexpr int64_t kAhead = 4;

template <typename T>
inline void prefetch(const TapFootprint& f, int64_t pixel, const T* image,
                     int64_t stride, int64_t channels) {
  for (int c = 1; c < 4; c += 2) {
    const int64_t corner = f.corner[c][pixel];
    if (corner < 0) continue;
    const char* from = reinterpret_cast<const char*>(image + corner * stride);
    for (size_t i = 0; i < channels * sizeof(T); i += 64) __builtin_prefetch(from + i);
  }
}

template <typename T>
inline void sample(const Corners<T>& k, int64_t channels, float* out) {
  int64_t i = 0;
  const Vec w[4] = {all(k.weight[0]), all(k.weight[1]), all(k.weight[2]),
                    all(k.weight[3])};
  for (; i + kLanes <= channels; i += kLanes) {
    store(out + i, w[0] * load(k.at[0] + i) + w[1] * load(k.at[1] + i) +
                       (w[2] * load(k.at[2] + i) + w[3] * load(k.at[3] + i)));
  }
  for (; i < channels; ++i) {
    out[i] = k.weight[0] * widen(k.at[0][i]) + k.weight[1] * widen(k.at[1][i]) +
             (k.weight[2] * widen(k.at[2][i]) + k.weight[3] * widen(k.at[3][i]));
  }
}

// ---- Forward ----

// The kernel [taps * channels, out_channels] in panels of float32, as `multiply` wants it.
template <typename T>
struct PackedKernel {
  Buffer<float> data;
  int64_t depth;
  int64_t panels;

  PackedKernel(ffi::ThreadPool& pool, const T* kernel, int64_t depth, int64_t columns)
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
  Right from(int64_t k) const { return {data.get() + k * kPanel, depth * kPanel, kPanel}; }
};

// Columns that are sampled before they are multiplied: about this many floats a pixel.
constexpr int64_t kDepth = 256;

// Pixels a tile: whole tiles for every thread where there are few.
inline int64_t tile_size(int64_t pixels, int64_t batch, int64_t threads) {
  int64_t tiles = ceil_div(pixels, kTile);
  while (tiles < pixels && tiles * batch < 8 * threads && tiles * batch % threads) {
    ++tiles;
  }
  return ceil_div(pixels, tiles);
}

template <typename T>
void forward(ffi::ThreadPool& pool, const Problem& p, const T* x, const float* coords,
             const float* prior, const T* kernel, T* out) {
  const int64_t depth = p.taps() * p.channels;
  const PackedKernel<T> packed(pool, kernel, depth, p.out_channels);
  const int64_t tile = tile_size(p.pixels(), p.batch, thread_count(pool));
  const int64_t tiles = ceil_div(p.pixels(), tile);
  const int64_t group = std::max<int64_t>(1, kDepth / p.channels);  // taps at a time
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


// ---- Backward ----

// How the backward pass is divided. An item is a group of channels of an image in a band
// of its output rows: items of different groups or images write different parts of the
// gradient of x, bands of one write to buffers of their own that are added up. A slot is
// a row of items that share one gradient of the kernel.
struct Division {
  int64_t group;   // channels at most
  int64_t groups, bands, items, slots;

  Division(const Problem& p, int64_t threads) {
    // Wide groups repeat less work, narrow ones keep more threads busy.
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
  // Items are ordered by group first, so that a slot has few of them.
  int64_t group_of(int64_t item) const { return item / (items / groups); }
  int64_t image_of(int64_t item) const { return item % (items / groups) / bands; }
  int64_t band_of(int64_t item) const { return item % bands; }
};

// The kernel transposed, [out_channels, taps * group] in panels: for each group of
// channels one, from gradients of the output to gradients of the columns.
template <typename T>
struct TransposedKernel {
  Buffer<float> data;
  int64_t panels, rows;

  TransposedKernel(ffi::ThreadPool& pool, const T* kernel, const Problem& p,
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

// Slopes of a sample weighted by `grad`, along x and y, summed over channels; a vector of
// partial sums each.
struct Slopes {
  Vec x{}, y{};
};

// One tap of one pixel: replaces the gradients of its samples, in `columns`, by the
// samples, and adds the gradients to the pixels that were read.
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

// What a plain convolution reads: a pixel as it is, or zeros outside.
template <typename T>
inline void copy_pixel(int64_t pixel, const T* image, int64_t stride, int64_t channels,
                       float* to) {
  if (pixel < 0) {
    std::fill(to, to + channels, 0.0f);
  } else {
    widen_row(image + pixel * stride, channels, to);
  }
}

template <typename T>
struct Backward {
  const Problem& p;
  const Division& d;
  const TransposedKernel<T>& transposed;
  const T* x;
  const float* coords;
  const float* prior;
  const T* grad;
  float* grad_x;         // [bands, batch, height, width, channels]
  float* grad_coords;    // [groups, batch, pixels, coordinates], of composed matrices
  float* grad_kernels;   // by slot and group, see `kernel_of`

  int64_t sums_row() const { return round_up(p.out_channels, kLanes); }
  int64_t kernel_size() const { return p.taps() * d.group * sums_row(); }
  // The slot's own gradient of the kernel for a group: there are slots + groups in all.
  float* kernel_of(int64_t slot, int64_t group) const {
    return grad_kernels + (slot + group) * kernel_size();
  }

  void run_slot(int64_t slot) const {
    const Outside outside(d.group);
    const Buffer<TapFootprint> footprints(p.taps());
    const int64_t grad_row = sums_row() + kLanes;  // neighbours in other cache sets
    const Buffer<float> grads(kTile * grad_row);
    const Buffer<float> columns(kTile * round_up(p.taps() * d.group, kLanes));
    for (int64_t item = d.first_item(slot); item < d.first_item(slot + 1); ++item) {
      const int64_t group = d.group_of(item);
      float* kernel = kernel_of(slot, group);
      if (item == d.first_item(slot) || group != d.group_of(item - 1)) {
        std::fill(kernel, kernel + kernel_size(), 0.0f);
      }
      run_item(item, kernel, outside, footprints.get(), grads.get(), grad_row,
               columns.get());
    }
  }

  void run_item(int64_t item, float* kernel, const Outside& outside,
                TapFootprint* footprints, float* grads, int64_t grad_row,
                float* columns) const {
    const int64_t n = d.image_of(item), group = d.group_of(item), band = d.band_of(item);
    const int64_t channel = group * d.group;
    const int64_t width = std::min(d.group, p.channels - channel);
    const int64_t size = p.height * p.width;
    float* grad_image = grad_x + (band * p.batch + n) * size * p.channels + channel;
    for (int64_t i = 0; i < size; ++i) {
      std::memset(grad_image + i * p.channels, 0, width * sizeof(float));
    }
    const int64_t row = p.taps() * width, stored_row = round_up(row, kLanes);
    const int64_t end = p.rows * (band + 1) / d.bands * p.columns;
    for (int64_t first = p.rows * band / d.bands * p.columns; first < end;
         first += kTile) {
      const int64_t count = std::min(kTile, end - first);
      if (p.plain()) {
        place_plain_taps(p, first, count, footprints);
      } else {
        place_taps(p, coords + n * p.pixels() * p.coordinates(),
                   prior + n * p.pixels() * 6, first, count, footprints);
      }
      for (int64_t i = 0; i < count; ++i) {
        widen_row(grad + (n * p.pixels() + first + i) * p.out_channels, p.out_channels,
                  grads + i * grad_row);
        std::fill(grads + i * grad_row + p.out_channels, grads + (i + 1) * grad_row,
                  0.0f);
      }
      multiply({grads, grad_row, 1}, transposed.of(group), columns, stored_row, count,
               row, p.out_channels, false);
      float* moved = grad_coords +
                     ((group * p.batch + n) * p.pixels() + first) * p.coordinates();
      const T* image = x + n * size * p.channels + channel;
      for (int64_t i = 0; i < count; ++i) {
        if (p.plain()) {
          return_pixel(footprints, i, image, grad_image, width,
                       columns + i * stored_row);
          continue;
        }
        const int64_t ahead = std::min(i + kAhead, count - 1);
        for (int64_t tap = 0; tap < p.taps(); ++tap) {
          prefetch(footprints[tap], ahead, image, p.channels, width);
          prefetch(footprints[tap], ahead, grad_image, p.channels, width);
        }
        unsample_pixel(footprints, i, image, grad_image, width, outside,
                       columns + i * stored_row, moved + i * p.coordinates());
      }
      multiply({columns, 1, stored_row}, {grads, kPanel, grad_row}, kernel, sums_row(),
               row, p.out_channels, count, true);
    }
  }

  // A pixel of a plain convolution, as `unsample_pixel`.
  void return_pixel(const TapFootprint* footprints, int64_t i, const T* image,
                    float* grad_image, int64_t width, float* columns) const {
    for (int64_t tap = 0; tap < p.taps(); ++tap, columns += width) {
      const int64_t pixel = footprints[tap].corner[0][i];
      if (pixel >= 0) {
        float* to = grad_image + pixel * p.channels;
        for (int64_t c = 0; c < width; ++c) to[c] += columns[c];
      }
      copy_pixel(pixel, image, p.channels, width, columns);
    }
  }

  void unsample_pixel(const TapFootprint* footprints, int64_t i, const T* image,
                      float* grad_image, int64_t width, const Outside& outside,
                      float* columns, float* moved) const {
    Vec matrix[6] = {};
    for (int64_t tap = 0; tap < p.taps(); ++tap) {
      const TapFootprint& f = footprints[tap];
      const Corners<T> corners(f, i, image, p.channels, outside);
      float* grads[4];
      for (int c = 0; c < 4; ++c) {
        const int64_t corner = f.corner[c][i];
        grads[c] = corner < 0 ? outside.waste.get() : grad_image + corner * p.channels;
      }
      const float fraction[2] = {f.fraction[0][i], f.fraction[1][i]};
      Slopes slopes =
          unsample(corners, grads, fraction, width, columns + tap * width);
      if (!f.moves[0][i]) slopes.x = Vec{};
      if (!f.moves[1][i]) slopes.y = Vec{};
      if (p.offsets()) {
        moved[2 * tap] = sum(slopes.x);
        moved[2 * tap + 1] = sum(slopes.y);
        continue;
      }
      const Point d = p.tap(tap);
      matrix[0] += d.x * slopes.x;
      matrix[1] += d.y * slopes.x;
      matrix[2] += slopes.x;
      matrix[3] += d.x * slopes.y;
      matrix[4] += d.y * slopes.y;
      matrix[5] += slopes.y;
    }
    if (p.offsets()) return;
    for (int k = 0; k < 6; ++k) moved[k] = sum(matrix[k]);
  }

  // Adds the slots' gradients of the kernel, in their order.
  void finish_kernel(ffi::ThreadPool& pool, T* out) const {
    parallel_for(pool, d.groups * p.taps(), [&](int64_t item) {
      const int64_t group = item / p.taps(), tap = item % p.taps();
      const int64_t channel = group * d.group;
      const int64_t width = std::min(d.group, p.channels - channel);
      const Buffer<float> total(p.out_channels);
      for (int64_t c = 0; c < width; ++c) {
        std::fill(total.get(), total.get() + p.out_channels, 0.0f);
        for (int64_t slot = 0; slot < d.slots; ++slot) {
          if (d.group_of(d.first_item(slot)) > group ||
              d.group_of(d.first_item(slot + 1) - 1) < group) {
            continue;
          }
          const float* part = kernel_of(slot, group) + (tap * width + c) * sums_row();
          for (int64_t o = 0; o < p.out_channels; ++o) total[o] += part[o];
        }
        narrow_row(total.get(), p.out_channels,
                   out + (tap * p.channels + channel + c) * p.out_channels);
      }
    });
  }

  // Adds the bands' gradients of x. Nothing to do where they were computed in place.
  void finish_x(ffi::ThreadPool& pool, T* out) const {
    if (reinterpret_cast<float*>(out) == grad_x) return;
    const int64_t row = p.width * p.channels, size = p.batch * p.height * row;
    parallel_for(pool, p.batch * p.height, [&](int64_t item) {
      float* total = grad_x + item * row;
      for (int64_t band = 1; band < d.bands; ++band) {
        for (int64_t i = 0; i < row; ++i) total[i] += total[band * size + i];
      }
      narrow_row(total, row, out + item * row);
    });
  }

  // Adds the groups' gradients of coordinates and undoes the composition.
  void finish_coords(ffi::ThreadPool& pool, float* out, float* out_prior) const {
    const int64_t each = p.coordinates(), size = p.batch * p.pixels() * each;
    parallel_for(pool, p.batch * p.rows, [&](int64_t item) {
      for (int64_t i = item * p.columns; i < (item + 1) * p.columns; ++i) {
        float* total = grad_coords + i * each;
        for (int64_t group = 1; group < d.groups; ++group) {
          for (int64_t k = 0; k < each; ++k) total[k] += total[group * size + k];
        }
        if (p.prior) {
          Affine by_prior, by_theta;
          compose_gradient(load_affine(prior + i * each), load_affine(coords + i * each),
                           load_affine(total), by_prior, by_theta);
          std::copy(by_prior.m, by_prior.m + each, out_prior + i * each);
          std::copy(by_theta.m, by_theta.m + each, out + i * each);
        } else if (out != grad_coords) {
          std::copy(total, total + each, out + i * each);
        }
      }
    });
  }
};

template <typename T>
void backward(ffi::ThreadPool& pool, const Problem& p, const T* x, const float* coords,
              const float* prior, const T* kernel, const T* grad, T* grad_x,
              float* grad_coords, float* grad_prior, T* grad_kernel) {
  const Division d(p, thread_count(pool));
  const TransposedKernel<T> transposed(pool, kernel, p, d);
  const int64_t x_size = p.batch * p.height * p.width * p.channels;
  const int64_t coords_size = p.batch * p.pixels() * p.coordinates();
  const bool in_place = std::is_same_v<T, float> && d.bands == 1;
  const bool final_coords = d.groups == 1 && !p.prior;
  const Buffer<float> own_x(in_place ? 0 : d.bands * x_size);
  const Buffer<float> own_coords(final_coords ? 0 : d.groups * coords_size);
  Backward<T> pass{p,
                   d,
                   transposed,
                   x,
                   coords,
                   prior,
                   grad,
                   in_place ? reinterpret_cast<float*>(grad_x) : own_x.get(),
                   final_coords ? grad_coords : own_coords.get(),
                   nullptr};
  const Buffer<float> kernels((d.slots + d.groups) * pass.kernel_size());
  pass.grad_kernels = kernels.get();
  parallel_for(pool, d.slots, [&](int64_t slot) { pass.run_slot(slot); });
  pass.finish_kernel(pool, grad_kernel);
  pass.finish_x(pool, grad_x);
  if (!p.plain()) pass.finish_coords(pool, grad_coords, grad_prior);
}

// ---- FFI ----

using AnyResult = ffi::Result<ffi::AnyBuffer>;

ffi::Error invalid(const std::string& message) {
  return ffi::Error(ffi::ErrorCode::kInvalidArgument, "affine_conv: " + message);
}

// Reads the sizes of a call; everything that an address depends on is checked here.
ffi::Error read_problem(const ffi::AnyBuffer& x, const ffi::AnyBuffer& coords,
                        const ffi::AnyBuffer& prior, const ffi::AnyBuffer& kernel,
                        int64_t stride, Problem* p) {
  const auto xs = x.dimensions(), cs = coords.dimensions(), ps = prior.dimensions(),
             ks = kernel.dimensions();
  if (xs.size() != 4 || ks.size() != 4 || ks[0] != ks[1] || ks[0] < 1 ||
      ks[2] != xs[3] || stride < 1) {
    return invalid("x must be [N, H, W, C] and kernel [K, K, C, O]");
  }
  if (xs[1] < 1 || xs[2] < 1 || xs[3] < 1 || ks[3] < 1 ||
      (xs[1] + 2) * (xs[2] + 2) >= int64_t{1} << 31) {
    return invalid("H, W, C, O must be at least 1 and H W below 2^31");
  }
  *p = Problem{xs[0], xs[1], xs[2], xs[3], ceil_div(xs[1], stride),
               ceil_div(xs[2], stride), ks[3], ks[0], stride,
               Coords::kNone, ps.size() == 5};
  if (coords.element_count() != 0 || cs.size() == 5) {
    const bool affine = cs.size() == 5 && cs[3] == 2 && cs[4] == 3;
    p->coords = affine ? Coords::kAffine : Coords::kOffsets;
    if (cs.size() != 5 || cs[0] != p->batch || cs[1] != p->rows ||
        cs[2] != p->columns || !(affine || (cs[3] == p->taps() && cs[4] == 2))) {
      return invalid("coords must be empty, [N, Ho, Wo, 2, 3] or [N, Ho, Wo, K K, 2]");
    }
  }
  if (p->prior ? p->coords != Coords::kAffine ||
                     !std::equal(cs.begin(), cs.end(), ps.begin())
               : prior.element_count() != 0) {
    return invalid("prior must be empty or of the shape of affine coords");
  }
  const bool typed = coords.element_type() == ffi::F32 &&
                     prior.element_type() == ffi::F32 &&
                     kernel.element_type() == x.element_type();
  return typed ? ffi::Error::Success() : invalid("dtypes do not fit");
}

template <typename T>
T* data(const ffi::AnyBuffer& buffer) {
  return static_cast<T*>(buffer.untyped_data());
}

ffi::Error run_forward(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::AnyBuffer coords,
                       ffi::AnyBuffer prior, ffi::AnyBuffer kernel, AnyResult out,
                       int64_t stride) {
  Problem p;
  if (auto error = read_problem(x, coords, prior, kernel, stride, &p); error.failure()) {
    return error;
  }
  if (p.plain()) return invalid("plain convolutions have only gradients here");
  if (p.batch == 0) return ffi::Error::Success();
  const auto run = [&](auto one) {
    using T = decltype(one);
    forward<T>(pool, p, data<T>(x), data<float>(coords), data<float>(prior),
               data<T>(kernel), data<T>(*out));
    return ffi::Error::Success();
  };
  if (x.element_type() == ffi::F32) return run(float());
  if (x.element_type() == ffi::BF16) return run(Bf16());
  return invalid("x must be float32 or bfloat16");
}

ffi::Error run_backward(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::AnyBuffer coords,
                        ffi::AnyBuffer prior, ffi::AnyBuffer kernel,
                        ffi::AnyBuffer grad, AnyResult grad_x, AnyResult grad_coords,
                        AnyResult grad_prior, AnyResult grad_kernel, int64_t stride) {
  Problem p;
  if (auto error = read_problem(x, coords, prior, kernel, stride, &p); error.failure()) {
    return error;
  }
  if (p.batch == 0) {
    std::memset(grad_kernel->untyped_data(), 0, grad_kernel->size_bytes());
    return ffi::Error::Success();
  }
  const auto run = [&](auto one) {
    using T = decltype(one);
    backward<T>(pool, p, data<T>(x), data<float>(coords), data<float>(prior),
                data<T>(kernel), data<T>(grad), data<T>(*grad_x),
                data<float>(*grad_coords), data<float>(*grad_prior),
                data<T>(*grad_kernel));
    return ffi::Error::Success();
  };
  if (x.element_type() == ffi::F32) return run(float());
  if (x.element_type() == ffi::BF16) return run(Bf16());
  return invalid("x must be float32 or bfloat16");
}

}  // namespace
}  // namespace affjax

XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_affine_conv_forward, affjax::run_forward,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Ret<xla::ffi::AnyBuffer>()
                                  .Attr<int64_t>("stride"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_affine_conv_backward, affjax::run_backward,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Ret<xla::ffi::AnyBuffer>()
                                  .Ret<xla::ffi::AnyBuffer>()
                                  .Ret<xla::ffi::AnyBuffer>()
                                  .Ret<xla::ffi::AnyBuffer>()
                                  .Attr<int64_t>("stride"));
