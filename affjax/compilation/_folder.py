"""The folder of compiled programs, private to the user and to one set of software."""

import functools
import hashlib
import os
import pathlib
import shutil
import sys
import time
import zlib
from typing import Any

import jax
import jaxlib.version

from affjax.compilation import _programs
from affjax.native import compilers, library

_SWITCH = "AFFJAX_COMPILATION_CACHE"
# Programs that no process has used for so long are removed, s.
_UNUSED = 30 * 24 * 3600
_CHECKED = "checked"


@functools.cache
def enable() -> pathlib.Path | None:
  """Has this process keep its compiled programs in the user's cache folder.

  The folder is `$AFFJAX_CACHE_DIR/compiled`, by default `~/.cache/affjax/compiled`.
  AFFJAX_COMPILATION_CACHE=0 switches it off. JAX's own cache folder is left alone
  where JAX_COMPILATION_CACHE_DIR names one. A folder that other users can write to is
  not used, since its programs would run as this user; a line on stderr says so.

  Returns:
    The folder, or `None` where nothing is kept.
  """
  if os.environ.get(_SWITCH) == "0":
    return None
  try:
    folder = _folder()
  except OSError as error:
    print(f"note: compiled programs are not kept: {error}", file=sys.stderr)
    return None
  _programs.use(folder / "programs")
  config: Any = jax.config
  if not config.jax_compilation_cache_dir:
    executables = folder / "executables"
    _remove_torn(executables)
    _set("jax_compilation_cache_dir", str(executables))
    # Hundreds of small programs cost a second at each start.
    _set("jax_persistent_cache_min_compile_time_secs", 0.0)
  return folder


def _set(name: str, value: Any) -> None:
  """Sets an option of JAX, here and in child processes, unless the user did."""
  if name.upper() not in os.environ:
    os.environ[name.upper()] = str(value)
    jax.config.update(name, value)


def _folder() -> pathlib.Path:
  """Returns the folder for this software and machine; removes unused ones."""
  parent = library.private_folder("compiled")
  folder = parent / _key()
  for part in (folder, folder / "programs", folder / "executables"):
    part.mkdir(mode=0o700, exist_ok=True)
  os.utime(folder)
  now = time.time()
  for other in parent.iterdir():
    if now - other.stat().st_mtime > _UNUSED:
      shutil.rmtree(other, ignore_errors=True)
  for program in (folder / "programs").iterdir():
    if now - program.stat().st_mtime > _UNUSED:
      program.unlink(missing_ok=True)
  return folder


def _key() -> str:
  """Returns a hash of what compiled programs depend on and JAX's keys leave out.

  Programs call kernels by name, so that the kernels' sources count; machine code is
  made for one processor.
  """
  digest = hashlib.sha256(
    f"{jax.__version__} {jaxlib.version.__version__} {compilers.processor()}".encode()
  )
  for path in sorted(compilers.SOURCES.iterdir()):
    digest.update(path.name.encode() + path.read_bytes())
  return digest.hexdigest()[:16]


def _remove_torn(executables: pathlib.Path) -> None:
  """Removes what a killed process, or a full disk, left of JAX's files.

  JAX does not replace such a file, but complains about it at each start. Each file is
  looked at once.
  """
  marker = executables / _CHECKED
  since = marker.stat().st_mtime_ns if marker.exists() else 0
  for path in executables.glob("*-cache"):
    if path.stat().st_mtime_ns >= since and not _is_whole(path.read_bytes()):
      path.unlink(missing_ok=True)
  marker.touch()


def _is_whole(content: bytes) -> bool:
  """Returns whether a zlib stream is whole; others are JAX's to check."""
  if content[:1] != b"\x78":
    return bool(content)
  try:
    zlib.decompress(content)
  except zlib.error:
    return False
  return True
