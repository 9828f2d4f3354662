// Affine convolution on CUDA, as FFI handlers. See affine_conv_device.cuh.
#ifndef AFFJAX_ON_HOST
#include <cuda_runtime.h>
#endif
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <string>

#include "affine_conv_launch.cuh"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace affjax {
namespace {

ffi::Error failed(const std::string& why) {
  return ffi::Error::Internal("affine_conv on CUDA: " + why);
}

ffi::Error unfit(const std::string& why) {
  return ffi::Error::InvalidArgument("affine_conv on CUDA: " + why);
}

ffi::Error checked(cudaError_t status) {
  return status == cudaSuccess ? ffi::Error::Success()
                               : failed(cudaGetErrorString(status));
}

ffi::Error find_device(cudaStream_t stream, Device& device) {
  int number;
  cudaError_t status = cudaGetDevice(&number);
  if (status == cudaSuccess)
    status = cudaDeviceGetAttribute(&device.multiprocessors,
                                    cudaDevAttrMultiProcessorCount, number);
  device.stream = stream;
  return checked(status);
}

bool aligned(const void* at) { return reinterpret_cast<uintptr_t>(at) % 16 == 0; }

// Returns whether gradients must be deterministic: by AFFJAX_DETERMINISTIC=1, or by
// XLA's own flag.
bool wants_determinism() {
  const char* own = getenv("AFFJAX_DETERMINISTIC");
  if (own) return strcmp(own, "1") == 0;
  const char* flags = getenv("XLA_FLAGS");
  const char* flag = flags ? strstr(flags, "--xla_gpu_deterministic_ops") : nullptr;
  return flag && strncmp(flag + strlen("--xla_gpu_deterministic_ops"), "=false", 6);
}

template <class T>
ffi::Error describe(const ffi::AnyBuffer& x, const ffi::AnyBuffer& coords,
                    const ffi::AnyBuffer& prior, const ffi::AnyBuffer& kernel,
                    int64_t stride, Problem<T>& p) {
  const auto xs = x.dimensions(), ks = kernel.dimensions(), cs = coords.dimensions();
  if (xs.size() != 4 || ks.size() != 4 || (cs.size() != 5))
    return unfit("x and kernel must have 4 axes, coords 5");
  if (x.element_type() != kernel.element_type() ||
      coords.element_type() != ffi::DataType::F32 ||
      prior.element_type() != ffi::DataType::F32)
    return unfit("x and kernel must be of one type, coords and prior float32");
  for (const auto& shape : {xs, ks, cs})
    for (const int64_t axis : shape)
      if (axis > INT_MAX) return unfit("an axis is too long");
  p.images = int(xs[0]), p.height = int(xs[1]), p.width = int(xs[2]);
  p.channels = int(xs[3]), p.out_channels = int(ks[3]);
  p.size = int(ks[0]), p.stride = int(stride);
  p.out_height = int(cs[1]), p.out_width = int(cs[2]);
  p.offsets = cs[4] == 2;
  const int64_t taps = ks[0] * ks[0], pixels = cs[0] * cs[1] * cs[2];
  const bool fits =
      stride >= 1 && stride <= INT_MAX && xs[1] >= 1 && xs[2] >= 1 && xs[3] >= 1 &&
      ks[0] >= 1 && ks[1] == ks[0] && ks[2] == xs[3] && cs[0] == xs[0] &&
      cs[1] == divide_up(xs[1], stride) && cs[2] == divide_up(xs[2], stride) &&
      (p.offsets ? cs[3] == taps && cs[4] == 2 : cs[3] == 2 && cs[4] == 3);
  if (!fits) return unfit("shapes do not fit each other");
  const bool has_prior = prior.dimensions().size() == 5;
  if (has_prior && (p.offsets || prior.element_count() != size_t(pixels) * 6))
    return unfit("prior must be shaped as coords, which must be matrices");
  if (!has_prior && prior.element_count() != 0) return unfit("prior has a wrong shape");
  // Indices of pixels and of columns have 32 bits, those of elements 64.
  const int64_t limit = INT_MAX - 1024;
  if (pixels > limit || taps * (xs[3] + 7) > limit || xs[1] * xs[2] > limit)
    return unfit("too many pixels or columns for 32 bits");
  p.pixels = int(pixels);
  p.x = static_cast<const T*>(x.untyped_data());
  p.kernel = static_cast<const T*>(kernel.untyped_data());
  p.grad = nullptr;
  p.coords = static_cast<const float*>(coords.untyped_data());
  p.prior = has_prior ? static_cast<const float*>(prior.untyped_data()) : nullptr;
  p.x_aligned = p.channels % kVector<T> == 0 && aligned(p.x);
  p.o_aligned = p.out_channels % kVector<T> == 0 && aligned(p.kernel);
  return ffi::Error::Success();
}

auto allocator(ffi::ScratchAllocator& scratch) {
  return [&scratch](size_t bytes) -> void* {
    return scratch.Allocate(bytes, 128).value_or(nullptr);
  };
}

template <class T>
ffi::Error forward_of(cudaStream_t stream, ffi::ScratchAllocator& scratch,
                      const ffi::AnyBuffer& x, const ffi::AnyBuffer& coords,
                      const ffi::AnyBuffer& prior, const ffi::AnyBuffer& kernel,
                      ffi::AnyBuffer& out, int64_t stride) {
  Problem<T> p;
  if (auto error = describe(x, coords, prior, kernel, stride, p); error.failure())
    return error;
  if (out.element_count() != size_t(p.pixels) * p.out_channels)
    return unfit("out has a wrong shape");
  Device device;
  if (auto error = find_device(stream, device); error.failure()) return error;
  return checked(
      run_forward(device, p, static_cast<T*>(out.untyped_data()), allocator(scratch)));
}

ffi::Error forward_any(cudaStream_t stream, ffi::ScratchAllocator scratch,
                       ffi::AnyBuffer x, ffi::AnyBuffer coords, ffi::AnyBuffer prior,
                       ffi::AnyBuffer kernel, ffi::Result<ffi::AnyBuffer> out,
                       int64_t stride) {
  if (out->element_type() != x.element_type()) return unfit("out must be of x's type");
  if (x.element_type() == ffi::DataType::F32)
    return forward_of<float>(stream, scratch, x, coords, prior, kernel, *out, stride);
  if (x.element_type() == ffi::DataType::BF16)
    return forward_of<bfloat16>(stream, scratch, x, coords, prior, kernel, *out,
                                stride);
  return unfit("x must be float32 or bfloat16");
}

struct Gradients {
  ffi::AnyBuffer x, coords, prior, kernel;
};

template <class T>
ffi::Error backward_of(cudaStream_t stream, ffi::ScratchAllocator& scratch,
                       const ffi::AnyBuffer& x, const ffi::AnyBuffer& coords,
                       const ffi::AnyBuffer& prior, const ffi::AnyBuffer& kernel,
                       const ffi::AnyBuffer& grad, Gradients to, int64_t stride) {
  Problem<T> p;
  if (auto error = describe(x, coords, prior, kernel, stride, p); error.failure())
    return error;
  if (grad.element_type() != x.element_type() ||
      grad.element_count() != size_t(p.pixels) * p.out_channels)
    return unfit("grad has a wrong shape or type");
  if (to.x.element_count() != x.element_count() ||
      to.coords.element_count() != coords.element_count() ||
      to.prior.element_count() != prior.element_count() ||
      to.kernel.element_count() != kernel.element_count())
    return unfit("a gradient has a wrong shape");
  p.grad = static_cast<const T*>(grad.untyped_data());
  p.o_aligned = p.o_aligned && aligned(p.grad);
  Device device;
  if (auto error = find_device(stream, device); error.failure()) return error;
  return checked(
      run_backward(device, p, wants_determinism(), static_cast<T*>(to.x.untyped_data()),
                   static_cast<float*>(to.coords.untyped_data()),
                   static_cast<float*>(to.prior.untyped_data()),
                   static_cast<T*>(to.kernel.untyped_data()), allocator(scratch)));
}

ffi::Error backward_any(cudaStream_t stream, ffi::ScratchAllocator scratch,
                        ffi::AnyBuffer x, ffi::AnyBuffer coords, ffi::AnyBuffer prior,
                        ffi::AnyBuffer kernel, ffi::AnyBuffer grad,
                        ffi::Result<ffi::AnyBuffer> grad_x,
                        ffi::Result<ffi::AnyBuffer> grad_coords,
                        ffi::Result<ffi::AnyBuffer> grad_prior,
                        ffi::Result<ffi::AnyBuffer> grad_kernel, int64_t stride) {
  const Gradients to = {*grad_x, *grad_coords, *grad_prior, *grad_kernel};
  if (x.element_type() == ffi::DataType::F32)
    return backward_of<float>(stream, scratch, x, coords, prior, kernel, grad, to,
                              stride);
  if (x.element_type() == ffi::DataType::BF16)
    return backward_of<bfloat16>(stream, scratch, x, coords, prior, kernel, grad, to,
                                 stride);
  return unfit("x must be float32 or bfloat16");
}

}  // namespace
}  // namespace affjax

XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_affine_conv_forward, affjax::forward_any,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::PlatformStream<cudaStream_t>>()
                                  .Ctx<ffi::ScratchAllocator>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<int64_t>("stride"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_affine_conv_backward, affjax::backward_any,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::PlatformStream<cudaStream_t>>()
                                  .Ctx<ffi::ScratchAllocator>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<int64_t>("stride"));
