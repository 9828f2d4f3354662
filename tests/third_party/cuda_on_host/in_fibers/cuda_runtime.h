// CUDA's runtime on the CPU, for kernels whose threads wait for each other: affjax's
// fibers (tests/native/cuda_host.h), and what CudaRaster's host code calls besides.
#pragma once

#include <cuda_host.h>

#include <mutex>

using std::copysign;

enum { cudaMemcpyDeviceToDevice, cudaMemcpyDeviceToHost, cudaMemcpyHostToDevice };
enum { cudaDevAttrMultiProcessorCount, cudaFuncCachePreferShared };
struct cudaFuncAttributes {
  int maxThreadsPerBlock;
};

inline cudaError_t cudaGetDevice(int* device) { return *device = 0; }
inline cudaError_t cudaDeviceGetAttribute(int* value, int, int) {
  return *value = 2, cudaSuccess;
}
inline cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* found, const void*) {
  return found->maxThreadsPerBlock = 1024, cudaSuccess;
}
inline cudaError_t cudaFuncSetCacheConfig(const void*, int) { return cudaSuccess; }
template <typename Kernel>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* count, Kernel, int,
                                                          size_t) {
  return *count = 1, cudaSuccess;
}
// Never zeros, so that what nobody wrote is seen.
inline cudaError_t allocate(void** to, size_t bytes) {
  *to = std::malloc(bytes);
  std::memset(*to, 0xa5, bytes);
  return cudaSuccess;
}
template <typename Value>
cudaError_t cudaMalloc(Value** to, size_t bytes) {
  return allocate(reinterpret_cast<void**>(to), bytes);
}
template <typename Value>
cudaError_t cudaMallocHost(Value** to, size_t bytes) {
  return allocate(reinterpret_cast<void**>(to), bytes);
}
inline cudaError_t cudaFree(void* place) { return std::free(place), cudaSuccess; }
inline cudaError_t cudaFreeHost(void* place) { return cudaFree(place); }
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, int,
                                   cudaStream_t) {
  return std::memcpy(to, from, bytes), cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }

inline std::mutex one_launch;
template <typename Params>
cudaError_t cudaLaunchKernel(void (*kernel)(Params), dim3 grid, dim3 block,
                             void** arguments, size_t shared, cudaStream_t) {
  std::lock_guard<std::mutex> lock(one_launch);
  cuda_host::launch(kernel, grid, block, shared, *static_cast<Params*>(arguments[0]));
  return cudaGetLastError();
}
// For CudaRaster, which passes kernels as bare addresses.
cudaError_t cudaLaunchKernel(void* kernel, dim3 grid, dim3 block, void** arguments,
                             size_t shared, cudaStream_t stream);
