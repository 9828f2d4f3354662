import jax
import numpy as np
import pytest

from affjax.data import (
  Ranges,
  _augmentation,
  _mirroring,
  augmented,
  to_batch,
  training_batches,
)
from affjax.geometry import uv
from affjax.heads.landmarks import MIRRORED
from tests.data.fake_source import FakeSource

ALL = Ranges(
  brightness=0.3,
  contrast=0.3,
  saturation=0.4,
  hue_deg=10,
  gamma=0.3,
  grey=0.2,
  blur=0.5,
  noise=0.05,
  jpeg=0.5,
)


def _photo(seed=0, size=24):
  rng = np.random.default_rng(seed)
  ramp = np.linspace(0, 150, size)
  pixels = rng.uniform(20, 90, 3) + ramp[:, None, None] * [1, 0.4, 0.7]
  return np.tile(pixels, (1, size, 1)).astype(np.uint8)


def _developed(ranges, seed=0, photo=None):
  """Returns a photo after one augmentation, float, and its record."""
  photo = _photo() if photo is None else photo
  record = augmented(
    {"image": photo, "pose": np.zeros(6)}, ranges, np.random.default_rng(seed)
  )
  stacked = {name: np.asarray(value)[None] for name, value in record.items()}
  unit = stacked["image"].astype(np.float32) / 255
  return np.asarray(_augmentation.develop(unit, stacked))[0], record


def test_without_ranges_nothing_changes():
  assert not Ranges().active
  developed, record = _developed(Ranges())
  assert set(record) == {"image", "pose"}
  np.testing.assert_array_equal(developed, _photo().astype(np.float32) / 255)


def test_ranges_of_nothing_are_the_identity():
  tiny = Ranges(brightness=1e-9, blur=1e-9, noise=1e-9)
  developed, record = _developed(tiny)
  assert {"augment_color", "augment_blur_px", "augment_noise"} <= set(record)
  np.testing.assert_allclose(developed, _photo() / np.float32(255), atol=1e-4)


def test_the_draw_is_the_generator_s():
  first, second = _developed(ALL, 1)[0], _developed(ALL, 1)[0]
  np.testing.assert_array_equal(first, second)
  assert np.abs(first - _developed(ALL, 2)[0]).max() > 0.01
  assert 0 <= first.min() <= first.max() <= 1


def test_gray_photos_have_no_color_and_keep_their_luma():
  developed, _ = _developed(Ranges(grey=1.0))
  np.testing.assert_allclose(np.ptp(developed, axis=-1), 0, atol=1e-6)
  luma = _photo() / 255 @ [0.299, 0.587, 0.114]
  np.testing.assert_allclose(developed[..., 0], luma, atol=1e-5)


def test_hue_keeps_grays_and_brightness_stays_in_its_range():
  gray = np.full((8, 8, 3), 90, np.uint8)
  np.testing.assert_allclose(
    _developed(Ranges(hue_deg=180), photo=gray)[0], 90 / 255, atol=1e-5
  )
  found = [
    _developed(Ranges(brightness=0.5), seed, gray)[0].mean() for seed in range(40)
  ]
  ratios = np.array(found) / (90 / 255)
  assert 1 / 1.5 - 1e-4 <= ratios.min() < 0.8
  assert 1.25 < ratios.max() <= 1.5 + 1e-4


def test_blur_keeps_the_mean_and_noise_has_its_size():
  rng = np.random.default_rng(0)
  rough = rng.integers(0, 256, (32, 32, 3), np.uint8)
  blurred, record = _developed(Ranges(blur=1.0, blur_px=2.0), 3, rough)
  assert record["augment_blur_px"] > 0.3
  assert blurred.std() < 0.8 * (rough / 255).std()
  assert blurred.mean() == pytest.approx(rough.mean() / 255, abs=0.01)
  gray = np.full((64, 64, 3), 128, np.uint8)
  noisy, record = _developed(Ranges(noise=0.1), 5, gray)
  assert noisy.std() == pytest.approx(record["augment_noise"], rel=0.05)


def test_jpeg_changes_little_and_only_the_photo():
  ranges = Ranges(jpeg=1.0, jpeg_quality=(40, 60))
  developed, record = _developed(ranges)
  assert record["image"].dtype == np.uint8
  difference = np.abs(developed - _photo() / 255)
  assert 0 < difference.mean() < 0.05


def test_only_the_photo_of_a_batch_changes(head):
  template, maps = head.template, 64
  rng = np.random.default_rng(0)
  record = {
    "image": _photo(),
    "visible": rng.integers(0, 256, (24, 24, 1), np.uint8),
    "vertices": template.vertices.astype(np.float32),
    "pose": rng.standard_normal(6).astype(np.float32),
    "diffuse": rng.integers(0, 256, (maps, maps, 3), np.uint8),
    "has_pose": np.float32(1),
    "has_diffuse": np.float32(1),
  }
  table = uv.uv_table(template, maps)
  make = jax.jit(lambda r: to_batch(r, table))
  stack = lambda r: {name: np.asarray(value)[None] for name, value in r.items()}
  changed = augmented(record, ALL, np.random.default_rng(1))
  plain, other = make(stack(record)), make(stack(changed))
  assert np.abs(plain.image - other.image).max() > 0.01
  for name in ("visible", "position", "pose", "diffuse", "has_pose", "has_diffuse"):
    np.testing.assert_array_equal(getattr(plain, name), getattr(other, name))


class _Photos(FakeSource):
  def __len__(self):
    return 12

  def __getitem__(self, index):
    return {"image": _photo(index, 8), "index": np.asarray(index, np.int32)}


@pytest.mark.parametrize("count", [2, 4])
def test_processes_draw_what_one_would(count):
  ranges = Ranges(brightness=0.5, noise=0.1, jpeg=0.5)

  def batches(index, of):
    iterator = training_batches(
      _Photos(),
      batch_size=4,
      seed=0,
      augment=ranges,
      process_index=index,
      process_count=of,
    )
    return [next(iterator) for _ in range(5)]

  whole = batches(0, 1)
  shares = [batches(index, count) for index in range(count)]
  for name in ("index", "image", "augment_color", "augment_seed"):
    for step in range(5):
      joined = np.concatenate([share[step][name] for share in shares])
      np.testing.assert_array_equal(joined, whole[step][name])
  assert len({tuple(c.ravel()) for b in whole for c in b["augment_color"]}) == 20


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"brightness": -0.1}, r"brightness must lie in \[0, 4\], got -0.1"),
    ({"grey": 1.5}, "grey must lie in"),
    ({"blur_px": 3.0}, "blur_px must lie in"),
    ({"noise": float("nan")}, "noise must lie in"),
    ({"jpeg_quality": (90, 30)}, "jpeg_quality must be"),
  ],
)
def test_ranges_out_of_range_are_named(change, message):
  with pytest.raises(ValueError, match=message):
    Ranges(**change)


def test_mirrored_landmarks_change_sides(head):
  template = head.template
  corners = template.vertices[template.faces[template.landmark_faces]]
  points = (corners * template.landmark_weights[..., None]).sum(1)
  swapped = points[MIRRORED] * [-1, 1, 1]
  assert np.abs(swapped - points).max() < 0.03
  np.testing.assert_array_equal(MIRRORED[MIRRORED], np.arange(68))
  rng = np.random.default_rng(0)
  record = {
    "image": _photo(),
    "diffuse": np.zeros((8, 8, 3), np.uint8),
    "has_diffuse": np.float32(0),
    "landmarks": rng.uniform(0, 23, (68, 2)).astype(np.float32),
    "vertices": template.vertices,
    "pose": np.zeros(6, np.float32),
  }
  mirrored = _mirroring.mirror_record(record, template)
  assert mirrored["diffuse"] is record["diffuse"]
  x, y = record["landmarks"][36]
  np.testing.assert_allclose(mirrored["landmarks"][45], (23 - x, y), atol=1e-5)
  again = _mirroring.mirror_record(mirrored, template)
  np.testing.assert_allclose(again["landmarks"], record["landmarks"], atol=1e-5)
