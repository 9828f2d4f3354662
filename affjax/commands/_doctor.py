"""`affjax doctor`."""

import dataclasses
import sys
from collections.abc import Iterator
from importlib import metadata

import affjax
from affjax.commands import _console, _parsing

# Optional packages, what they are for, and the extra that installs them.
_EXTRAS = (
  ("pillow-heif", "HEIC", "heif"),
  ("av", "videos", "video"),
  ("starlette", "affjax app", "app"),
  ("uvicorn", "affjax app", "app"),
  ("grain", "affjax train", "train"),
  ("optax", "affjax train", "train"),
  ("array-record", "affjax train", "train"),
  ("tensorflow-datasets", "affjax prepare", "train"),
  ("h5py", "BFM 2017 and 2019", "bfm"),
)
# What to do about a part of affjax that is missing or damaged.
_AGAIN = "install affjax again: pip install --force-reinstall affjax"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Doctor(_parsing.Command):
  """Reports installed software, devices and the state of files.

  Writes a table to stdout; "bad" marks the lines that need attention. Each line about
  something that is missing says how to get it.

  Exit status: 0 = everything is in order, 1 = something is not.

  Example: affjax doctor
  """

  def run(self) -> None:
    """Runs the command."""
    checks = list(_checks())
    width = max(len(name) for name, _, _ in checks)
    for name, found, good in checks:
      # Lines, since a table would cut what says how to get something.
      sign = "[green]ok [/]" if good else "[bold red]bad[/]"
      _console.OUT.print(f"{sign}  {name:{width}}  {_console.escaped(found)}")
    if not all(good for _, _, good in checks):
      raise _console.Exit(1)


def _checks() -> Iterator[tuple[str, str, bool]]:
  """Yields the name, the finding and the verdict of each check."""
  import jax

  from affjax import compilation
  from affjax.assets import store

  yield "affjax", affjax.__version__, True
  yield "python", sys.version.split()[0], sys.version_info >= (3, 11)
  for name in ("jax", "jaxlib", "flax", "numpy"):
    try:
      yield name, metadata.version(name), True
    except metadata.PackageNotFoundError:
      yield name, f"not installed; {_AGAIN}", False
  for name, use, extra in _EXTRAS:
    try:
      yield name, metadata.version(name), True
    except metadata.PackageNotFoundError:
      yield name, f"none; for {use}: pip install 'affjax[{extra}]'", True
  try:
    devices = ", ".join(f"{d.platform} {d.device_kind}" for d in jax.devices())
    yield "devices", devices, True
    yield from _kernels()
  except RuntimeError as error:
    yield "devices", " ".join(str(error).split())[:200], False
  for name in store.names():
    try:
      store.read_asset(name)
      yield f"asset {name}", "intact", True
    except ValueError as error:
      yield f"asset {name}", f"{error}; {_AGAIN}", False
  kept = compilation.enable()
  yield "compiled programs", f"kept in {kept}" if kept else "not kept", True


def _kernels() -> Iterator[tuple[str, str, bool]]:
  """Yields the backend of each operation with kernels on each platform, and why."""
  from affjax.native import dispatch, library

  for name in library.names():
    for platform in dispatch.present_platforms():
      status = library.status(name, platform)
      backend = {"cpu": "cpp", "cuda": "cuda"}[platform] if status.ready else "xla"
      yield f"{name} on {platform}", f"{backend}: {status.reason}", True
