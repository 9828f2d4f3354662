"""The software that a run was made with, which its checkpoints keep."""

import pathlib
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import affjax

_PACKAGES = (
  *("jax", "jaxlib", "flax", "optax", "orbax-checkpoint"),
  *("grain", "numpy", "affjax"),
)


def describe() -> dict[str, Any]:
  """Returns versions of software, and the commit of affjax where it is a checkout."""
  return {"python": platform.python_version(), **_versions(), "git": _git_state()}


def changes(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
  """Describes what was another version when a run was begun.

  Args:
    there: Description that a checkpoint holds; empty for one without.
    here: Present description.
  """
  return [
    f"{name} was {there[name]}, is {here.get(name)}"
    for name in sorted(there)
    if there[name] != here.get(name)
  ]


def _versions() -> dict[str, str | None]:
  found: dict[str, str | None] = {}
  for name in _PACKAGES:
    try:
      found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
      found[name] = None
  return found | {"affjax": affjax.__version__}


def _git_state() -> str | None:
  """Returns the commit that is checked out, "+changes" where files differ from it."""
  root = pathlib.Path(affjax.__file__).parents[1]
  commit = _git(root, "rev-parse", "HEAD")
  # A repository around an installed affjax says nothing about it.
  if not commit or not _git(root, "ls-files", "affjax/__init__.py"):
    return None
  changed = _git(root, "status", "--porcelain", "--untracked-files=no")
  return f"{commit}+changes" if changed else commit


def _git(root: pathlib.Path, *arguments: str) -> str:
  """Returns the output of git, empty without git or outside of a repository."""
  try:
    done = subprocess.run(
      ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=30
    )
  except (OSError, subprocess.TimeoutExpired):
    return ""
  return done.stdout.strip() if done.returncode == 0 else ""
