"""Kernel libraries: built at first use, cached, registered with XLA once.

A library is `csrc/<name>.cc` for the CPU and `csrc/<name>.cu` for CUDA. Both define the
same handlers; a handler `affjax_x` becomes the FFI target `affjax_x`. Nothing here
fails for want of a compiler: `status` says so and callers use portable XLA.

XLA refuses a library built for a newer jaxlib by taking the whole backend down with it.
Hence the jaxlib version is part of the name that a built library is cached under.
"""

import ctypes
import dataclasses
import functools
import hashlib
import logging
import os
import pathlib
import re
import stat
import tempfile
import threading

import jax.ffi
import jaxlib.version

from affjax.native import compilers

_LOG = logging.getLogger(__name__)
_LOCK = threading.RLock()
_HANDLER = re.compile(r"XLA_FFI_DEFINE_HANDLER_SYMBOL\(\s*(affjax_\w+)")
_REGISTERED_AS = {"cpu": "cpu", "cuda": "CUDA"}
_SWITCH = "AFFJAX_NATIVE"


@dataclasses.dataclass(frozen=True)
class Status:
  """Whether a library can be used.

  Attributes:
    ready: it is loaded and its targets are registered.
    reason: why, or why not, in a line.
  """

  ready: bool
  reason: str


def status(name: str, platform: str) -> Status:
  """Builds and registers a library at the first call; remembers the outcome.

  Args:
    name: of the library, "affine_conv" or "rasterizer".
    platform: "cpu" or "cuda". CUDA needs a compiler here, not a GPU.
  """
  with _LOCK:
    return _status(name, platform)


def names() -> tuple[str, ...]:
  """Of the libraries that there are."""
  return tuple(sorted(source.stem for source in compilers.SOURCES.glob("*.cc")))


def require(name: str, platform: str) -> None:
  """Raises RuntimeError unless the library is ready."""
  found = status(name, platform)
  if not found.ready:
    raise RuntimeError(f"{name} has no {platform} kernel here: {found.reason}")


def cache_dir() -> pathlib.Path:
  """Where built libraries are kept: AFFJAX_CACHE_DIR, or the user's cache folder."""
  named = os.environ.get("AFFJAX_CACHE_DIR")
  if named:
    return pathlib.Path(named)
  base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
  return pathlib.Path(base) / "affjax"


@functools.cache
def _status(name: str, platform: str) -> Status:
  if os.environ.get(_SWITCH) == "0":
    return Status(False, f"switched off by {_SWITCH}=0")
  try:
    source = _source(name, platform)
    path, how = build(source, platform)
    _register(path, source, platform)
  except (compilers.CompileError, OSError, RuntimeError, AttributeError) as error:
    _LOG.warning("%s on %s runs in portable XLA: %s", name, platform, error)
    return Status(False, str(error))
  return Status(True, how)


def build(source: pathlib.Path, platform: str) -> tuple[pathlib.Path, str]:
  """The shared library of a source, compiled unless it is cached.

  Returns:
    Its path, and how it came about.

  Raises:
    compilers.CompileError: no compiler, or it failed.
    OSError: the cache cannot be written, or is not the user's own.
  """
  compiler = compilers.find(platform)
  key = _key(source, compiler)
  path = (
    own_folder()
    / f"{source.stem}-{platform}-jaxlib{jaxlib.version.__version__}-{key}.so"
  )
  if is_whole(path):
    return path, "compiled earlier"
  _LOG.info("compiling %s for %s with %s", source.name, platform, compiler.path)
  handle, scratch = tempfile.mkstemp(suffix=".so", dir=path.parent)
  os.close(handle)
  try:
    compilers.run(compiler, source, pathlib.Path(scratch))
    keep(pathlib.Path(scratch), path)
  finally:
    pathlib.Path(scratch).unlink(missing_ok=True)
  return path, f"compiled by {pathlib.Path(compiler.path).name}"


def keep(built: pathlib.Path, path: pathlib.Path) -> None:
  """Moves a library into the cache, its checksum first."""
  digest = hashlib.sha256(built.read_bytes()).hexdigest()
  handle, scratch = tempfile.mkstemp(dir=path.parent)
  with os.fdopen(handle, "w") as file:
    file.write(digest)
  os.replace(scratch, _checksum(path))
  os.replace(built, path)


def is_whole(path: pathlib.Path) -> bool:
  """Whether the cache has a library as it was built.

  Loading one that a crash or a full disk cut short can kill the process.
  """
  try:
    wanted = _checksum(path).read_text("utf-8", "replace")
    return hashlib.sha256(path.read_bytes()).hexdigest() == wanted
  except OSError:
    return False


def _checksum(path: pathlib.Path) -> pathlib.Path:
  return path.with_suffix(".sha256")


def _source(name: str, platform: str) -> pathlib.Path:
  source = compilers.SOURCES / f"{name}.{'cc' if platform == 'cpu' else 'cu'}"
  if not source.is_file():
    raise compilers.CompileError(f"there is no kernel {source.name}")
  return source


def _key(source: pathlib.Path, compiler: compilers.Compiler) -> str:
  digest = hashlib.sha256(repr(compiler).encode())
  headers = (p for p in source.parent.iterdir() if p.suffix in (".h", ".cuh"))
  for path in (source, *sorted(headers)):
    digest.update(path.name.encode() + path.read_bytes())
  return digest.hexdigest()[:16]


def own_folder() -> pathlib.Path:
  """The cache, made if need be; libraries of somebody else's would run as the user."""
  folder = cache_dir() / "native"
  folder.mkdir(mode=0o700, parents=True, exist_ok=True)
  if hasattr(os, "getuid"):
    found = folder.stat()
    if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
      raise OSError(
        f"{folder} can be written by others: libraries there are not loaded"
      )
  return folder


def _register(path: pathlib.Path, source: pathlib.Path, platform: str) -> None:
  loaded = ctypes.CDLL(str(path))
  for symbol in handlers(source):
    jax.ffi.register_ffi_target(
      symbol,
      jax.ffi.pycapsule(getattr(loaded, symbol)),
      platform=_REGISTERED_AS[platform],
    )


def handlers(source: pathlib.Path) -> list[str]:
  """Names of the FFI handlers that a source defines."""
  return _HANDLER.findall(source.read_text("utf-8"))
