"""Trains a stage: `python -m affjax.main --config=configs/stage1.py --workdir=runs/a`.

The three stages chain by themselves when they are given the same workdir; the same
command again continues where it was stopped. Any value of the config can be changed on
the command line: `--config.data.batch_size=4 --config.optimizer.learning_rate=3e-4`.
"""

import os
import re
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags, logging
from ml_collections import config_flags

from affjax import build
from affjax.train import loop
from affjax.train.metrics import NonFiniteError

_USAGE = "python -m affjax.main --config=configs/stage1.py --workdir=runs/a"


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the program.

  Args:
    arguments: the command line, the program's name first; default: the process's.

  Returns:
    The exit status: 0 = the stage is complete, 1 = it failed, 2 = wrong usage,
    128 + n = signal n asked to stop, and everything is saved.
  """
  arguments = list(sys.argv if arguments is None else arguments)
  logging.set_verbosity(logging.WARNING)
  try:
    config, workdir, command = _parse(arguments)
  except _UsageError as error:
    return _fail(error, 2)
  try:
    outcome = loop.run(build.task(config, workdir, command=command))
  except build.UserError as error:
    return _fail(error, 2)
  except (NonFiniteError, loop.DataError, OSError) as error:
    return _fail(error, 1)
  except KeyboardInterrupt:
    return _fail("interrupted before the first step; nothing was lost", 130)
  return 0 if outcome.finished else 128 + (outcome.signal or 0)


class _UsageError(ValueError):
  """The command line cannot be understood."""


def _flags(arguments: list[str]) -> flags.FlagValues:
  """The two flags; the config's flag makes one more for each key that is overridden."""
  values = flags.FlagValues()
  config_flags.DEFINE_config_file(
    "config",
    help_string="A file of configs/, such as configs/stage1.py.",
    sys_argv=arguments,
    flag_values=values,
  )
  flags.DEFINE_string(
    "workdir",
    None,
    "Folder for checkpoints, logs and pictures; shared by the three stages.",
    flag_values=values,
  )
  return values


def _parse(arguments: list[str]) -> tuple[Any, str, str]:
  """`(config, workdir, command line for messages)` from the command line."""
  values = _flags(arguments)
  if {"-h", "--help", "-help"} & set(arguments[1:]):
    print(f"{(__doc__ or '').strip()}\n\n{values.get_help()}")
    raise SystemExit(0)
  try:
    rest = values(arguments)[1:]
  except (SyntaxError, ImportError) as error:
    raise _UsageError(
      f"cannot read the config file: {error} (run from the top of the repository)"
    ) from error
  except (flags.Error, KeyError, AttributeError, TypeError, ValueError) as error:
    raise _UsageError(_one_line(error)) from error
  if rest:
    raise _UsageError(f"unexpected argument {rest[0]!r}; usage: {_USAGE}")
  for name in ("config", "workdir"):
    if not values[name].present:
      raise _UsageError(f"--{name} is missing; usage: {_USAGE}")
  try:
    config: Any = values["config"].value
    # Where the file could not be read, the first use of the value says so.
    config.to_dict()
  except (OSError, ValueError) as error:
    name = config_flags.get_config_filename(values["config"])
    raise _UsageError(f"cannot load config {name!r}: {_one_line(error)}") from error
  return (
    config,
    str(values["workdir"].value),
    " ".join(["python -m affjax.main", *arguments[1:]]),
  )


def _one_line(error: BaseException) -> str:
  """The message of an exception on one line, without its quotes."""
  text = error.args[0] if error.args and isinstance(error.args[0], str) else str(error)
  # ml_collections quotes the unknown key, twice over, before its suggestion.
  unknown = re.search(r"Did you mean .*?(\w+).*? instead of .*?(\w+)", text)
  if unknown:
    return f"no config key {unknown[2]!r}; did you mean {unknown[1]!r}?"
  return " ".join(text.split())


def _fail(message: BaseException | str, status: int) -> int:
  print(f"error: {' '.join(str(message).split())}", file=sys.stderr)
  return status


if __name__ == "__main__":
  # Whoever reads our output through a pipe may stop reading.
  status = main()
  sys.stdout.flush()
  os._exit(status) if status >= 128 else sys.exit(status)
