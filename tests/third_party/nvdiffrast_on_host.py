"""The adapter's layer and nvdiffrast's kernels built for the CPU, to run them anywhere.

Kernels that need no warps run unchanged, thread after thread; CudaRaster does not: the
triangle ids come from the test. What this shows is that the layer passes the right
things, and that nvdiffrast means by them what affjax means.
"""

import ctypes
import pathlib
import subprocess

import jax
import jax.ffi
import numpy as np

from affjax.native import compilers
from third_party.nvdiffrast_jax import library, sources

_HERE = pathlib.Path(__file__).parent / "cuda_on_host"


def build(out: pathlib.Path) -> ctypes.CDLL:
  """Compiles into a folder and loads."""
  core = sources.find()
  layer = pathlib.Path(library.__file__).parent / "csrc"
  includes = [_HERE, core, layer, jax.ffi.include_dir()]
  common = ["-std=c++17", "-O1", "-fPIC", "-w", *(f"-I{i}" for i in includes)]
  common += ["-include", str(layer / "host.h")]
  parts = {"stand_ins": (_HERE / "stand_ins.cc", [])}
  for source in layer.glob("*.cc"):
    more = ["-include", str(_HERE / "host_stream.h")]
    parts[f"layer_{source.stem}"] = (source, more)
  for source in core.glob("*.cu"):
    parts[source.stem] = (source, ["-D__CUDACC__"])
  objects = []
  for name, (source, more) in parts.items():
    if "antialias" in name:
      more = [*more, "-include", str(_HERE / "one_thread_blocks.h")]
    objects.append(str(out / f"{name}.o"))
    _run([*common, *more, "-x", "c++", "-c", str(source), "-o", objects[-1]])
  path = out / "nvdiffrast_on_host.so"
  _run(["-shared", *objects, "-o", str(path)])
  return ctypes.CDLL(str(path))


def register(loaded: ctypes.CDLL) -> None:
  """Gives the handlers to XLA's CPU backend."""
  for name in library.handlers():
    capsule = jax.ffi.pycapsule(getattr(loaded, name))
    jax.ffi.register_ffi_target(name, capsule, platform="cpu")


def show(loaded: ctypes.CDLL, ids) -> None:
  """What the next calls of `rasterize` see: index + 1, `[B, H, W]`."""
  flat = np.ascontiguousarray(ids, np.int32)
  pointer = flat.ctypes.data_as(ctypes.POINTER(ctypes.c_int))
  loaded.affjax_host_set_ids(pointer, flat.size)


def _run(arguments: list[str]) -> None:
  command = [compilers.find("cpu").path, *arguments]
  done = subprocess.run(command, capture_output=True, text=True, timeout=600)
  assert done.returncode == 0, done.stderr[:3000]
