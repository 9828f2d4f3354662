"""Kernel libraries, which are compiled at first use, cached, and registered with XLA.

The sources of a library are `csrc/<name>.cc` for the CPU and `csrc/<name>.cu` for CUDA.
Both define the same handlers; a handler `affjax_x` becomes the FFI target `affjax_x`. A
missing compiler raises no error in `status`, which reports it; callers then use
portable XLA.

If a library was compiled for a newer jaxlib, XLA refuses it and the whole backend
fails. For this reason the version of jaxlib is part of a cached library's name.
"""

import contextlib
import ctypes
import dataclasses
import functools
import hashlib
import logging
import os
import pathlib
import re
import stat
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import jax.ffi
import jaxlib.version

from affjax import files
from affjax.native import compilers

_LOG = logging.getLogger(__name__)
_LOCKS: dict[tuple[str, str], Any] = {}
_HANDLER = re.compile(r"XLA_FFI_DEFINE_HANDLER_SYMBOL\(\s*(affjax_\w+)")
_REGISTERED_AS = {"cpu": "cpu", "cuda": "CUDA"}
_SWITCH = "AFFJAX_NATIVE"


@dataclasses.dataclass(frozen=True)
class Status:
  """The state of a library in this process.

  Attributes:
    ready: Whether the library is loaded and its targets are registered.
    reason: One line that says how the library was obtained or why it is not ready.
  """

  ready: bool
  reason: str


def status(name: str, platform: str) -> Status:
  """Compiles and registers a library at the first call and returns its state.

  Args:
    name: Name of the library, one of `names()`.
    platform: "cpu" or "cuda". CUDA needs a compiler on this machine, but no GPU.
  """
  # Two libraries may be compiled at the same time, each of them only once.
  with _LOCKS.setdefault((name, platform), threading.RLock()):
    return _status(name, platform)


def begin(names: Sequence[str]) -> None:
  """Begins to compile libraries for the CPU, in the background.

  A program that needs them later waits for what is left of that.

  Args:
    names: Names of the libraries.
  """
  for name in names:
    threading.Thread(target=status, args=(name, "cpu"), daemon=True).start()


def names() -> tuple[str, ...]:
  """Returns the names of all libraries."""
  return tuple(sorted(source.stem for source in compilers.SOURCES.glob("*.cc")))


def require(name: str, platform: str) -> None:
  """Raises RuntimeError with the reason unless the library is ready."""
  found = status(name, platform)
  if not found.ready:
    raise RuntimeError(f"{name} has no {platform} kernel here: {found.reason}")


def cache_dir() -> pathlib.Path:
  """Returns affjax's cache folder: AFFJAX_CACHE_DIR, or one in the user's cache."""
  named = os.environ.get("AFFJAX_CACHE_DIR")
  if named:
    return pathlib.Path(named)
  base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
  return pathlib.Path(base) / "affjax"


@functools.cache
def _status(name: str, platform: str) -> Status:
  if os.environ.get(_SWITCH) == "0":
    return Status(False, f"switched off by {_SWITCH}=0")
  source = compilers.SOURCES / f"{name}.{'cc' if platform == 'cpu' else 'cu'}"
  if not source.is_file():
    return Status(False, f"there is no kernel {source.name}")
  try:
    path, how = build(source, platform)
    _register(path, source, platform)
  except (compilers.CompileError, OSError, RuntimeError, AttributeError) as error:
    _LOG.warning("%s on %s runs in portable XLA: %s", name, platform, error)
    return Status(False, str(error))
  return Status(True, how)


def build(source: pathlib.Path, platform: str) -> tuple[pathlib.Path, str]:
  """Compiles a source to a shared library unless the library is cached.

  Args:
    source: The C++ or CUDA source.
    platform: "cpu" or "cuda".

  Returns:
    The library's path, and a phrase that says how it was obtained.

  Raises:
    compilers.CompileError: There is no compiler, or it failed.
    OSError: The cache cannot be written, or other users can write to it.
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
  with written_library(path) as partial:
    compilers.run(compiler, source, partial)
  return path, f"compiled by {pathlib.Path(compiler.path).name}"


@contextlib.contextmanager
def written_library(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields a temporary path for a library that enters the cache with its checksum.

  Args:
    path: The library's path in the cache.
  """
  with files.written_file(path) as partial:
    yield partial
    digest = hashlib.sha256(partial.read_bytes()).hexdigest()
    files.write_file(_checksum(path), digest)


def is_whole(path: pathlib.Path) -> bool:
  """Returns whether the cache has a library with the checksum that it was built with.

  Loading a library that a crash or a full disk truncated can kill the process.
  """
  try:
    wanted = _checksum(path).read_text("utf-8", "replace")
    return hashlib.sha256(path.read_bytes()).hexdigest() == wanted
  except OSError:
    return False


def _checksum(path: pathlib.Path) -> pathlib.Path:
  return path.with_suffix(".sha256")


def _key(source: pathlib.Path, compiler: compilers.Compiler) -> str:
  digest = hashlib.sha256(repr(compiler).encode())
  headers = (p for p in source.parent.iterdir() if p.suffix in (".h", ".cuh"))
  for path in (source, *sorted(headers)):
    digest.update(path.name.encode() + path.read_bytes())
  return digest.hexdigest()[:16]


def own_folder() -> pathlib.Path:
  """Returns the folder of libraries in the cache, creating it if it does not exist.

  Raises:
    OSError: Other users can write to it.
  """
  return private_folder("native")


def private_folder(name: str) -> pathlib.Path:
  """Returns a folder of the cache for code, creating it if it does not exist.

  Args:
    name: Name of the folder.

  Raises:
    OSError: Other users can write to it; what it holds would run as this user.
  """
  folder = cache_dir() / name
  folder.mkdir(mode=0o700, parents=True, exist_ok=True)
  if hasattr(os, "getuid"):
    found = folder.stat()
    if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
      raise OSError(f"{folder} can be written by others, so nothing in it is loaded")
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
  """Returns the names of the FFI handlers that a source defines."""
  return _HANDLER.findall(source.read_text("utf-8"))
