// The rasterizer's kernels for the CPU.
#include <cstdint>
#include <limits>

#include "parallel.h"
#include "raster_search.h"
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
