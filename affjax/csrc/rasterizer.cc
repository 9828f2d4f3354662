// The rasterizer's kernels for the CPU.
#include <cstdint>
#include <limits>

#include "parallel.h"
#include "raster_search.h"
#include "silhouettes.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

static ffi::Error rasterize_ids(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> pos,
                                ffi::Buffer<ffi::S32> tri,
                                ffi::ResultBuffer<ffi::S32> ids) {
  const auto vertices = pos.dimensions();
  const auto triangles = tri.dimensions();
  const auto picture = ids->dimensions();
  if (vertices.size() != 3 || vertices[2] != 4 || triangles.size() != 2 ||
      triangles[1] != 3 || picture.size() != 3 || picture[0] != vertices[0]) {
    return ffi::Error::InvalidArgument(
        "rasterize_ids: wants pos [B, V, 4], tri [T, 3], ids [B, H, W]");
  }
  if (picture[1] >= 1 << 22 || picture[2] >= 1 << 22 || triangles[0] >= 1 << 24) {
    return ffi::Error::InvalidArgument("rasterize_ids: too many pixels or triangles");
  }
  if (ids->element_count() == 0) return ffi::Error::Success();
  affjax::raster::Search search(pos.typed_data(), tri.typed_data(), vertices[0],
                                vertices[1], triangles[0], int(picture[1]),
                                int(picture[2]), ids->typed_data());
  search.run([&](int64_t items, const auto& work) {
    affjax::parallel_for(pool, items, work);
  });
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_rasterize_ids, rasterize_ids,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Ret<ffi::Buffer<ffi::S32>>());

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
