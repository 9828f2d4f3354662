// As much of CUDA as runs nvdiffrast's simple kernels on a CPU, one thread after the
// other: no thread waits for another, so that every thread is a warp of its own.
#pragma once

#include <math.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#define __device__
#define __global__
#define __host__
#define __constant__
// A local variable: that of the only thread of its block.
#define __shared__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
// In a namespace, as inline variables of one name are one in all of a process's
// libraries, and those of the fibers have another type.
namespace one_by_one {
inline thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;
}
using namespace one_by_one;

#define VECTORS(type, scalar, align2, align4)                                       \
  struct alignas(align2) type##2 { scalar x, y; };                                  \
  struct type##3 { scalar x, y, z; };                                               \
  struct alignas(align4) type##4 { scalar x, y, z, w; };                            \
  inline type##2 make_##type##2(scalar x, scalar y) { return {x, y}; }              \
  inline type##3 make_##type##3(scalar x, scalar y, scalar z) { return {x, y, z}; } \
  inline type##4 make_##type##4(scalar x, scalar y, scalar z, scalar w) {           \
    return {x, y, z, w};                                                            \
  }
VECTORS(float, float, 8, 16)
VECTORS(int, int, 8, 16)
VECTORS(uint, unsigned, 8, 16)
#undef VECTORS

template <typename To, typename From>
inline To same_bits(From value) {
  static_assert(sizeof(To) == sizeof(From));
  To out;
  std::memcpy(&out, &value, sizeof(out));
  return out;
}
inline int __float_as_int(float v) { return same_bits<int>(v); }
inline unsigned __float_as_uint(float v) { return same_bits<unsigned>(v); }
inline float __int_as_float(int v) { return same_bits<float>(v); }
inline float __uint_as_float(unsigned v) { return same_bits<float>(v); }
inline int __float2int_rd(float v) { return static_cast<int>(floorf(v)); }
inline float __saturatef(float v) { return v > 0 ? (v < 1 ? v : 1) : 0; }
inline float __frcp_rz(float v) { return 1 / v; }
inline float __log2f(float v) { return log2f(v); }
inline void __syncthreads() {}
inline int __all_sync(unsigned, int holds) { return holds != 0; }
inline unsigned __ballot_sync(unsigned, int holds) { return holds != 0; }
using std::max;
using std::min;

template <typename Value>
inline Value atomicAdd(Value* place, Value more) {
  Value before = *place;
  *place += more;
  return before;
}
template <typename Value>
inline Value atomicCAS(Value* place, Value expected, Value wanted) {
  Value before = *place;
  if (before == expected) *place = wanted;
  return before;
}
inline unsigned long long atomicCAS(unsigned long long* place, int expected,
                                    unsigned long long wanted) {
  return atomicCAS<unsigned long long>(place, expected, wanted);
}

using cudaStream_t = struct HostStream*;
enum cudaError_t { cudaSuccess, cudaErrorMemoryAllocation };
enum { cudaMemcpyDeviceToDevice, cudaDevAttrMultiProcessorCount };
inline const char* cudaGetErrorString(cudaError_t) { return "error"; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaDeviceGetAttribute(int* value, int, int) {
  return *value = 1, cudaSuccess;
}
template <typename Kernel>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* count, Kernel, int,
                                                          size_t) {
  return *count = 1, cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t) {
  return std::memset(to, value, bytes), cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, int,
                                   cudaStream_t) {
  return std::memcpy(to, from, bytes), cudaSuccess;
}

template <typename Params>
cudaError_t cudaLaunchKernel(void (*kernel)(Params), dim3 grid, dim3 block,
                             void** arguments, size_t, cudaStream_t) {
  gridDim = grid, blockDim = block;
  auto all = [](dim3 size, dim3& index, auto body) {
    for (index.z = 0; index.z < size.z; ++index.z)
      for (index.y = 0; index.y < size.y; ++index.y)
        for (index.x = 0; index.x < size.x; ++index.x) body();
  };
  all(grid, blockIdx, [&] {
    all(block, threadIdx, [&] { kernel(*static_cast<Params*>(arguments[0])); });
  });
  return cudaSuccess;
}
