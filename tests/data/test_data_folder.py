import numpy as np
import pytest
from PIL import Image

from affjax.data import FolderSource


@pytest.fixture
def photos(tmp_path):
  rng = np.random.default_rng(0)
  for name in ("b.png", "a.png"):
    pixels = rng.integers(0, 256, (24, 24, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / name)
  (tmp_path / "notes.txt").write_text("not a photo")
  return tmp_path


def test_a_bare_photo_has_no_ground_truth(photos, head):
  source = FolderSource(photos, head.template, size=16, map_size=32)
  assert len(source) == 2
  record = source[0]
  assert record["image"].shape == (16, 16, 3)
  assert record["has_pose"] == record["has_diffuse"] == 0
  assert record["visible"].min() == 255
  np.testing.assert_array_equal(record["vertices"], head.template.vertices)
  with pytest.raises(IndexError, match="index 2 is out of range"):
    source[2]


def test_an_archive_beside_is_its_ground_truth(photos, head):
  pose = np.arange(6, dtype=np.float32)
  np.savez(photos / "a.npz", pose=pose)
  before = FolderSource(photos, head.template, size=24, map_size=32)
  record = before[0]
  np.testing.assert_array_equal(record["pose"], pose)
  assert (record["has_pose"], record["has_diffuse"]) == (1, 0)
  stamp = before.settings()
  np.savez(photos / "a.npz", pose=pose, diffuse=np.zeros((32, 32, 3), np.uint8))
  assert before.settings() != stamp


def test_bad_files_are_named(photos, head):
  (photos / "c.png").write_bytes(b"not a picture")
  np.savez(photos / "a.npz", pose=np.zeros(5))
  (photos / "b.npz").write_bytes(b"PK broken")
  source = FolderSource(photos, head.template, size=16, map_size=32)
  with pytest.raises(ValueError, match=r"pose of 'a.npz' must have shape \(6,\)"):
    source[0]
  with pytest.raises(ValueError, match=r"cannot read ground truth 'b.npz'"):
    source[1]
  with pytest.raises(ValueError, match=r"cannot read photo 'c.png'"):
    source[2]


def test_a_folder_without_photos_is_refused(tmp_path, head):
  with pytest.raises(ValueError, match="holds no photos"):
    FolderSource(tmp_path, head.template, size=16, map_size=32)
  with pytest.raises(ValueError, match="must be a folder"):
    FolderSource(tmp_path / "none", head.template, size=16, map_size=32)
