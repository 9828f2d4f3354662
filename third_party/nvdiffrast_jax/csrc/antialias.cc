// nvdiffrast's antialiasing and its gradient as XLA handlers.

#include "antialias.h"

#include "launch.h"

void AntialiasFwdMeshKernel(const AntialiasKernelParams);
void AntialiasFwdDiscontinuityKernel(const AntialiasKernelParams);
void AntialiasFwdAnalysisKernel(const AntialiasKernelParams);
void AntialiasGradKernel(const AntialiasKernelParams);

namespace affjax_nvdiffrast {
namespace {

// `edges` and `work` are scratch: a hash of the mesh's edges, sized by the caller for
// the next power of two of triangles (64 at least), and a list of pixel pairs.
AntialiasKernelParams describe(const Floats& color, const Floats& rast,
                               const Floats& pos, const Ints& tri, IntsOut& edges,
                               IntsOut& work) {
  auto shape = color.dimensions();
  AntialiasKernelParams params = {};
  params.color = color.typed_data();
  params.rasterOut = rast.typed_data();
  params.tri = tri.typed_data();
  params.pos = pos.typed_data();
  params.evHash = reinterpret_cast<uint4*>(edges->typed_data());
  params.workBuffer = reinterpret_cast<int4*>(work->typed_data());
  params.numTriangles = extent(tri.dimensions(), 0);
  params.numVertices = extent(pos.dimensions(), 1);
  params.n = extent(shape, 0);
  params.height = extent(shape, 1);
  params.width = extent(shape, 2);
  params.channels = extent(shape, 3);
  params.xh = 0.5f * static_cast<float>(params.width);
  params.yh = 0.5f * static_cast<float>(params.height);
  params.instance_mode = 1;
  params.allocTriangles = 64;
  while (params.allocTriangles < params.numTriangles) params.allocTriangles *= 2;
  int64_t entries = int64_t{params.allocTriangles} *
                    AA_HASH_ELEMENTS_PER_TRIANGLE(params.allocTriangles);
  require(edges->element_count() >= static_cast<size_t>(4 * entries),
          "the hash of edges is too small");
  return params;
}

void copy(float* to, const Floats& from, cudaStream_t stream) {
  check(cudaMemcpyAsync(to, from.typed_data(), from.size_bytes(),
                        cudaMemcpyDeviceToDevice, stream),
        "cudaMemcpyAsync");
}

// Blends into `output`, and leaves in the work list what the gradient needs.
void blend(AntialiasKernelParams& params, const Floats& color, IntsOut& edges,
           float* output, cudaStream_t stream) {
  copy(output, color, stream);
  params.output = output;
  clear(edges, stream);
  int threads = AA_MESH_KERNEL_THREADS_PER_BLOCK;
  launch(AntialiasFwdMeshKernel, dim3((params.numTriangles + threads - 1) / threads),
         dim3(threads), params, stream);
  // The first item holds the counters.
  check(cudaMemsetAsync(params.workBuffer, 0, sizeof(int4), stream), "cudaMemsetAsync");
  dim3 block(AA_DISCONTINUITY_KERNEL_BLOCK_WIDTH, AA_DISCONTINUITY_KERNEL_BLOCK_HEIGHT);
  launch(AntialiasFwdDiscontinuityKernel,
         blocks(params.width, params.height, params.n, block), block, params, stream);
  launch_persistent(AntialiasFwdAnalysisKernel, AA_ANALYSIS_KERNEL_THREADS_PER_BLOCK,
                    params, stream);
}

ffi::Error antialias_forward(cudaStream_t stream, Floats color, Floats rast, Floats pos,
                             Ints tri, FloatsOut result, IntsOut edges, IntsOut work) {
  return guarded([&] {
    AntialiasKernelParams params = describe(color, rast, pos, tri, edges, work);
    blend(params, color, edges, result->typed_data(), stream);
  });
}

// Finds the pairs again instead of keeping 32 bytes a pixel from the forward pass.
ffi::Error antialias_backward(cudaStream_t stream, Floats color, Floats rast,
                              Floats pos, Ints tri, Floats result_grad,
                              FloatsOut color_grad, FloatsOut pos_grad, IntsOut edges,
                              IntsOut work) {
  return guarded([&] {
    AntialiasKernelParams params = describe(color, rast, pos, tri, edges, work);
    // The picture itself is not needed: it goes where the gradient will be.
    blend(params, color, edges, color_grad->typed_data(), stream);
    copy(color_grad->typed_data(), result_grad, stream);
    clear(pos_grad, stream);
    params.dy = result_grad.typed_data();
    params.gradColor = color_grad->typed_data();
    params.gradPos = pos_grad->typed_data();
    // The list is gone through a second time.
    check(cudaMemsetAsync(&params.workBuffer->y, 0, sizeof(int), stream),
          "cudaMemsetAsync");
    launch_persistent(AntialiasGradKernel, AA_GRAD_KERNEL_THREADS_PER_BLOCK, params,
                      stream);
  });
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_nvdiffrast_antialias_forward, antialias_forward,
                              ffi::Ffi::Bind()
                                  .Ctx<Stream>()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Arg<Ints>()
                                  .Ret<Floats>()
                                  .Ret<Ints>()
                                  .Ret<Ints>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_nvdiffrast_antialias_backward, antialias_backward,
                              ffi::Ffi::Bind()
                                  .Ctx<Stream>()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Arg<Ints>()
                                  .Arg<Floats>()
                                  .Ret<Floats>()
                                  .Ret<Floats>()
                                  .Ret<Ints>()
                                  .Ret<Ints>());

}  // namespace affjax_nvdiffrast
