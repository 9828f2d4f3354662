"""The nvdiffrast adapter without a GPU: what it finds, refuses, builds and lowers.

test_nvdiffrast_parity.py tests its results.
"""

import ctypes
import importlib.util
import pathlib
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax import render
from affjax.render import _nvdiffrast
from third_party import nvdiffrast_jax
from third_party.nvdiffrast_jax import library, sources

ROOT = pathlib.Path(__file__).parents[2]
TRIANGLE = np.array([[0, 1, 2]], np.int32)
POS = np.array([[[-1, -1, 0, 1], [1, -1, 0, 1], [0, 1, 0, 1]]], np.float32)
RAST = np.zeros((1, 4, 6, 4), np.float32)
PICTURE = np.zeros((1, 4, 6, 3), np.float32)
UV = np.zeros((1, 4, 6, 2), np.float32)
TEXTURE = np.zeros((1, 8, 8, 3), np.float32)


def installed() -> bool:
  try:
    sources.find()
  except ImportError:
    return False
  return True


@pytest.fixture
def absent(monkeypatch):
  monkeypatch.delenv(sources.VARIABLE, raising=False)
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def test_without_nvdiffrast_the_error_says_how_to_get_it(absent):
  with pytest.raises(nvdiffrast_jax.NotInstalledError) as caught:
    nvdiffrast_jax.rasterize(POS, TRIANGLE, (4, 6))
  for part in ("pip install", "NVDIFFRAST_ROOT", "non-commercial"):
    assert part in str(caught.value)
  with pytest.raises(ImportError):
    nvdiffrast_jax.build()


def test_a_wrong_root_is_named(monkeypatch, tmp_path):
  monkeypatch.setenv(sources.VARIABLE, str(tmp_path))
  with pytest.raises(nvdiffrast_jax.NotInstalledError, match=re.escape(str(tmp_path))):
    sources.find()


@pytest.mark.parametrize("place", ["nvdiffrast/common", "csrc/common", "."])
def test_the_core_is_found_in_releases_and_repositories(monkeypatch, tmp_path, place):
  core = tmp_path / place
  names = (
    "antialias.cu",
    "texture_kernel.cu",
    "glutil.cpp",
    "rasterize_gl.cpp",
    "common.h",
    "cudaraster/CudaRaster.hpp",
    "cudaraster/impl/RasterImpl.cu",
    "cudaraster/impl/RasterImpl_host.cpp",
  )
  for name in names:
    (core / name).parent.mkdir(parents=True, exist_ok=True)
    (core / name).touch()
  monkeypatch.setenv(sources.VARIABLE, str(tmp_path))
  assert sources.find() == core.resolve()
  compiled = {path.name for path in sources.compiled(sources.find())}
  assert compiled == {
    "antialias.cu",
    "texture_kernel.cu",
    "RasterImpl.cu",
    "RasterImpl_host.cpp",
  }
  included = {path.name for path in sources.included(sources.find())}
  assert included == {"common.h", "CudaRaster.hpp"}


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="there is a GPU here")
def test_without_a_gpu_the_error_says_so(monkeypatch, tmp_path):
  monkeypatch.setattr(sources, "find", lambda: tmp_path)
  with pytest.raises(RuntimeError, match=r"CUDA device.*cpu only"):
    nvdiffrast_jax.rasterize(POS, TRIANGLE, (4, 6))


def test_without_the_adapter_the_error_says_how_to_get_it(monkeypatch):
  monkeypatch.setattr(_nvdiffrast, "_ADAPTERS", ("no_such.adapter", "no_such_adapter"))
  with pytest.raises(ImportError, match=r"affjax\[nvdiffrast\]"):
    _nvdiffrast.adapter()


@pytest.mark.parametrize(
  ("name", "args"),
  [
    ("rasterize", (POS, TRIANGLE, (4, 6))),
    ("interpolate", (POS, RAST, TRIANGLE)),
    ("texture", (TEXTURE, UV)),
    ("antialias", (PICTURE, RAST, POS, TRIANGLE)),
  ],
)
def test_the_renderer_asks_for_it_by_name(absent, name, args):
  with pytest.raises(nvdiffrast_jax.NotInstalledError):
    getattr(render, name)(*args, backend="nvdiffrast")
  with pytest.raises(ValueError, match=r"'nvdiffrast'.*got 'opengl'"):
    getattr(render, name)(*args, backend="opengl")


def test_the_renderer_does_not_import_it():
  program = (
    "import sys, affjax.render\n"
    "assert not [name for name in sys.modules if 'nvdiffrast_jax' in name]"
  )
  subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, timeout=120)


def test_nothing_of_nvdiffrast_is_kept_here():
  """Its notice stands at the head of each of its files."""
  for path in (ROOT / "third_party").rglob("*"):
    if path.is_file() and path.suffix != ".pyc":
      assert "NVIDIA CORPORATION" not in path.read_text("utf-8")


@pytest.mark.parametrize(
  ("name", "call"),
  [
    ("pos", lambda: nvdiffrast_jax.rasterize(POS[0], TRIANGLE, (4, 6))),
    ("pos", lambda: nvdiffrast_jax.rasterize(POS.astype(np.float64), TRIANGLE, (4, 6))),
    ("tri", lambda: nvdiffrast_jax.rasterize(POS, TRIANGLE + 1, (4, 6))),
    ("resolution", lambda: nvdiffrast_jax.rasterize(POS, TRIANGLE, (0, 6))),
    ("resolution", lambda: nvdiffrast_jax.rasterize(POS, TRIANGLE, (4, 2049))),
    ("attr", lambda: nvdiffrast_jax.interpolate(POS[0], RAST, TRIANGLE)),
    ("rast", lambda: nvdiffrast_jax.interpolate(POS, RAST[..., :3], TRIANGLE)),
    (
      "derivatives",
      lambda: nvdiffrast_jax.interpolate_with_derivatives(POS, RAST, TRIANGLE, PICTURE),
    ),
    ("color", lambda: nvdiffrast_jax.antialias(PICTURE[0], RAST, POS, TRIANGLE)),
    ("rast", lambda: nvdiffrast_jax.antialias(PICTURE, RAST[:, 1:], POS, TRIANGLE)),
    ("filter", lambda: nvdiffrast_jax.texture(TEXTURE, UV, filter="cubic")),
    ("boundary", lambda: nvdiffrast_jax.texture(TEXTURE, UV, boundary="mirror")),
    ("uv", lambda: nvdiffrast_jax.texture(TEXTURE, UV, boundary="cube")),
    ("tex", lambda: nvdiffrast_jax.texture(TEXTURE.repeat(3, 0), UV)),
    (
      "uv_derivatives or mip_level_bias",
      lambda: nvdiffrast_jax.texture(TEXTURE, UV, filter="linear-mipmap-linear"),
    ),
    (
      "max_mip_level=1",
      lambda: nvdiffrast_jax.texture(
        TEXTURE[:, :6], UV, filter="linear-mipmap-linear", mip_level_bias=0.0
      ),
    ),
  ],
)
def test_bad_arguments_are_named_before_anything_is_built(absent, name, call):
  with pytest.raises(ValueError, match=name):
    call()


def test_nothing_to_draw_needs_no_nvdiffrast(absent):
  none = np.zeros((0, 3), np.int32)
  rast, slopes = nvdiffrast_jax.rasterize_with_derivatives(POS, none, (4, 6))
  assert rast.shape == slopes.shape == (1, 4, 6, 4)
  assert not rast.any()
  value, change = nvdiffrast_jax.interpolate_with_derivatives(POS, RAST, none, RAST)
  assert value.shape == (1, 4, 6, 4)
  assert change.shape == (1, 4, 6, 4, 2)
  np.testing.assert_array_equal(
    nvdiffrast_jax.antialias(PICTURE, RAST, POS, none), PICTURE
  )
  assert nvdiffrast_jax.texture(TEXTURE, UV[:0]).shape == (0, 4, 6, 3)


def _render(pos, attr, tex):
  theirs = {"backend": "nvdiffrast"}
  rast, slopes = render.rasterize_with_derivatives(pos, TRIANGLE, (16, 24), **theirs)
  uv, change = render.interpolate_with_derivatives(
    attr, rast, TRIANGLE, slopes, **theirs
  )
  mips = {"filter": "linear-mipmap-linear", "uv_derivatives": change}
  color = render.texture(tex, uv, boundary="wrap", **mips, **theirs)
  return jnp.sum(render.antialias(color, rast, pos, TRIANGLE, **theirs) ** 2)


_SCENE = (jnp.ones((4, 3, 4)), jnp.ones((1, 3, 2)), jnp.ones((1, 8, 8, 3)))


def _lowered_handlers(fn, *args) -> set[str]:
  """Handlers in a function's program for CUDA, which needs no GPU to be written."""
  lowered = jax.jit(fn).trace(*args).lower(lowering_platforms=("cuda",))
  return set(re.findall(r"@(affjax_nvdiffrast_\w+)", lowered.as_text()))


@pytest.mark.parametrize("how", ["jit", "vmap", "shard_map"])
def test_forward_and_backward_lower_for_cuda(monkeypatch, how):
  monkeypatch.setattr(library, "require", lambda: None)
  fn, args = jax.value_and_grad(_render, (0, 1, 2)), _SCENE
  if how == "vmap":
    fn, args = jax.vmap(fn), jax.tree.map(lambda a: jnp.stack([a, a]), args)
  if how == "shard_map":
    axis = jax.sharding.AxisType.Auto
    mesh = jax.make_mesh((4,), ("x",), axis_types=(axis,))
    rows, whole = jax.sharding.PartitionSpec("x"), jax.sharding.PartitionSpec()
    fn = jax.shard_map(
      jax.grad(_render),
      mesh=mesh,
      in_specs=(rows, whole, whole),
      out_specs=rows,
      check_vma=False,
    )
  expected = set(library.handlers())
  assert _lowered_handlers(fn, *args) == expected
  assert len(expected) == 8


def test_the_cache_key_knows_every_source(tmp_path):
  compiler = library.compilers.Compiler("nvcc", ((),), "13.0")
  (tmp_path / "cudaraster" / "impl").mkdir(parents=True)
  keys = []
  for name in ("antialias.cu", "common.h", "cudaraster/impl/Util.inl"):
    (tmp_path / name).write_text(name)
    keys.append(library._key(tmp_path, compiler))
  (tmp_path / "common.h").write_text("changed")
  keys.append(library._key(tmp_path, compiler))
  assert len(set(keys)) == 4


@pytest.mark.slow
@pytest.mark.skipif(not installed(), reason="no nvdiffrast here")
def test_it_compiles_and_registers(monkeypatch, tmp_path):
  monkeypatch.setenv("AFFJAX_CACHE_DIR", str(tmp_path))
  try:
    library.compilers.find("cuda")
  except library.compilers.CompileError as error:
    pytest.skip(str(error))
  path = nvdiffrast_jax.build()
  assert nvdiffrast_jax.build() == path
  # All symbols at once: none may be missing, and no CUDA driver is asked for.
  loaded = ctypes.CDLL(str(path), ctypes.RTLD_LOCAL | ctypes.DEFAULT_MODE)
  assert all(getattr(loaded, name) for name in library.handlers())
  checked = subprocess.run(
    ["ldd", "-r", str(path)], capture_output=True, text=True, check=True
  )
  assert "undefined symbol" not in checked.stdout + checked.stderr
  library._registered()


@pytest.mark.slow
@pytest.mark.skipif(not installed(), reason="no nvdiffrast here")
def test_a_compiler_error_is_reported(monkeypatch, tmp_path):
  monkeypatch.setenv("AFFJAX_CACHE_DIR", str(tmp_path))
  (tmp_path / "cudaraster" / "impl").mkdir(parents=True)
  (tmp_path / "antialias.cu").write_text("#error not what it was")
  monkeypatch.setattr(sources, "find", lambda: tmp_path)
  try:
    library.compilers.find("cuda")
  except library.compilers.CompileError as error:
    pytest.skip(str(error))
  with pytest.raises(library.compilers.CompileError, match="error"):
    nvdiffrast_jax.build()
  assert not list((tmp_path / "native").iterdir())
