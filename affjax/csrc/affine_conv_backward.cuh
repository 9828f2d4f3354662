// Affine convolution on CUDA: the kernels of the backward pass, which samples again.
#ifndef AFFJAX_CSRC_AFFINE_CONV_BACKWARD_CUH_
#define AFFJAX_CSRC_AFFINE_CONV_BACKWARD_CUH_

#include "affine_conv_device.cuh"

namespace affjax {

// The memory where many blocks add the gradients of input pixels.
//
// By default, float32 atomics add them: this is fast, but the order of additions, and
// with it the last bits, may differ between runs. With `fixed`, 64-bit integers add
// them: the bits are always the same, at twice the traffic. In this case `largest`
// holds the bits of the largest |grad| and |kernel|, which bound all sums; if these are
// not finite, the whole gradient of the input is NaN.
struct Sink {
  float* sums;
  long long* fixed;
  const unsigned* largest;
  double terms;  // largest number of products in a sum: O * Ho * Wo * K * K
  bool whole;    // four neighboring float32 sums are aligned to 16 bytes

  // Returns 2^e such that each sum times it fits in 62 bits.
  __device__ double scale() const {
    if (!fixed) return 1.0;
    const double bound = double(__uint_as_float(largest[0])) *
                         double(__uint_as_float(largest[1])) * terms;
    if (!(bound <= 1.7e308)) return __int_as_float(0x7fc00000);
    if (bound == 0.0) return 1.0;
    int exponent;
    frexp(bound, &exponent);
    return ldexp(1.0, 61 - exponent);
  }

  __device__ __forceinline__ void add_quad(long long at, const float (&v)[4], int count,
                                           double scale) const {
    if (fixed) {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        if (i < count)
          atomicAdd(reinterpret_cast<unsigned long long*>(fixed) + at + i,
                    (unsigned long long)__double2ll_rn(double(v[i]) * scale));
      return;
    }
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    if (whole) {
      asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};\n" ::"l"(sums + at),
                   "f"(v[0]), "f"(v[1]), "f"(v[2]), "f"(v[3])
                   : "memory");
      return;
    }
#endif
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (i < count) atomicAdd(sums + at + i, v[i]);
  }
};

template <class T>
struct Samples {
  using Tile = Product<T, 64, false, true>;
  static constexpr int kThreads = Tile::kThreads;
  static constexpr int kQuads = 16;  // groups of 4 columns in a tile
  static constexpr int kPitch = product_pitch<T>(64), kProduct = kRows * kPitch * 4;
  static constexpr int kPartsPitch = kRows + 1;  // puts quads in different banks
  static constexpr int kTable = larger(operand_bytes<Tile, T>(), kProduct);
  static constexpr int kParts = kTable + kEntries * int(sizeof(Entry));
  static constexpr int kShared = kParts + kPartsPitch * kQuads * int(sizeof(Point));
};

// Adds the gradient of 4 channels of a sample to its pixels and returns the gradient of
// its place.
template <class T>
__device__ __forceinline__ Point scatter(const Problem<T>& p, const Sink& sink,
                                         double scale, const Entry& entry, int channel,
                                         const float (&grad)[4]) {
  const int count = p.channels - channel;
  const long long upper = (entry.offset() >> (sizeof(T) == 4 ? 2 : 1)) + channel;
  const long long lower = upper + (long long)p.width * p.channels;
  const long long at[4] = {upper, upper + p.channels, lower, lower + p.channels};
  float w[4], dots[4], v[4][4] = {};
  // All reads are issued first, so that their latencies overlap.
  if (p.x_aligned) {
#pragma unroll
    for (int k = 0; k < 4; ++k)
      if (entry.corners() >> k & 1) load_quad(p.x + at[k], v[k]);
  } else {
#pragma unroll
    for (int k = 0; k < 4; ++k)
      if (entry.corners() >> k & 1) load_quad(p.x + at[k], v[k], count);
  }
  corner_weights(entry.fx, entry.fy, w);
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    dots[k] = 0.0f;
    if (!(entry.corners() >> k & 1)) continue;
    float share[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (i < count) dots[k] = fmaf(v[k][i], grad[i], dots[k]);
      share[i] = w[k] * grad[i];
    }
    sink.add_quad(at[k], share, count, scale);
  }
  return coordinate_gradient(entry.fx, entry.fy, dots);
}

// Processes output pixels from blockIdx.x * 64, taps from blockIdx.y * taps_each, and
// all channels. Writes gradients of offsets [pixels, K * K, 2], or, for matrices, the
// sums over the block's taps [gridDim.y, pixels, 6] in the frame that placed the taps
// (prior after theta).
template <class T>
__global__ __launch_bounds__(Samples<T>::kThreads,
                             3) void backward_samples(Problem<T> p, Sink sink,
                                                      int taps_each, float* places) {
  using Tile = typename Samples<T>::Tile;
  constexpr int kThreads = Tile::kThreads, kQuads = Samples<T>::kQuads;
  constexpr int kPitch = Samples<T>::kPitch, kPartsPitch = Samples<T>::kPartsPitch;
  AFFJAX_DYNAMIC_SHARED(memory);
  T* const left = reinterpret_cast<T*>(memory);
  T* const right = left + 2 * Tile::kSizeA;
  float* const product = reinterpret_cast<float*>(memory);
  Entry* const table = reinterpret_cast<Entry*>(memory + Samples<T>::kTable);
  Point* const parts = reinterpret_cast<Point*>(memory + Samples<T>::kParts);
  const int first = blockIdx.x * kRows, tap_begin = blockIdx.y * taps_each;
  const int taps = min(taps_each, p.taps() - tap_begin), padded = p.padded();
  const int columns = taps * padded;
  const int mine =
      first + threadIdx.x;  // the pixel whose sum this thread computes, if any
  const bool adds = threadIdx.x < kRows && mine < p.pixels;
  const double scale = sink.scale();
  Affine matrix = {};  // the gradient of its matrix so far
  Point place = {};    // the gradient of the current tap's place
  Tile tile;
  for (int column0 = 0; column0 < columns; column0 += kRows) {
    const int tap0 = column0 / padded;
    const int tap1 = min(taps - 1, (column0 + kRows - 1) / padded);
    __syncthreads();  // all threads have read the last round's table, product and parts
    fill_table<T, kThreads>(p, table, first, kRows, p.pixels, tap_begin + tap0,
                            tap1 - tap0 + 1);
    auto fetch = [&](int slab) {
      const int o = slab * kSlab<T>;
      copy_tile<T, kRows, kSlab<T>, kThreads>(
          left + slab % 2 * Tile::kSizeA, Tile::kPitchA, o, p.out_channels, p.o_aligned,
          p.grad, [&](int r) {
            return first + r < p.pixels
                       ? p.grad + (first + r) * (long long)p.out_channels
                       : nullptr;
          });
      copy_tile<T, 64, kSlab<T>, kThreads>(
          right + slab % 2 * Tile::kSizeB, Tile::kPitchB, o, p.out_channels,
          p.o_aligned, p.kernel,
          [&](int r) { return kernel_row(p, tap_begin, column0 + r, columns); });
      commit_copies();
    };
    fetch(0);
    for (int slab = 0; slab * kSlab<T> < p.out_channels; ++slab) {
      wait_for_copies();
      __syncthreads();
      if ((slab + 1) * kSlab<T> < p.out_channels) fetch(slab + 1);
      tile.add(left + slab % 2 * Tile::kSizeA, right + slab % 2 * Tile::kSizeB);
    }
    __syncthreads();
    tile.take([&](int r, int c, float v) { product[r * kPitch + c] = v; });
    __syncthreads();
    // Each thread has four columns of every eighth row.
    const int quad = threadIdx.x % kQuads, c = quad * 4;
    const int tap = (column0 + c) / padded, channel = column0 + c - tap * padded;
    const bool there = tap < taps && channel < p.channels;
    for (int row = threadIdx.x / kQuads; row < kRows; row += kThreads / kQuads) {
      Point part = {0.0f, 0.0f};
      if (there) {
        const Entry entry = table[(tap - tap0) * kRows + row];
        float grad[4];
        unpack(*reinterpret_cast<const uint4*>(product + row * kPitch + c), grad);
        if (entry.corners()) part = scatter(p, sink, scale, entry, channel, grad);
      }
      parts[quad * kPartsPitch + row] = part;
    }
    __syncthreads();
    if (!adds) continue;
    int done = tap0,
        ends = (tap0 + 1) * padded - column0;  // number of columns until it is complete
    for (int q = 0; q < kQuads && column0 + 4 * q < columns; ++q) {
      const Point part = parts[q * kPartsPitch + threadIdx.x];
      place = {place.x + part.x, place.y + part.y};
      if (4 * q + 4 < ends) continue;
      if (p.offsets) {
        float* to = places + 2 * ((long long)mine * p.taps() + tap_begin + done);
        to[0] = place.x, to[1] = place.y;
      } else {
        add_matrix_gradient(matrix, place, tap_offset(tap_begin + done, p.size));
      }
      place = {0.0f, 0.0f};
      ++done;
      ends += padded;
    }
  }
  if (!adds || p.offsets) return;
  float* to = places + 6 * ((long long)blockIdx.y * p.pixels + mine);
#pragma unroll
  for (int i = 0; i < 6; ++i) to[i] = matrix.m[i];
}

// Adds the groups of taps and computes the gradients of theta and prior.
template <class T>
__global__ __launch_bounds__(256) void finish_matrices(Problem<T> p,
                                                       const float* places, int groups,
                                                       float* grad_theta,
                                                       float* grad_prior) {
  const long long m = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (m >= p.pixels) return;
  Affine sum = {};
  for (int group = 0; group < groups; ++group)
    for (int i = 0; i < 6; ++i)
      sum.m[i] += places[6 * (group * (long long)p.pixels + m) + i];
  Affine theta = sum, prior = {};
  if (p.prior)
    compose_gradient(load_affine(p.prior + 6 * m), load_affine(p.coords + 6 * m), sum,
                     prior, theta);
  for (int i = 0; i < 6; ++i) {
    grad_theta[6 * m + i] = theta.m[i];
    if (p.prior) grad_prior[6 * m + i] = prior.m[i];
  }
}

template <class T, int kN>
struct Kernel {
  using Tile = Product<T, kN, true, false>;
  static constexpr int kThreads = Tile::kThreads;
  static constexpr int kTable = operand_bytes<Tile, T>();
  static constexpr int kShared = kTable + kEntries * int(sizeof(Entry));
};

// Processes columns from blockIdx.x * 64, output channels from blockIdx.y * kN and
// output pixels from blockIdx.z * pixels_each. Writes the sums over these pixels to
// partial [z, K * K * C, O].
template <class T, int kN>
__global__ __launch_bounds__(Kernel<T, kN>::kThreads) void backward_kernel(
    Problem<T> p, int pixels_each, float* partial) {
  using Tile = typename Kernel<T, kN>::Tile;
  constexpr int kThreads = Tile::kThreads, kAcross = kRows / kVector<T>;
  constexpr int kEach = kSlab<T> * kAcross / kThreads;
  AFFJAX_DYNAMIC_SHARED(memory);
  T* const left = reinterpret_cast<T*>(memory);
  T* const right = left + 2 * Tile::kSizeA;
  Entry* const table = reinterpret_cast<Entry*>(memory + Kernel<T, kN>::kTable);
  const int column0 = blockIdx.x * kRows, first_o = blockIdx.y * kN;
  const int padded = p.padded(), tap0 = column0 / padded;
  const int taps = min(p.taps() - 1, (column0 + kRows - 1) / padded) - tap0 + 1;
  const int begin = blockIdx.z * pixels_each;
  const int end = min(p.pixels, begin + pixels_each);
  // The number of pixels that a table of these taps can hold at a time.
  const int count = taps == 1 ? 512 : taps == 2 ? 256 : taps <= 4 ? 128 : 64;
  const int across = threadIdx.x % kAcross * kVector<T>;
  const int tap = (column0 + across) / padded - tap0;
  const int channel =
      tap < taps ? column0 + across - (tap0 + tap) * padded : p.channels;
  Tile tile;
  for (int first = begin; first < end; first += count) {
    const int pixels = min(count, end - first);
    __syncthreads();  // all threads have read the last round's slabs and table
    fill_table<T, kThreads>(p, table, first, count, end, tap0, taps);
    __syncthreads();
    Gathered<T> gathered[kEach];
    auto fetch = [&](int slab) {
      copy_tile<T, kSlab<T>, kN, kThreads>(
          right + slab % 2 * Tile::kSizeB, Tile::kPitchB, first_o, p.out_channels,
          p.o_aligned, p.grad, [&](int r) {
            const int pixel = slab * kSlab<T> + r;
            return pixel < pixels ? p.grad + (first + pixel) * (long long)p.out_channels
                                  : nullptr;
          });
      commit_copies();
#pragma unroll
      for (int j = 0; j < kEach; ++j) {
        const int pixel = slab * kSlab<T> + (j * kThreads + threadIdx.x) / kAcross;
        gathered[j].load(p, table[min(tap, taps - 1) * count + pixel], channel);
      }
    };
    fetch(0);
    for (int slab = 0; slab * kSlab<T> < pixels; ++slab) {
#pragma unroll
      for (int j = 0; j < kEach; ++j) {
        const unsigned row = (j * kThreads + threadIdx.x) / kAcross;
        T* at = left + slab % 2 * Tile::kSizeA + row * Tile::kPitchA + across;
        *reinterpret_cast<uint4*>(at) = gathered[j].interpolate();
      }
      wait_for_copies();
      __syncthreads();
      if ((slab + 1) * kSlab<T> < pixels) fetch(slab + 1);
      tile.add(left + slab % 2 * Tile::kSizeA, right + slab % 2 * Tile::kSizeB);
    }
  }
  const long long size = (long long)p.taps() * p.channels * p.out_channels;
  float* const to = partial + blockIdx.z * size;
  tile.take([&](int r, int c, float v) {
    const int in = (column0 + r) / padded, ch = column0 + r - in * padded;
    if (in < p.taps() && ch < p.channels && first_o + c < p.out_channels)
      to[((long long)in * p.channels + ch) * p.out_channels + first_o + c] = v;
  });
}

// Computes out[i], the sum of parts[z, i] over z, in this order.
template <class T>
__global__ __launch_bounds__(256) void add_parts(const float* parts, int count,
                                                 long long size, T* out) {
  const long long step = (long long)gridDim.x * blockDim.x;
  for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < size;
       i += step) {
    float sum = 0.0f;
    for (int z = 0; z < count; ++z) sum += parts[z * size + i];
    out[i] = from_float<T>(sum);
  }
}

// Computes the bits of the largest magnitude, or of NaN if there is any. `largest`
// starts at 0.
template <class T>
__global__ __launch_bounds__(256) void find_largest(const T* values, long long size,
                                                    unsigned* largest) {
  const long long step = (long long)gridDim.x * blockDim.x;
  unsigned bits = 0;
  for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < size;
       i += step)
    bits = max(bits, __float_as_uint(to_float(values[i])) & 0x7fffffffu);
#pragma unroll
  for (int by = 16; by; by /= 2) bits = max(bits, __shfl_xor_sync(~0u, bits, by));
  if (threadIdx.x % 32 == 0) atomicMax(largest, bits);
}

// Converts the fixed-point sums of a Sink to floats.
template <class T>
__global__ __launch_bounds__(256) void read_fixed(Sink sink, long long size, T* out) {
  const double scale = sink.scale();
  const long long step = (long long)gridDim.x * blockDim.x;
  for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < size;
       i += step)
    out[i] = from_float<T>(float(double(sink.fixed[i]) / scale));
}

}  // namespace affjax

#endif  // AFFJAX_CSRC_AFFINE_CONV_BACKWARD_CUH_
