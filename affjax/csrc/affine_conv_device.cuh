// Affine convolution on CUDA: the kernels. No column matrix is ever in device memory.
//
// All three matrix products run over slabs of columns, the K * K * C numbers that an
// output pixel reads; a column is (tap, channel), channels padded to a multiple of 8:
//   forward           out[pixel, o]     = sum over columns of sample[pixel, column] W
//   backward_samples  grad of sample    = sum over o of grad[pixel, o] W, consumed in
//                     shared memory: scattered to the input, reduced to coordinates
//   backward_kernel   grad of W         = sum over pixels of sample[pixel, column] grad
// Samples are read for slab s + 1 into registers while slab s is multiplied, then
// interpolated in float32 and stored to shared memory.
//
// As compiled by nvcc 13.0 for sm_90: 79 to 128 registers, no spills, at most 43 KB
// of shared memory, hence 4 blocks of 128 threads on a multiprocessor. A thread's slab
// of the bfloat16 forward pass is 320 instructions: 136 interpolate 2 x 8 channels, 24
// are ldmatrix and mma.sync, 8 are 16-byte reads of x, 2 of the kernel (cp.async). So
// sampling, not tensor cores, is the bottleneck: 32 -> 64 channels at 256 x 256 need 4
// us of issue slots an image on an H100, against 2 us of memory traffic. All on paper:
// it has not been on a GPU yet.
//
// Sums are taken in a fixed order everywhere but in the scatter to the input; see Sink.
#ifndef AFFJAX_CSRC_AFFINE_CONV_DEVICE_CUH_
#define AFFJAX_CSRC_AFFINE_CONV_DEVICE_CUH_

#include "affine_taps.h"
#include "cuda_tile.cuh"

namespace affjax {

// The sizes, options and inputs that all kernels read.
template <class T>
struct Problem {
  const T *x, *kernel, *grad;
  const float *coords, *prior;  // prior may be null
  int images, height, width, channels;
  int out_height, out_width, out_channels;
  int size, stride;  // size of the kernel, and stride, px
  bool offsets;      // coords are offsets of taps, not matrices
  bool x_aligned;    // rows of x are whole vectors, aligned to 16 bytes
  bool o_aligned;    // rows of kernel and grad are so
  int pixels;        // images * out_height * out_width, <= 2^31 - 1024

  AFFJAX_HD int taps() const { return size * size; }
  AFFJAX_HD int padded() const { return (channels + 7) / 8 * 8; }
  AFFJAX_HD bool has_gaps() const { return channels % 8 != 0; }
};

// A footprint in shared memory: 16 times the offset in x, in bytes, of the pixel at its
// upper left, plus the corners' bits. The fractions are NaN where a coordinate was,
// which makes weights and samples NaN.
struct __align__(16) Entry {
  long long place;
  float fx, fy;

  __device__ __forceinline__ long long offset() const { return place >> 4; }
  __device__ __forceinline__ unsigned corners() const { return unsigned(place) & 15u; }
};

constexpr int kEntries =
    9 * kRows;            // entries of a table: 64 pixels of 9 taps, or 512 of one
constexpr int kTaps = 9;  // largest number of taps in a table

// Fills table[tap * count + i] for taps [first_tap, first_tap + taps) of output pixels
// [first, first + count); pixels from `end` on read nothing. `count` is a power of two.
template <class T, int kThreads>
__device__ void fill_table(const Problem<T>& p, Entry* table, int first, int count,
                           int end, int first_tap, int taps) {
  const int groups = count < kThreads ? kThreads / count : 1;
  for (int i = threadIdx.x; i < count * groups; i += kThreads) {
    const int q = i & (count - 1), m = first + q;
    if (m >= end) {
      for (int tap = i / count; tap < taps; tap += groups)
        table[tap * count + q] = {0, 0.0f, 0.0f};
      continue;
    }
    const int row = m / p.out_width, image = row / p.out_height;
    const Point center = {float((m - row * p.out_width) * p.stride),
                          float((row - image * p.out_height) * p.stride)};
    Affine matrix = {};
    if (!p.offsets) {
      matrix = load_affine(p.coords + 6ll * m);
      if (p.prior) matrix = compose(load_affine(p.prior + 6ll * m), matrix);
    }
    const int step = p.channels * int(sizeof(T));
    const long long start = (long long)image * p.height * p.width * step;
    const int middle = (p.size - 1) / 2;
    int tap = i / count;
    int down = (first_tap + tap) / p.size, across = first_tap + tap - down * p.size;
    for (; tap < taps; tap += groups, across += groups) {
      for (; across >= p.size; across -= p.size) ++down;
      const Point offset = {float(across - middle), float(down - middle)};
      Point at;
      if (p.offsets) {
        const float* free = p.coords + 2 * ((long long)m * p.taps() + first_tap + tap);
        at = place_by_offset({free[0], free[1]}, offset, center);
      } else {
        at = place_by_affine(matrix, offset, center);
      }
      const Footprint f = footprint(at, p.height, p.width);
      const long long bytes = start + (f.row * p.width + f.column) * (long long)step;
      const float fx = f.nan ? __int_as_float(0x7fc00000) : f.fx;
      table[tap * count + q] = {bytes * 16 + f.corners, fx, f.fy};
    }
  }
}

// A vector of channels at the four corners, whose reads are in flight.
template <class T>
struct Gathered {
  uint4 corner[4];
  float fx, fy;

  // If `channel` is past the end, or the pixel has no corners, all values are zero.
  __device__ __forceinline__ void load(const Problem<T>& p, const Entry& entry,
                                       int channel) {
    fx = entry.fx, fy = entry.fy;
    const unsigned corners = channel < p.channels ? entry.corners() : 0u;
    const int step = p.channels * int(sizeof(T));
    const char* upper = reinterpret_cast<const char*>(p.x) + entry.offset();
    if (p.x_aligned) upper += channel * int(sizeof(T));
    const char* lower = upper + (long long)p.width * step;
    const char* const at[4] = {upper, upper + step, lower, lower + step};
    const uint4 zero = make_uint4(0, 0, 0, 0);
    if (p.x_aligned) {  // one branch for all four reads, so that they overlap
#pragma unroll
      for (int k = 0; k < 4; ++k)
        corner[k] = corners >> k & 1 ? load_whole(at[k]) : zero;
    } else {
#pragma unroll
      for (int k = 0; k < 4; ++k)
        corner[k] = corners >> k & 1 ? load_vector(reinterpret_cast<const T*>(at[k]),
                                                   channel, p.channels)
                                     : zero;
    }
  }

  __device__ __forceinline__ uint4 interpolate() const {
    float w[4], sum[kVector<T>] = {};
    corner_weights(fx, fy, w);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      float v[kVector<T>];
      unpack(corner[k], v);
#pragma unroll
      for (int i = 0; i < kVector<T>; ++i) sum[i] = fmaf(w[k], v[i], sum[i]);
    }
    return pack(sum);
  }
};

// Returns the row of the kernel, a [K * K * C, O] matrix, for column `n` of the taps
// from `first_tap` on; null for padding and from `columns` on.
template <class T>
__device__ __forceinline__ const T* kernel_row(const Problem<T>& p, int first_tap,
                                               int n, int columns) {
  if (n >= columns) return nullptr;
  if (p.has_gaps()) {
    const int tap = n / p.padded();
    if (n - tap * p.padded() >= p.channels) return nullptr;
    n -= tap * (p.padded() - p.channels);
  }
  return p.kernel + (first_tap * p.channels + n) * (long long)p.out_channels;
}

// Distance in floats between rows of a product in shared memory; with it the threads of
// a warp, which hold eight rows, write to different banks.
template <class T>
constexpr int product_pitch(int columns) {
  return columns + (sizeof(T) == 4 ? 4 : 8);
}

constexpr int larger(int a, int b) { return a > b ? a : b; }

// Bytes of two slabs of an operand in shared memory, in multiples of 128.
template <class Tile, class T>
constexpr int operand_bytes() {
  return (2 * (Tile::kSizeA + Tile::kSizeB) * int(sizeof(T)) + 127) / 128 * 128;
}

// Layout of dynamic shared memory: the operands, later a tile of the product, and a
// table.
template <class T, int kN>
struct Forward {
  using Tile = Product<T, kN, false, false>;
  static constexpr int kThreads = Tile::kThreads;
  static constexpr int kPitch = product_pitch<T>(kN), kProduct = kRows * kPitch * 4;
  static constexpr int kTable = larger(operand_bytes<Tile, T>(), kProduct);
  static constexpr int kShared = kTable + kEntries * int(sizeof(Entry));
};

// Processes output pixels from blockIdx.x * 64, channels from blockIdx.y * kN and taps
// from blockIdx.z * taps_each. If gridDim.z > 1, it writes float32 sums over the taps
// of each z to `partial` [z, pixels, O], otherwise the result to `out`.
template <class T, int kN>
__global__ __launch_bounds__(Forward<T, kN>::kThreads) void forward(Problem<T> p,
                                                                    int taps_each,
                                                                    T* out,
                                                                    float* partial) {
  using Tile = typename Forward<T, kN>::Tile;
  constexpr int kThreads = Tile::kThreads, kEach = kRows * 4 / kThreads;
  AFFJAX_DYNAMIC_SHARED(memory);
  T* const left = reinterpret_cast<T*>(memory);
  T* const right = left + 2 * Tile::kSizeA;
  Entry* const table = reinterpret_cast<Entry*>(memory + Forward<T, kN>::kTable);
  const int first = blockIdx.x * kRows, first_o = blockIdx.y * kN;
  const int tap_begin = blockIdx.z * taps_each;
  const int tap_end = min(p.taps(), tap_begin + taps_each);
  const int padded = p.padded();
  Tile tile;
  for (int tap0 = tap_begin; tap0 < tap_end; tap0 += kTaps) {
    const int taps = min(kTaps, tap_end - tap0), columns = taps * padded;
    __syncthreads();  // all threads have read the last round's slabs and table
    fill_table<T, kThreads>(p, table, first, kRows, p.pixels, tap0, taps);
    __syncthreads();
    int tap = 0,
        channel = threadIdx.x % 4 * kVector<T>;  // position of this thread's vector
    Gathered<T> gathered[kEach];
    auto fetch = [&](int slab) {
      copy_tile<T, kSlab<T>, kN, kThreads>(
          right + slab % 2 * Tile::kSizeB, Tile::kPitchB, first_o, p.out_channels,
          p.o_aligned, p.kernel,
          [&](int r) { return kernel_row(p, tap0, slab * kSlab<T> + r, columns); });
      commit_copies();
      for (; channel >= padded; channel -= padded) ++tap;
#pragma unroll
      for (int j = 0; j < kEach; ++j) {
        const unsigned row = (j * kThreads + threadIdx.x) / 4;
        gathered[j].load(p, table[min(tap, taps - 1) * kRows + row],
                         tap < taps ? channel : p.channels);
      }
      channel += kSlab<T>;
    };
    fetch(0);
#pragma unroll 2  // makes slab % 2, and with it most addresses, constant
    for (int slab = 0; slab * kSlab<T> < columns; ++slab) {
#pragma unroll
      for (int j = 0; j < kEach; ++j) {
        const unsigned i = j * kThreads + threadIdx.x;
        T* at = left + slab % 2 * Tile::kSizeA + i / 4 * Tile::kPitchA;
        *reinterpret_cast<uint4*>(at + i % 4 * kVector<T>) = gathered[j].interpolate();
      }
      wait_for_copies();
      __syncthreads();
      if ((slab + 1) * kSlab<T> < columns) fetch(slab + 1);
      tile.add(left + slab % 2 * Tile::kSizeA, right + slab % 2 * Tile::kSizeB);
    }
  }
  __syncthreads();
  // Shared memory collects whole rows before they are written.
  float* const product = reinterpret_cast<float*>(memory);
  constexpr int kPitch = Forward<T, kN>::kPitch;
  tile.take([&](int r, int c, float v) { product[r * kPitch + c] = v; });
  __syncthreads();
  const int lanes = min(kN, p.out_channels - first_o);
  for (int i = threadIdx.x; i < kRows * kN / 4; i += kThreads) {
    const int row = i / (kN / 4), c = i % (kN / 4) * 4;
    if (first + row >= p.pixels) continue;
    const float4 v = *reinterpret_cast<const float4*>(product + row * kPitch + c);
    const long long at = (first + row) * (long long)p.out_channels + first_o + c;
    const float values[4] = {v.x, v.y, v.z, v.w};
    if (gridDim.z > 1) {
      float* to = partial + blockIdx.z * (long long)p.pixels * p.out_channels + at;
      store_quad(to, values, lanes - c);
    } else {
      store_quad(out + at, values, lanes - c);
    }
  }
}

}  // namespace affjax

#endif  // AFFJAX_CSRC_AFFINE_CONV_DEVICE_CUH_
