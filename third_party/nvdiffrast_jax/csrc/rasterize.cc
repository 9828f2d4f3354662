// nvdiffrast's rasterizer and its gradient as XLA handlers.

#include "rasterize.h"

#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "cudaraster/CudaRaster.hpp"
#include "cudaraster/impl/Constants.hpp"
#include "launch.h"

void RasterizeCudaFwdShaderKernel(const RasterizeCudaFwdShaderParams);
void RasterizeGradKernel(const RasterizeGradParams);
void RasterizeGradKernelDb(const RasterizeGradParams);

namespace affjax_nvdiffrast {
namespace {

// A CudaRaster owns device buffers, so that it serves one caller at a time. One is kept
// for each device and stream: work on a stream is in order, so that the next draw
// cannot overwrite what the last one's shader still reads.
struct Slot {
  std::mutex busy;
  std::unique_ptr<CR::CudaRaster> raster;
};

Slot& slot_of(cudaStream_t stream) {
  // Never freed: the CUDA runtime may be gone before static objects are.
  static auto& mutex = *new std::mutex;
  static auto& slots = *new std::map<std::pair<int, cudaStream_t>, Slot>;
  int device = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  std::lock_guard<std::mutex> lock(mutex);
  return slots[{device, stream}];
}

// Pixel centers in clip space, as a factor and an offset of the pixel's index.
template <typename Params>
void set_pixel_grid(Params& params, int width, int height) {
  params.xs = 2.0f / static_cast<float>(width);
  params.xo = 1.0f / static_cast<float>(width) - 1.0f;
  params.ys = 2.0f / static_cast<float>(height);
  params.yo = 1.0f / static_cast<float>(height) - 1.0f;
}

int whole_tiles(int pixels) {
  return (pixels + CR_TILE_SIZE - 1) / CR_TILE_SIZE * CR_TILE_SIZE;
}

void draw(CR::CudaRaster& raster, const Floats& pos, const Ints& tri, int width,
          int height, cudaStream_t stream) {
  require(width <= CR_MAXVIEWPORT_SIZE && height <= CR_MAXVIEWPORT_SIZE,
          "the resolution is above CudaRaster's largest viewport");
  auto shape = pos.dimensions();
  raster.setVertexBuffer(pos.typed_data(), extent(shape, 1));
  raster.setIndexBuffer(tri.typed_data(), extent(tri.dimensions(), 0));
  raster.setBufferSize(width, height, extent(shape, 0));
  raster.setViewport(width, height, 0, 0);
  raster.setRenderModeFlags(0);
  raster.deferredClear(0);
  // Grows its buffers and draws again by itself until all fits, up to a hard limit.
  require(raster.drawTriangles(nullptr, false, stream),
          "more than 2^24 triangles after clipping");
}

ffi::Error rasterize_forward(cudaStream_t stream, Floats pos, Ints tri, FloatsOut rast,
                             FloatsOut slopes) {
  return guarded([&] {
    auto shape = rast->dimensions();
    int depth = extent(shape, 0), height = extent(shape, 1), width = extent(shape, 2);
    Slot& slot = slot_of(stream);
    std::lock_guard<std::mutex> lock(slot.busy);
    try {
      if (!slot.raster) slot.raster = std::make_unique<CR::CudaRaster>();
      draw(*slot.raster, pos, tri, width, height, stream);
    } catch (...) {
      slot.raster.reset();  // Its buffers may be half resized.
      throw;
    }
    RasterizeCudaFwdShaderParams params = {};
    params.pos = pos.typed_data();
    params.tri = tri.typed_data();
    params.in_idx = static_cast<const int*>(slot.raster->getColorBuffer());
    params.out = rast->typed_data();
    params.out_db = slopes->typed_data();
    params.numTriangles = extent(tri.dimensions(), 0);
    params.numVertices = extent(pos.dimensions(), 1);
    params.width_in = whole_tiles(width);
    params.height_in = whole_tiles(height);
    params.width_out = width;
    params.height_out = height;
    params.depth = depth;
    params.instance_mode = 1;
    set_pixel_grid(params, width, height);
    launch_per_pixel(RasterizeCudaFwdShaderKernel, width, height, depth, params,
                     stream);
  });
}

// `slopes_grad` is empty where the derivatives of the weights were not asked for.
ffi::Error rasterize_backward(cudaStream_t stream, Floats pos, Ints tri, Floats rast,
                              Floats rast_grad, Floats slopes_grad,
                              FloatsOut pos_grad) {
  return guarded([&] {
    clear(pos_grad, stream);
    auto shape = rast.dimensions();
    RasterizeGradParams params = {};
    params.pos = pos.typed_data();
    params.tri = tri.typed_data();
    params.out = rast.typed_data();
    params.dy = rast_grad.typed_data();
    params.ddb = optional(slopes_grad);
    params.grad = pos_grad->typed_data();
    params.numTriangles = extent(tri.dimensions(), 0);
    params.numVertices = extent(pos.dimensions(), 1);
    params.depth = extent(shape, 0);
    params.height = extent(shape, 1);
    params.width = extent(shape, 2);
    params.instance_mode = 1;
    set_pixel_grid(params, params.width, params.height);
    launch_per_pixel(params.ddb ? RasterizeGradKernelDb : RasterizeGradKernel,
                     params.width, params.height, params.depth, params, stream);
  });
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_nvdiffrast_rasterize_forward, rasterize_forward,
                              ffi::Ffi::Bind()
                                  .Ctx<Stream>()
                                  .Arg<Floats>()
                                  .Arg<Ints>()
                                  .Ret<Floats>()
                                  .Ret<Floats>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_nvdiffrast_rasterize_backward, rasterize_backward,
                              ffi::Ffi::Bind()
                                  .Ctx<Stream>()
                                  .Arg<Floats>()
                                  .Arg<Ints>()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Ret<Floats>());

}  // namespace affjax_nvdiffrast
