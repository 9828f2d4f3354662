"""The `affjax` command.

Each command is a frozen dataclass in a file of its own, and its fields are the options;
`_parsing` fills it, and its `run` starts the work. Only `run` imports JAX: help, the
version and wrong arguments answer at once.
"""

import importlib
import inspect
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import affjax
from affjax.commands import _console

if TYPE_CHECKING:
  from affjax.commands._parsing import Command

# Module and class of each command, in the order of the help.
COMMANDS = {
  "fit": ("_fit", "Fit"),
  "reconstruct": ("_reconstruct", "Reconstruct"),
  "page": ("_page", "Page"),
  "app": ("_app", "App"),
  "animate": ("_animate", "Animate"),
  "prepare": ("_prepare", "Prepare"),
  "train": ("_train", "Train"),
  "view": ("_view", "View"),
  "replay": ("_replay", "Replay"),
  "benchmark": ("_benchmark", "Benchmark"),
  "evaluate": ("_evaluate", "Evaluate"),
  "doctor": ("_doctor", "Doctor"),
}

__all__ = ["COMMANDS", "main"]


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the `affjax` command.

  Args:
    arguments: The command line after `affjax`; default: that of the process.

  Returns:
    The exit status: 0 = done, 1 = some photos gave nothing or a bug was met, 2 = wrong
    usage or nothing was started, 3 = some heads are unsure, 130 = interrupted.
  """
  name, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
  if name in ("-h", "--help"):
    print(_help())
    return 0
  if name == "--version":
    print(f"affjax {affjax.__version__}")
    return 0
  if name not in COMMANDS:
    _console.print_error(
      f"command must be one of {', '.join(COMMANDS)}, got {name!r}; see affjax --help"
    )
    return 2
  command = _command(name)
  return _console.status_of(
    lambda: _run(command.parse(rest, name=name)), interrupted=command.interrupted
  )


def _run(command: "Command") -> None:
  """Runs a command, which finds the programs that earlier ones compiled."""
  from affjax import compilation

  compilation.enable()
  command.run()


def _command(name: str) -> type["Command"]:
  module, kind = COMMANDS[name]
  return getattr(importlib.import_module(f"{__name__}.{module}"), kind)


def _help() -> str:
  """Returns the help of `affjax` itself."""
  summaries = {
    name: (inspect.getdoc(_command(name)) or "").partition("\n")[0] for name in COMMANDS
  }
  width = max(map(len, COMMANDS))
  return "\n".join(
    [
      "usage: affjax [-h] [--version] COMMAND ...",
      "",
      "Reconstructs textured 3D heads from single photos.",
      "",
      *(f"  {name:{width}}  {summary}" for name, summary in summaries.items()),
      "",
      "Exit status: 0 = done, 1 = some photos gave nothing or a bug was met,",
      "  2 = wrong usage or nothing was started, 3 = some heads are unsure,",
      "  130 = interrupted. With AFFJAX_DEBUG=1 in the environment, an error shows",
      "  its traceback. Compiled programs are kept in ~/.cache/affjax;",
      "  AFFJAX_COMPILATION_CACHE=0 keeps none.",
      "",
      "Example: affjax fit portrait.jpg -o heads",
      "See affjax COMMAND --help for the options of a command.",
    ]
  )
