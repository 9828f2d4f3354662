// The rasterizer's search on a GPU, as XLA calls it. See rasterizer_device.cuh.
#ifndef AFFJAX_ON_HOST
#include <cuda_runtime.h>
#endif

#include <limits>
#include <string>

#include "rasterizer_device.cuh"
#include "silhouettes_device.cuh"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;
namespace raster = affjax::raster;
namespace silhouettes = affjax::silhouettes;

// What the launches before have met, if anything.
static ffi::Error launched(const char* handler) {
  const cudaError_t error = cudaGetLastError();
  if (error == cudaSuccess) return ffi::Error::Success();
  return ffi::Error::Internal(std::string(handler) + ": " + cudaGetErrorString(error));
}

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
  return launched("rasterize_ids");
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_rasterize_ids, rasterize_ids,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::PlatformStream<cudaStream_t>>()
                                  .Ctx<ffi::ScratchAllocator>()
                                  .Arg<ffi::BufferR3<ffi::F32>>()
                                  .Arg<ffi::BufferR2<ffi::S32>>()
                                  .Ret<ffi::BufferR3<ffi::S32>>());

// For each pair of neighbouring pixels the vertices of the silhouette edge between them,
// -1 without: along x [B, H, W - 1], along y [B, H - 1, W]. `rows` [B, T, 9]: x, y
// (pixels) of a triangle's corners, then what each edge is; see _silhouettes.py.
static ffi::Error silhouette_edges(
    cudaStream_t stream, ffi::BufferR3<ffi::S32> ids, ffi::BufferR3<ffi::F32> depth,
    ffi::BufferR3<ffi::F32> rows, ffi::BufferR2<ffi::S32> neighbors,
    ffi::BufferR2<ffi::S32> tri, ffi::ResultBufferR3<ffi::S32> start_x,
    ffi::ResultBufferR3<ffi::S32> end_x, ffi::ResultBufferR3<ffi::S32> start_y,
    ffi::ResultBufferR3<ffi::S32> end_y) {
  const auto shape = ids.dimensions();
  const int64_t triangles = tri.dimensions()[0];
  if (rows.element_count() != size_t(shape[0] * triangles * 9) ||
      neighbors.element_count() != size_t(triangles * 3) ||
      depth.element_count() != ids.element_count() ||
      start_x->element_count() != size_t(shape[0] * shape[1] * (shape[2] - 1)) ||
      start_y->element_count() != size_t(shape[0] * (shape[1] - 1) * shape[2]))
    return ffi::Error::InvalidArgument("silhouette_edges: sizes that do not fit");
  if (ids.element_count() == 0) return ffi::Error::Success();
  const silhouettes::Images images = {ids.typed_data(),       depth.typed_data(),
                                      rows.typed_data(),      neighbors.typed_data(),
                                      tri.typed_data(),       int(shape[1]),
                                      int(shape[2]),          int(triangles)};
  const silhouettes::Found found = {start_x->typed_data(), end_x->typed_data(),
                                    start_y->typed_data(), end_y->typed_data()};
  const dim3 grid = silhouettes::grid_of(ids.element_count());
  AFFJAX_LAUNCH(silhouettes::find_edges, grid, 256, stream, images, shape[0], found);
  return launched("silhouette_edges");
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_silhouette_edges, silhouette_edges,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::PlatformStream<cudaStream_t>>()
                                  .Arg<ffi::BufferR3<ffi::S32>>()
                                  .Arg<ffi::BufferR3<ffi::F32>>()
                                  .Arg<ffi::BufferR3<ffi::F32>>()
                                  .Arg<ffi::BufferR2<ffi::S32>>()
                                  .Arg<ffi::BufferR2<ffi::S32>>()
                                  .Ret<ffi::BufferR3<ffi::S32>>()
                                  .Ret<ffi::BufferR3<ffi::S32>>()
                                  .Ret<ffi::BufferR3<ffi::S32>>()
                                  .Ret<ffi::BufferR3<ffi::S32>>());
