// The rasterizer's kernels for CUDA, as FFI handlers. No handler waits for the device.
#ifndef AFFJAX_ON_HOST
#include <cuda_runtime.h>
#endif

#include <algorithm>
#include <limits>
#include <string>

#include "locate_device.cuh"
#include "rasterizer_device.cuh"
#include "rasterizer_ffi.h"
#include "silhouettes_device.cuh"

namespace affjax::raster {
namespace {

// Returns the error of the launches so far, if any.
ffi::Error launched(const char* handler) {
  const cudaError_t error = cudaGetLastError();
  if (error == cudaSuccess) return ffi::Error::Success();
  return ffi::Error::Internal(std::string(handler) + ": " + cudaGetErrorString(error));
}

// Draws a mesh into images of size [B, H, W].
ffi::Error draw(const char* handler, cudaStream_t stream, ffi::ScratchAllocator& memory,
                const Vertices& pos, const Triangles& tri,
                ffi::Span<const int64_t> size, const Pictures& pictures) {
  if (auto error = check_mesh(handler, pos, tri, size); error.failure()) return error;
  const int64_t batch = size[0], height = size[1], width = size[2];
  const int64_t vertices = pos.dimensions()[1], triangles = tri.dimensions()[0];
  if (triangles > kMaxTriangles || vertices > std::numeric_limits<int>::max())
    return invalid(handler, "more than 2^24 triangles");
  if (batch * height * width == 0) return ffi::Error::Success();
  const Plan plan(batch, std::max<int64_t>(triangles, 1), height, width);
  const std::optional<void*> scratch = memory.Allocate(plan.bytes, 16);
  if (!scratch) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted,
                      std::string(handler) + ": no device memory for " +
                          std::to_string(plan.bytes) + " bytes");
  }
  rasterize(stream, plan, *scratch, pos.typed_data(), tri.typed_data(), pictures, batch,
            int(vertices), int(triangles), int(height), int(width));
  return launched(handler);
}

// Writes the index + 1 of the visible triangle of each pixel, 0 where there is none.
ffi::Error rasterize_ids(cudaStream_t stream, ffi::ScratchAllocator memory,
                         Vertices pos, Triangles tri, ffi::Result<IntImage> ids) {
  return draw("rasterize_ids", stream, memory, pos, tri, ids->dimensions(),
              {ids->typed_data(), nullptr, nullptr, nullptr});
}

// Writes depth and id + 1 of the nearest triangle behind given depths and ids.
ffi::Error rasterize_nearest(cudaStream_t stream, ffi::ScratchAllocator memory,
                             Vertices pos, Triangles tri, FloatImage behind_depth,
                             IntImage behind_ids, ffi::Result<FloatImage> depth,
                             ffi::Result<IntImage> ids) {
  if (auto error =
          check_nearest(ids->element_count(), behind_depth, behind_ids, *depth);
      error.failure()) {
    return error;
  }
  return draw("rasterize_nearest", stream, memory, pos, tri, ids->dimensions(),
              {ids->typed_data(), depth->typed_data(), behind_depth.typed_data(),
               behind_ids.typed_data()});
}

// Writes the raster [B, H, W, 4] of known ids and, if requested, its derivatives.
ffi::Error rasterize_locate(cudaStream_t stream, Vertices pos, Triangles tri,
                            IntImage ids, ffi::Result<FloatChannels> rast,
                            ffi::Result<FloatChannels> slopes) {
  const auto size = ids.dimensions();
  const size_t pixels = ids.element_count();
  if (auto error = check_mesh("rasterize_locate", pos, tri, size); error.failure())
    return error;
  if (auto error = check_raster("rasterize_locate", pixels, rast->element_count(),
                                slopes->element_count());
      error.failure()) {
    return error;
  }
  if (pixels == 0) return ffi::Error::Success();
  const locate::Seen seen = {reinterpret_cast<const float4*>(pos.typed_data()),
                             tri.typed_data(),
                             ids.typed_data(),
                             int(pos.dimensions()[1]),
                             int(tri.dimensions()[0]),
                             int(size[1]),
                             int(size[2])};
  float4* const slopes_to = slopes->element_count()
                                ? reinterpret_cast<float4*>(slopes->typed_data())
                                : nullptr;
  AFFJAX_LAUNCH(locate::locate_pixels, locate::blocks_of(pixels), 256, stream, seen,
                int64_t(pixels), reinterpret_cast<float4*>(rast->typed_data()),
                slopes_to);
  return launched("rasterize_locate");
}

// Writes, for each pair of neighboring pixels, the vertices of the silhouette edge
// between them; the CPU's handler in `rasterizer.cc` describes the arguments.
ffi::Error silhouette_edges(cudaStream_t stream, IntImage ids, FloatImage depth,
                            FloatImage rows, Triangles neighbors, Triangles tri,
                            ffi::Result<IntImage> start_x, ffi::Result<IntImage> end_x,
                            ffi::Result<IntImage> start_y,
                            ffi::Result<IntImage> end_y) {
  silhouettes::Images images;
  if (auto error =
          read_edges(ids, depth, rows, neighbors, tri, start_x->element_count(),
                     start_y->element_count(), images);
      error.failure()) {
    return error;
  }
  if (ids.element_count() == 0) return ffi::Error::Success();
  const silhouettes::Found found = {start_x->typed_data(), end_x->typed_data(),
                                    start_y->typed_data(), end_y->typed_data()};
  const int64_t batch = ids.dimensions()[0];
  const dim3 grid = silhouettes::grid_of(ids.element_count());
  AFFJAX_LAUNCH(silhouettes::find_edges, grid, 256, stream, images, batch, found);
  return launched("silhouette_edges");
}

auto with_stream() { return ffi::Ffi::Bind().Ctx<ffi::PlatformStream<cudaStream_t>>(); }

auto with_memory() { return with_stream().Ctx<ffi::ScratchAllocator>(); }

}  // namespace
}  // namespace affjax::raster

namespace raster = affjax::raster;

XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_rasterize_ids, raster::rasterize_ids,
                              raster::bind_ids(raster::with_memory()));

XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_rasterize_nearest, raster::rasterize_nearest,
                              raster::bind_nearest(raster::with_memory()));

XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_rasterize_locate, raster::rasterize_locate,
                              raster::bind_locate(raster::with_stream()));

XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_silhouette_edges, raster::silhouette_edges,
                              raster::bind_edges(raster::with_stream()));
