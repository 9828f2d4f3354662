// The rasterizer's kernels for the CPU, as FFI handlers.
#include <cstdint>

#include "parallel.h"
#include "raster_locate.h"
#include "raster_search.h"
#include "rasterizer_ffi.h"
#include "silhouettes.h"

namespace affjax::raster {
namespace {

using Pool = ffi::ThreadPool;

auto parallel_on(Pool& pool) {
  return [&pool](int64_t items, const auto& work) { parallel_for(pool, items, work); };
}

ffi::Error check(const char* handler, const Vertices& pos, const Triangles& tri,
                 ffi::Span<const int64_t> size) {
  if (auto error = check_mesh(handler, pos, tri, size); error.failure()) return error;
  if (size[1] >= 1 << 22 || size[2] >= 1 << 22 || tri.dimensions()[0] >= 1 << 24) {
    return invalid(handler, "too many pixels or triangles");
  }
  return ffi::Error::Success();
}

// Writes the index + 1 of the visible triangle of each pixel, 0 where there is none.
ffi::Error rasterize_ids(Pool pool, Vertices pos, Triangles tri,
                         ffi::Result<IntImage> ids) {
  const auto size = ids->dimensions();
  if (auto error = check("rasterize_ids", pos, tri, size); error.failure())
    return error;
  if (ids->element_count() == 0) return ffi::Error::Success();
  Search search(pos.typed_data(), tri.typed_data(), size[0], pos.dimensions()[1],
                tri.dimensions()[0], int(size[1]), int(size[2]), ids->typed_data());
  search.run(parallel_on(pool));
  return ffi::Error::Success();
}

// Writes depth and id + 1 of the nearest triangle behind given depths and ids.
ffi::Error rasterize_nearest(Pool pool, Vertices pos, Triangles tri,
                             FloatImage behind_depth, IntImage behind_ids,
                             ffi::Result<FloatImage> depth, ffi::Result<IntImage> ids) {
  const auto size = ids->dimensions();
  const size_t pixels = ids->element_count();
  if (auto error = check("rasterize_nearest", pos, tri, size); error.failure())
    return error;
  if (auto error = check_nearest(pixels, behind_depth, behind_ids, *depth);
      error.failure()) {
    return error;
  }
  if (pixels == 0) return ffi::Error::Success();
  Search search(pos.typed_data(), tri.typed_data(), size[0], pos.dimensions()[1],
                tri.dimensions()[0], int(size[1]), int(size[2]), ids->typed_data(),
                depth->typed_data(),
                {behind_depth.typed_data(), behind_ids.typed_data()});
  search.run(parallel_on(pool));
  return ffi::Error::Success();
}

// Writes the raster [B, H, W, 4] of known ids and, if requested, its derivatives.
ffi::Error rasterize_locate(Pool pool, Vertices pos, Triangles tri, IntImage ids,
                            ffi::Result<FloatChannels> rast,
                            ffi::Result<FloatChannels> slopes) {
  const auto size = ids.dimensions();
  if (auto error = check("rasterize_locate", pos, tri, size); error.failure())
    return error;
  if (auto error = check_raster("rasterize_locate", ids.element_count(),
                                rast->element_count(), slopes->element_count());
      error.failure()) {
    return error;
  }
  const Seen seen(pos.typed_data(), tri.typed_data(), ids.typed_data(),
                  pos.dimensions()[1], tri.dimensions()[0], int(size[1]), int(size[2]));
  float* const slopes_to = slopes->element_count() ? slopes->typed_data() : nullptr;
  parallel_for(pool, size[0] * size[1], [&](int64_t line) {
    seen.locate_line(line, rast->typed_data(), slopes_to);
  });
  return ffi::Error::Success();
}

// Writes the gradient [B, V, 4] of `pos` for cotangents of the results of
// `rasterize_locate`.
ffi::Error rasterize_pull(Pool pool, Vertices pos, Triangles tri, IntImage ids,
                          FloatChannels rast, FloatChannels slopes,
                          ffi::Result<Vertices> out) {
  const auto size = ids.dimensions();
  if (auto error = check("rasterize_pull", pos, tri, size); error.failure())
    return error;
  if (auto error = check_raster("rasterize_pull", ids.element_count(),
                                rast.element_count(), slopes.element_count());
      error.failure()) {
    return error;
  }
  if (out->element_count() != pos.element_count()) {
    return invalid("rasterize_pull", "the gradient must have the shape of pos");
  }
  const Seen seen(pos.typed_data(), tri.typed_data(), ids.typed_data(),
                  pos.dimensions()[1], tri.dimensions()[0], int(size[1]), int(size[2]));
  pull_all(parallel_on(pool), seen, size[0], int(size[1]), pos.dimensions()[1],
           rast.typed_data(), slopes.element_count() ? slopes.typed_data() : nullptr,
           out->typed_data());
  return ffi::Error::Success();
}

// Writes, for each pair of neighboring pixels, the vertices of the silhouette edge
// between them, -1 if there is none: along x [B, H, W - 1], along y [B, H - 1, W]. The
// rows [B, T, 9] hold x and y (pixels) of a triangle's corners, then the kind of each
// edge; see `affjax/render/_silhouettes.py`.
ffi::Error silhouette_edges(Pool pool, IntImage ids, FloatImage depth, FloatImage rows,
                            Triangles neighbors, Triangles tri,
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
  const int height = images.height, width = images.width;
  parallel_for(pool, ids.dimensions()[0] * height, [&](int64_t line) {
    const int64_t image = line / height;
    const int y = int(line % height);
    int64_t at = line * (width - 1);
    for (int x = 0; x + 1 < width; ++x, ++at)
      edge_of(images, image, y, x, false, start_x->typed_data()[at],
              end_x->typed_data()[at]);
    if (y + 1 == height) return;
    at = (line - image) * width;
    for (int x = 0; x < width; ++x, ++at)
      edge_of(images, image, y, x, true, start_y->typed_data()[at],
              end_y->typed_data()[at]);
  });
  return ffi::Error::Success();
}

auto with_pool() { return ffi::Ffi::Bind().Ctx<Pool>(); }

}  // namespace
}  // namespace affjax::raster

namespace raster = affjax::raster;

XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_rasterize_ids, raster::rasterize_ids,
                              raster::bind_ids(raster::with_pool()));

XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_rasterize_nearest, raster::rasterize_nearest,
                              raster::bind_nearest(raster::with_pool()));

XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_rasterize_locate, raster::rasterize_locate,
                              raster::bind_locate(raster::with_pool()));

XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_rasterize_pull, raster::rasterize_pull,
                              raster::with_pool()
                                  .Arg<raster::Vertices>()
                                  .Arg<raster::Triangles>()
                                  .Arg<raster::IntImage>()
                                  .Arg<raster::FloatChannels>()
                                  .Arg<raster::FloatChannels>()
                                  .Ret<raster::Vertices>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_silhouette_edges, raster::silhouette_edges,
                              raster::bind_edges(raster::with_pool()));
