"""The rasterizer under sanitizers, on few scenes; the experiment runs 100,000."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from affjax.native import compilers

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.slow
def test_two_thousand_hostile_scenes(tmp_path):
  try:
    compilers.find("cpu")
  except compilers.CompileError as error:
    pytest.skip(str(error))
  script = ROOT / "experiments" / "fuzz" / "rasterizer.py"
  done = subprocess.run(
    [sys.executable, script, "--scenes", "2000", "--out", tmp_path],
    env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  record = json.loads((tmp_path / "fuzz_rasterizer.json").read_text("utf-8"))
  assert record["cpu"]["scenes"] >= 2000
  assert record["cuda"]["scenes"] >= 40
