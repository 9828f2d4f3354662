"""The adapter's layer and nvdiffrast's kernels built for the CPU, to run them anywhere.

Two libraries. Most kernels run thread after thread (`one_by_one`), as none waits for
another. CudaRaster's threads do wait, and it is written in PTX in places: its sources
are copied, the PTX rewritten to C++ there (`ptx_as_cpp`), and each thread is a fiber
(`in_fibers`). What this shows is that the layer passes the right things in the right
order, and that nvdiffrast means by them what affjax means; of a GPU it shows nothing.
"""

import ctypes
import pathlib
import shutil
import subprocess

import jax
import jax.ffi

from affjax.native import compilers
from tests.third_party import ptx_as_cpp
from third_party.nvdiffrast_jax import library, sources

_HERE = pathlib.Path(__file__).parent
_CUDA = _HERE / "cuda_on_host"
_FIBERS = _HERE.parent / "native"
_LAYER = pathlib.Path(library.__file__).parent / "csrc"


def register(out: pathlib.Path) -> None:
  """Compiles into a folder and gives all handlers to XLA's CPU backend."""
  core = sources.find()
  loaded = [ctypes.CDLL(str(build(core, out))) for build in (_simple, _rasterizer)]
  for name in library.handlers():
    holder = loaded["rasterize" in name]
    capsule = jax.ffi.pycapsule(getattr(holder, name))
    jax.ffi.register_ffi_target(name, capsule, platform="cpu")


def _simple(core: pathlib.Path, out: pathlib.Path) -> pathlib.Path:
  """Interpolation, texture, antialiasing."""
  folder = _CUDA / "one_by_one"
  objects = [_object(folder / "dynamic_shared.cc", out, [folder])]
  for source in (*_LAYER.glob("*.cc"), *core.glob("*.cu")):
    if not source.stem.startswith("rasterize"):
      more = ["one_thread_blocks.h"] if source.stem == "antialias" else []
      objects.append(_object(source, out, [folder, core], more))
  return _linked(objects, out / "simple.so")


def _rasterizer(core: pathlib.Path, out: pathlib.Path) -> pathlib.Path:
  """CudaRaster, its pixel shader, and the shader's gradient."""
  folder = _CUDA / "in_fibers"
  copied = out / "core"
  shutil.copytree(core, copied)
  for path in copied.glob("cudaraster/impl/*.inl"):
    rewritten = ptx_as_cpp.rewrite(path.read_text("utf-8"))
    assert "asm(" not in rewritten, path
    path.write_text(rewritten, "utf-8")
  parts = [folder / "launch_by_address.cc", _LAYER / "rasterize.cc"]
  parts += [copied / "rasterize.cu", *copied.glob("cudaraster/impl/*.c*")]
  include = [folder, _FIBERS, copied]
  return _linked([_object(p, out, include, ["ptx.h"]) for p in parts], out / "draw.so")


def _object(
  source: pathlib.Path, out: pathlib.Path, folders: list[pathlib.Path], more=()
) -> str:
  """Compiles one source; `more` headers come before it."""
  headers = [_LAYER / "host.h", *more]
  flags = ["-std=c++17", "-O1", "-fPIC", "-w", "-DAFFJAX_ON_HOST"]
  if source.suffix == ".cu":
    flags.append("-D__CUDACC__")
  elif source.parent == _LAYER:
    headers.append(_CUDA / "host_stream.h")
  flags += [f"-I{f}" for f in (*folders, _LAYER, jax.ffi.include_dir())]
  for header in headers:
    flags += ["-include", str(header)]
  path = str(out / f"{source.name}.o")
  _run([*flags, "-x", "c++", "-c", str(source), "-o", path])
  return path


def _linked(objects: list[str], path: pathlib.Path) -> pathlib.Path:
  _run(["-shared", *objects, "-o", str(path)])
  return path


def _run(arguments: list[str]) -> None:
  command = [compilers.find("cpu").path, *arguments]
  done = subprocess.run(command, capture_output=True, text=True, timeout=600)
  assert done.returncode == 0, done.stderr[:3000]
