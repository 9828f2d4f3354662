"""The `affjax` command, run inside the test's process or as a process of its own."""

import contextlib
import dataclasses
import io
import os
import pathlib
import subprocess
import sys

from affjax import commands

ROOT = pathlib.Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Result:
  """The exit code of a command and its output."""

  exit_code: int
  stdout: str
  stderr: str

  @property
  def output(self) -> str:
    return self.stdout + self.stderr


def run(*arguments: object) -> Result:
  """Runs the command in this process."""
  out, err = io.StringIO(), io.StringIO()
  with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
    status = commands.main([str(argument) for argument in arguments])
  return Result(status, out.getvalue(), err.getvalue())


def run_process(*arguments: object, cwd: pathlib.Path = ROOT, **environment) -> Result:
  """Runs the command as a user's shell does."""
  done = subprocess.run(
    [sys.executable, "-m", "affjax.commands", *map(str, arguments)],
    cwd=cwd,
    env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    capture_output=True,
    text=True,
    timeout=600,
  )
  return Result(done.returncode, done.stdout, done.stderr)
