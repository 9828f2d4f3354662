"""The host shim itself: barriers, shuffles, shared memory, atomics, what it catches."""

import numpy as np
import pytest

from tests.native import cuda_host

DRIVER = r"""
#include "cuda_host.h"

// Sum of each block: shuffles within warps, then shared memory across them.
__global__ void sum(const float* x, float* out, int n) {
  __shared__ float parts[32];
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  float v = i < n ? x[i] : 0.0f;
  for (int by = 16; by; by /= 2) v += __shfl_down_sync(~0u, v, by);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = v;
  __syncthreads();
  if (threadIdx.x < 32) {
    v = threadIdx.x < blockDim.x / 32 ? parts[threadIdx.x] : 0.0f;
    for (int bits = 16; bits; bits /= 2) v += __shfl_xor_sync(~0u, v, bits);
    if (!threadIdx.x) atomicAdd(out, v);
  }
}

// Inclusive scan in each warp, and how many lanes before this one hold an odd number.
__global__ void scan(const int* x, int* out, int* odd) {
  const int t = threadIdx.x, lane = t % 32;
  int v = x[t];
  const unsigned bits = __ballot_sync(~0u, v & 1);
  odd[t] = __popc(bits & ((1u << lane) - 1));
  for (int by = 1; by < 32; by *= 2) {
    const int before = __shfl_up_sync(~0u, v, by);
    if (lane >= by) v += before;
  }
  out[t] = v;
}

__global__ void transpose(const float* x, float* out, int n) {
  CUDA_HOST_DYNAMIC_SHARED(memory);
  float* tile = reinterpret_cast<float*>(memory);
  const int r = threadIdx.y, c = threadIdx.x, size = blockDim.x;
  const int y = blockIdx.y * size, z = blockIdx.x * size;
  tile[r * (size + 1) + c] = x[(y + r) * n + z + c];
  __syncthreads();
  out[(z + r) * n + y + c] = tile[c * (size + 1) + r];
}

__global__ void stuck() { if (threadIdx.x) __syncthreads(); else __syncwarp(); }

__global__ void race(int* out) {
  __shared__ int cell;
  cell = threadIdx.x;
  __syncthreads();
  *out = cell;
}

// C = A B of one 16 x 16 by 16 x 8 tile, through ldmatrix and mma.
__global__ void product(const __nv_bfloat16* a, const __nv_bfloat16* b, float* c) {
  const int lane = threadIdx.x;
  unsigned left[4], right[4];
  cuda_host::load_matrices(left, a + (lane % 16) * 16 + lane / 16 * 8, false);
  cuda_host::load_matrices(right, b + (lane % 16) * 8, true);
  float d[4] = {};
  const unsigned half[2] = {right[0], right[1]};
  cuda_host::mma_bf16_16816(d, left, half);
  for (int i = 0; i < 4; ++i)
    c[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = d[i];
}

__global__ void copy(const float* from, float* to, int wait) {
  __shared__ __align__(16) float tile[8];
  for (int i = 0; i < 8; ++i) tile[i] = -1;
  for (int i = 0; i < 2; ++i) {
    cuda_host::copy_async(tile + 4 * i, from + 4 * i, 16, i ? 8 : 16);
    cuda_host::copy_commit();
  }
  cuda_host::copy_wait(wait);
  for (int i = 0; i < 8; ++i) to[i] = tile[i];
}

static const char* end() { return cudaGetLastError() ? cuda_host::error : ""; }

extern "C" const char* run_sum(const float* x, float* out, int64_t n, int64_t threads) {
  cuda_host::launch(sum, int((n + threads - 1) / threads), int(threads), 0, x, out, n);
  return end();
}
extern "C" const char* run_scan(const int* x, int* out, int* odd, int64_t threads) {
  cuda_host::launch(scan, 1, int(threads), 0, x, out, odd);
  return end();
}
extern "C" const char* run_transpose(const float* x, float* out, int64_t n, int64_t s,
                                     int64_t shared) {
  cuda_host::launch(transpose, dim3(n / s, n / s), dim3(s, s), shared, x, out, n);
  return end();
}
extern "C" const char* run_stuck() {
  cuda_host::launch(stuck, 1, 64, 0);
  return end();
}
extern "C" const char* run_race(int* out) {
  cuda_host::launch(race, 1, 64, 0, out);
  return end();
}
extern "C" const char* run_product(const __nv_bfloat16* a, const __nv_bfloat16* b,
                                   float* c) {
  cuda_host::launch(product, 1, 32, 0, a, b, c);
  return end();
}
extern "C" const char* run_copy(const float* from, float* to, int64_t wait) {
  cuda_host::launch(copy, 1, 1, 0, from, to, wait);
  return end();
}
"""


@pytest.fixture(scope="module")
def library():
  return cuda_host.build(DRIVER)


@pytest.fixture(params=[0, 1, 7], autouse=True)
def order(request, library):
  cuda_host.set_order(library, request.param)
  yield request.param
  cuda_host.set_order(library, 0)


def test_sum_by_shuffles_shared_memory_and_atomics(library):
  x = np.arange(1000, dtype=np.float32)
  out = np.zeros(1, np.float32)
  cuda_host.call(library, "run_sum", x, out, x.size, 256)
  assert out[0] == x.sum()


def test_scan_and_ballot(library):
  x = np.random.default_rng(0).integers(0, 100, 96).astype(np.int32)
  out, odd = np.zeros_like(x), np.zeros_like(x)
  cuda_host.call(library, "run_scan", x, out, odd, x.size)
  warps = x.reshape(-1, 32)
  np.testing.assert_array_equal(out.reshape(-1, 32), warps.cumsum(1))
  before = (warps % 2).cumsum(1) - warps % 2
  np.testing.assert_array_equal(odd.reshape(-1, 32), before)


def test_transpose_in_dynamic_shared_memory(library):
  x = np.random.default_rng(0).standard_normal((32, 32)).astype(np.float32)
  out = np.zeros_like(x)
  cuda_host.call(library, "run_transpose", x, out, 32, 8, 8 * 9 * 4)
  np.testing.assert_array_equal(out, x.T)


def test_product_on_emulated_tensor_cores(library):
  rng = np.random.default_rng(0)
  a, b = (rng.standard_normal(s).astype(np.float32) for s in ((16, 16), (16, 8)))
  a, b = (v.view(np.uint32) & 0xFFFF0000 for v in (a, b))
  out = np.zeros((16, 8), np.float32)
  halves = ((v >> 16).astype(np.uint16) for v in (a, b))
  cuda_host.call(library, "run_product", *halves, out)
  np.testing.assert_allclose(out, a.view(np.float32) @ b.view(np.float32), atol=1e-5)


def test_asynchronous_copies_land_when_waited_for(library):
  x, out = np.arange(8, dtype=np.float32), np.zeros(8, np.float32)
  cuda_host.call(library, "run_copy", x, out, 1)
  np.testing.assert_array_equal(out, [0, 1, 2, 3, -1, -1, -1, -1])
  cuda_host.call(library, "run_copy", x, out, 0)
  np.testing.assert_array_equal(out, [0, 1, 2, 3, 4, 5, 0, 0])


def test_a_missing_barrier_depends_on_the_order(library, order):
  out = np.zeros(1, np.int32)
  cuda_host.call(library, "run_race", out)
  assert order > 1 or out[0] == (0 if order else 63)


def test_deadlocks_and_bad_launches_are_errors(library):
  with pytest.raises(RuntimeError, match="deadlock"):
    cuda_host.call(library, "run_stuck")
  x = np.zeros((8, 8), np.float32)
  with pytest.raises(RuntimeError, match="limits"):
    cuda_host.call(library, "run_transpose", x, x.copy(), 4, 8, 256)
  with pytest.raises(RuntimeError, match="cudaFuncSetAttribute"):
    cuda_host.call(library, "run_transpose", x, x.copy(), 8, 8, 50000)


SANITIZED = """
import numpy as np
from tests.native import cuda_host, test_cuda_host
library = cuda_host.build(test_cuda_host.DRIVER, sanitize=True)
x = np.arange(1000, dtype=np.float32)
out = np.zeros(1, np.float32)
cuda_host.call(library, "run_sum", x, out, 1000, 256)
x = np.zeros((32, 32), np.float32)
cuda_host.call(library, "run_transpose", x, x.copy(), 32, 8, 8 * 9 * 4 - 4 * {short})
print("fine")
"""


@pytest.mark.slow
@pytest.mark.parametrize("short", [0, 2])
def test_address_sanitizer_sees_the_end_of_shared_memory(order, short):
  if order:
    pytest.skip("one order is enough")
  done = cuda_host.sanitized(SANITIZED.format(short=short))
  if short:
    assert "heap-buffer-overflow" in done.stderr
  else:
    assert done.stdout.strip() == "fine", done.stderr
