// Affine convolution on CUDA: launches of the kernels, with their grids and scratch
// memory.
#ifndef AFFJAX_CSRC_AFFINE_CONV_LAUNCH_CUH_
#define AFFJAX_CSRC_AFFINE_CONV_LAUNCH_CUH_

#include <stddef.h>

#include <algorithm>

#include "affine_conv_backward.cuh"

namespace affjax {

// A GPU's stream and its number of multiprocessors.
struct Device {
  cudaStream_t stream;
  int multiprocessors;
};

template <class... P, class... A>
cudaError_t launch(const Device& device, void (*kernel)(P...), dim3 grid, int threads,
                   int shared, A... args) {
  if (shared > 48 << 10) {
    const cudaError_t status = cudaFuncSetAttribute(
        kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared);
    if (status != cudaSuccess) return status;
  }
#ifdef AFFJAX_ON_HOST
  cuda_host::launch(kernel, grid, dim3(threads), shared, args...);
#else
  // clang-format off: it would split the brackets.
  kernel<<<grid, threads, shared, device.stream>>>(args...);
  // clang-format on
#endif
  return cudaGetLastError();
}

// Returns from the calling function if the expression is an error.
#define AFFJAX_TRY(expression) \
  if (const cudaError_t status = (expression); status != cudaSuccess) return status;

inline long long divide_up(long long a, long long b) { return (a + b - 1) / b; }

// Returns the number of blocks of 256 threads for a loop over `size` items.
inline int blocks_for(const Device& device, long long size) {
  return int(std::min<long long>(divide_up(size, 256), device.multiprocessors * 16ll));
}

// Returns the number of taps per block, at least `least`, that puts about `wanted`
// blocks on each multiprocessor. Sums over groups of taps are added later.
inline int taps_each(const Device& device, long long blocks, int wanted, int taps,
                     int least) {
  const long long all = (long long)wanted * device.multiprocessors;
  const long long groups = std::min<long long>(taps, divide_up(all, blocks));
  return std::min(taps, std::max(least, int(divide_up(taps, groups))));
}

// `allocate(bytes)` returns scratch memory that is valid until the stream has passed
// this point, or null.
template <class T, int kN, class Allocate>
cudaError_t launch_forward(const Device& device, const Problem<T>& p, T* out,
                           Allocate allocate) {
  const long long tiles = divide_up(p.pixels, kRows);
  const long long sheets = divide_up(p.out_channels, kN);
  // Parts cost a round trip of float32 results, so they are used only if the tiles do
  // not fill the GPU once.
  const bool fills = tiles * sheets >= device.multiprocessors;
  const int each = fills ? p.taps() : taps_each(device, tiles * sheets, 2, p.taps(), 1);
  const int groups = int(divide_up(p.taps(), each));
  const long long size = (long long)p.pixels * p.out_channels;
  float* partial = nullptr;
  if (groups > 1) {
    partial = static_cast<float*>(allocate(size_t(groups) * size * 4));
    if (!partial) return cudaErrorMemoryAllocation;
  }
  AFFJAX_TRY(launch(device, &forward<T, kN>,
                    dim3(unsigned(tiles), unsigned(sheets), unsigned(groups)),
                    Forward<T, kN>::kThreads, Forward<T, kN>::kShared, p, each, out,
                    partial));
  if (groups > 1)
    AFFJAX_TRY(launch(device, &add_parts<T>, dim3(blocks_for(device, size)), 256, 0,
                      (const float*)partial, groups, size, out));
  return cudaSuccess;
}

template <class T, class Allocate>
cudaError_t run_forward(const Device& device, const Problem<T>& p, T* out,
                        Allocate allocate) {
  if (!p.pixels || !p.out_channels) return cudaSuccess;
  // Wide tiles sample once for 128 channels, but there are half as many of them.
  const long long wide = divide_up(p.pixels, kRows) * divide_up(p.out_channels, 128);
  if (p.out_channels > 64 && wide >= 2 * device.multiprocessors)
    return launch_forward<T, 128>(device, p, out, allocate);
  return launch_forward<T, 64>(device, p, out, allocate);
}

// Computes the gradients of x, coords and, if there is one, prior.
template <class T, class Allocate>
cudaError_t run_backward_samples(const Device& device, const Problem<T>& p,
                                 bool deterministic, T* grad_x, float* grad_coords,
                                 float* grad_prior, Allocate allocate) {
  const long long size = (long long)p.images * p.height * p.width * p.channels;
  const bool direct = sizeof(T) == 4 && !deterministic;
  const size_t bytes = size_t(size) * (deterministic ? 8 : 4);
  void* sums = direct ? static_cast<void*>(grad_x) : allocate(bytes);
  unsigned* largest = static_cast<unsigned*>(deterministic ? allocate(8) : nullptr);
  if (!sums || (deterministic && !largest)) return cudaErrorMemoryAllocation;
  AFFJAX_TRY(cudaMemsetAsync(sums, 0, bytes, device.stream));
  const bool whole = p.channels % 4 == 0 && reinterpret_cast<uintptr_t>(sums) % 16 == 0;
  Sink sink = {static_cast<float*>(sums), nullptr, largest, 0.0, whole};
  if (deterministic) {
    sink.fixed = static_cast<long long*>(sums);
    sink.terms = double(p.out_channels) * p.out_height * p.out_width * p.taps();
    AFFJAX_TRY(cudaMemsetAsync(largest, 0, 8, device.stream));
    const long long grads = (long long)p.pixels * p.out_channels;
    const long long weights = (long long)p.taps() * p.channels * p.out_channels;
    AFFJAX_TRY(launch(device, &find_largest<T>, dim3(blocks_for(device, grads)), 256, 0,
                      p.grad, grads, largest));
    AFFJAX_TRY(launch(device, &find_largest<T>, dim3(blocks_for(device, weights)), 256,
                      0, p.kernel, weights, largest + 1));
  }
  const long long tiles = divide_up(p.pixels, kRows);
  // A block takes at least as many taps as fill a tile of 64 columns.
  const int each =
      taps_each(device, tiles, 8, p.taps(), std::max(1, kRows / p.padded()));
  const int groups = int(divide_up(p.taps(), each));
  const bool finished = p.offsets || (groups == 1 && !p.prior);
  float* places = grad_coords;
  if (!finished) {
    places = static_cast<float*>(allocate(size_t(groups) * p.pixels * 24));
    if (!places) return cudaErrorMemoryAllocation;
  }
  AFFJAX_TRY(launch(device, &backward_samples<T>,
                    dim3(unsigned(tiles), unsigned(groups)), Samples<T>::kThreads,
                    Samples<T>::kShared, p, sink, each, places));
  if (!finished)
    AFFJAX_TRY(launch(device, &finish_matrices<T>, dim3(divide_up(p.pixels, 256)), 256,
                      0, p, (const float*)places, groups, grad_coords, grad_prior));
  if (deterministic) {
    AFFJAX_TRY(launch(device, &read_fixed<T>, dim3(blocks_for(device, size)), 256, 0,
                      sink, size, grad_x));
  } else if (!direct) {
    AFFJAX_TRY(launch(device, &add_parts<T>, dim3(blocks_for(device, size)), 256, 0,
                      (const float*)sums, 1, size, grad_x));
  }
  return cudaSuccess;
}

template <class T, int kN, class Allocate>
cudaError_t launch_backward_kernel(const Device& device, const Problem<T>& p,
                                   T* grad_kernel, Allocate allocate) {
  const long long size = (long long)p.taps() * p.channels * p.out_channels;
  const long long columns = divide_up((long long)p.taps() * p.padded(), kRows);
  const long long sheets = divide_up(p.out_channels, kN);
  // About two blocks on each multiprocessor, with at least 256 pixels each.
  const long long wanted = divide_up(2ll * device.multiprocessors, columns * sheets);
  const long long parts = std::min(wanted, divide_up(p.pixels, 256));
  const int each = int(divide_up(divide_up(p.pixels, parts), kRows) * kRows);
  const int splits = int(divide_up(p.pixels, each));
  float* partial = static_cast<float*>(allocate(size_t(splits) * size * 4));
  if (!partial) return cudaErrorMemoryAllocation;
  AFFJAX_TRY(launch(device, &backward_kernel<T, kN>,
                    dim3(unsigned(columns), unsigned(sheets), unsigned(splits)),
                    Kernel<T, kN>::kThreads, Kernel<T, kN>::kShared, p, each, partial));
  return launch(device, &add_parts<T>, dim3(blocks_for(device, size)), 256, 0,
                (const float*)partial, splits, size, grad_kernel);
}

template <class T, class Allocate>
cudaError_t run_backward(const Device& device, const Problem<T>& p, bool deterministic,
                         T* grad_x, float* grad_coords, float* grad_prior,
                         T* grad_kernel, Allocate allocate) {
  const size_t x_size = size_t(p.images) * p.height * p.width * p.channels;
  const size_t kernel_size = size_t(p.taps()) * p.channels * p.out_channels;
  if (!p.pixels || !p.out_channels) {
    const size_t coords = size_t(p.pixels) * (p.offsets ? 2 * p.taps() : 6) * 4;
    const size_t prior = p.prior ? size_t(p.pixels) * 24 : 0;
    AFFJAX_TRY(cudaMemsetAsync(grad_x, 0, x_size * sizeof(T), device.stream));
    AFFJAX_TRY(cudaMemsetAsync(grad_coords, 0, coords, device.stream));
    if (prior) AFFJAX_TRY(cudaMemsetAsync(grad_prior, 0, prior, device.stream));
    return cudaMemsetAsync(grad_kernel, 0, kernel_size * sizeof(T), device.stream);
  }
  AFFJAX_TRY(run_backward_samples(device, p, deterministic, grad_x, grad_coords,
                                  grad_prior, allocate));
  if (p.out_channels > 64)
    return launch_backward_kernel<T, 128>(device, p, grad_kernel, allocate);
  return launch_backward_kernel<T, 64>(device, p, grad_kernel, allocate);
}

}  // namespace affjax

#endif  // AFFJAX_CSRC_AFFINE_CONV_LAUNCH_CUH_
