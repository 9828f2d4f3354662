// Plain convolution of float32 on CPUs, behind XLA's FFI: handlers that check a call's
// sizes and types and run `winograd.h` where it is faster than `conv_direct.h`.
#if defined(__clang__)
#pragma clang fp contract(fast)
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=fast")
#endif

#include <cstring>
#include <string>

#include "conv_passes.h"
#include "xla/ffi/api/ffi.h"

namespace affjax {
namespace {

namespace ffi = xla::ffi;

using Float4 = ffi::Buffer<ffi::F32, 4>;
using Result4 = ffi::Result<Float4>;

// Checks the sizes of images x, of a kernel and of the images y of its results;
// everything that an address depends on is checked here.
template <typename X, typename K, typename Y>
ffi::Error read_problem(const X& x, const K& kernel, const Y& y, int64_t stride,
                        Convolution* c) {
  const auto xs = x.dimensions(), ks = kernel.dimensions(), ys = y.dimensions();
  *c = {xs[0], xs[1], xs[2], xs[3], ks[3], ks[0], stride};
  const bool sound = stride >= 1 && ks[0] >= 1 && ks[0] == ks[1] && ks[2] == xs[3] &&
                     xs[1] >= 1 && xs[2] >= 1 && xs[3] >= 1 && ks[3] >= 1 &&
                     ys[0] == xs[0] && ys[1] == c->rows() && ys[2] == c->columns() &&
                     ys[3] == ks[3];
  if (sound) return ffi::Error::Success();
  return ffi::Error(ffi::ErrorCode::kInvalidArgument,
                    "conv: x must be [N, H, W, C], kernel [K, K, C, O] and result "
                    "[N, ceil(H / stride), ceil(W / stride), O]");
}

ffi::Error run_forward(ffi::ThreadPool pool, Float4 x, Float4 kernel, Result4 y,
                       int64_t stride) {
  Convolution c;
  if (auto error = read_problem(x, kernel, *y, stride, &c); error.failure()) {
    return error;
  }
  forward(pool, c, x.typed_data(), kernel.typed_data(), y->typed_data());
  return ffi::Error::Success();
}

ffi::Error run_input_gradient(ffi::ThreadPool pool, Float4 kernel, Float4 grad,
                              Result4 out, int64_t stride) {
  Convolution c;
  if (auto error = read_problem(*out, kernel, grad, stride, &c); error.failure()) {
    return error;
  }
  input_gradient(pool, c, kernel.typed_data(), grad.typed_data(), out->typed_data());
  return ffi::Error::Success();
}

ffi::Error run_kernel_gradient(ffi::ThreadPool pool, Float4 grad, Float4 x, Result4 out,
                               int64_t stride) {
  Convolution c;
  if (auto error = read_problem(x, *out, grad, stride, &c); error.failure()) {
    return error;
  }
  kernel_gradient(pool, c, x.typed_data(), grad.typed_data(), out->typed_data());
  return ffi::Error::Success();
}

// Every handler takes two arrays and a stride, and returns an array.
auto binding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Arg<Float4>()
      .Arg<Float4>()
      .Ret<Float4>()
      .Attr<int64_t>("stride");
}

}  // namespace
}  // namespace affjax

XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_conv_forward, affjax::run_forward,
                              affjax::binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_conv_input_gradient, affjax::run_input_gradient,
                              affjax::binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_conv_kernel_gradient, affjax::run_kernel_gradient,
                              affjax::binding());
