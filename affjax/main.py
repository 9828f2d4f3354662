"""Trains a stage: `python -m affjax.main --config=stage1 --workdir=runs/a`.

`--config` names a file of `configs/` or gives the path of one's own. The three stages
chain by themselves when they share a workdir; the same command again continues where it
was stopped. Any value of the config can be changed on the command line:
`--config.data.batch_size=4 --config.optimizer.learning_rate=3e-4`. With AFFJAX_DEBUG=1
errors show their traceback.
"""

import contextlib
import os
import re
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from absl import flags, logging
from ml_collections import ConfigDict, config_flags

from affjax import bugs, build, compilation
from affjax.train import loop
from affjax.train.metrics import NonFiniteError
from affjax.train.processes import Processes

_FLAG_ERRORS = (flags.Error, KeyError, AttributeError, TypeError, ValueError)
_USAGE = "python -m affjax.main --config=stage1 --workdir=runs/a"


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the program.

  Args:
    arguments: The command line, the program's name first; default: the process's.

  Returns:
    The exit status: 0 = the stage is complete, or SIGTERM asked to stop and everything
    is saved; 1 = it failed; 2 = wrong usage; 130 = Ctrl-C, and everything is saved.
  """
  arguments = list(sys.argv if arguments is None else arguments)
  # Orbax logs the traceback of an error that we report in one line.
  logging.set_verbosity(logging.FATAL)
  try:
    config, workdir, processes, command = _parse(arguments)
    _connect(processes)
    compilation.enable()
    outcome = loop.run(build.task(config, workdir, command=command))
    processes.disconnect()
  except (_UsageError, build.UserError) as error:
    return _fail(error, 2)
  except (NonFiniteError, loop.DataError, OSError) as error:
    return _fail(error, 1)
  except KeyboardInterrupt:
    return _fail("interrupted before the first step; nothing was lost", 130)
  # A scheduler that stops a run by SIGTERM and starts it again sees no failure.
  stopped = not outcome.finished and outcome.signal == signal.SIGINT
  return 128 + signal.SIGINT if stopped else 0


def _connect(processes: Processes) -> None:
  try:
    processes.connect()
  except ValueError as error:
    raise _UsageError(_one_line(error)) from error


def leave(status: int) -> NoReturn:
  """Ends the process without waiting for threads that still read samples ahead."""
  for stream in (sys.stdout, sys.stderr):
    # The reader of our output, at the other end of a pipe, may have stopped reading.
    with contextlib.suppress(OSError):
      stream.flush()
  os._exit(status)


class _UsageError(ValueError):
  """The command line cannot be understood."""


def _flags(arguments: list[str]) -> flags.FlagValues:
  """Returns the flags; the config's flag makes one more for each override."""
  values = flags.FlagValues()
  config_flags.DEFINE_config_file(
    "config",
    help_string="A config by name, such as stage1 or demo:stage2, or its file.",
    sys_argv=arguments,
    flag_values=values,
  )
  flags.DEFINE_string(
    "workdir",
    None,
    "Folder for checkpoints, logs and pictures; shared by the three stages.",
    flag_values=values,
  )
  flags.DEFINE_string(
    "coordinator",
    "",
    "HOST:PORT of process 0 where several processes train together, or auto: as SLURM, "
    "Open MPI, GKE or a TPU tells JAX. Every process runs the same command.",
    flag_values=values,
  )
  flags.DEFINE_integer(
    "processes", 0, "Number of processes, for HOST:PORT.", flag_values=values
  )
  flags.DEFINE_integer(
    "process", -1, "Index of this process, for HOST:PORT.", flag_values=values
  )
  return values


def _parse(arguments: list[str]) -> tuple[ConfigDict, str, Processes, str]:
  """Returns `(config, workdir, processes, command line for messages)`."""
  if {"-h", "--help", "-help"} & set(arguments[1:]):
    usage = _flags(arguments).get_help()
    keys = f"keys of a config, with their defaults:\n{build.config_help()}"
    print(f"{(__doc__ or '').strip()}\n\n{usage}\n\n{keys}")
    raise SystemExit(0)
  found = _with_config_files(arguments)
  values = _flags(found)
  try:
    rest = values(found)[1:]
  except (SyntaxError, ImportError) as error:
    raise _UsageError(f"cannot read the config file: {error}") from error
  except _FLAG_ERRORS as error:
    raise _UsageError("; ".join(_each_mistake(found)) or _one_line(error)) from error
  if rest:
    raise _UsageError(f"unexpected argument {rest[0]!r}; usage: {_USAGE}")
  for name in ("config", "workdir"):
    if not values[name].present:
      raise _UsageError(f"--{name} is missing; usage: {_USAGE}")
  config = values["config"].value
  assert isinstance(config, ConfigDict)
  try:
    processes = Processes(values.coordinator, values.processes, values.process)
  except ValueError as error:
    raise _UsageError(str(error)) from error
  command = " ".join(["python -m affjax.main", *arguments[1:]])
  return config, str(values["workdir"].value), processes, command


def _each_mistake(arguments: list[str]) -> list[str]:
  """Returns the message of each override of the config that is refused.

  Parsing all of them ends at the first one.
  """
  given = [a for a in arguments if re.match(r"--?config=", a)]
  messages: list[str] = []
  for argument in arguments:
    if re.match(r"--?config\.[^=]+=", argument):
      alone = [arguments[0], *given, argument]
      try:
        _flags(alone)(alone)
      except _FLAG_ERRORS as error:
        messages.append(_one_line(error))
  return messages


def _with_config_files(arguments: list[str]) -> list[str]:
  """Returns the arguments with the name of a config replaced by its file."""

  def replaced(match: re.Match[str]) -> str:
    return f"--config={build.config_file(match[1])}{match[2] or ''}"

  return [re.sub(r"^--?config=([^:]+)(:.*)?$", replaced, a) for a in arguments]


def _one_line(error: BaseException) -> str:
  """Returns the message of an exception on one line, without its quotes."""
  text = error.args[0] if error.args and isinstance(error.args[0], str) else str(error)
  # ml_collections quotes the unknown key, twice over, before its suggestion.
  unknown = re.search(r"Did you mean .*?(\w+).*? instead of .*?(\w+)", text)
  if unknown:
    return f"no config key {unknown[2]!r}; did you mean {unknown[1]!r}?"
  return " ".join(text.split())


def _fail(problem: BaseException | str, status: int) -> int:
  if isinstance(problem, Exception):
    bugs.show_traceback(problem)
  print(f"error: {' '.join(str(problem).split())}", file=sys.stderr)
  return status


if __name__ == "__main__":
  leave(main())
