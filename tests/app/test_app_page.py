"""The page of the app in a browser, with real heads of a small mesh."""

import base64
import functools
import json
import os
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette", reason="needs pip install 'affjax[app]'")
pytest.importorskip("uvicorn", reason="needs pip install 'affjax[app]'")

from affjax.app import _task
from affjax.export import moves_script
from affjax.photos import OutputOptions
from tests.app.ball import Ball, head
from tests.app.client import running
from tests.export.gltf import node_package

MAKE = functools.partial(_task.make_task, Ball, OutputOptions())


def test_moves_can_be_read_back():
  ball = head()
  script = moves_script(ball)
  moves = json.loads(script.removeprefix("affjaxMoves = ").removesuffix(";\n"))
  assert tuple(moves["names"]) == ball.expression.names
  assert moves["weights"] == ball.expression.weights.tolist()
  vertex = np.frombuffer(base64.b64decode(moves["vertex"]), "<u2")
  offset = np.frombuffer(base64.b64decode(moves["offset"]), "<i2").reshape(-1, 3)
  unit = np.repeat(np.arange(len(moves["names"])), moves["counts"])
  got = np.zeros_like(ball.expression.moves)
  got[unit, vertex] = offset * moves["scale"]
  np.testing.assert_allclose(got, ball.expression.moves, atol=1e-3)


def test_the_page_by_real_clicks(tmp_path):
  """Drop, wait, turn, move, relight, compare, download, webcam, remove, phone."""
  node, browser = shutil.which("node"), shutil.which("chromium")
  if None in (node, browser, node_package("playwright-core")):
    pytest.skip("needs node, chromium, `npm install playwright-core`, NODE_PATH")
  photo = tmp_path / "astronaut.jpg"
  Image.fromarray(np.full((300, 420, 3), 90, np.uint8)).save(photo)
  script = tmp_path / "app_page.mjs"
  script.write_bytes(pathlib.Path(__file__).with_name("app_page.mjs").read_bytes())
  (tmp_path / "node_modules").symlink_to(node_package("playwright-core").parent)
  (tmp_path / "results").mkdir()
  with running(tmp_path / "results", MAKE) as client:
    broken = client.add(photo.read_bytes()[:600], "broken.jpg")
    status, told = client.finished(broken)
    assert (status, told["state"]) == (422, "failed")
    assert "\n" not in told["reason"]
    client.ask("DELETE", f"/photos/{broken}")
    done = subprocess.run(
      [node, str(script), f"http://127.0.0.1:{client.port}/", browser, str(photo)],
      capture_output=True,
      text=True,
      timeout=600,
      env={**os.environ, "HOME": str(tmp_path)},
    )
  assert done.returncode == 0, done.stderr
  _check(json.loads(done.stdout))


def _check(seen):
  assert seen["elsewhere"] == []
  # The browser tells the refusal of the PDF, and nothing else.
  assert len(seen["errors"]) == 1
  assert "415" in seen["errors"][0]
  assert seen["refused"].startswith("a PDF, expected one of")
  shots = seen["shots"]
  assert all(0.1 < shot["covered"] < 0.9 for shot in shots.values())
  hashes = {name: shot["hash"] for name, shot in shots.items()}
  # Turned, moved and relit heads look different; the photo's expression comes back.
  changing = ("first", "turned", "jaw", "lit", "stronger", "unlit", "clay")
  assert len({hashes[name] for name in changing}) == len(changing)
  assert hashes["again"] == hashes["turned"] == hashes["own"]
  assert seen["mode"] == "Studio"
  assert seen["cut"].endswith("%")
  downloads = seen["downloads"]
  assert downloads["head.glb"]["start"] == "glTF"
  assert downloads["diffuse.png"]["start"][1:] == "PNG"
  assert downloads["astronaut.zip"]["start"] == "PK\x03\x04"
  assert downloads["head.obj"]["size"] > 1000
  assert seen["webcam"] == ["done", "1 head"]
  assert not seen["wide"]
  assert seen["left"] == 1
  # What is in work says its stage and time, and what is done how long each took.
  assert any(re.fullmatch(r"[a-z ]+, \d+ s", text) for text in seen["said"]), seen[
    "said"
  ]
  stages = r"reading it: [\d.]+ s, finding faces: [\d.]+ s, writing files: [\d.]+ s"
  assert re.fullmatch(rf"Made in [\d.]+ s \({stages}\)\.", seen["times"])
