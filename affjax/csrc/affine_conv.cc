// Affine convolution on CPUs, behind XLA's FFI: handlers that check a call's sizes and
// types and run `affine_forward.h` or `affine_backward.h`.
#if defined(__clang__)
#pragma clang fp contract(fast)
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=fast")
#endif

#include <algorithm>
#include <cstring>
#include <string>

#include "affine_backward.h"
#include "affine_forward.h"
#include "xla/ffi/api/ffi.h"

namespace affjax {
namespace {

namespace ffi = xla::ffi;

using AnyResult = ffi::Result<ffi::AnyBuffer>;

ffi::Error invalid(const std::string& message) {
  return ffi::Error(ffi::ErrorCode::kInvalidArgument, "affine_conv: " + message);
}

// Reads the sizes of a call; everything that an address depends on is checked here.
ffi::Error read_problem(const ffi::AnyBuffer& x, const ffi::AnyBuffer& coords,
                        const ffi::AnyBuffer& prior, const ffi::AnyBuffer& kernel,
                        int64_t stride, Problem* p) {
  const auto xs = x.dimensions(), cs = coords.dimensions(), ps = prior.dimensions(),
             ks = kernel.dimensions();
  if (xs.size() != 4 || ks.size() != 4 || ks[0] != ks[1] || ks[0] < 1 ||
      ks[2] != xs[3] || stride < 1) {
    return invalid("x must be [N, H, W, C] and kernel [K, K, C, O]");
  }
  if (xs[1] < 1 || xs[2] < 1 || xs[3] < 1 || ks[3] < 1 ||
      (xs[1] + 2) * (xs[2] + 2) >= int64_t{1} << 31) {
    return invalid("H, W, C, O must be at least 1 and H W below 2^31");
  }
  const bool affine = cs.size() == 5 && cs[3] == 2 && cs[4] == 3;
  *p = Problem{xs[0],
               xs[1],
               xs[2],
               xs[3],
               ceil_div(xs[1], stride),
               ceil_div(xs[2], stride),
               ks[3],
               ks[0],
               stride,
               affine ? Coords::kAffine : Coords::kOffsets,
               ps.size() == 5};
  if (cs.size() != 5 || cs[0] != p->batch || cs[1] != p->rows || cs[2] != p->columns ||
      !(affine || (cs[3] == p->taps() && cs[4] == 2))) {
    return invalid("coords must be [N, Ho, Wo, 2, 3] or [N, Ho, Wo, K K, 2]");
  }
  if (p->prior ? p->coords != Coords::kAffine ||
                     !std::equal(cs.begin(), cs.end(), ps.begin())
               : prior.element_count() != 0) {
    return invalid("prior must be empty or of the shape of affine coords");
  }
  const bool typed = coords.element_type() == ffi::F32 &&
                     prior.element_type() == ffi::F32 &&
                     kernel.element_type() == x.element_type();
  return typed ? ffi::Error::Success() : invalid("dtypes do not fit");
}

template <typename T>
T* data(const ffi::AnyBuffer& buffer) {
  return static_cast<T*>(buffer.untyped_data());
}

ffi::Error run_forward(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::AnyBuffer coords,
                       ffi::AnyBuffer prior, ffi::AnyBuffer kernel, AnyResult out,
                       int64_t stride) {
  Problem p;
  if (auto error = read_problem(x, coords, prior, kernel, stride, &p);
      error.failure()) {
    return error;
  }
  if (p.batch == 0) return ffi::Error::Success();
  const auto run = [&](auto one) {
    using T = decltype(one);
    forward<T>(pool, p, data<T>(x), data<float>(coords), data<float>(prior),
               data<T>(kernel), data<T>(*out));
    return ffi::Error::Success();
  };
  if (x.element_type() == ffi::F32) return run(float());
  if (x.element_type() == ffi::BF16) return run(Bf16());
  return invalid("x must be float32 or bfloat16");
}

ffi::Error run_backward(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::AnyBuffer coords,
                        ffi::AnyBuffer prior, ffi::AnyBuffer kernel,
                        ffi::AnyBuffer grad, AnyResult grad_x, AnyResult grad_coords,
                        AnyResult grad_prior, AnyResult grad_kernel, int64_t stride) {
  Problem p;
  if (auto error = read_problem(x, coords, prior, kernel, stride, &p);
      error.failure()) {
    return error;
  }
  if (p.batch == 0) {
    std::memset(grad_kernel->untyped_data(), 0, grad_kernel->size_bytes());
    return ffi::Error::Success();
  }
  const auto run = [&](auto one) {
    using T = decltype(one);
    backward<T>(pool, p, data<T>(x), data<float>(coords), data<float>(prior),
                data<T>(kernel), data<T>(grad), data<T>(*grad_x),
                data<float>(*grad_coords), data<float>(*grad_prior),
                data<T>(*grad_kernel));
    return ffi::Error::Success();
  };
  if (x.element_type() == ffi::F32) return run(float());
  if (x.element_type() == ffi::BF16) return run(Bf16());
  return invalid("x must be float32 or bfloat16");
}

}  // namespace
}  // namespace affjax

XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_affine_conv_forward, affjax::run_forward,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Ret<xla::ffi::AnyBuffer>()
                                  .Attr<int64_t>("stride"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_affine_conv_backward, affjax::run_backward,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Ret<xla::ffi::AnyBuffer>()
                                  .Ret<xla::ffi::AnyBuffer>()
                                  .Ret<xla::ffi::AnyBuffer>()
                                  .Ret<xla::ffi::AnyBuffer>()
                                  .Attr<int64_t>("stride"));
