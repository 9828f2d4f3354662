"""The FFI handlers of the CUDA affine convolution, called by XLA on the CPU.

The whole of affine_conv.cu is compiled for the CPU; only the stream and the scratch
memory, which XLA has on a GPU alone, are stood in for.
"""

import jax
import jax.ffi
import jax.numpy as jnp
import numpy as np
import pytest

from affjax.native import dispatch, library
from affjax.ops import affine_conv, deformable_conv
from tests.native import affine_conv_twin, cuda_host, test_cuda_affine

DRIVER = r"""
#include "cuda_host.h"
#include "xla/ffi/api/ffi.h"

namespace xla::ffi {

struct HostScratch {
  std::vector<void*> taken;
  HostScratch() = default;
  HostScratch(HostScratch&& other) { taken.swap(other.taken); }
  ~HostScratch() { for (void* at : taken) std::free(at); }
  std::optional<void*> Allocate(size_t bytes, size_t alignment) {
    void* at = nullptr;
    if (posix_memalign(&at, alignment, bytes)) return std::nullopt;
    std::memset(at, 0xff, bytes);
    taken.push_back(at);
    return at;
  }
};
template <class T>
struct HostStream {};

template <>
struct CtxDecoding<HostScratch> {
  using Type = HostScratch;
  static std::optional<Type> Decode(const XLA_FFI_Api*, XLA_FFI_ExecutionContext*,
                                    DiagnosticEngine&) {
    return HostScratch();
  }
};
template <class T>
struct CtxDecoding<HostStream<T>> {
  using Type = T;
  static std::optional<Type> Decode(const XLA_FFI_Api*, XLA_FFI_ExecutionContext*,
                                    DiagnosticEngine&) {
    return T{};
  }
};

}  // namespace xla::ffi

#define ScratchAllocator HostScratch
#define PlatformStream HostStream
#include "affine_conv.cu"
"""


@pytest.fixture(scope="module", autouse=True)
def _registered():
  built = cuda_host.build(DRIVER, include=jax.ffi.include_dir())
  for name in ("forward", "backward"):
    handler = getattr(built, f"affjax_affine_conv_{name}")
    jax.ffi.register_ffi_target(
      f"hosted_affine_conv_{name}", jax.ffi.pycapsule(handler), platform="cpu"
    )


def _forward(x, coords, prior, kernel, stride, dtype=None):
  shape = (*coords.shape[:3], kernel.shape[3])
  out = jax.ShapeDtypeStruct(shape, dtype or x.dtype)
  prior = jnp.zeros(0) if prior is None else prior
  call = jax.ffi.ffi_call("hosted_affine_conv_forward", out)
  return call(x, coords, prior, kernel, stride=np.int64(stride))


def _backward(x, coords, prior, kernel, grad, stride):
  prior = jnp.zeros(0) if prior is None else prior
  like = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in (x, coords, prior, kernel)]
  call = jax.ffi.ffi_call("hosted_affine_conv_backward", like)
  return call(x, coords, prior, kernel, grad, stride=np.int64(stride))


@pytest.mark.parametrize("deterministic", ["0", "1"])
@test_cuda_affine.DTYPES
@test_cuda_affine.MODES
def test_handlers_compute_what_they_should(mode, dtype, deterministic, monkeypatch):
  monkeypatch.setenv("AFFJAX_DETERMINISTIC", deterministic)
  shape = (2, 7, 6, 8, 5, 3, 2)
  x, coords, prior, kernel, grad, stride = test_cuda_affine.inputs(shape, mode, dtype)
  bound = test_cuda_affine.tolerance(dtype)
  expected = affine_conv_twin.forward(x, coords, prior, kernel, stride)
  actual = _forward(x, coords, prior, kernel, stride)
  test_cuda_affine.assert_near(actual, expected, bound)
  expected = affine_conv_twin.backward(x, coords, prior, kernel, grad, stride)
  actual = _backward(x, coords, prior, kernel, grad, stride)
  for a, e in zip(actual, expected, strict=True):
    if e is not None:
      test_cuda_affine.assert_near(a, e, 2 * bound)


def test_empty_batch_through_xla():
  x, coords, prior, kernel, grad, stride = test_cuda_affine.inputs(
    (0, 7, 6, 8, 5, 3, 2), "prior"
  )
  assert _forward(x, coords, prior, kernel, stride).shape == (0, 4, 3, 5)
  assert not _backward(x, coords, prior, kernel, grad, stride)[3].any()


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"coords": np.zeros((1, 4, 4, 2, 3), np.float32)}, "shapes do not fit"),
    ({"coords": np.zeros((1, 4, 3, 4, 2), np.float32)}, "shapes do not fit"),
    ({"coords": np.zeros((1, 4, 3, 6), np.float32)}, "coords 5"),
    ({"kernel": np.zeros((3, 3, 8, 5), test_cuda_affine.BFLOAT16)}, "of one type"),
    ({"kernel": np.zeros((3, 3, 7, 5), np.float32)}, "shapes do not fit"),
    ({"prior": np.zeros((1, 4, 2, 2, 3), np.float32)}, "prior"),
    ({"prior": np.zeros(3, np.float32)}, "prior"),
    ({"stride": 3}, "shapes do not fit"),
    ({"stride": 0}, "shapes do not fit"),
    ({"dtype": jnp.bfloat16}, "of x's type"),
    ({"x": np.zeros((1, 7, 6, 8), np.int32)}, "must be float32"),
  ],
)
def test_what_does_not_fit_is_an_error(change, message):
  x, coords, prior, kernel, _, stride = test_cuda_affine.inputs((1, 7, 6, 8, 5, 3, 2))
  given = {"x": x, "coords": coords, "prior": prior, "kernel": kernel, "stride": stride}
  with pytest.raises(Exception, match=message):
    jax.block_until_ready(_forward(**(given | change)))


# The op as users call it, backend="cuda", with these handlers in the place of a GPU's.


@pytest.fixture
def on_cuda(monkeypatch):
  real = dispatch.ffi_call

  def call(target, *args, **attributes):
    return real(target.replace("affjax_", "hosted_"), *args, **attributes)

  monkeypatch.setattr(dispatch, "ffi_call", call)
  monkeypatch.setattr(library, "require", lambda name, platform: None)


def _run(form, backend, x, coords, prior, kernel, stride):
  if form == "offsets":
    return deformable_conv(x, coords, kernel, stride=stride, backend=backend)
  return affine_conv(x, coords, kernel, stride=stride, prior=prior, backend=backend)


@test_cuda_affine.MODES
def test_the_op_and_its_gradients_equal_the_xla_backend(mode, on_cuda):
  x, coords, prior, kernel, grad, stride = test_cuda_affine.inputs(
    (2, 7, 6, 8, 5, 3, 2), mode
  )

  def both(backend):
    def run(*args):
      return _run(mode, backend, *args, stride=stride)

    @jax.jit
    def outputs(grad, *args):
      out, pull = jax.vjp(run, *args)
      return out, pull(grad)

    return jax.tree.leaves(outputs(grad, x, coords, prior, kernel))

  for a, e in zip(both("cuda"), both("xla"), strict=True):
    test_cuda_affine.assert_near(a, e, 1e-5)


def test_the_op_under_vmap(on_cuda):
  x, theta, prior, kernel, _, stride = test_cuda_affine.inputs(
    (4, 7, 6, 8, 5, 3, 2), "prior"
  )
  assert prior is not None
  pairs = [v.reshape(2, 2, *v.shape[1:]) for v in (x, theta, prior)]

  @jax.jit
  @jax.vmap
  def mapped(x, theta, prior):
    return _run("prior", "cuda", x, theta, prior, kernel, stride)

  expected = affine_conv_twin.forward(x, theta, prior, kernel, stride)
  actual = mapped(*pairs).reshape(expected.shape)
  test_cuda_affine.assert_near(actual, expected, 1e-5)
