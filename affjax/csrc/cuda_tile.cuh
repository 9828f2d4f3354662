// Tiles of matrices in shared memory: how they are loaded and multiplied.
//
// A block multiplies a 64 x k tile by a k x kN tile, kN = 64 or 128, with 2 kN threads,
// in slabs of 64 bytes of k: 32 bfloat16 on tensor cores (mma.sync m16n8k16, float32
// accumulators), 16 float32 with fused multiply-adds. Float32 is plain float32: a TF32
// product misses 1e-5, and three of them by mma.sync (an estimated 60 % of an H100's
// 494 TFLOP/s, by three) hardly repay the splitting against 67 TFLOP/s of FFMA. Either
// tile may lie in shared memory transposed.
#ifndef AFFJAX_CSRC_CUDA_TILE_CUH_
#define AFFJAX_CSRC_CUDA_TILE_CUH_

#include <stdint.h>

#ifdef AFFJAX_ON_HOST
#include "cuda_host.h"
#define AFFJAX_DYNAMIC_SHARED(name) CUDA_HOST_DYNAMIC_SHARED(name)
#else
#include <cuda_bf16.h>
#define AFFJAX_DYNAMIC_SHARED(name) \
  extern __shared__ __align__(128) unsigned char name[]
#endif

namespace affjax {

using bfloat16 = __nv_bfloat16;

constexpr int kRows = 64;  // rows of a tile of the product

// A vector is 16 bytes, which one thread moves at a time.
template <class T>
constexpr int kVector = 16 / int(sizeof(T));
template <class T>
constexpr int kSlab = 4 * kVector<T>;

__device__ __forceinline__ float to_float(float v) { return v; }
__device__ __forceinline__ float to_float(bfloat16 v) { return __bfloat162float(v); }

template <class T>
__device__ __forceinline__ T from_float(float v);
template <>
__device__ __forceinline__ float from_float<float>(float v) {
  return v;
}
template <>
__device__ __forceinline__ bfloat16 from_float<bfloat16>(float v) {
  return __float2bfloat16(v);
}

__device__ __forceinline__ void unpack(const uint4& v, float (&f)[4]) {
  f[0] = __uint_as_float(v.x), f[1] = __uint_as_float(v.y);
  f[2] = __uint_as_float(v.z), f[3] = __uint_as_float(v.w);
}

__device__ __forceinline__ void unpack(const uint4& v, float (&f)[8]) {
  const unsigned pairs[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    f[2 * i] = __uint_as_float(pairs[i] << 16);
    f[2 * i + 1] = __uint_as_float(pairs[i] & 0xffff0000u);
  }
}

__device__ __forceinline__ unsigned pack_pair(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const unsigned*>(&pair);
}

__device__ __forceinline__ uint4 pack(const float (&f)[4]) {
  return make_uint4(__float_as_uint(f[0]), __float_as_uint(f[1]), __float_as_uint(f[2]),
                    __float_as_uint(f[3]));
}

__device__ __forceinline__ uint4 pack(const float (&f)[8]) {
  return make_uint4(pack_pair(f[0], f[1]), pack_pair(f[2], f[3]), pack_pair(f[4], f[5]),
                    pack_pair(f[6], f[7]));
}

__device__ __forceinline__ uint4 load_whole(const void* from) {
  return __ldg(static_cast<const uint4*>(from));
}

// Reads elements [column, column + kVector) of a row of `columns`, with zeros past its
// end, for vectors that are not aligned to 16 bytes.
template <class T>
__device__ __forceinline__ uint4 load_vector(const T* row, int column, int columns) {
  float f[kVector<T>];
#pragma unroll
  for (int i = 0; i < kVector<T>; ++i)
    f[i] = column + i < columns ? to_float(row[column + i]) : 0.0f;
  return pack(f);
}

// Reads up to four neighboring elements, at once if the address is aligned.
__device__ __forceinline__ void store_quad(float* to, const float (&v)[4], int count) {
  if (count >= 4 && reinterpret_cast<uintptr_t>(to) % 16 == 0) {
    *reinterpret_cast<float4*>(to) = make_float4(v[0], v[1], v[2], v[3]);
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (i < count) to[i] = v[i];
  }
}

__device__ __forceinline__ void store_quad(bfloat16* to, const float (&v)[4],
                                           int count) {
  if (count >= 4 && reinterpret_cast<uintptr_t>(to) % 8 == 0) {
    *reinterpret_cast<uint2*>(to) =
        make_uint2(pack_pair(v[0], v[1]), pack_pair(v[2], v[3]));
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (i < count) to[i] = __float2bfloat16(v[i]);
  }
}

// Writes four elements to an aligned address.
__device__ __forceinline__ void load_quad(const float* from, float (&v)[4]) {
  unpack(load_whole(from), v);
}

__device__ __forceinline__ void load_quad(const bfloat16* from, float (&v)[4]) {
  const uint2 pairs = __ldg(reinterpret_cast<const uint2*>(from));
  v[0] = __uint_as_float(pairs.x << 16);
  v[1] = __uint_as_float(pairs.x & 0xffff0000u);
  v[2] = __uint_as_float(pairs.y << 16);
  v[3] = __uint_as_float(pairs.y & 0xffff0000u);
}

// Where it need not; zeros past `count`.
template <class T>
__device__ __forceinline__ void load_quad(const T* from, float (&v)[4], int count) {
#pragma unroll
  for (int i = 0; i < 4; ++i) v[i] = i < count ? to_float(from[i]) : 0.0f;
}

// Copies 16 bytes from global to shared memory asynchronously; zeros if not `there`.
__device__ __forceinline__ void copy_async(void* to, const void* from, bool there) {
#ifdef AFFJAX_ON_HOST
  cuda_host::copy_async(to, from, 16, there ? 16 : 0);
#else
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(
                   unsigned(__cvta_generic_to_shared(to))),
               "l"(from), "r"(there ? 16 : 0)
               : "memory");
#endif
}

__device__ __forceinline__ void commit_copies() {
#ifdef AFFJAX_ON_HOST
  cuda_host::copy_commit();
#else
  asm volatile("cp.async.commit_group;\n" ::: "memory");
#endif
}

__device__ __forceinline__ void wait_for_copies() {
#ifdef AFFJAX_ON_HOST
  cuda_host::copy_wait(0);
#else
  asm volatile("cp.async.wait_group 0;\n" ::: "memory");
#endif
}

// Starts to fill a tile of kHigh rows and kWide columns. Element (r, c) is row(r)[first
// + c], or 0 if row(r) is null or has no such column. `some` is any valid address, used
// where nothing is read.
template <class T, int kHigh, int kWide, int kThreads, class Row>
__device__ __forceinline__ void copy_tile(T* to, int pitch, int first, int columns,
                                          bool aligned, const T* some, Row row) {
  constexpr int kAcross = kWide / kVector<T>;
  static_assert(kHigh * kAcross % kThreads == 0, "every thread copies as much");
#pragma unroll
  for (int j = 0; j < kHigh * kAcross / kThreads; ++j) {
    const unsigned i = j * kThreads + threadIdx.x;
    const int r = i / kAcross, c = i % kAcross * kVector<T>;
    const T* from = row(r);
    const bool there = from != nullptr && first + c < columns;
    T* at = to + r * pitch + c;
    if (aligned) {
      copy_async(at, there ? from + first + c : some, there);
    } else {
      *reinterpret_cast<uint4*>(at) =
          there ? load_vector(from, first + c, columns) : make_uint4(0, 0, 0, 0);
    }
  }
}

// Loads four 8 x 8 tiles of bfloat16 in the layout of mma's operands; each lane gives
// the address of a row.
__device__ __forceinline__ void load_matrices(unsigned (&r)[4], const bfloat16* row,
                                              bool transposed) {
#ifdef AFFJAX_ON_HOST
  cuda_host::load_matrices(r, row, transposed);
#else
  const unsigned at = unsigned(__cvta_generic_to_shared(row));
  if (transposed) {
    asm volatile(
        "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
        : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
        : "r"(at)
        : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
  }
#endif
}

// Adds a b to d, for 16 x 16 by 16 x 8.
__device__ __forceinline__ void multiply_add(float (&d)[4], const unsigned (&a)[4],
                                             const unsigned (&b)[2]) {
#ifdef AFFJAX_ON_HOST
  cuda_host::mma_bf16_16816(d, a, b);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// The layout of a product's operands: the left one as [row][k], or [k][row] if kTurnA;
// the right one as [k][column], or [column][k] if kTurnB. Rows are padded by a vector,
// which puts a column's rows in different banks.
template <class T, int kN, bool kTurnA, bool kTurnB>
struct Operands {
  static constexpr int kThreads = 2 * kN;
  static constexpr int kPitchA = (kTurnA ? kRows : kSlab<T>)+kVector<T>;
  static constexpr int kPitchB = (kTurnB ? kSlab<T> : kN) + kVector<T>;
  static constexpr int kSizeA = (kTurnA ? kSlab<T> : kRows) * kPitchA;
  static constexpr int kSizeB = (kTurnB ? kN : kSlab<T>)*kPitchB;
};

// The product of a block, divided among its threads, with 32 numbers each.
template <class T, int kN, bool kTurnA, bool kTurnB>
class Product;

template <int kN, bool kTurnA, bool kTurnB>
class Product<bfloat16, kN, kTurnA, kTurnB>
    : public Operands<bfloat16, kN, kTurnA, kTurnB> {
  using Base = Operands<bfloat16, kN, kTurnA, kTurnB>;
  float sum_[2][4][4] = {};  // a warp has 32 x 32: 2 x 4 pieces of 16 x 8

  static __device__ __forceinline__ int row0() { return threadIdx.x / 32 % 2 * 32; }
  static __device__ __forceinline__ int column0() { return threadIdx.x / 64 * 32; }

 public:
  // Adds the product of two slabs.
  __device__ __forceinline__ void add(const bfloat16* a, const bfloat16* b) {
    const int l8 = threadIdx.x % 8, q = threadIdx.x / 8 % 4;
#pragma unroll
    for (int k = 0; k < kSlab<bfloat16>; k += 16) {
      unsigned left[2][4], right[2][4];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int row = row0() + i * 16 + l8 + (kTurnA ? 0 : q % 2 * 8);
        const bfloat16* at = kTurnA ? a + (k + l8 + q / 2 * 8) * Base::kPitchA +
                                          row0() + i * 16 + q % 2 * 8
                                    : a + row * Base::kPitchA + k + q / 2 * 8;
        load_matrices(left[i], at, kTurnA);
      }
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int column = column0() + j * 16 + q / 2 * 8;
        const bfloat16* at = kTurnB ? b + (column + l8) * Base::kPitchB + k + q % 2 * 8
                                    : b + (k + l8 + q % 2 * 8) * Base::kPitchB + column;
        load_matrices(right[j], at, !kTurnB);
      }
#pragma unroll
      for (int i = 0; i < 2; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const unsigned half[2] = {right[j / 2][j % 2 * 2],
                                    right[j / 2][j % 2 * 2 + 1]};
          multiply_add(sum_[i][j], left[i], half);
        }
      }
    }
  }

  // Calls f(row, column, value) for this thread's part, then resets it to zero.
  template <class F>
  __device__ __forceinline__ void take(F f) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          f(row0() + i * 16 + lane / 4 + e / 2 * 8,
            column0() + j * 8 + lane % 4 * 2 + e % 2, sum_[i][j][e]);
          sum_[i][j][e] = 0.0f;
        }
      }
    }
  }
};

// Each thread has eight rows and four columns. 16-byte reads of shared memory have no
// bank conflicts: the eight lanes of a quarter warp read eight different rows.
template <int kN, bool kTurnA, bool kTurnB>
class Product<float, kN, kTurnA, kTurnB> : public Operands<float, kN, kTurnA, kTurnB> {
  using Base = Operands<float, kN, kTurnA, kTurnB>;
  float sum_[8][4] = {};

  static __device__ __forceinline__ int row(int i) {
    const int y = threadIdx.x % 8;
    return kTurnA ? i / 4 * 32 + y * 4 + i % 4 : i * 8 + y;
  }
  static __device__ __forceinline__ int column(int j) {
    const int x = threadIdx.x / 8;
    return kTurnB ? j * (kN / 4) + x : x * 4 + j;
  }
  static __device__ __forceinline__ void load(float (&to)[4], const float* from) {
    unpack(*reinterpret_cast<const uint4*>(from), to);
  }

 public:
  __device__ __forceinline__ void add(const float* a, const float* b) {
#pragma unroll
    for (int k = 0; k < kSlab<float>; k += 4) {
      // Elements k .. k + 3 of the rows and columns, in memory order.
      float left[8][4], right[4][4];
#pragma unroll
      for (int i = 0; i < 8; ++i)
        load(left[i], kTurnA ? a + (k + i % 4) * Base::kPitchA + row(i / 4 * 4)
                             : a + row(i) * Base::kPitchA + k);
#pragma unroll
      for (int j = 0; j < 4; ++j)
        load(right[j], kTurnB ? b + column(j) * Base::kPitchB + k
                              : b + (k + j) * Base::kPitchB + column(0));
#pragma unroll
      for (int e = 0; e < 4; ++e)
#pragma unroll
        for (int i = 0; i < 8; ++i)
#pragma unroll
          for (int j = 0; j < 4; ++j)
            sum_[i][j] = fmaf(kTurnA ? left[i / 4 * 4 + e][i % 4] : left[i][e],
                              kTurnB ? right[j][e] : right[e][j], sum_[i][j]);
    }
  }

  template <class F>
  __device__ __forceinline__ void take(F f) {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        f(row(i), column(j), sum_[i][j]);
        sum_[i][j] = 0.0f;
      }
    }
  }
};

}  // namespace affjax

#endif  // AFFJAX_CSRC_CUDA_TILE_CUH_
