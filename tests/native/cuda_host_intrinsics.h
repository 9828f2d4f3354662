// CUDA's built-in functions and types for cuda_host.h, those that our kernels use.
#pragma once

// Barriers, votes, shuffles.

inline void __syncthreads() { cuda_host::block_barrier(); }
inline void __syncwarp(unsigned mask = ~0u) { cuda_host::warp_barrier(mask); }
inline void __threadfence() {}
inline void __threadfence_block() {}

namespace cuda_host {
// The three votes of a block at once.
inline void vote(int predicate, int& any, int& all, int& count) {
  if (!block.arrived) block.votes_any = 0, block.votes_all = 1, block.votes_count = 0;
  block.votes_any |= predicate != 0;
  block.votes_all &= predicate != 0;
  block.votes_count += predicate != 0;
  block_barrier();
  any = block.votes_any, all = block.votes_all, count = block.votes_count;
  block_barrier();
}

inline unsigned bits_of_warp(unsigned mask, int predicate) {
  return exchange(mask, predicate, [&](auto at) {
    unsigned bits = 0;
    for (int i = 0; i < 32; ++i)
      if (mask >> i & 1 && block.current / 32 * 32 + i < int(block.threads.size()))
        bits |= unsigned(at(i) != 0) << i;
    return bits;
  });
}

// Reads lane `source` of the caller's segment of `width` lanes, if it is there.
template <class T>
T shuffle(unsigned mask, T value, int source, int width) {
  const int first = lane() / width * width;
  const int last = int(block.threads.size()) - block.current / 32 * 32;
  const bool there = source >= first && source < first + width && source < last;
  return exchange(mask, value, [&](auto at) { return at(there ? source : lane()); });
}
}  // namespace cuda_host

inline int __syncthreads_or(int p) {
  int any, all, count;
  cuda_host::vote(p, any, all, count);
  return any;
}
inline int __syncthreads_and(int p) {
  int any, all, count;
  cuda_host::vote(p, any, all, count);
  return all;
}
inline int __syncthreads_count(int p) {
  int any, all, count;
  cuda_host::vote(p, any, all, count);
  return count;
}
inline unsigned __ballot_sync(unsigned mask, int p) {
  return cuda_host::bits_of_warp(mask, p);
}
inline int __any_sync(unsigned mask, int p) { return __ballot_sync(mask, p) != 0; }
inline int __all_sync(unsigned mask, int p) { return __ballot_sync(mask, !p) == 0; }

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  const int first = cuda_host::lane() / width * width;
  return cuda_host::shuffle(mask, value, first + (source & (width - 1)), width);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
  return cuda_host::shuffle(mask, value, cuda_host::lane() ^ bits, width);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32) {
  return cuda_host::shuffle(mask, value, cuda_host::lane() + int(by), width);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32) {
  return cuda_host::shuffle(mask, value, cuda_host::lane() - int(by), width);
}

// Atomics: there is one OS thread.

template <class T>
T atomicExch(T* at, T value) {
  return std::exchange(*at, value);
}
#define CUDA_HOST_ATOMIC(name, T, expression) \
  inline T name(T* at, T v) {                 \
    const T old = *at;                        \
    *at = (expression);                       \
    return old;                               \
  }
#define CUDA_HOST_INTEGER_ATOMICS(T)                \
  CUDA_HOST_ATOMIC(atomicAdd, T, old + v)           \
  CUDA_HOST_ATOMIC(atomicMin, T, old < v ? old : v) \
  CUDA_HOST_ATOMIC(atomicMax, T, old > v ? old : v) \
  CUDA_HOST_ATOMIC(atomicOr, T, old | v)            \
  CUDA_HOST_ATOMIC(atomicAnd, T, old& v)            \
  CUDA_HOST_ATOMIC(atomicXor, T, old ^ v)           \
  inline T atomicCAS(T* at, T expected, T v) {      \
    const T old = *at;                              \
    if (old == expected) *at = v;                   \
    return old;                                     \
  }
CUDA_HOST_INTEGER_ATOMICS(int)
CUDA_HOST_INTEGER_ATOMICS(unsigned)
CUDA_HOST_INTEGER_ATOMICS(unsigned long long)
CUDA_HOST_ATOMIC(atomicSub, int, old - v)
CUDA_HOST_ATOMIC(atomicSub, unsigned, old - v)
CUDA_HOST_ATOMIC(atomicAdd, float, old + v)
CUDA_HOST_ATOMIC(atomicAdd, double, old + v)

// Numbers. Compile with -ffp-contract=off, so that these are single operations.

inline int __popc(unsigned v) { return __builtin_popcount(v); }
inline int __popcll(unsigned long long v) { return __builtin_popcountll(v); }
inline int __ffs(int v) { return __builtin_ffs(v); }
inline int __ffsll(long long v) { return __builtin_ffsll(v); }
inline int __clz(int v) { return v ? __builtin_clz(unsigned(v)) : 32; }
inline unsigned __brev(unsigned v) {
  unsigned r = 0;
  for (int i = 0; i < 32; ++i) r |= (v >> i & 1) << (31 - i);
  return r;
}
template <class T>
T __ldg(const T* at) {
  return *at;
}
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float rsqrtf(float a) { return 1.0f / std::sqrt(a); }
inline float __saturatef(float a) { return a > 0 ? (a < 1 ? a : 1.0f) : 0.0f; }
inline int __float2int_rd(float v) { return int(std::floor(v)); }
inline int __float2int_ru(float v) { return int(std::ceil(v)); }
inline int __float2int_rn(float v) { return int(std::nearbyint(v)); }
inline int __float2int_rz(float v) { return int(v); }
inline long long __float2ll_rn(float v) { return std::llrint(v); }
inline long long __double2ll_rn(double v) { return std::llrint(v); }

namespace cuda_host {
template <class To, class From>
To bits(From v) {
  static_assert(sizeof(To) == sizeof(From));
  To r;
  std::memcpy(&r, &v, sizeof r);
  return r;
}
}  // namespace cuda_host

inline float __int_as_float(int v) { return cuda_host::bits<float>(v); }
inline float __uint_as_float(unsigned v) { return cuda_host::bits<float>(v); }
inline int __float_as_int(float v) { return cuda_host::bits<int>(v); }
inline unsigned __float_as_uint(float v) { return cuda_host::bits<unsigned>(v); }

#define CUDA_HOST_MIN_MAX(T)                       \
  inline T min(T a, T b) { return b < a ? b : a; } \
  inline T max(T a, T b) { return a < b ? b : a; }
CUDA_HOST_MIN_MAX(int)
CUDA_HOST_MIN_MAX(unsigned)
CUDA_HOST_MIN_MAX(long)
CUDA_HOST_MIN_MAX(long long)
CUDA_HOST_MIN_MAX(unsigned long)
CUDA_HOST_MIN_MAX(unsigned long long)
inline float min(float a, float b) { return std::fmin(a, b); }
inline float max(float a, float b) { return std::fmax(a, b); }

#define CUDA_HOST_VECTOR(T, name, align2, align4)                    \
  struct alignas(align2) name##2 { T x, y; };                        \
  struct name##3 { T x, y, z; };                                     \
  struct alignas(align4) name##4 { T x, y, z, w; };                  \
  inline name##2 make_##name##2(T x, T y) { return {x, y}; }         \
  inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; } \
  inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
CUDA_HOST_VECTOR(float, float, 8, 16)
CUDA_HOST_VECTOR(int, int, 8, 16)
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) {
  return {x, y, z, w};
}

// bfloat16, rounded to nearest even.

struct __nv_bfloat16 {
  uint16_t bits;
};
struct alignas(4) __nv_bfloat162 {
  __nv_bfloat16 x, y;
};
inline float __bfloat162float(__nv_bfloat16 v) {
  return __uint_as_float(unsigned(v.bits) << 16);
}
inline __nv_bfloat16 __float2bfloat16(float v) {
  const unsigned u = __float_as_uint(v);
  if (v != v) return {uint16_t(u >> 16 | 0x40)};
  return {uint16_t((u + 0x7fff + (u >> 16 & 1)) >> 16)};
}
inline __nv_bfloat16 __float2bfloat16_rn(float v) { return __float2bfloat16(v); }
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) {
  return {__float2bfloat16(x), __float2bfloat16(y)};
}
inline float2 __bfloat1622float2(__nv_bfloat162 v) {
  return {__bfloat162float(v.x), __bfloat162float(v.y)};
}
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 v) { return v.bits; }
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short v) { return {v}; }

// Replacements of the device code's inline PTX.

namespace cuda_host {

// cp.async: `read` of `bytes` bytes, zeros behind; lands only when waited for.
inline void copy_async(void* to, const void* from, int bytes, int read) {
  if (uintptr_t(to) % bytes || (read && uintptr_t(from) % bytes))
    return fail("cp.async at an address that its size does not divide");
  self().copies.push_back({to, from, bytes, read});
}
inline void copy_commit() {
  self().groups.push_back(std::move(self().copies));
  self().copies.clear();
}
inline void copy_wait(int left) {  // until at most `left` groups are under way
  for (auto& groups = self().groups; int(groups.size()) > left; groups.pop_front())
    for (const Copy& c : groups.front()) {
      std::memcpy(c.to, c.from, c.read);
      std::memset(static_cast<char*>(c.to) + c.read, 0, c.bytes - c.read);
    }
}

// mma.sync.m16n8k16.row.col.f32.bf16.bf16.f32, d += a b.
inline void mma_bf16_16816(float (&d)[4], const unsigned (&a)[4],
                           const unsigned (&b)[2]) {
  struct Fragments {
    unsigned a[4], b[2];
  } mine = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
  auto half = [](unsigned pair, int which) {
    return __uint_as_float(which ? pair & 0xffff0000u : pair << 16);
  };
  exchange(~0u, mine, [&](auto at) {
    for (int i = 0; i < 4; ++i) {
      const int row = lane() / 4 + i / 2 * 8, column = lane() % 4 * 2 + i % 2;
      for (int k = 0; k < 16; ++k) {
        const int quad = k % 8 / 2;
        const unsigned left = at(row % 8 * 4 + quad).a[row / 8 + k / 8 * 2];
        const unsigned right = at(column * 4 + quad).b[k / 8];
        d[i] += half(left, k % 2) * half(right, k % 2);
      }
    }
    return 0;
  });
}

// ldmatrix.m8n8.x4[.trans].b16: lane i names row i % 8 of matrix i / 8.
inline void load_matrices(unsigned (&r)[4], const void* row, bool transposed) {
  if (uintptr_t(row) % 16)
    return fail("ldmatrix at an address that 16 does not divide");
  exchange(~0u, row, [&](auto at) {
    for (int m = 0; m < 4; ++m) {
      const int i = lane() / 4, j = lane() % 4 * 2;
      auto element = [&](int y, int x) {
        return unsigned(static_cast<const uint16_t*>(at(m * 8 + y))[x]);
      };
      r[m] = transposed ? element(j, i) | element(j + 1, i) << 16
                        : element(i, j) | element(i, j + 1) << 16;
    }
    return 0;
  });
}

}  // namespace cuda_host

// The runtime's calls that launching code makes.

inline cudaError_t cudaGetLastError() {
  return std::exchange(cuda_host::status, cudaSuccess);
}
inline const char* cudaGetErrorString(cudaError_t) { return cuda_host::error; }
template <class F>
cudaError_t cudaFuncSetAttribute(F kernel, cudaFuncAttribute, int bytes) {
  if (bytes < 0 || bytes > 232448) return cudaErrorInvalidValue;
  cuda_host::shared_limit[(const void*)kernel] = bytes;
  return cudaSuccess;
}
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount = 16 };
inline cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  *value = 16;
  return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* at, int value, size_t bytes, cudaStream_t) {
  std::memset(at, value, bytes);
  return cudaSuccess;
}
