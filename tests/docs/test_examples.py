"""The examples in docs/examples run as a user runs them and reach their numbers."""

import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

EXAMPLES = pathlib.Path(__file__).parents[2] / "docs" / "examples"


def _run(name: str, folder: pathlib.Path) -> str:
  """Runs an example, checks that it wrote a picture, and returns its output."""
  command = [sys.executable, str(EXAMPLES / f"{name}.py"), str(folder)]
  done = subprocess.run(
    command, capture_output=True, text=True, cwd=EXAMPLES.parents[1]
  )
  assert done.returncode == 0, done.stderr
  assert np.asarray(Image.open(folder / f"{name}.png")).std() > 20
  return done.stdout


@pytest.mark.slow
def test_affine_convolution_turns_digits_upright(tmp_path):
  output = _run("affine_convolution", tmp_path)
  plain, affine = (float(v) for v in re.findall(r"error ([\d.]+)", output))
  assert affine < 0.5 * plain


@pytest.mark.slow
def test_a_texture_is_fitted(tmp_path):
  output = _run("fit_texture", tmp_path)
  first, last = (float(v) for v in re.findall(r"(?:first|last) ([\d.]+)", output))
  assert last < 0.002 * first
