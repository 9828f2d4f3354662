"""The kernel under sanitizers, on few random calls; the experiment runs 100,000."""

import json
import pathlib
import subprocess
import sys

import pytest

from affjax.native import compilers

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.slow
def test_a_thousand_hostile_calls(tmp_path):
  try:
    compilers.find("cpu")
  except compilers.CompileError as error:
    pytest.skip(str(error))
  script = ROOT / "experiments" / "fuzz" / "affine_conv.py"
  done = subprocess.run(
    [sys.executable, script, "--cases", "1000", "--out", tmp_path],
    env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "JAX_PLATFORMS": "cpu"},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  record = json.loads((tmp_path / "fuzz_affine_conv.json").read_text("utf-8"))
  assert record["cases"] >= 1000
  assert record["workers_that_failed"] == 0
