"""Folders of photos: measures that need no known geometry."""

import importlib.resources
import json

import numpy as np
import pytest
from PIL import Image

from affjax import benchmark
from tests.command_line import run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A portrait, a photo without a face and a damaged one."""
  folder = tmp_path_factory.mktemp("photos")
  portrait = importlib.resources.files("affjax.assets") / "astronaut.jpg"
  (folder / "astronaut.jpg").write_bytes(portrait.read_bytes())
  Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(folder / "gray.png")
  (folder / "broken.png").write_bytes(b"nothing")
  return folder


def test_photos_are_judged_without_geometry(folder, tmp_path):
  out = tmp_path / "out"
  answer = run("evaluate", "mean", "--on", folder, "-o", out)
  assert answer.exit_code == 1, answer.stderr
  assert "no face found" in answer.stdout
  assert "broken.png" in answer.stdout
  result = json.loads((out / "result.json").read_text())
  measures = {row["measure"] for row in result["rows"]}
  assert measures >= {"landmarks, inner", "render L1", "render SSIM"}
  assert not {"position, raw", "scan (NoW-like)", "SIDE, raw"} & measures
  (inner,) = (row for row in result["rows"] if row["measure"] == "landmarks, inner")
  assert 0.5 < inner["mean"] < 15
  assert "render on the photo" in (out / "index.html").read_text()


def test_the_hash_is_that_of_the_photos(folder, tmp_path):
  first = benchmark.photo_folder(folder)
  assert len(first) == 1
  with Image.open(folder / "astronaut.jpg") as image:
    image.save(tmp_path / "astronaut.jpg", quality=80)
  assert first.sha256 != benchmark.photo_folder(tmp_path).sha256
