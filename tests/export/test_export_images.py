"""Picture files and sheets."""

import io

import numpy as np
import pytest
from PIL import Image

from affjax import export
from affjax.export import (
  _images,
  light_picture,
  over_black,
  png_bytes,
  position_picture,
  to_uint8,
)


def _read(content):
  return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_is_lossless_and_keeps_the_top_row_on_top(channels):
  image = np.zeros((5, 7, channels), np.float32)
  image[0] = 1
  stored = _read(png_bytes(image)).reshape(5, 7, channels)
  np.testing.assert_array_equal(stored, (image * 255).astype(np.uint8))


def test_values_outside_the_range_and_nan_are_clamped():
  values = to_uint8(np.array([-1.0, 0.5, 2.0, np.nan, np.inf]))
  np.testing.assert_array_equal(values, [0, 128, 255, 0, 255])


def test_light_picture_tells_what_white_is():
  grey, white = light_picture(np.array([[[0.5]], [[1.5]]]))
  assert white == 2.0
  np.testing.assert_allclose(grey * white, [[[0.5]], [[1.5]]])
  grey, white = light_picture(np.array([[[5.0]]]))
  assert white == 8.0
  assert grey.max() <= 1


def test_position_picture_blackens_what_is_not_supported():
  picture = position_picture(np.zeros((2, 2, 3)), np.eye(2, dtype=bool))
  np.testing.assert_allclose(picture[0, 0], 0.5)
  np.testing.assert_array_equal(picture[0, 1], 0)


def test_over_black_unpremultiplies():
  rgba = over_black(np.full((1, 1, 3), 0.2), np.full((1, 1, 1), 0.5))
  np.testing.assert_allclose(rgba, [[[0.4, 0.4, 0.4, 0.5]]])
  assert over_black(np.zeros((1, 1, 3)), np.zeros((1, 1, 1))).max() == 0


def test_thumbnail_shrinks_and_never_grows():
  image = np.zeros((100, 50, 3), np.uint8)
  assert _images.thumbnail(image, 20).shape == (20, 10, 3)
  assert _images.thumbnail(image, 200) is image
  assert _images.thumbnail(np.zeros((1, 1000, 3), np.uint8), 10).shape == (1, 10, 3)


def test_sheet_fits_pictures_of_any_size():
  rows = [[np.ones((4, 8, 3)), np.zeros((30, 30, 1))], [np.full((9, 3), 0.5)]]
  sheet = export.sheet(rows, size=16, gap=2, paper=0.0)
  assert sheet.shape == (2 * 18 + 2, 2 * 18 + 2, 3)
  assert sheet[2 + 8, 2 + 8].tolist() == [255, 255, 255]
  with pytest.raises(ValueError, match="at least one image"):
    export.sheet([[]], size=16)
