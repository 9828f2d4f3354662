"""The folder of an unfinished preparation, which survives a kill.

A unit of photos is done when its part file exists, whole, under its final name. A unit
without one is prepared again. There is no other journal.
"""

import contextlib
import fcntl
import json
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

from affjax.data._preparation import outcomes
from affjax.data._preparation.outcomes import UnitOutcome
from affjax.files import write_file

_PLAN, _LOCK, _UNITS = "plan.json", "lock", "units"


class WorkspaceError(ValueError):
  """The workspace cannot be used; the message is one line for the user."""


class Workspace:
  """The part files of a preparation; `opened` makes one.

  Attributes:
    path: folder of the workspace.
  """

  def __init__(self, path: pathlib.Path):
    self.path = path

  def found(self, unit: int) -> UnitOutcome | None:
    """Returns the outcome of a unit, or None if its part file is missing or damaged."""
    try:
      return outcomes.unpack(self._part(unit).read_bytes())
    except (FileNotFoundError, ValueError):
      return None

  def store(self, unit: int, outcome: UnitOutcome) -> None:
    """Writes the part file of a unit, whole or not at all.

    Raises:
      OSError: It cannot be written, for example because the disk is full.
    """
    write_file(self._part(unit), outcomes.pack(outcome), durable=True)

  def load(self, unit: int) -> UnitOutcome:
    """Returns the outcome of a unit.

    Raises:
      WorkspaceError: The part file is missing or damaged.
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
  """Yields the workspace in a folder, new or as an earlier run left it.

  Args:
    path: Folder; made if missing.
    plan: Everything that determines the records, as JSON values.
    restart: Whether the part files of another plan are discarded.

  Raises:
    WorkspaceError: Another process uses the folder, or it belongs to another plan.
  """
  path.mkdir(parents=True, exist_ok=True)
  with (path / _LOCK).open("a") as lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
      raise WorkspaceError(
        f"another process is preparing in {str(path)!r}; wait for it or stop it"
      ) from None
    _claim(path, json.loads(json.dumps(plan)), restart)
    for left in (path / _UNITS).glob(".*"):
      left.unlink(missing_ok=True)
    yield Workspace(path)


def _claim(path: pathlib.Path, plan: dict[str, Any], restart: bool) -> None:
  """Writes the plan, or compares it with the one that an earlier run wrote."""
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
        f"{str(path)!r} holds an unfinished preparation with other options: "
        f"{', '.join(changed)} changed; add --restart to discard it"
      )
    shutil.rmtree(path / _UNITS, ignore_errors=True)
    place.unlink()
  (path / _UNITS).mkdir(exist_ok=True)
  write_file(place, json.dumps(plan, indent=1), durable=True)


def _read_plan(place: pathlib.Path) -> dict[str, Any]:
  try:
    found = json.loads(place.read_bytes())
  except ValueError:
    return {}
  return found if isinstance(found, dict) else {}
