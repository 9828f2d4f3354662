"""Compilation of our layer and the user's nvdiffrast to one library.

The library is cached by the rules of `affjax.native`: by the version of jaxlib, the
compiler, and every byte of the sources. It contains nvdiffrast and is subject to
nvdiffrast's license, so it must not leave this user's cache.
"""

import ctypes
import functools
import hashlib
import logging
import pathlib
import subprocess
import threading

import jax
import jax.ffi
import jaxlib.version

from affjax.native import compilers, library

from . import sources

_LOG = logging.getLogger(__name__)
_LOCK = threading.RLock()
_LAYER = pathlib.Path(__file__).parent / "csrc"
# Compilation takes half a minute on two cores, and longer on a busy machine.
_TIMEOUT_S = 900


def require() -> None:
  """Registers the handlers with XLA, and compiles them unless they are cached.

  Raises:
    sources.NotInstalledError: nvdiffrast is not installed.
    RuntimeError: There is no nvcc, it failed, or JAX sees no CUDA device.
  """
  sources.find()
  if not _sees_cuda():
    seen = ", ".join(sorted({device.platform for device in jax.devices()}))
    raise RuntimeError(
      f"backend 'nvdiffrast' needs a CUDA device and jax[cuda13]; JAX sees {seen} only"
    )
  with _LOCK:
    _registered()


def build() -> pathlib.Path:
  """Compiles the library unless it is cached.

  Returns:
    The library's path.

  Raises:
    sources.NotInstalledError: nvdiffrast is not installed.
    affjax.native.compilers.CompileError: There is no nvcc, or it failed.
    OSError: The cache cannot be written.
  """
  core = sources.find()
  compiler = compilers.find("cuda")
  folder = library.own_folder()
  key = _key(core, compiler)
  path = folder / f"nvdiffrast-cuda-jaxlib{jaxlib.version.__version__}-{key}.so"
  if library.is_whole(path):
    return path
  _LOG.info("compiling %s with %s, once: half a minute", core, compiler.path)
  with library.written_library(path) as partial:
    _compile(core, compiler, partial)
  return path


def handlers() -> list[str]:
  """Returns the names of the FFI handlers of our layer."""
  return [name for source in _layer() for name in library.handlers(source)]


@functools.cache
def _registered() -> None:
  # The symbols stay local, because PyTorch may have loaded another nvdiffrast.
  loaded = ctypes.CDLL(str(build()))
  for name in handlers():
    capsule = jax.ffi.pycapsule(getattr(loaded, name))
    jax.ffi.register_ffi_target(name, capsule, platform="CUDA")


@functools.cache
def _sees_cuda() -> bool:
  try:
    return bool(jax.devices("cuda"))
  except RuntimeError:
    return False


def _compile(core: pathlib.Path, compiler: compilers.Compiler, out: pathlib.Path):
  inputs = [*_layer(), *sources.compiled(core)]
  command = [
    compiler.path,
    *compiler.flags[0],
    f"-I{core}",
    f"-I{_LAYER}",
    f"-I{jax.ffi.include_dir()}",
    *("-include", str(_LAYER / "host.h")),
    *map(str, inputs),
    *("-o", str(out)),
  ]
  try:
    done = subprocess.run(
      command,
      capture_output=True,
      text=True,
      errors="replace",
      timeout=_TIMEOUT_S,
      cwd=out.parent,
    )
  except (OSError, subprocess.TimeoutExpired) as error:
    raise compilers.CompileError(f"{compiler.path}: {error}") from error
  if done.returncode:
    lines = (done.stderr + done.stdout).splitlines()
    errors = [line for line in lines if "error" in line.lower()] or lines
    raise compilers.CompileError(f"{compiler.path} on {core}: {errors[:3]}")


def _layer() -> list[pathlib.Path]:
  return sorted(_LAYER.glob("*.cc"))


def _key(core: pathlib.Path, compiler: compilers.Compiler) -> str:
  digest = hashlib.sha256(repr(compiler).encode())
  ours = sorted(path for path in _LAYER.iterdir() if path.suffix in (".cc", ".h"))
  for path in (*ours, *sources.compiled(core), *sources.included(core)):
    digest.update(path.name.encode() + path.read_bytes())
  return digest.hexdigest()[:16]
