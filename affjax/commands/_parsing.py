"""Command lines as dataclasses, by tyro; a mistake is one line and exit status 2."""

import contextlib
import dataclasses
import functools
import inspect
import io
import re
import textwrap
from collections.abc import Sequence
from typing import ClassVar

import tyro

from affjax.commands import _console


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
  """A command, whose fields are its options.

  The docstring of a subclass is its help: a summary, what it writes, an example, and
  `Attributes:` with the help of each option.

  Attributes:
    interrupted: Message when the user interrupts the command.
  """

  interrupted: ClassVar[str] = "interrupted"

  def run(self) -> None:
    """Runs the command; an exception becomes a message and an exit status."""
    raise NotImplementedError

  @classmethod
  def parse(cls, arguments: Sequence[str], *, name: str) -> "Command":
    """Returns the command that the arguments describe; prints its help where asked.

    Args:
      arguments: The command line after the name of the command.
      name: Name of the command.

    Raises:
      Exit: The help was printed (0), or the arguments are wrong (2).
    """
    errors = io.StringIO()
    try:
      with contextlib.redirect_stderr(errors):
        return tyro.cli(
          cls,
          prog=f"affjax {name}",
          description=_description(cls),
          args=arguments,
          config=(
            tyro.conf.DisallowNone,
            tyro.conf.FlagCreatePairsOff,
            tyro.conf.OmitArgPrefixes,
          ),
        )
    except ValueError as error:
      # Options check themselves when they are made.
      message = str(error)
    except SystemExit as end:
      if not end.code:
        raise _console.Exit(0) from None
      message = _message(errors.getvalue())
    _console.print_error(f"{message}; see affjax {name} --help")
    raise _console.Exit(2)


def _description(command: type) -> str:
  """Returns the docstring of a command without its attributes, for 80 columns."""
  text = (inspect.getdoc(command) or "").split("Attributes:")[0]
  # tyro joins lines, except with those that are indented.
  fill = functools.partial(textwrap.fill, width=79, subsequent_indent="  ")
  return "\n\n".join(map(fill, text.strip().split("\n\n")))


def _message(box: str) -> str:
  """Returns the message in an error box of tyro as one line."""
  rows = [re.sub(r"^[│|]\s*|\s*[│|]$", "", line) for line in box.splitlines()]
  text = []
  for row in rows[1:]:
    if re.match(r"[─╰+-]{3}", row):
      break
    text.append(row.strip())
  message = " ".join(" ".join(text).split()).rstrip(".")
  # The name of the dataclass means nothing to a user.
  return re.sub(r"^Error parsing [A-Z]\w*: ", "", message)
