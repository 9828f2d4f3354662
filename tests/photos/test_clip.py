"""`affjax fit` on a short clip of the portrait, and on clips that are hard to read."""

import csv
import importlib.resources
import json
import math
import shutil

import numpy as np
import pytest
from PIL import Image

import affjax
from affjax.export import read_performance
from affjax.faces import warp
from affjax.photos import ClipWriter, gather
from affjax.photos._video_file import Clip
from tests.command_line import run
from tests.export.gltf import parse

FRAMES, SIZE, RATE = 12, 224, 25.0


@pytest.fixture(scope="module")
def portrait():
  path = importlib.resources.files(affjax) / "assets" / "astronaut.jpg"
  with path.open("rb") as file:
    return np.asarray(Image.open(file).convert("RGB"))


def moves(k: int) -> tuple[float, float]:
  """Movement of the portrait to the right, px, and its roll, radians."""
  return 30 * math.sin(0.25 * k), 0.2 * math.sin(0.4 * k)


def frame(portrait: np.ndarray, k: int) -> np.ndarray:
  x, roll = moves(k)
  matrix = warp.similarity(np.array([225.0, 130]), 270.0, -roll, SIZE)
  matrix[0, 2] += x
  return np.rint(255 * warp.warp(portrait, matrix, SIZE)).astype(np.uint8)


@pytest.fixture(scope="module")
def done(portrait, tmp_path_factory):
  """A run over a folder of clips: the output folder and what was said."""
  folder = tmp_path_factory.mktemp("clips")
  with ClipWriter(folder / "talk.mp4", (SIZE, SIZE)) as writer:
    for k in range(FRAMES):
      writer.add(frame(portrait, k), k / RATE)
  noise = np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3), dtype=np.uint8)
  with ClipWriter(folder / "nobody.mp4", (64, 96)) as writer:
    for k, picture in enumerate(noise):
      writer.add(picture, k / RATE)
  (folder / "words.mp4").write_text("no video")
  out = tmp_path_factory.mktemp("fit") / "out"
  return out, run("fit", folder, "-o", out, "--map-size", 64)


def rows(out) -> list[dict[str, str]]:
  with (out / "talk" / "face1" / "frames.csv").open(newline="") as file:
    return list(csv.DictReader(file))


def test_every_clip_gives_heads_or_one_line(done):
  out, result = done
  assert result.exit_code == 1
  assert "1 head from 1 photo (1 good, 0 unsure, 2 failed): " in result.stdout
  assert "nobody.mp4: no face found in 3 frames" in result.stderr
  assert "words.mp4: not a video" in result.stderr
  assert "Traceback" not in result.output
  assert {p.name for p in out.iterdir()} == {"talk", "index.html", "problems.json"}
  assert {p.name for p in (out / "talk").iterdir()} == {"face1", "photo.json"}
  page = (out / "index.html").read_text()
  assert "talk/face1/side_by_side.mp4" in page
  assert "talk/face1/frames.csv" in page


def test_every_frame_has_a_row(done):
  table = rows(done[0])
  assert [int(row["Frame"]) for row in table] == list(range(FRAMES))
  times = [float(row["Seconds"]) for row in table]
  np.testing.assert_allclose(times, np.arange(FRAMES) / RATE, atol=1e-4)
  assert min(float(row["Confidence"]) for row in table) > 0.8
  assert {row["BlendShapeCount"] for row in table} == {"52"}


def test_the_motion_is_that_of_the_portrait(done):
  """Landmarks and filter are off by less than a tenth of the motion."""
  table = rows(done[0])
  truth = np.array([moves(k) for k in range(FRAMES)])
  x = np.array([float(row["HeadXMm"]) for row in table])
  roll = np.radians([float(row["HeadRollDeg"]) for row in table])
  assert np.corrcoef(x, truth[:, 0])[0, 1] > 0.98
  assert abs(np.corrcoef(roll, truth[:, 1])[0, 1]) > 0.98
  span = np.ptp(roll) / np.ptp(truth[:, 1])
  assert 0.8 < span < 1.2


def test_the_glb_has_one_animation_of_weights_and_pose(done):
  document, _ = parse((done[0] / "talk" / "face1" / "head.glb").read_bytes())
  (animation,) = document["animations"]
  assert animation["name"] == "talk"
  head = [c["target"] for c in animation["channels"] if c["target"]["node"] == 0]
  assert {target["path"] for target in head} == {"weights", "rotation", "translation"}
  times = document["accessors"][animation["samplers"][0]["input"]]
  assert times["count"] == FRAMES
  assert times["max"] == pytest.approx([(FRAMES - 1) / RATE], abs=1e-4)


def test_the_recording_plays_on_a_head(done, tmp_path):
  folder = done[0] / "talk" / "face1"
  performance = read_performance(folder / "frames.csv")
  assert len(performance.names) == 52
  assert performance.head_deg is not None
  assert performance.head_mm is not None
  smile = performance.weights[:, performance.names.index("mouthSmileLeft")]
  assert smile.mean() > 0.1
  result = run(
    *("animate", folder / "head.glb", folder / "frames.csv"),
    *("-o", tmp_path / "again.glb"),
  )
  assert result.exit_code == 0, result.output
  document, _ = parse((tmp_path / "again.glb").read_bytes())
  assert len(document["animations"]) == 2


def test_the_video_shows_the_frame_and_the_head_on_it(done, portrait):
  shown = list(Clip(done[0] / "talk" / "face1" / "side_by_side.mp4"))
  assert len(shown) == FRAMES
  for k in (0, 5, 11):
    left, right = np.split(shown[k].pixels.astype(float), 2, axis=1)
    assert np.abs(left - frame(portrait, k)).mean() < 6
    away = np.abs(left - right).mean(-1)
    assert away[:, :8].mean() < 4 < away[60:160, 60:160].mean() < 60


def test_the_record_says_what_the_head_was_made_of(done):
  made = json.loads((done[0] / "talk" / "face1" / "pose.json").read_text())["made"]
  assert made["video"]["frames"] == FRAMES
  assert made["video"]["frames_for_identity"] >= 1
  record = json.loads((done[0] / "talk" / "photo.json").read_text())
  assert (record["faces"], record["height"], record["width"]) == (1, SIZE, SIZE)


def test_a_second_run_resumes(done):
  clip = json.loads((done[0] / "talk" / "photo.json").read_text())["photo"]
  again = run("fit", clip, "-o", done[0], "--map-size", 64, "--resume")
  assert "failed, 1 finished before): " in again.stdout


def test_other_methods_and_networks_do_not_take_videos(done, tmp_path):
  clip = json.loads((done[0] / "talk" / "photo.json").read_text())["photo"]
  result = run("fit", clip, "-o", tmp_path / "a", "--method", "landmarks")
  assert result.exit_code == 1
  assert "talk.mp4: a video needs method 'surface'" in result.stderr
  result = run("reconstruct", clip, "-o", tmp_path / "b")
  assert result.exit_code == 1
  assert "a video" in result.stderr
  assert not list(tmp_path.iterdir())


def test_a_video_beside_a_photo_of_its_name_belongs_to_it(tmp_path):
  for name in ("IMG_1.HEIC", "IMG_1.MOV", "clip.mov", "notes.txt"):
    (tmp_path / name).write_bytes(b"x")
  found = gather([tmp_path], videos=True)
  assert [path.name for path in found.photos] == ["IMG_1.HEIC", "clip.mov"]
  assert [path.name for path in gather([tmp_path]).photos] == ["IMG_1.HEIC"]
  shutil.rmtree(tmp_path)
