// CUDA's runtime on the CPU, for kernels whose threads wait for each other: affjax's
// fibers (tests/native/cuda_host.h), and what CudaRaster's host code calls besides.
#pragma once

#include <cuda_host.h>

#include <mutex>

namespace in_fibers {

struct Attributes {
  int maxThreadsPerBlock;
};

template <typename... Ignored>
cudaError_t nothing(Ignored...) {
  return cudaSuccess;
}
inline cudaError_t device(int* which) { return *which = 0, cudaSuccess; }
inline cudaError_t processors(int* count, int, int) { return *count = 2, cudaSuccess; }
template <typename Kernel>
cudaError_t resident_blocks(int* count, Kernel, int, size_t) {
  return *count = 1, cudaSuccess;
}
inline cudaError_t attributes(Attributes* found, const void*) {
  return found->maxThreadsPerBlock = 1024, cudaSuccess;
}
// Not zeros, so that reads of unwritten memory show.
template <typename Value>
cudaError_t allocate(Value** to, size_t bytes) {
  *to = static_cast<Value*>(std::malloc(bytes));
  std::memset(*to, 0xa5, bytes);
  return cudaSuccess;
}
inline cudaError_t release(void* place) { return std::free(place), cudaSuccess; }
inline cudaError_t copy(void* to, const void* from, size_t bytes, int, cudaStream_t) {
  return std::memcpy(to, from, bytes), cudaSuccess;
}

inline std::mutex one_at_a_time;
template <typename Params>
cudaError_t launch(void (*kernel)(Params), dim3 grid, dim3 block, void** arguments,
                   size_t shared, cudaStream_t) {
  std::lock_guard<std::mutex> lock(one_at_a_time);
  cuda_host::launch(kernel, grid, block, shared, *static_cast<Params*>(arguments[0]));
  return cudaGetLastError();
}
// For CudaRaster, which passes kernels as bare addresses.
cudaError_t launch(void* kernel, dim3 grid, dim3 block, void** arguments, size_t shared,
                   cudaStream_t stream);

}  // namespace in_fibers

// Macros, as cuda_host.h has some of these names already.
#define cudaFuncAttributes in_fibers::Attributes
#define cudaGetDevice in_fibers::device
#define cudaDeviceGetAttribute in_fibers::processors
#define cudaDevAttrMultiProcessorCount 0
#define cudaOccupancyMaxActiveBlocksPerMultiprocessor in_fibers::resident_blocks
#define cudaFuncGetAttributes in_fibers::attributes
#define cudaFuncSetCacheConfig in_fibers::nothing
#define cudaFuncCachePreferShared 0
#define cudaMalloc in_fibers::allocate
#define cudaMallocHost in_fibers::allocate
#define cudaFree in_fibers::release
#define cudaFreeHost in_fibers::release
#define cudaMemcpyAsync in_fibers::copy
#define cudaMemcpyHostToDevice 0
#define cudaMemcpyDeviceToHost 0
#define cudaMemcpyDeviceToDevice 0
#define cudaStreamSynchronize in_fibers::nothing
#define cudaLaunchKernel in_fibers::launch
