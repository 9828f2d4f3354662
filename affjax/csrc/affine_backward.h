// The backward pass of affine convolution on CPUs.
//
// The pass samples again instead of keeping samples. Results do not depend on which
// thread computes what: every sum has one order, fixed by the sizes and the number of
// threads.
#ifndef AFFJAX_CSRC_AFFINE_BACKWARD_H_
#define AFFJAX_CSRC_AFFINE_BACKWARD_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "affine_unsample.h"
#include "matmul.h"
#include "parallel.h"

namespace affjax {

template <typename T>
struct Backward {
  const Problem& p;
  const Division& d;
  const TransposedKernel<T>& transposed;
  const T* x;
  const float* coords;
  const float* prior;
  const T* grad;
  float* grad_x;        // [bands, batch, height, width, channels]
  float* grad_coords;   // [groups, batch, pixels, coordinates], of composed matrices
  float* grad_kernels;  // indexed by `kernel_of`

  int64_t sums_row() const { return round_up(p.out_channels, kLanes); }
  int64_t kernel_size() const { return p.taps() * d.group * sums_row(); }
  // Returns a slot's own gradient of the kernel for a group. There are slots + groups
  // buffers in all.
  float* kernel_of(int64_t slot, int64_t group) const {
    return grad_kernels + (slot + group) * kernel_size();
  }

  void run_slot(int64_t slot) const {
    const Outside outside(d.group);
    const Buffer<TapFootprint> footprints(p.taps());
    const int64_t grad_row =
        sums_row() + kLanes;  // puts neighboring rows in different cache sets
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
    const int64_t n = d.image_of(item), group = d.group_of(item),
                  band = d.band_of(item);
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
      place_taps(p, coords + n * p.pixels() * p.coordinates(),
                 prior + n * p.pixels() * 6, first, count, footprints);
      for (int64_t i = 0; i < count; ++i) {
        widen_row(grad + (n * p.pixels() + first + i) * p.out_channels, p.out_channels,
                  grads + i * grad_row);
        std::fill(grads + i * grad_row + p.out_channels, grads + (i + 1) * grad_row,
                  0.0f);
      }
      multiply({grads, grad_row, 1}, transposed.of(group), columns, stored_row, count,
               row, p.out_channels, false);
      float* moved =
          grad_coords + ((group * p.batch + n) * p.pixels() + first) * p.coordinates();
      const T* image = x + n * size * p.channels + channel;
      for (int64_t i = 0; i < count; ++i) {
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
      Slopes slopes = unsample(corners, grads, fraction, width, columns + tap * width);
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

  // Adds the slots' gradients of the kernel in the order of the slots.
  void finish_kernel(xla::ffi::ThreadPool& pool, T* out) const {
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

  // Adds the bands' gradients of x, unless they were computed in place.
  void finish_x(xla::ffi::ThreadPool& pool, T* out) const {
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
  void finish_coords(xla::ffi::ThreadPool& pool, float* out, float* out_prior) const {
    const int64_t each = p.coordinates(), size = p.batch * p.pixels() * each;
    parallel_for(pool, p.batch * p.rows, [&](int64_t item) {
      for (int64_t i = item * p.columns; i < (item + 1) * p.columns; ++i) {
        float* total = grad_coords + i * each;
        for (int64_t group = 1; group < d.groups; ++group) {
          for (int64_t k = 0; k < each; ++k) total[k] += total[group * size + k];
        }
        if (p.prior) {
          Affine by_prior, by_theta;
          compose_gradient(load_affine(prior + i * each),
                           load_affine(coords + i * each), load_affine(total), by_prior,
                           by_theta);
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
void backward(xla::ffi::ThreadPool& pool, const Problem& p, const T* x,
              const float* coords, const float* prior, const T* kernel, const T* grad,
              T* grad_x, float* grad_coords, float* grad_prior, T* grad_kernel) {
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
  pass.finish_coords(pool, grad_coords, grad_prior);
}

}  // namespace affjax

#endif  // AFFJAX_CSRC_AFFINE_BACKWARD_H_
