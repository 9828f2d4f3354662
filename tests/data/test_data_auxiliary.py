import io
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from affjax.data import FolderSource, auxiliary
from affjax.data._pictures import find_pictures


def _picture(path, color=(200, 20, 20), size=32):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.new("RGB", (size, size), color).save(path)


def test_a_map_beside_its_photo_marks_it(tmp_path, head):
  _picture(tmp_path / "a.png")
  _picture(tmp_path / "a_diffuse.png", (10, 200, 30), 64)
  _picture(tmp_path / "b.png")
  source = FolderSource(tmp_path, head.template, size=16, map_size=32)
  assert len(source) == 2
  assert (source[0]["has_diffuse"], source[1]["has_diffuse"]) == (1, 0)
  assert source[0]["diffuse"].shape == (32, 32, 3)
  np.testing.assert_array_equal(source[0]["diffuse"][5, 5], (10, 200, 30))
  np.testing.assert_array_equal(source[0]["image"][5, 5], (200, 20, 20))
  before = source.settings()
  (tmp_path / "a_diffuse.png").unlink()
  after = FolderSource(tmp_path, head.template, size=16, map_size=32)
  assert after.settings() != before


def test_photos_and_maps_may_have_a_folder_each(tmp_path, head):
  for name in ("x", "y"):
    _picture(tmp_path / "photos" / f"{name}.jpg")
  _picture(tmp_path / "diffuse" / "y.png", (0, 0, 250))
  found = find_pictures(tmp_path)
  assert [(p.name, m and m.name) for p, m in found.items()] == [
    ("x.jpg", None),
    ("y.jpg", "y.png"),
  ]
  source = FolderSource(tmp_path, head.template, size=16, map_size=32)
  assert [source[i]["has_diffuse"] for i in range(2)] == [0, 1]


def test_what_does_not_pair_is_named(tmp_path, head):
  _picture(tmp_path / "a.png")
  _picture(tmp_path / "b_diffuse.png")
  with pytest.raises(ValueError, match=r"1 diffuse maps without a photo, .*b_diffuse"):
    FolderSource(tmp_path, head.template, size=16, map_size=32)
  (tmp_path / "b_diffuse.png").rename(tmp_path / "a.jpg")
  with pytest.raises(ValueError, match=r"two pictures of .* are named 'a'"):
    find_pictures(tmp_path)
  (tmp_path / "a.jpg").rename(tmp_path / "a_diffuse.png")
  (tmp_path / "a_diffuse.png").write_bytes(b"not a picture")
  source = FolderSource(tmp_path, head.template, size=16, map_size=32)
  with pytest.raises(ValueError, match=r"cannot read photo 'a_diffuse.png'"):
    source[0]


def test_a_style_is_flat_and_saturated():
  rng = np.random.default_rng(0)
  noisy = np.clip(rng.normal([150, 110, 90], 12, (64, 64, 3)), 0, 255).astype(np.uint8)
  warm, cool = auxiliary.stylized(noisy, 1), auxiliary.stylized(noisy, -1)
  assert warm.dtype == np.uint8
  assert warm.std((0, 1)).max() < noisy.std((0, 1)).min()
  assert np.ptp(warm.mean((0, 1))) > np.ptp(noisy.mean((0, 1)))
  assert warm[..., 0].mean() > cool[..., 0].mean()


def test_the_stand_in_is_written_once_and_goes_on(tmp_path, head, capsys):
  out = tmp_path / "pairs"
  options = ["--size", "64", "--workers", "1", "--out", str(out)]
  assert auxiliary.main([*options, "--count", "2"]) == 0
  first = {path.name: path.read_bytes() for path in out.iterdir()}
  assert sorted(first) == sorted(
    f"{index:05d}{end}"
    for index in range(2)
    for end in (".npz", ".png", "_diffuse.png")
  )
  (out / "00001.png").unlink()
  assert auxiliary.main([*options, "--count", "3"]) == 0
  assert "2 of them new" in capsys.readouterr().out
  again = {path.name: path.read_bytes() for path in out.iterdir()}
  assert {name: again[name] for name in first} == first
  source = FolderSource(out, head.template, size=64, map_size=64)
  record = source[2]
  assert record["has_diffuse"] == record["has_pose"] == 1
  assert np.ptp(record["vertices"], axis=0).min() > 1


@pytest.mark.slow
def test_the_stand_in_survives_a_kill(tmp_path):
  """Two processes are killed with their parent; the result is as without the kill."""
  out = tmp_path / "pairs"
  command = [sys.executable, "-m", "affjax.data.auxiliary", "--size", "32"]
  killed = subprocess.Popen(
    [*command, "--workers", "2", "--count", "5000", "--out", out]
  )
  while len(list(out.glob("0*.png"))) < 8:
    assert killed.poll() is None
    time.sleep(0.05)
  killed.kill()
  killed.wait()
  time.sleep(2)  # until the workers have ended with their parent
  left = {path.name: path.read_bytes() for path in out.glob("0*")}
  time.sleep(1)
  assert {path.name for path in out.glob("0*")} == set(left)
  count = str(1 + max(int(name[:5]) for name in left))
  subprocess.run(
    [*command, "--workers", "2", "--count", count, "--out", out], check=True
  )
  alone = tmp_path / "alone"
  options = ["--size", "32", "--workers", "1", "--count", count, "--out", str(alone)]
  assert auxiliary.main(options) == 0
  expected = {path.name: path.read_bytes() for path in alone.iterdir()}
  found = {path.name: path.read_bytes() for path in out.glob("0*")}
  assert found.keys() == expected.keys()
  for name in expected:
    if name.endswith(".png"):
      ours, theirs = (
        np.asarray(Image.open(io.BytesIO(files[name])), int)
        for files in (found, expected)
      )
      # One thread sums in another order than several do.
      assert (np.abs(ours - theirs) > 2).mean() < 0.01


def test_impossible_wishes_are_refused(tmp_path, capsys):
  with pytest.raises(SystemExit):
    auxiliary.main(["--out", str(tmp_path / "a"), "--count", "0"])
  assert "--count must lie" in capsys.readouterr().err
  assert not (tmp_path / "a").exists()
