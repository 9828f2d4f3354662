"""The recipes of CONTRIBUTING.md: each diff applies, and its example runs."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")


def _recipes() -> dict[str, tuple[list[str], str]]:
  """Diffs, one a file, and the example of each section that has any, by its title."""
  found = {}
  for section in re.split(r"^#+ ", PAGE, flags=re.M)[1:]:
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", section, re.M | re.S)
    diffs = [text for kind, text in blocks if kind == "diff"]
    if diffs:
      (example,) = (text for kind, text in blocks if kind == "python")
      found[section.splitlines()[0]] = (diffs, example)
  return found


RECIPES = _recipes()


def test_there_are_recipes():
  expected = {"A loss", "A network", "A data source", "A head", "An export format"}
  assert expected | {"A metric"} <= RECIPES.keys()


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_touches_at_most_two_files_and_runs(title, tmp_path):
  diffs, example = RECIPES[title]
  assert len(diffs) <= 2
  for folder in ("affjax", "configs"):
    shutil.copytree(ROOT / folder, tmp_path / folder)  # with what Python has compiled
  # `--recount` and the search for context allow for lines that moved; it takes one
  # file at a time.
  for diff in diffs:
    assert diff.count("\n+++ ") == 1
    _run(tmp_path, "git", "apply", "--recount", "-", text=diff)
  guard = f"import affjax\nassert affjax.__file__.startswith({str(tmp_path)!r})\n"
  _run(tmp_path, sys.executable, "-c", guard + example)


def _run(folder, *command, text=None):
  environment = {
    **os.environ,
    "PYTHONPATH": str(folder),
    # Without it, git would look for a repository around the folder.
    "GIT_CEILING_DIRECTORIES": str(folder.parent),
  }
  done = subprocess.run(
    command,
    cwd=folder,
    env=environment,
    input=text,
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert done.returncode == 0, done.stdout + done.stderr
