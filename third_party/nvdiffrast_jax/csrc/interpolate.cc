// nvdiffrast's attribute interpolation and its gradient as XLA handlers.

#include "interpolate.h"

#include "launch.h"

void InterpolateFwdKernel(const InterpolateKernelParams);
void InterpolateFwdKernelDa(const InterpolateKernelParams);
void InterpolateGradKernel(const InterpolateKernelParams);
void InterpolateGradKernelDa(const InterpolateKernelParams);

namespace affjax_nvdiffrast {
namespace {

// `slopes` is empty where no derivatives of the attributes are wanted.
InterpolateKernelParams describe(const Floats& attr, const Floats& rast,
                                 const Ints& tri, const Floats& slopes) {
  auto shape = rast.dimensions();
  InterpolateKernelParams params = {};
  params.tri = tri.typed_data();
  params.attr = attr.typed_data();
  params.rast = rast.typed_data();
  params.rastDB = optional(slopes);
  params.numTriangles = extent(tri.dimensions(), 0);
  params.numVertices = extent(attr.dimensions(), 1);
  params.numAttr = extent(attr.dimensions(), 2);
  params.depth = extent(shape, 0);
  params.height = extent(shape, 1);
  params.width = extent(shape, 2);
  params.instance_mode = 1;
  params.attrBC = extent(attr.dimensions(), 0) < params.depth;
  params.diff_attrs_all = params.rastDB != nullptr;
  params.numDiffAttr = params.rastDB ? params.numAttr : 0;
  return params;
}

ffi::Error interpolate_forward(cudaStream_t stream, Floats attr, Floats rast, Ints tri,
                               Floats slopes, FloatsOut value, FloatsOut change) {
  return guarded([&] {
    // Their kernels write nothing where a triangle's indices are out of range.
    for (FloatsOut* out : {&value, &change}) clear(*out, stream);
    InterpolateKernelParams params = describe(attr, rast, tri, slopes);
    params.out = value->typed_data();
    params.outDA = optional(change);
    launch_per_pixel(params.rastDB ? InterpolateFwdKernelDa : InterpolateFwdKernel,
                     params.width, params.height, params.depth, params, stream);
  });
}

ffi::Error interpolate_backward(cudaStream_t stream, Floats attr, Floats rast, Ints tri,
                                Floats slopes, Floats value_grad, Floats change_grad,
                                FloatsOut attr_grad, FloatsOut rast_grad,
                                FloatsOut slopes_grad) {
  return guarded([&] {
    for (FloatsOut* out : {&attr_grad, &rast_grad, &slopes_grad}) clear(*out, stream);
    InterpolateKernelParams params = describe(attr, rast, tri, slopes);
    params.dy = value_grad.typed_data();
    params.dda = optional(change_grad);
    params.gradAttr = attr_grad->typed_data();
    params.gradRaster = rast_grad->typed_data();
    params.gradRasterDB = optional(slopes_grad);
    launch_per_pixel(params.rastDB ? InterpolateGradKernelDa : InterpolateGradKernel,
                     params.width, params.height, params.depth, params, stream);
  });
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_nvdiffrast_interpolate_forward,
                              interpolate_forward,
                              ffi::Ffi::Bind()
                                  .Ctx<Stream>()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Arg<Ints>()
                                  .Arg<Floats>()
                                  .Ret<Floats>()
                                  .Ret<Floats>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_nvdiffrast_interpolate_backward,
                              interpolate_backward,
                              ffi::Ffi::Bind()
                                  .Ctx<Stream>()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Arg<Ints>()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Ret<Floats>()
                                  .Ret<Floats>()
                                  .Ret<Floats>());

}  // namespace affjax_nvdiffrast
