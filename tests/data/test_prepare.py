"""Tests of `affjax prepare` as a user runs it, and of training on its result."""

import json

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from affjax import main
from affjax.assets import store
from tests import tiny_config
from tests.command_line import run


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
  """Writes variants of the astronaut, and files that are no photos of faces."""
  folder = tmp_path_factory.mktemp("photos")
  (folder / "inner").mkdir()
  path = folder / "astronaut.jpg"
  path.write_bytes(store.read_asset("astronaut.jpg"))
  whole = Image.open(path)
  face = whole.crop((120, 0, 330, 220))
  whole.convert("L").save(folder / "inner" / "grey.png")
  face.rotate(90, expand=True).save(folder / "turned.png")
  whole.resize((100, 100)).save(folder / "tiny_face.png")
  whole.save(folder / "the_same.png")
  whole.save(folder / "the_same_again.png")
  Image.new("RGB", (90, 80), "navy").save(folder / "nobody.png")
  Image.new("RGB", (20, 20)).save(folder / "dot.png")
  for name, angle, size in (("painted", 4, (96, 96)), ("unfit", 7, (96, 64))):
    whole.rotate(angle).save(folder / f"{name}.png")
    Image.new("RGB", size, (200, 150, 90)).save(folder / f"{name}_diffuse.png")
  (folder / "broken.jpg").write_bytes(path.read_bytes()[:3000])
  (folder / "empty.png").write_bytes(b"")
  (folder / "notes.txt").write_text("no photo")
  return folder


@pytest.fixture(scope="module")
def prepared(photos, tmp_path_factory):
  """Returns the folder of the data set, and what the command printed."""
  out = tmp_path_factory.mktemp("out")
  command = ("prepare", photos, "-o", out, "--size", 64)
  options = ("--workers", 1, "--licence", "public domain", "--splits", "0.5,0.0,0.5")
  done = run(*command, *options)
  assert done.exit_code == 0, done.stderr
  return out, done


def test_good_photos_are_kept_and_bad_ones_named(prepared):
  out, done = prepared
  folder = out / "faces" / "1.0.0"
  summary = json.loads((folder / "summary.json").read_bytes())
  skipped = {s["source"]: s["kind"] for s in summary["skipped_names"]}
  assert skipped["broken.jpg"] == skipped["empty.png"] == "unreadable photo"
  assert skipped["dot.png"] == "unreadable photo"
  assert skipped["nobody.png"] == "no face"
  assert skipped["tiny_face.png#face 1"] == "small face"
  assert skipped["the_same_again.png"] == "repeated photo"
  kept = {s for split in summary["splits"] for s in _sources(folder, split)}
  assert kept >= {
    f"{name}#face 1" for name in ("astronaut.jpg", "inner/grey.png", "turned.png")
  }
  assert "4 unreadable photo" not in done.stdout
  assert "3 unreadable photo" in done.stdout
  assert "worst.html" in done.stdout
  assert sorted(p.name for p in out.iterdir()) == ["faces"]
  assert sorted(p.name for p in (out / "faces").iterdir()) == ["1.0.0"]


def test_diffuse_map_beside_a_photo_goes_with_it(prepared):
  """A map is no photo of its own; one that is not square is named."""
  folder = prepared[0] / "faces" / "1.0.0"
  summary = json.loads((folder / "summary.json").read_bytes())
  skipped = {s["source"]: (s["kind"], s["reason"]) for s in summary["skipped_names"]}
  kind, reason = skipped["unfit.png"]
  assert kind == "unfit diffuse map"
  assert "'unfit_diffuse.png' must be square" in reason
  found = {}
  for split in summary["splits"]:
    data = tfds.builder_from_directory(folder).as_data_source(split)
    found |= {data[k]["source"].decode(): data[k] for k in range(len(data))}
  painted = [name for name, record in found.items() if record["has_diffuse"]]
  assert painted == ["painted.png#face 1"]
  assert found[painted[0]]["diffuse"].shape == (96, 96, 3)
  assert (found[painted[0]]["diffuse"] == [200, 150, 90]).all()
  assert not any("_diffuse" in name for name in (*found, *skipped))


def _sources(folder, split):
  data = tfds.builder_from_directory(folder).as_data_source(split)
  return [data[k]["source"].decode() for k in range(len(data))]


def test_turned_photo_gives_the_same_face(prepared, photos):
  """Its crop leads back to the rotated photo, and the aligned faces are alike."""
  folder = prepared[0] / "faces" / "1.0.0"
  summary = json.loads((folder / "summary.json").read_bytes())
  found = {}
  for split in summary["splits"]:
    data = tfds.builder_from_directory(folder).as_data_source(split)
    found |= {data[k]["source"].decode(): data[k] for k in range(len(data))}
  upright, turned = found["astronaut.jpg#face 1"], found["turned.png#face 1"]
  off = upright["image"].astype(float) - turned["image"].astype(float)
  assert np.abs(off[16:48, 16:48]).mean() < 25
  shapes = [r["vertices"] * 1e-4 for r in (upright, turned)]
  assert np.abs(shapes[0] - shapes[1]).mean() < 0.05
  for record, picture in ((upright, "astronaut.jpg"), (turned, "turned.png")):
    with Image.open(photos / picture) as photo:
      width, height = photo.size
    linear, shift = record["crop"][:, :2], record["crop"][:, 2]
    places = np.linalg.solve(linear, (record["landmarks"] - shift).T).T
    assert (places > 0).all()
    assert (places < [width, height]).all()


def test_second_call_finds_all_done(prepared, photos):
  out = prepared[0]
  files = {p: p.stat().st_mtime_ns for p in (out / "faces" / "1.0.0").iterdir()}
  command = ["prepare", photos, "-o", out, "--size", 64, "--licence", "public domain"]
  again = [*command, "--splits", "0.5,0.0,0.5"]
  done = run(*again)
  assert done.exit_code == 0, done.stderr
  assert files == {p: p.stat().st_mtime_ns for p in (out / "faces" / "1.0.0").iterdir()}
  other = run(*command)
  assert other.exit_code == 2
  assert "--overwrite" in other.stderr


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["nowhere"], "no such folder or archive"),
    (["."], "provider must be one of"),
    (["synthetic:3"], "belong together"),
    (["."], "holds no photos"),
    (["."], "--splits must be"),
    (["."], "needs --geometry"),
    (["."], "needs --model"),
  ],
)
def test_what_cannot_be_is_one_line(tmp_path, monkeypatch, arguments, message):
  monkeypatch.chdir(tmp_path)
  extra = {
    "provider must be one of": ["--provider", "magic"],
    "--splits must be": ["--splits", "all"],
    "needs --geometry": ["--provider", "precomputed"],
    "needs --model": ["--provider", "deep3d"],
  }.get(message, [])
  if message.startswith("needs"):
    Image.new("RGB", (40, 40)).save("a.png")
  done = run("prepare", *arguments, "-o", tmp_path / "out", *extra)
  assert done.exit_code == 2
  assert len(done.stderr.strip().splitlines()) == 1
  assert message in done.stderr
  assert not (tmp_path / "out").exists()


def test_training_runs_on_what_was_prepared(prepared, tmp_path):
  options = tiny_config.flags(
    steps=2,
    data__source="prepared",
    data__path=prepared[0] / "faces",
    data__held_out=1,
    data__batch_size=2,
    data__augment__brightness=0.2,
    data__augment__noise=0.1,
    data__augment__jpeg=0.5,
  )
  assert main.main(["main", "--config=stage1", f"--workdir={tmp_path}", *options]) == 0
  summary = json.loads((tmp_path / "stage1" / "summary.json").read_text())
  assert summary["finished"]
  assert summary["data"] == "prepared"
  # The error of the mean head against fitted heads, decimeters.
  assert 0 < summary["eval_after"]["position_l1"] < 0.2
