"""Our layer and the user's nvdiffrast as one library: compiled once, registered once.

The library is cached under `affjax.native`'s rules: by the version of jaxlib, the
compiler, and every byte of the sources. It contains nvdiffrast, so its licence governs
it: it belongs in this user's cache and nowhere else.
"""

import ctypes
import functools
import hashlib
import logging
import pathlib
import subprocess
import tempfile
import threading

import jax
import jax.ffi
import jaxlib.version

from affjax.native import compilers
from affjax.native import library as native

from . import sources

_LOG = logging.getLogger(__name__)
_LOCK = threading.RLock()
_LAYER = pathlib.Path(__file__).parent / "csrc"
# Half a minute on two cores; a busy machine takes several times that.
_TIMEOUT_S = 900


def require() -> None:
  """Makes the handlers known to XLA; compiles them at the first call of all.

  Raises:
    sources.NotInstalledError: there is no nvdiffrast.
    RuntimeError: there is no nvcc, it failed, or JAX sees no CUDA device.
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
    Its path.

  Raises:
    sources.NotInstalledError: there is no nvdiffrast.
    affjax.native.compilers.CompileError: there is no nvcc, or it failed.
    OSError: the cache cannot be written.
  """
  core = sources.find()
  compiler = compilers.find("cuda")
  folder = native.own_folder()
  key = _key(core, compiler)
  path = folder / f"nvdiffrast-cuda-jaxlib{jaxlib.version.__version__}-{key}.so"
  if native.is_whole(path):
    return path
  _LOG.info("compiling %s with %s, once: half a minute", core, compiler.path)
  with tempfile.TemporaryDirectory(dir=folder) as scratch:
    out = pathlib.Path(scratch) / "nvdiffrast.so"
    _compile(core, compiler, out)
    native.keep(out, path)
  return path


def handlers() -> list[str]:
  """Names of the FFI handlers of our layer."""
  return [name for source in _layer() for name in native.handlers(source)]


@functools.cache
def _registered() -> None:
  # Loaded with its symbols to itself: torch may have loaded a nvdiffrast of its own.
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
