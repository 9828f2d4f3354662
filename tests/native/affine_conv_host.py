"""The CUDA kernels of affine convolution on the CPU, as functions of NumPy arrays."""

import functools

import ml_dtypes
import numpy as np

from tests.native import cuda_host

DRIVER = r"""
#include "cuda_host.h"
#include "affine_conv_launch.cuh"

using namespace affjax;

// Scratch memory of the exact size, full of NaN, freed at the end of a call.
struct Scratch {
  std::vector<void*> taken;
  ~Scratch() { for (void* at : taken) std::free(at); }
  void* allocate(size_t bytes) {
    taken.push_back(std::malloc(bytes));
    std::memset(taken.back(), 0xff, bytes);
    return taken.back();
  }
};

template <class T>
static const char* run(const int64_t* s, const T* x, const float* coords,
                       const float* prior, const T* kernel, const T* grad, T* out,
                       T* gx, float* gcoords, float* gprior, T* gkernel) {
  Problem<T> p = {};
  p.x = x, p.kernel = kernel, p.grad = grad, p.coords = coords;
  p.images = s[0], p.height = s[1], p.width = s[2], p.channels = s[3];
  p.out_channels = s[4], p.size = s[5], p.stride = s[6];
  p.out_height = divide_up(p.height, p.stride);
  p.out_width = divide_up(p.width, p.stride);
  p.offsets = s[7];
  p.prior = s[8] ? prior : nullptr;
  p.pixels = p.images * p.out_height * p.out_width;
  auto aligned = [](const void* at) { return uintptr_t(at) % 16 == 0; };
  p.x_aligned = p.channels % kVector<T> == 0 && aligned(x);
  p.o_aligned = p.out_channels % kVector<T> == 0 && aligned(kernel) && aligned(grad);
  const Device device = {nullptr, int(s[9])};
  Scratch scratch;
  auto allocate = [&](size_t bytes) { return scratch.allocate(bytes); };
  const cudaError_t status =
      out ? run_forward(device, p, out, allocate)
          : run_backward(device, p, s[10], gx, gcoords, gprior, gkernel, allocate);
  return status == cudaSuccess ? "" : cuda_host::error;
}

#define FUNCTIONS(name, T)                                                             \
  extern "C" const char* forward_##name(const int64_t* s, const T* x, const float* c,  \
                                        const float* p, const T* k, T* out) {          \
    return run<T>(s, x, c, p, k, nullptr, out, nullptr, nullptr, nullptr, nullptr);    \
  }                                                                                    \
  extern "C" const char* backward_##name(const int64_t* s, const T* x, const float* c, \
                                         const float* p, const T* k, const T* g,       \
                                         T* gx, float* gc, float* gp, T* gk) {         \
    return run<T>(s, x, c, p, k, g, nullptr, gx, gc, gp, gk);                          \
  }
FUNCTIONS(float32, float)
FUNCTIONS(bfloat16, __nv_bfloat16)
"""

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


@functools.cache
def library(sanitize: bool = False):
  return cuda_host.build(DRIVER, sanitize=sanitize)


def _call(name, x, coords, prior, kernel, stride, rest, multiprocessors, fixed, lib):
  has_prior = prior is not None
  sizes = (*x.shape, kernel.shape[3], kernel.shape[0], stride)
  flags = (coords.shape[-1] == 2, has_prior, multiprocessors, fixed)
  prior = prior if has_prior else np.zeros(0, np.float32)
  settings = np.array([*sizes, *flags], np.int64)
  kind = "bfloat16" if x.dtype == BFLOAT16 else "float32"
  arrays = (settings, x, coords, prior, kernel, *rest)
  cuda_host.call(lib or library(), f"{name}_{kind}", *arrays)


def forward(x, coords, prior, kernel, stride, *, multiprocessors=4, lib=None):
  """`multiprocessors` of the imagined GPU decide on tiles and splits."""
  out = np.zeros((*coords.shape[:3], kernel.shape[3]), x.dtype)
  _call(
    "forward", x, coords, prior, kernel, stride, (out,), multiprocessors, False, lib
  )
  return out


def backward(
  x, coords, prior, kernel, grad, stride, *, multiprocessors=4, fixed=False, lib=None
):
  """Gradients of x, coords, prior (or None) and kernel."""
  some = np.zeros(0, np.float32) if prior is None else prior
  out = tuple(np.full_like(a, np.nan) for a in (x, coords, some, kernel))
  rest = (grad, *out)
  _call("backward", x, coords, prior, kernel, stride, rest, multiprocessors, fixed, lib)
  return out if prior is not None else (out[0], out[1], None, out[3])
