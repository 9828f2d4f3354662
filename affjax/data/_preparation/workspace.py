"""The folder of a preparation under way: what survives a kill.

A unit of photos is either done, then its part file is there under its final name and
whole, or it is not, then it is made again. There is no other journal to disagree with.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

from affjax.data._preparation import outcomes
from affjax.data._preparation.outcomes import Outcome

_PLAN, _LOCK, _UNITS = "plan.json", "lock", "units"


class WorkspaceError(ValueError):
  """The folder cannot be used; the message is one line for the user."""


class Workspace:
  """Part files of a preparation; `opened` makes it.

  Attributes:
    path: the folder.
  """

  def __init__(self, path: pathlib.Path):
    self.path = path

  def found(self, unit: int) -> Outcome | None:
    """What came of a unit; None if it is not done, or its part file is damaged."""
    try:
      return outcomes.unpack(self._part(unit).read_bytes())
    except (FileNotFoundError, ValueError):
      return None

  def store(self, unit: int, outcome: Outcome) -> None:
    """Keeps what came of a unit, whole or not at all.

    Raises:
      OSError: it cannot be written: the disk is full, for one.
    """
    write_whole(self._part(unit), outcomes.pack(outcome))

  def load(self, unit: int) -> Outcome:
    """What came of a unit.

    Raises:
      WorkspaceError: there is no part file, or it is damaged.
    """
    outcome = self.found(unit)
    if outcome is None:
      part = str(self._part(unit))
      raise WorkspaceError(f"{part!r} is missing or damaged; run the command again")
    return outcome

  def remove(self) -> None:
    """Deletes the folder."""
    shutil.rmtree(self.path, ignore_errors=True)

  def _part(self, unit: int) -> pathlib.Path:
    return self.path / _UNITS / f"{unit:07d}.part"


@contextlib.contextmanager
def opened(
  path: pathlib.Path, plan: Mapping[str, Any], *, restart: bool = False
) -> Iterator[Workspace]:
  """The workspace at a place, new or as an earlier run left it.

  Args:
    path: the folder; made if missing.
    plan: everything that decides the records, as plain values.
    restart: throw away what a run with another plan has left there.

  Raises:
    WorkspaceError: another process works there, or the folder belongs to another plan.
  """
  path.mkdir(parents=True, exist_ok=True)
  with (path / _LOCK).open("a") as lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
      raise WorkspaceError(
        f"another process is preparing in {str(path)!r}; wait for it or end it"
      ) from None
    _claim(path, json.loads(json.dumps(plan)), restart)
    for left in (path / _UNITS).glob(".*"):
      left.unlink(missing_ok=True)
    yield Workspace(path)


def write_whole(path: pathlib.Path, content: bytes) -> None:
  """Writes a file that is on the disk, whole, once it has its name."""
  handle, name = tempfile.mkstemp(prefix=".", dir=path.parent)
  try:
    with os.fdopen(handle, "wb") as out:
      out.write(content)
      out.flush()
      os.fsync(out.fileno())
    os.chmod(name, 0o644)
    os.replace(name, path)
    sync_folder(path.parent)
  except BaseException:
    with contextlib.suppress(OSError):
      os.unlink(name)
    raise


def sync_folder(path: pathlib.Path) -> None:
  """Makes new names in a folder last through a power cut."""
  handle = os.open(path, os.O_RDONLY)
  try:
    os.fsync(handle)
  finally:
    os.close(handle)


def _claim(path: pathlib.Path, plan: dict[str, Any], restart: bool) -> None:
  """Writes the plan, or compares it with the one that is there."""
  place = path / _PLAN
  if place.exists():
    found = _read_plan(place)
    if found == plan:
      return
    if not restart:
      changed = sorted(
        k for k in plan.keys() | found.keys() if plan.get(k) != found.get(k)
      )
      raise WorkspaceError(
        f"{str(path)!r} holds an unfinished preparation of another kind: "
        f"{', '.join(changed)} changed; add --restart to begin anew"
      )
    shutil.rmtree(path / _UNITS, ignore_errors=True)
    place.unlink()
  (path / _UNITS).mkdir(exist_ok=True)
  write_whole(place, json.dumps(plan, indent=1).encode())


def _read_plan(place: pathlib.Path) -> dict[str, Any]:
  try:
    found = json.loads(place.read_bytes())
  except ValueError:
    return {}
  return found if isinstance(found, dict) else {}
