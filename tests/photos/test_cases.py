"""Photos on which affjax failed once: each is right now, or honestly refused.

The photos are in `shared/cases`, which is not a part of the repository; the tests of
`affjax.faces` and `affjax.photos` hold small versions of them.
"""

import importlib.util
import json
import pathlib

import numpy as np
import pytest

from affjax.export import SURE
from affjax.faces import PhotoError, find_faces, read_photo
from tests.command_line import run

_NEAR = [p / "shared/cases" for p in pathlib.Path(__file__).resolve().parents]
CASES = next((p for p in _NEAR if p.is_dir()), _NEAR[0])
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="shared/cases is not here")
HEIF = importlib.util.find_spec("pillow_heif") is not None


@pytest.fixture(scope="module")
def upright():
  """Landmarks of the portrait that all cases were made of."""
  (face,) = find_faces(read_photo(CASES / "profile" / "srgb.png"))
  return face.landmarks68


def _heads(name):
  """Returns the faces of a photo that become heads."""
  return find_faces(read_photo(CASES / name))


def _roll(points):
  across = points[45] - points[36]
  return np.degrees(np.arctan2(across[1], across[0]))


def _turned(points, quarters, side=512):
  """Returns points of a square photo that was turned counter-clockwise."""
  for _ in range(quarters):
    points = np.stack([points[:, 1], side - 1 - points[:, 0]], -1)
  return points


@pytest.mark.parametrize("kind", ["jpg", "tif", "webp"])
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_orientation(upright, orientation, kind):
  (face,) = find_faces(read_photo(CASES / "orientation" / f"o{orientation}.{kind}"))
  assert np.linalg.norm(face.landmarks68 - upright, axis=1).mean() < 1
  assert abs(_roll(face.landmarks68) - _roll(upright)) < 1


@pytest.mark.parametrize("bits", ["10bit_in_16", "12bit_in_16", "16bit"])
def test_depth(upright, bits):
  (face,) = find_faces(read_photo(CASES / "depth" / f"{bits}.tif"))
  assert np.linalg.norm(face.landmarks68 - upright, axis=1).mean() < 1
  assert face.score > SURE


def test_profile():
  plain = read_photo(CASES / "profile" / "srgb.png").astype(int)
  wide = read_photo(CASES / "profile" / "display_p3.png").astype(int)
  # A few pixels are two off: eight bits of a wider space are coarser.
  assert (np.abs(wide - plain) <= 1).mean() > 0.9999
  assert np.abs(wide - plain).max() <= 2


@pytest.mark.parametrize(("name", "quarters"), [("90", 1), ("180", 2), ("270", 3)])
def test_turned(upright, name, quarters):
  (face,) = find_faces(read_photo(CASES / "turned" / f"turned_{name}.jpg"))
  off = [
    np.linalg.norm(face.landmarks68 - _turned(upright, q), axis=1).mean()
    for q in (quarters, 4 - quarters)
  ]
  assert min(off) < 2
  assert face.score > SURE


def test_turned_between_quarters():
  (face,) = find_faces(read_photo(CASES / "turned" / "turned_135.jpg"))
  assert abs(abs(_roll(face.landmarks68)) - 135) < 4


def test_upright_beside_upside_down(upright):
  pixels = read_photo(CASES / "turned" / "upright_and_upside_down.jpg")
  found = sorted(find_faces(pixels), key=lambda face: face.box[0])
  assert len(found) == 2
  rolls = [abs(_roll(face.landmarks68)) for face in found]
  assert sorted(roll > 90 for roll in rolls) == [False, True]


def test_covered(upright):
  # In spite of its name, this photo shows eyes, nose and the upper lip.
  (most,) = _heads("covered/all_of_it.jpg")
  shown = slice(17, 48)
  assert np.linalg.norm(most.landmarks68 - upright, axis=1)[shown].mean() < 2
  half = _heads("covered/right_half.jpg")
  assert all(face.score < SURE or abs(_roll(face.landmarks68)) < 15 for face in half)


def test_half_a_face_is_unsure(tmp_path):
  result = _fit(tmp_path / "out", CASES / "covered" / "right_half.jpg")
  assert result.exit_code == 3
  (path,) = (tmp_path / "out").glob("right_half/*/pose.json")
  about = json.loads(path.read_text())
  assert about["confidence"] < SURE
  assert about["made"]["visible_share"] < 0.6


def test_no_face():
  assert _heads("no_face/wall.jpg") == []


@pytest.mark.parametrize("name", ["brow_cut", "chin_cut", "tight"])
def test_border(name):
  (face,) = find_faces(read_photo(CASES / "border" / f"{name}.png"))
  # The photo of `brow_cut` ends at the eyes: its landmarks roll, and it is unsure.
  sure = face.score >= SURE
  assert sure == (name != "brow_cut")
  assert not sure or abs(_roll(face.landmarks68)) < 10


def _fit(out, *photos):
  """Runs the command with small maps and without colors."""
  return run("fit", *photos, "-o", out, "--map-size", 64, "--no-photometric")


def test_heic(tmp_path):
  result = _fit(tmp_path / "out", CASES / "heic")
  done = sorted(p.name for p in (tmp_path / "out").iterdir() if p.is_dir())
  if HEIF:
    assert (result.exit_code, done) == (0, ["IMG_1", "IMG_2"])
  else:
    assert (result.exit_code, done) == (1, ["IMG_2"])
    assert "IMG_1.HEIC: HEIC needs pillow-heif" in result.stderr
    assert "affjax[heif]" in result.stderr


def test_same_names_and_side_files(tmp_path):
  out = tmp_path / "out"
  folders = [CASES / "same_names", CASES / "side_files", CASES / "names"]
  result = run(
    *("fit", *folders, "--recursive", "-o", out, "--map-size", 64),
    "--no-photometric",
  )
  assert result.exit_code == 0, result.output
  assert "note:" not in result.stderr
  whose = {
    json.loads(path.read_text())["made"]["photo"]: path.parent.parent.name
    for path in out.glob("*/*/pose.json")
  }
  assert whose == {
    "names/CON.png": "names_CON",
    "names/nul.png": "names_nul",
    "same_names/alice/001.jpg": "same_names_alice_001",
    "same_names/bob/001.jpg": "same_names_bob_001",
    "side_files/IMG_1.jpg": "side_files_IMG_1",
  }
  page = (out / "index.html").read_text()
  assert all(f"<h2>{name}<small>" in page for name in whose)


def test_names_of_devices(tmp_path):
  result = _fit(tmp_path / "out", CASES / "names")
  assert result.exit_code == 0, result.output
  assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
    *("_CON", "_nul", "index.html")
  ]


def test_what_shows_no_face_is_refused(tmp_path):
  result = _fit(tmp_path / "out", CASES / "no_face")
  assert result.exit_code == 1
  assert "wall.jpg: no face found" in result.stderr
  assert not (tmp_path / "out").exists()


def test_side_files_alone_are_no_photos(tmp_path):
  with pytest.raises(PhotoError, match="an AppleDouble file"):
    read_photo(CASES / "side_files" / "._IMG_1.jpg")
