// Launches of nvdiffrast's kernels, which our handlers reach by name only.
#pragma once

#include "xla/ffi/api/ffi.h"

namespace affjax_nvdiffrast {

namespace ffi = xla::ffi;
using Floats = ffi::Buffer<ffi::F32>;
using Ints = ffi::Buffer<ffi::S32>;
using FloatsOut = ffi::ResultBuffer<ffi::F32>;
using IntsOut = ffi::ResultBuffer<ffi::S32>;
using Stream = ffi::PlatformStream<cudaStream_t>;

// Their pixel kernels have room for 64 threads a block.
constexpr int kSide = 8;

inline dim3 blocks(int width, int height, int depth, dim3 block) {
  return dim3((width + block.x - 1) / block.x, (height + block.y - 1) / block.y, depth);
}

template <typename Params>
void launch(void (*kernel)(Params), dim3 grid, dim3 block, Params params,
            cudaStream_t stream, size_t shared_bytes = 0) {
  void* arguments[] = {&params};
  check(cudaLaunchKernel(kernel, grid, block, arguments, shared_bytes, stream),
        "cudaLaunchKernel");
}

// One thread a pixel of all images.
template <typename Params>
void launch_per_pixel(void (*kernel)(Params), int width, int height, int depth,
                      Params params, cudaStream_t stream) {
  dim3 block(kSide, kSide);
  launch(kernel, blocks(width, height, depth, block), block, params, stream);
}

// As many blocks as the device holds at once; they share out a list of work.
template <typename Params>
void launch_persistent(void (*kernel)(Params), int threads, Params params,
                       cudaStream_t stream) {
  int device = 0, processors = 0, resident = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device),
        "cudaDeviceGetAttribute");
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&resident, kernel, threads, 0),
        "cudaOccupancyMaxActiveBlocksPerMultiprocessor");
  launch(kernel, dim3(processors * std::max(resident, 1)), dim3(threads), params,
         stream);
}

template <typename Out>
void clear(Out& buffer, cudaStream_t stream) {
  if (buffer->element_count() == 0) return;
  check(cudaMemsetAsync(buffer->untyped_data(), 0, buffer->size_bytes(), stream),
        "cudaMemsetAsync");
}

// An input or output that the caller left out has no elements.
inline const float* optional(const Floats& buffer) {
  return buffer.element_count() ? buffer.typed_data() : nullptr;
}

inline float* optional(FloatsOut& buffer) {
  return buffer->element_count() ? buffer->typed_data() : nullptr;
}

inline int extent(ffi::Span<const int64_t> shape, int axis) {
  return static_cast<int>(shape[axis]);
}

// Runs a handler's body; what it throws is the caller's error.
template <typename Body>
ffi::Error guarded(Body body) {
  try {
    body();
  } catch (const std::exception& error) {
    return ffi::Error::Internal(std::string("nvdiffrast: ") + error.what());
  }
  return ffi::Error::Success();
}

}  // namespace affjax_nvdiffrast
