// The rasterizer's search on a GPU, as XLA calls it. See rasterizer_device.cuh.
#include <cuda_runtime.h>

#include <limits>
#include <string>

#include "rasterizer_device.cuh"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;
namespace raster = affjax::raster;

// `pos` [B, V, 4], `tri` [T, 3] -> `ids` [B, H, W]: index + 1 of the visible triangle,
// 0 = none. Never waits for the device.
static ffi::Error rasterize_ids(cudaStream_t stream, ffi::ScratchAllocator memory,
                                ffi::BufferR3<ffi::F32> pos,
                                ffi::BufferR2<ffi::S32> tri,
                                ffi::ResultBufferR3<ffi::S32> ids) {
  const int64_t batch = ids->dimensions()[0], height = ids->dimensions()[1],
                width = ids->dimensions()[2];
  const int64_t vertices = pos.dimensions()[1], triangles = tri.dimensions()[0];
  if (pos.dimensions()[0] != batch || pos.dimensions()[2] != 4 ||
      tri.dimensions()[1] != 3)
    return ffi::Error::InvalidArgument("rasterize_ids: pos [B, V, 4], tri [T, 3]");
  if (triangles > raster::kMaxTriangles ||
      vertices > std::numeric_limits<int>::max())
    return ffi::Error::InvalidArgument("rasterize_ids: more than 2^24 triangles");
  if (ids->element_count() == 0) return ffi::Error::Success();
  if (triangles == 0) {
    cudaMemsetAsync(ids->untyped_data(), 0, ids->size_bytes(), stream);
  } else {
    const raster::Plan plan(batch, triangles, height, width);
    const std::optional<void*> scratch = memory.Allocate(plan.bytes, 16);
    if (!scratch)
      return ffi::Error(ffi::ErrorCode::kResourceExhausted,
                        "rasterize_ids: no device memory for " +
                            std::to_string(plan.bytes) + " bytes");
    raster::rasterize(stream, plan, *scratch, pos.typed_data(), tri.typed_data(),
                      ids->typed_data(), batch, int(vertices), int(triangles),
                      int(height), int(width));
  }
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess)
    return ffi::Error::Internal(std::string("rasterize_ids: ") +
                                cudaGetErrorString(error));
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_rasterize_ids, rasterize_ids,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::PlatformStream<cudaStream_t>>()
                                  .Ctx<ffi::ScratchAllocator>()
                                  .Arg<ffi::BufferR3<ffi::F32>>()
                                  .Arg<ffi::BufferR2<ffi::S32>>()
                                  .Ret<ffi::BufferR3<ffi::S32>>());
