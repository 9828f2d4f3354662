// The rasterizer's kernels for the CPU.
#include <cstdint>
#include <string>

#include "parallel.h"
#include "raster_locate.h"
#include "raster_search.h"
#include "silhouettes.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

// Why a mesh and a picture [B, H, W] do not fit together, or no error.
template <typename Pos, typename Tri, typename Picture>
static ffi::Error fits(const char* handler, const Pos& pos, const Tri& tri,
                       const Picture& picture) {
  const auto size = picture.dimensions();
  const std::string name = handler;
  if (pos.dimensions()[2] != 4 || tri.dimensions()[1] != 3 ||
      size[0] != pos.dimensions()[0]) {
    return ffi::Error::InvalidArgument(
        name + ": wants pos [B, V, 4], tri [T, 3], pictures [B, H, W]");
  }
  if (size[1] >= 1 << 22 || size[2] >= 1 << 22 || tri.dimensions()[0] >= 1 << 24) {
    return ffi::Error::InvalidArgument(name + ": too many pixels or triangles");
  }
  return ffi::Error::Success();
}

static ffi::Error rasterize_ids(ffi::ThreadPool pool, ffi::BufferR3<ffi::F32> pos,
                                ffi::BufferR2<ffi::S32> tri,
                                ffi::ResultBufferR3<ffi::S32> ids) {
  if (auto error = fits("rasterize_ids", pos, tri, *ids); error.failure()) return error;
  if (ids->element_count() == 0) return ffi::Error::Success();
  const auto size = ids->dimensions();
  affjax::raster::Search search(pos.typed_data(), tri.typed_data(), size[0],
                                pos.dimensions()[1], tri.dimensions()[0], int(size[1]),
                                int(size[2]), ids->typed_data());
  search.run([&](int64_t items, const auto& work) {
    affjax::parallel_for(pool, items, work);
  });
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_rasterize_ids, rasterize_ids,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::BufferR3<ffi::F32>>()
                                  .Arg<ffi::BufferR2<ffi::S32>>()
                                  .Ret<ffi::BufferR3<ffi::S32>>());

// Depth and id of what is nearest among what lies behind given depths and ids.
static ffi::Error rasterize_nearest(ffi::ThreadPool pool, ffi::BufferR3<ffi::F32> pos,
                                    ffi::BufferR2<ffi::S32> tri,
                                    ffi::BufferR3<ffi::F32> behind_depth,
                                    ffi::BufferR3<ffi::S32> behind_ids,
                                    ffi::ResultBufferR3<ffi::F32> depth,
                                    ffi::ResultBufferR3<ffi::S32> ids) {
  if (auto error = fits("rasterize_nearest", pos, tri, *ids); error.failure())
    return error;
  const size_t count = ids->element_count();
  if (behind_depth.element_count() != count || behind_ids.element_count() != count ||
      depth->element_count() != count) {
    return ffi::Error::InvalidArgument("rasterize_nearest: pictures of one size");
  }
  if (count == 0) return ffi::Error::Success();
  const auto size = ids->dimensions();
  affjax::raster::Search search(
      pos.typed_data(), tri.typed_data(), size[0], pos.dimensions()[1],
      tri.dimensions()[0], int(size[1]), int(size[2]), ids->typed_data(),
      depth->typed_data(), {behind_depth.typed_data(), behind_ids.typed_data()});
  search.run([&](int64_t items, const auto& work) {
    affjax::parallel_for(pool, items, work);
  });
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_rasterize_nearest, rasterize_nearest,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::BufferR3<ffi::F32>>()
                                  .Arg<ffi::BufferR2<ffi::S32>>()
                                  .Arg<ffi::BufferR3<ffi::F32>>()
                                  .Arg<ffi::BufferR3<ffi::S32>>()
                                  .Ret<ffi::BufferR3<ffi::F32>>()
                                  .Ret<ffi::BufferR3<ffi::S32>>());

// Whether slopes are wanted: they have the raster's size, or none.
static bool sizes_fit(size_t pixels, size_t rast, size_t slopes) {
  return rast == 4 * pixels && (slopes == 0 || slopes == rast);
}

// Raster [B, H, W, 4] of known ids, and slopes [B, H, W, 4] or [B, H, W, 0].
static ffi::Error rasterize_locate(ffi::ThreadPool pool, ffi::BufferR3<ffi::F32> pos,
                                   ffi::BufferR2<ffi::S32> tri,
                                   ffi::BufferR3<ffi::S32> ids,
                                   ffi::ResultBufferR4<ffi::F32> rast,
                                   ffi::ResultBufferR4<ffi::F32> slopes) {
  if (auto error = fits("rasterize_locate", pos, tri, ids); error.failure())
    return error;
  if (!sizes_fit(ids.element_count(), rast->element_count(), slopes->element_count()))
    return ffi::Error::InvalidArgument("rasterize_locate: pictures of one size");
  const auto size = ids.dimensions();
  const affjax::raster::Seen seen(pos.typed_data(), tri.typed_data(), ids.typed_data(),
                                  pos.dimensions()[1], tri.dimensions()[0],
                                  int(size[1]), int(size[2]));
  float* const slopes_to = slopes->element_count() ? slopes->typed_data() : nullptr;
  affjax::parallel_for(pool, size[0] * size[1], [&](int64_t line) {
    seen.locate_line(line, rast->typed_data(), slopes_to);
  });
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_rasterize_locate, rasterize_locate,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::BufferR3<ffi::F32>>()
                                  .Arg<ffi::BufferR2<ffi::S32>>()
                                  .Arg<ffi::BufferR3<ffi::S32>>()
                                  .Ret<ffi::BufferR4<ffi::F32>>()
                                  .Ret<ffi::BufferR4<ffi::F32>>());

// Gradient [B, V, 4] in pos, given the cotangents of what `rasterize_locate` writes.
static ffi::Error rasterize_pull(ffi::ThreadPool pool, ffi::BufferR3<ffi::F32> pos,
                                 ffi::BufferR2<ffi::S32> tri,
                                 ffi::BufferR3<ffi::S32> ids,
                                 ffi::BufferR4<ffi::F32> rast,
                                 ffi::BufferR4<ffi::F32> slopes,
                                 ffi::ResultBufferR3<ffi::F32> out) {
  if (auto error = fits("rasterize_pull", pos, tri, ids); error.failure()) return error;
  if (!sizes_fit(ids.element_count(), rast.element_count(), slopes.element_count()) ||
      out->element_count() != pos.element_count()) {
    return ffi::Error::InvalidArgument("rasterize_pull: sizes that do not fit");
  }
  const auto size = ids.dimensions();
  const affjax::raster::Seen seen(pos.typed_data(), tri.typed_data(), ids.typed_data(),
                                  pos.dimensions()[1], tri.dimensions()[0],
                                  int(size[1]), int(size[2]));
  const auto parallel = [&](int64_t items, const auto& work) {
    affjax::parallel_for(pool, items, work);
  };
  affjax::raster::pull_all(parallel, seen, size[0], int(size[1]), pos.dimensions()[1],
                           rast.typed_data(),
                           slopes.element_count() ? slopes.typed_data() : nullptr,
                           out->typed_data());
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_rasterize_pull, rasterize_pull,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::BufferR3<ffi::F32>>()
                                  .Arg<ffi::BufferR2<ffi::S32>>()
                                  .Arg<ffi::BufferR3<ffi::S32>>()
                                  .Arg<ffi::BufferR4<ffi::F32>>()
                                  .Arg<ffi::BufferR4<ffi::F32>>()
                                  .Ret<ffi::BufferR3<ffi::F32>>());

// For each pair of neighbouring pixels the vertices of the silhouette edge between them,
// -1 without: along x [B, H, W - 1], along y [B, H - 1, W]. `rows` [B, T, 9]: x, y
// (pixels) of a triangle's corners, then what each edge is; see _silhouettes.py.
static ffi::Error silhouette_edges(
    ffi::ThreadPool pool, ffi::BufferR3<ffi::S32> ids, ffi::BufferR3<ffi::F32> depth,
    ffi::BufferR3<ffi::F32> rows, ffi::BufferR2<ffi::S32> neighbors,
    ffi::BufferR2<ffi::S32> tri, ffi::ResultBufferR3<ffi::S32> start_x,
    ffi::ResultBufferR3<ffi::S32> end_x, ffi::ResultBufferR3<ffi::S32> start_y,
    ffi::ResultBufferR3<ffi::S32> end_y) {
  const int64_t batch = ids.dimensions()[0], triangles = tri.dimensions()[0];
  const int height = int(ids.dimensions()[1]), width = int(ids.dimensions()[2]);
  if (rows.element_count() != size_t(batch * triangles * 9) ||
      neighbors.element_count() != size_t(triangles * 3) ||
      depth.element_count() != ids.element_count() ||
      start_x->element_count() != size_t(batch * height * (width - 1)) ||
      start_y->element_count() != size_t(batch * (height - 1) * width)) {
    return ffi::Error::InvalidArgument("silhouette_edges: sizes that do not fit");
  }
  const affjax::silhouettes::Images images = {
      ids.typed_data(), depth.typed_data(), rows.typed_data(), neighbors.typed_data(),
      tri.typed_data(), height,             width,             int(triangles)};
  affjax::parallel_for(pool, batch * height, [&](int64_t line) {
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

XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_silhouette_edges, silhouette_edges,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::BufferR3<ffi::S32>>()
                                  .Arg<ffi::BufferR3<ffi::F32>>()
                                  .Arg<ffi::BufferR3<ffi::F32>>()
                                  .Arg<ffi::BufferR2<ffi::S32>>()
                                  .Arg<ffi::BufferR2<ffi::S32>>()
                                  .Ret<ffi::BufferR3<ffi::S32>>()
                                  .Ret<ffi::BufferR3<ffi::S32>>()
                                  .Ret<ffi::BufferR3<ffi::S32>>()
                                  .Ret<ffi::BufferR3<ffi::S32>>());
