"""`affjax doctor`."""

import dataclasses
import sys
from collections.abc import Iterator
from importlib import metadata

from rich import table

import affjax
from affjax.commands import _console, _parsing

# Optional packages, what they are for, and the extra that installs them.
_EXTRAS = (
  ("pillow-heif", "HEIC", "heif"),
  ("starlette", "affjax app", "app"),
  ("uvicorn", "affjax app", "app"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Doctor(_parsing.Command):
  """Reports installed software, devices and the state of files.

  Writes a table to stdout; "bad" marks the lines that need attention.

  Exit status: 0 = everything is in order, 1 = something is not.

  Example: affjax doctor
  """

  def run(self) -> None:
    """Runs the command."""
    sheet = table.Table("", "what", "found", box=None, pad_edge=False)
    checks = list(_checks())
    for name, found, good in checks:
      sign = "[green]ok[/]" if good else "[bold red]bad[/]"
      sheet.add_row(sign, name, _console.escaped(found))
    _console.OUT.print(sheet)
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
      yield name, "not installed", False
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
      yield f"asset {name}", str(error), False
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
