"""Building, caching and loading kernel libraries, and doing without."""

import itertools
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from affjax.native import compilers, dispatch, library

ROOT = pathlib.Path(__file__).parents[2]

# Twice the input, item by item, on XLA's threads.
DOUBLE = """
#include "parallel.h"
namespace ffi = xla::ffi;
static ffi::Error run(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> x,
                      ffi::ResultBuffer<ffi::F32> y) {
  const float* in = x.typed_data();
  float* out = y->typed_data();
  affjax::parallel_for(pool, static_cast<int64_t>(x.element_count()),
                       [&](int64_t i) { out[i] = 2 * in[i]; });
  return ffi::Error::Success();
}
XLA_FFI_DEFINE_HANDLER_SYMBOL(affjax_double, run, ffi::Ffi::Bind()
    .Ctx<ffi::ThreadPool>().Arg<ffi::Buffer<ffi::F32>>().Ret<ffi::Buffer<ffi::F32>>());
"""


_COUNT = itertools.count()


@pytest.fixture
def sources(tmp_path, monkeypatch):
  """A folder of kernels and an empty cache of this test's own.

  XLA knows a handler for as long as the process lives: each test has one of its own.
  """
  folder = tmp_path / "csrc"
  folder.mkdir()
  (folder / "parallel.h").write_text((compilers.SOURCES / "parallel.h").read_text())
  (folder / "double.cc").write_text(
    DOUBLE.replace("affjax_double", f"affjax_double{next(_COUNT)}")
  )
  monkeypatch.setattr(compilers, "SOURCES", folder)
  monkeypatch.setenv("AFFJAX_CACHE_DIR", str(tmp_path / "cache"))
  library._status.cache_clear()
  yield folder
  library._status.cache_clear()


def _target(sources: pathlib.Path) -> str:
  (name,) = library.handlers(sources / "double.cc")
  return name


def _has_compiler() -> bool:
  try:
    compilers.find("cpu")
  except compilers.CompileError:
    return False
  return True


needs_compiler = pytest.mark.skipif(not _has_compiler(), reason="no C++ compiler here")


@needs_compiler
@pytest.mark.smoke
def test_a_kernel_is_built_registered_called_and_cached(sources):
  found = library.status("double", "cpu")
  assert found.ready, found.reason
  assert found.reason.startswith("compiled by")
  x = jnp.arange(1000, dtype=jnp.float32)
  shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
  np.testing.assert_array_equal(jax.ffi.ffi_call(_target(sources), shape)(x), 2 * x)
  kept = library.build(sources / "double.cc", "cpu")
  assert kept[1] == "compiled earlier"
  assert library.jaxlib.version.__version__ in kept[0].name
  (sources / "double.cc").write_text(DOUBLE + "// changed\n")
  assert library.build(sources / "double.cc", "cpu")[0] != kept[0]
  assert not list(kept[0].parent.glob("tmp*"))


@needs_compiler
@pytest.mark.parametrize(
  "left", [1000, *(pytest.param(n, marks=pytest.mark.slow) for n in (0, -1))]
)
def test_a_library_cut_short_is_never_loaded_but_built_again(sources, left):
  path, _ = library.build(sources / "double.cc", "cpu")
  whole = path.read_bytes()
  path.write_bytes(whole[:left])
  again, how = library.build(sources / "double.cc", "cpu")
  assert again == path
  assert how.startswith("compiled by")
  assert len(path.read_bytes()) == len(whole)
  assert library.status("double", "cpu").ready


@pytest.mark.slow
@needs_compiler
def test_another_jaxlib_gets_another_library(sources, monkeypatch):
  first, _ = library.build(sources / "double.cc", "cpu")
  monkeypatch.setattr(library.jaxlib.version, "__version__", "0.99.0")
  second, how = library.build(sources / "double.cc", "cpu")
  assert first != second
  assert how.startswith("compiled by")


@needs_compiler
def test_a_source_that_does_not_compile_is_a_reason_and_leaves_nothing(sources):
  (sources / "double.cc").write_text("int f( { return 1; }\n")
  found = library.status("double", "cpu")
  assert not found.ready
  assert "error" in found.reason
  assert "\n" not in found.reason
  assert not list((library.cache_dir() / "native").iterdir())
  with pytest.raises(RuntimeError, match="double has no cpu kernel here"):
    library.require("double", "cpu")


def test_no_compiler_means_portable_xla(sources, monkeypatch, caplog):
  monkeypatch.setenv("PATH", "")
  monkeypatch.delenv("CXX", raising=False)
  compilers._cpp.cache_clear()
  try:
    found = library.status("double", "cpu")
    library.status("double", "cpu")
  finally:
    compilers._cpp.cache_clear()
  assert not found.ready
  assert "no C++ compiler" in found.reason
  assert "apt install g++" in found.reason
  assert len(caplog.records) == 1
  call = dispatch.per_platform("double", lambda x: x, lambda x: x + 1)
  assert float(call(jnp.float32(1))) == 2


def test_the_switch_and_unknown_names(sources, monkeypatch):
  assert "no kernel other.cc" in library.status("other", "cpu").reason
  with pytest.raises(ValueError, match="platform must be one of"):
    compilers.find("tpu")
  monkeypatch.setenv("AFFJAX_NATIVE", "0")
  assert "AFFJAX_NATIVE=0" in library.status("double", "cpu").reason


@needs_compiler
@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no file owners here")
def test_a_cache_that_others_can_write_is_not_trusted(sources):
  folder = library.cache_dir() / "native"
  folder.mkdir(parents=True)
  folder.chmod(0o777)
  found = library.status("double", "cpu")
  assert not found.ready
  assert "can be written by others" in found.reason


@needs_compiler
def test_many_calls_at_once_do_not_block(sources):
  """More handlers at a time than the pool has threads, each wanting all of them."""
  assert library.status("double", "cpu").ready
  x = jnp.arange(5000, dtype=jnp.float32)
  shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
  call = jax.ffi.ffi_call(_target(sources), shape)
  many = jax.jit(lambda x: sum(call(x + i) for i in range(24)))
  for _ in range(5):
    expected = 2 * (24 * np.asarray(x) + sum(range(24)))
    np.testing.assert_allclose(many(x), expected, rtol=1e-6)


def _scaled(x, k):
  return x * k[None], jnp.sum(x, 0) * k


@pytest.mark.smoke
def test_batches_divide_among_devices_without_copies():
  fn = dispatch.batch_parallel(_scaled, (True, False), (True, False))
  mesh = Mesh(np.array(jax.devices()), ("data",), axis_types=(AxisType.Auto,))
  x = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
  k = np.array([1, 2, 3], np.float32)
  rows = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
  everywhere = jax.device_put(k, NamedSharding(mesh, PartitionSpec()))
  program = jax.jit(fn).lower(rows, everywhere).compile()
  for got, want in zip(program(rows, everywhere), _scaled(x, k), strict=True):
    np.testing.assert_allclose(got, want, rtol=1e-5)
  assert "all-gather" not in program.as_text()
  assert "all-reduce" in program.as_text()


@pytest.mark.parametrize("mapped", [(0, None), (None, 0), (0, 0)])
def test_batches_under_vmap(mapped):
  fn = dispatch.batch_parallel(_scaled, (True, False), (True, False))
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, 4, 3) if mapped[0] == 0 else (4, 3)).astype(np.float32)
  k = rng.normal(size=(2, 3) if mapped[1] == 0 else (3,)).astype(np.float32)
  want = jax.vmap(_scaled, mapped)(x, k)
  for got, expected in zip(jax.vmap(fn, mapped)(x, k), want, strict=True):
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_a_shared_argument_folds_into_one_call():
  calls = []

  def fn(x, k):
    calls.append(x.shape)
    return (x * k[None],)

  mapped = jax.vmap(dispatch.batch_parallel(fn, (True, False), (True,)), (0, None))
  assert mapped(jnp.ones((5, 4, 3)), jnp.ones(3))[0].shape == (5, 4, 3)
  assert (20, 3) in calls


def test_native_switched_off_in_a_process_of_its_own():
  program = (
    "from affjax.native import library\n"
    "print(library.status('affine_conv', 'cpu').reason)"
  )
  done = subprocess.run(
    [sys.executable, "-c", program],
    env={**os.environ, "AFFJAX_NATIVE": "0"},
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
    timeout=120,
  )
  assert "switched off" in done.stdout
