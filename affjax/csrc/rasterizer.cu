// The rasterizer's search on a GPU, as XLA calls it. See rasterizer_device.cuh.
#ifndef AFFJAX_ON_HOST
#include <cuda_runtime.h>
#endif

#include <algorithm>
#include <limits>
#include <string>

#include "locate_device.cuh"
#include "rasterizer_device.cuh"
#include "silhouettes_device.cuh"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;
namespace raster = affjax::raster;
namespace locate = affjax::locate;
namespace silhouettes = affjax::silhouettes;

// What the launches before have met, if anything.
static ffi::Error launched(const char* handler) {
  const cudaError_t error = cudaGetLastError();
  if (error == cudaSuccess) return ffi::Error::Success();
  return ffi::Error::Internal(std::string(handler) + ": " + cudaGetErrorString(error));
}

// Draws `pos` [B, V, 4], `tri` [T, 3] into pictures [B, H, W]. Never waits for the device.
static ffi::Error draw(const char* handler, cudaStream_t stream,
                       ffi::ScratchAllocator& memory,
                       const ffi::BufferR3<ffi::F32>& pos,
                       const ffi::BufferR2<ffi::S32>& tri,
                       ffi::Span<const int64_t> size, const raster::Pictures& pictures) {
  const std::string name = handler;
  const int64_t batch = size[0], height = size[1], width = size[2];
  const int64_t vertices = pos.dimensions()[1], triangles = tri.dimensions()[0];
  if (pos.dimensions()[0] != batch || pos.dimensions()[2] != 4 ||
      tri.dimensions()[1] != 3)
    return ffi::Error::InvalidArgument(name + ": pos [B, V, 4], tri [T, 3]");
  if (triangles > raster::kMaxTriangles ||
      vertices > std::numeric_limits<int>::max())
    return ffi::Error::InvalidArgument(name + ": more than 2^24 triangles");
  if (batch * height * width == 0) return ffi::Error::Success();
  const raster::Plan plan(batch, std::max<int64_t>(triangles, 1), height, width);
  const std::optional<void*> scratch = memory.Allocate(plan.bytes, 16);
  if (!scratch)
    return ffi::Error(
        ffi::ErrorCode::kResourceExhausted,
        name + ": no device memory for " + std::to_string(plan.bytes) + " bytes");
  raster::rasterize(stream, plan, *scratch, pos.typed_data(), tri.typed_data(), pictures,
                    batch, int(vertices), int(triangles), int(height), int(width));
  return launched(handler);
}

// `ids` [B, H, W]: index + 1 of the visible triangle, 0 = none.
static ffi::Error rasterize_ids(cudaStream_t stream, ffi::ScratchAllocator memory,
                                ffi::BufferR3<ffi::F32> pos,
                                ffi::BufferR2<ffi::S32> tri,
                                ffi::ResultBufferR3<ffi::S32> ids) {
  return draw("rasterize_ids", stream, memory, pos, tri, ids->dimensions(),
              {ids->typed_data(), nullptr, nullptr, nullptr});
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_rasterize_ids, rasterize_ids,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::PlatformStream<cudaStream_t>>()
                                  .Ctx<ffi::ScratchAllocator>()
                                  .Arg<ffi::BufferR3<ffi::F32>>()
                                  .Arg<ffi::BufferR2<ffi::S32>>()
                                  .Ret<ffi::BufferR3<ffi::S32>>());

// Depth and id of what is nearest among what lies behind given depths and ids.
static ffi::Error rasterize_nearest(cudaStream_t stream, ffi::ScratchAllocator memory,
                                    ffi::BufferR3<ffi::F32> pos,
                                    ffi::BufferR2<ffi::S32> tri,
                                    ffi::BufferR3<ffi::F32> behind_depth,
                                    ffi::BufferR3<ffi::S32> behind_ids,
                                    ffi::ResultBufferR3<ffi::F32> depth,
                                    ffi::ResultBufferR3<ffi::S32> ids) {
  const size_t count = ids->element_count();
  if (behind_depth.element_count() != count || behind_ids.element_count() != count ||
      depth->element_count() != count)
    return ffi::Error::InvalidArgument("rasterize_nearest: pictures of one size");
  return draw("rasterize_nearest", stream, memory, pos, tri, ids->dimensions(),
              {ids->typed_data(), depth->typed_data(), behind_depth.typed_data(),
               behind_ids.typed_data()});
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_rasterize_nearest, rasterize_nearest,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::PlatformStream<cudaStream_t>>()
                                  .Ctx<ffi::ScratchAllocator>()
                                  .Arg<ffi::BufferR3<ffi::F32>>()
                                  .Arg<ffi::BufferR2<ffi::S32>>()
                                  .Arg<ffi::BufferR3<ffi::F32>>()
                                  .Arg<ffi::BufferR3<ffi::S32>>()
                                  .Ret<ffi::BufferR3<ffi::F32>>()
                                  .Ret<ffi::BufferR3<ffi::S32>>());

// Raster [B, H, W, 4] of known ids, and slopes [B, H, W, 4] or [B, H, W, 0].
static ffi::Error rasterize_locate(cudaStream_t stream, ffi::BufferR3<ffi::F32> pos,
                                   ffi::BufferR2<ffi::S32> tri,
                                   ffi::BufferR3<ffi::S32> ids,
                                   ffi::ResultBufferR4<ffi::F32> rast,
                                   ffi::ResultBufferR4<ffi::F32> slopes) {
  const auto size = ids.dimensions();
  const size_t pixels = ids.element_count(), numbers = rast->element_count();
  if (pos.dimensions()[0] != size[0] || pos.dimensions()[2] != 4 ||
      tri.dimensions()[1] != 3 || numbers != 4 * pixels ||
      (slopes->element_count() != 0 && slopes->element_count() != numbers))
    return ffi::Error::InvalidArgument("rasterize_locate: sizes that do not fit");
  if (pixels == 0) return ffi::Error::Success();
  const auto* corners = reinterpret_cast<const float4*>(pos.typed_data());
  const locate::Seen seen = {corners,
                             tri.typed_data(),
                             ids.typed_data(),
                             int(pos.dimensions()[1]),
                             int(tri.dimensions()[0]),
                             int(size[1]),
                             int(size[2])};
  float4* const slopes_to =
      slopes->element_count() ? reinterpret_cast<float4*>(slopes->typed_data()) : nullptr;
  AFFJAX_LAUNCH(locate::locate_pixels, locate::blocks_of(pixels), 256, stream, seen,
                int64_t(pixels), reinterpret_cast<float4*>(rast->typed_data()),
                slopes_to);
  return launched("rasterize_locate");
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_rasterize_locate, rasterize_locate,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::PlatformStream<cudaStream_t>>()
                                  .Arg<ffi::BufferR3<ffi::F32>>()
                                  .Arg<ffi::BufferR2<ffi::S32>>()
                                  .Arg<ffi::BufferR3<ffi::S32>>()
                                  .Ret<ffi::BufferR4<ffi::F32>>()
                                  .Ret<ffi::BufferR4<ffi::F32>>());

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
