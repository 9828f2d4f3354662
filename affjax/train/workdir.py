"""The files of a workdir, and the check that it belongs to a config.

runs/a/.lock                  the process that trains here
runs/a/config.json            of the stage that ran last
runs/a/pictures/*.png         sheets of all stages
runs/a/stage1/config.json     of that stage
runs/a/stage1/checkpoints/    weights, optimizer, data position, description
runs/a/stage1/damaged/        checkpoints that could not be read
runs/a/stage1/failed/         batches at which a loss or gradient was not finite
runs/a/stage1/metrics.jsonl   one line of scalars for each log period
runs/a/stage1/summary.json    losses on held-out samples before and after
runs/a/stage1/tensorboard/
"""

import json
import pathlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

from affjax import files
from affjax.train import checkpoint, processes, trees
from affjax.train.lock import Lock
from affjax.train.stages import EVERY_STAGE

Config = dict[str, Any]

CONFIG = "config.json"
SUMMARY = "summary.json"

# Sections that every stage of one workdir shares, because it shares the weights.
_SHARED = ("model",)
# Keys that may differ when a stage continues: all others decide its numbers.
_FREE = (
  "accumulate",
  "checkpoint",
  "data.cache",
  "data.threads",
  "epochs",
  "init_from",
  "log",
  "mesh",
  "resume",
  "steps",
)
RESUME = ("auto", "force")
"""Ways to continue a stage: with the same settings only, or with others as well."""


class WorkdirError(ValueError):
  """A workdir is damaged or belongs to another config; one line, for the user."""


def stage_folder(workdir: pathlib.Path, stage: str) -> pathlib.Path:
  """Returns the folder of one stage."""
  return pathlib.Path(workdir) / stage


def latest_stage(workdir: pathlib.Path) -> pathlib.Path | None:
  """Returns the folder of the last stage that has a checkpoint, or `None`.

  Args:
    workdir: A workdir, or the folder of one stage.
  """
  workdir = pathlib.Path(workdir)
  for folder in (*(workdir / name for name in reversed(EVERY_STAGE)), workdir):
    if checkpoint.exists(folder):
      return folder
  return None


def read_json(path: pathlib.Path) -> dict[str, Any]:
  """Reads a JSON object of a workdir."""
  try:
    content = json.loads(path.read_text(encoding="utf-8"))
  except (OSError, ValueError) as error:
    raise WorkdirError(f"cannot read {path}: {error}") from error
  if not isinstance(content, dict):
    raise WorkdirError(f"cannot read {path}: it does not hold a JSON object")
  return content


def read_summary(workdir: pathlib.Path, stage: str) -> dict[str, Any]:
  """Reads the summary of a stage; empty where there is none."""
  path = stage_folder(workdir, stage) / SUMMARY
  return read_json(path) if path.exists() else {}


def claim(
  workdir: pathlib.Path,
  stage: str,
  config: Config,
  *,
  resume: str = "auto",
  completed: Callable[[Config], Config] = lambda stored: stored,
) -> Lock | None:
  """Locks a workdir, makes the folders of a stage and stores its config there.

  Args:
    workdir: The workdir.
    stage: Name of the stage.
    config: Its config, as JSON holds it.
    resume: One of `RESUME`; "force" lets a stage continue with other settings.
    completed: Adds to a stored config the keys that it did not have yet.

  Returns:
    The lock, which holds while it exists. Of several processes only the first one
    locks and writes.

  Raises:
    WorkdirError: The workdir was made with other networks, or a checkpoint of this
      stage with other settings that decide its numbers.
    LockedError: Another process trains there.
  """
  if resume not in RESUME:
    raise WorkdirError(f"resume must be one of {', '.join(RESUME)}, got {resume!r}")
  workdir = pathlib.Path(workdir)
  folder = stage_folder(workdir, stage)
  _require_networks(workdir, config, completed)
  if resume != "force":
    _require_settings(folder, config, completed)
  folder.mkdir(parents=True, exist_ok=True)
  if not processes.is_first():
    return None
  lock = Lock(workdir)
  files.write_json(workdir / CONFIG, config)
  files.write_json(folder / CONFIG, config)
  return lock


def _require_networks(
  workdir: pathlib.Path, config: Config, completed: Callable[[Config], Config]
) -> None:
  """Raises a WorkdirError if stages of the workdir have other networks."""
  if not (workdir / CONFIG).exists() or not latest_stage(workdir):
    return
  there = completed(read_json(workdir / CONFIG))
  found = differences(
    {key: there.get(key) for key in _SHARED}, {key: config.get(key) for key in _SHARED}
  )
  if found:
    raise WorkdirError(
      f"{workdir} belongs to another config: {trees.listed(found)}; choose another "
      "--workdir"
    )


def _require_settings(
  folder: pathlib.Path, config: Config, completed: Callable[[Config], Config]
) -> None:
  """Raises a WorkdirError if the stage was begun with other settings."""
  if not checkpoint.exists(folder) or not (folder / CONFIG).exists():
    return
  found = differences(completed(read_json(folder / CONFIG)), config, free=_FREE)
  if found:
    raise WorkdirError(
      f"{folder} was begun with another config: {trees.listed(found)}; to continue it "
      "with the new values add --config.resume=force, to begin anew from its weights "
      f"give another --workdir and --config.init_from={folder}"
    )


def differences(
  there: Any, here: Any, *, free: Collection[str] = (), key: str = ""
) -> list[str]:
  """Describes each key at which two JSON values differ.

  Args:
    there: The stored value.
    here: The present value.
    free: Dotted keys that may differ.
    key: Dotted name of the values themselves.
  """
  if key in free:
    return []
  if isinstance(there, Mapping) and isinstance(here, Mapping):
    return [
      line
      for name in sorted({*there, *here})
      for line in differences(
        there.get(name),
        here.get(name),
        free=free,
        key=f"{key}.{name}" if key else name,
      )
    ]
  if there == here:
    return []
  return [f"{key} is {json.dumps(there)} there and {json.dumps(here)} here"]
