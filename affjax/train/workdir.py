"""The files of a workdir, and the check that it belongs to a config.

runs/a/config.json            of the stage that ran last
runs/a/pictures/*.png         sheets of all stages
runs/a/stage1/config.json     of that stage
runs/a/stage1/checkpoints/    weights, optimizer, data position
runs/a/stage1/metrics.jsonl   one line of scalars for each log period
runs/a/stage1/summary.json    losses on held-out samples before and after
runs/a/stage1/tensorboard/
"""

import json
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

from affjax import files
from affjax.train import checkpoint
from affjax.train.stages import STAGE_NAMES

CONFIG = "config.json"
SUMMARY = "summary.json"

# Sections that every stage of one workdir shares, because it shares the weights.
_SHARED = ("model",)
# Keys that may differ when a stage continues: all others decide its numbers.
_FREE = (
  "checkpoint",
  "data.cache",
  "data.threads",
  "devices",
  "epochs",
  "init_from",
  "log",
  "steps",
)


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
  for folder in (*(workdir / name for name in reversed(STAGE_NAMES)), workdir):
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


def claim(workdir: pathlib.Path, stage: str, config: dict[str, Any]) -> None:
  """Makes the folders of a stage and stores its config there.

  Raises:
    WorkdirError: The workdir was made with other networks, or a checkpoint of this
      stage with other settings that decide its numbers.
  """
  workdir = pathlib.Path(workdir)
  if (workdir / CONFIG).exists() and latest_stage(workdir):
    there = read_json(workdir / CONFIG)
    difference = first_difference(
      {key: there.get(key) for key in _SHARED},
      {key: config.get(key) for key in _SHARED},
    )
    if difference:
      raise WorkdirError(
        f"{workdir} belongs to another config: {difference}; choose another --workdir"
      )
  folder = stage_folder(workdir, stage)
  if checkpoint.exists(folder) and (folder / CONFIG).exists():
    difference = first_difference(read_json(folder / CONFIG), config, free=_FREE)
    if difference:
      raise WorkdirError(
        f"{folder} was begun with another config: {difference}; choose another "
        f"--workdir, or delete {folder} to begin the stage again"
      )
  folder.mkdir(parents=True, exist_ok=True)
  files.write_json(workdir / CONFIG, config)
  files.write_json(folder / CONFIG, config)


def first_difference(
  there: Any, here: Any, *, free: Collection[str] = (), key: str = ""
) -> str | None:
  """Describes the first key at which two JSON values differ, `None` if they agree.

  Args:
    there: The stored value.
    here: The present value.
    free: Dotted keys that may differ.
    key: Dotted name of the values themselves.
  """
  if key in free:
    return None
  if isinstance(there, Mapping) and isinstance(here, Mapping):
    for name in sorted(set(there) | set(here)):
      inner = f"{key}.{name}" if key else name
      found = first_difference(there.get(name), here.get(name), free=free, key=inner)
      if found:
        return found
    return None
  if there == here:
    return None
  return f"{key} is {json.dumps(there)} there and {json.dumps(here)} here"
