"""The CUDA rasterizer, its device code run on the CPU, against the definition.

On a GPU `experiments/gpu/checks.py rasterizer` compares it with the other backends.
"""

import functools
import pathlib
import re
import shutil
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax.native import compilers, library
from affjax.render import _xla
from tests.native import cuda_host
from tests.native import cuda_rasterizer as check
from tests.render import hostile

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def device_code():
  return cuda_host.build(check.DRIVER)


@pytest.mark.parametrize("kind", range(len(check.KINDS)), ids=check.KINDS)
def test_equals_the_definition_to_the_pixel(device_code, kind):
  kinds = len(check.KINDS)
  differ, covered = check.compare(device_code, range(kind, 60 * kinds, kinds))
  assert differ == 0
  assert covered > 500


@pytest.mark.parametrize("kind", hostile.KINDS)
def test_equals_portable_xla(device_code, kind):
  resolution = (33, 47)
  pos, tri = hostile.scenes(kind, 11, batch=40, resolution=resolution)
  got = np.full((len(pos), *resolution), -7, np.int32)
  sizes = (len(pos), pos.shape[1], len(tri), *resolution)
  cuda_host.call(device_code, "search", pos, tri, got, *sizes, 2**17, 32)
  np.testing.assert_array_equal(got, _portable(pos, tri, resolution))
  assert np.sum(got > 0) > 100


@functools.partial(jax.jit, static_argnums=2)
def _portable(pos, tri, resolution):
  return _xla.triangle_ids(pos, tri, resolution)


def test_pixel_centers_without_division(device_code):
  wrong = np.zeros(1, np.int64)
  cuda_host.call(device_code, "centers", 16384, wrong)
  assert wrong[0] == 0


def test_large_pictures_and_edges_of_large_tiles(device_code):
  for height, width in ((1, 700), (300, 3), (257, 259)):
    pos, tri, _, _ = check.scene(5)
    sizes = (len(pos), pos.shape[1], len(tri), height, width)
    got = np.full((len(pos), height, width), -7, np.int32)
    want = got.copy()
    cuda_host.call(device_code, "search", pos, tri, got, *sizes, 2**25, 32)
    cuda_host.call(device_code, "define", pos, tri, want, *sizes)
    np.testing.assert_array_equal(got, want)


def test_passes_stay_within_bounds(device_code):
  out = np.zeros(3, np.int64)
  for batch, triangles, height, width in (
    (1, 1, 1, 1),
    (64, 70_312, 512, 512),
    (8, 10**6, 512, 512),
    (4, 10**6, 4096, 4096),
    (1, 2**24, 4096, 4096),
    (2, 2**24, 32768, 32768),
  ):
    cuda_host.call(device_code, "plan", batch, triangles, height, width, out)
    images, tile, size = (int(v) for v in out)
    assert 1 <= images <= batch
    tiles = -(-height // tile) * -(-width // tile)
    assert images * triangles * tiles < 2**39
    assert images * triangles < 2**25
    picture = 8 * height * width
    assert size <= max(2**25, picture) + 12 * max(2**22, triangles) + 8
    assert tile == 32 or height > 4096


SANITIZED = """
from tests.native import cuda_host, cuda_rasterizer as check
print(check.compare(cuda_host.build(check.DRIVER, sanitize=True), range(105)))
"""


@pytest.mark.slow
def test_no_byte_outside_of_the_buffers():
  done = cuda_host.sanitized(SANITIZED)
  assert done.stdout.startswith("(0, "), done.stderr[-3000:]


needs_nvcc = pytest.mark.skipif(not shutil.which("nvcc"), reason="no nvcc here")


@needs_nvcc
@pytest.mark.slow
def test_lowers_without_a_gpu():
  library.require("rasterizer", "cuda")
  shape = jax.ShapeDtypeStruct((2, 8, 9), jnp.int32)
  call = jax.jit(jax.ffi.ffi_call("affjax_rasterize_ids", shape))
  args = jnp.zeros((2, 5, 4)), jnp.zeros((3, 3), jnp.int32)
  lowered = call.trace(*args).lower(lowering_platforms=("cuda",))
  assert "affjax_rasterize_ids" in lowered.as_text()


@needs_nvcc
@pytest.mark.slow
def test_registers_and_spills(tmp_path):
  source = tmp_path / "all.cu"
  source.write_text(
    '#include "rasterizer_device.cuh"\n#include "silhouettes_device.cuh"\n'
    '#include "locate_device.cuh"\n'
  )
  command = [
    "nvcc",
    "-std=c++17",
    "-O3",
    "-arch=sm_90",
    "-Xptxas=-v",
    "-c",
    str(source),
  ]
  command += [f"-I{cuda_host.CSRC}", "-o", str(tmp_path / "all.o")]
  report = subprocess.run(command, capture_output=True, text=True, check=True).stderr
  registers = [int(n) for n in re.findall(r"Used (\d+) registers", report)]
  assert len(registers) >= 5
  assert max(registers) <= 64  # four blocks of 256 threads on each multiprocessor
  assert set(re.findall(r"(\d+) bytes spill", report)) == {"0"}


@needs_nvcc
@pytest.mark.slow
def test_the_stand_alone_check_compiles(tmp_path):
  source = ROOT / "experiments" / "gpu" / "rasterizer_check.cu"
  command = ["nvcc", "-std=c++17", "-O3", "-arch=sm_90", str(source)]
  command += [f"-I{cuda_host.CSRC}", "-o", str(tmp_path / "check")]
  subprocess.run(command, check=True)


@needs_nvcc
@pytest.mark.slow
@pytest.mark.parametrize(
  "source", sorted(cuda_host.CSRC.glob("*.cu")), ids=lambda path: path.name
)
def test_all_sources_compile_for_cuda(source, tmp_path):
  """Anew, and not from the cache of libraries."""
  compilers.run(compilers.find("cuda"), source, tmp_path / "library.so")
  assert (tmp_path / "library.so").stat().st_size > 10_000
