"""Reading photos: every common kind, and every way to break one."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from affjax.faces import PhotoError, read_photo

RGB = np.random.default_rng(0).integers(0, 255, (40, 48, 3), np.uint8)
RGB[:20, :24] = (250, 10, 10)  # a red corner, top left


def _saved(path, image, **options):
  image.save(path, **options)
  return path


@pytest.mark.parametrize(
  ("name", "mode"),
  [
    ("a.png", "RGB"),
    ("a.png", "RGBA"),
    ("a.png", "L"),
    ("a.png", "LA"),
    ("a.png", "1"),
    ("a.png", "P"),
    ("a.jpg", "RGB"),
    ("a.jpg", "CMYK"),
    ("a.jpg", "L"),
    ("a.tif", "CMYK"),
    ("a.bmp", "RGB"),
    ("a.webp", "RGB"),
    ("a.gif", "P"),
  ],
)
def test_reads_every_mode_as_rgb(tmp_path, name, mode):
  path = _saved(tmp_path / name, Image.fromarray(RGB).convert(mode))
  read = read_photo(path)
  assert read.shape == RGB.shape
  assert read.dtype == np.uint8
  corner = read[5:15, 5:18].mean((0, 1))
  if mode in ("RGB", "RGBA", "P", "CMYK"):
    assert corner[0] > 200
    assert corner[1] < 60


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_sixteen_bit_grey_is_scaled(tmp_path, dtype):
  gray = np.full((40, 40), 32896, dtype)
  path = _saved(tmp_path / "a.png", Image.fromarray(gray.astype(np.uint16)))
  np.testing.assert_array_equal(read_photo(path), 128)


def test_sixteen_bit_rgb(tmp_path):
  rows = b"".join(b"\0" + struct.pack(">HHH", 65535, 257, 0) * 40 for _ in range(40))

  def chunk(kind, data):
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

  header = struct.pack(">IIBBBBB", 40, 40, 16, 2, 0, 0, 0)
  body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows))
  path = tmp_path / "a.png"
  path.write_bytes(b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b""))
  np.testing.assert_allclose(read_photo(path)[3, 3], [255, 1, 0], atol=1)


def test_transparency_lies_on_white(tmp_path):
  clear = np.concatenate([RGB, np.zeros((40, 48, 1), np.uint8)], -1)
  path = _saved(tmp_path / "a.png", Image.fromarray(clear))
  assert (read_photo(path) == 255).all()


def test_the_first_frame_of_an_animation(tmp_path):
  frames = [Image.new("RGB", (40, 40), color) for color in ("red", "blue")]
  path = tmp_path / "a.gif"
  frames[0].save(path, save_all=True, append_images=frames[1:])
  np.testing.assert_allclose(read_photo(path)[20, 20], [255, 0, 0], atol=4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
  """The red corner of the upright picture must come back to the top left."""
  backwards = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
  stored = Image.fromarray(RGB)
  if backwards is not None:
    stored = stored.transpose(Image.Transpose(backwards))
  exif = Image.Exif()
  exif[0x0112] = orientation
  path = _saved(tmp_path / "a.jpg", stored, exif=exif, quality=95)
  read = read_photo(path)
  assert read.shape == RGB.shape
  assert read[3:15, 3:18, 0].mean() > 200
  assert read[3:15, 3:18, 1].mean() < 60


def _png(size=(48, 40)):
  out = io.BytesIO()
  Image.fromarray(RGB).resize(size).save(out, "PNG")
  return out.getvalue()


@pytest.mark.parametrize(
  ("content", "match"),
  [
    (b"", "empty"),
    (b"not an image at all", "not an image"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    (_png()[: len(_png()) // 2], "cannot be read"),
    (_png((1, 1)), "too small"),
    (_png()[:30], "photo"),
    (b"GIF89a" + b"\xff" * 40, "photo"),
  ],
  ids=["empty", "text", "postscript", "truncated", "one pixel", "header", "gif"],
)
def test_bad_files_are_one_line(tmp_path, content, match):
  path = tmp_path / "bad.png"
  path.write_bytes(content)
  with pytest.raises(PhotoError, match=match) as error:
    read_photo(path)
  assert "\n" not in str(error.value)
  assert "bad.png" in str(error.value)


def test_size_is_judged_before_decoding(tmp_path):
  """A header that promises 20,000 x 20,000 is refused without memory for it."""
  content = bytearray(_png())
  content[16:24] = struct.pack(">II", 20_000, 20_000)
  content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
  path = tmp_path / "bomb.png"
  path.write_bytes(content)
  with pytest.raises(PhotoError, match="too large"):
    read_photo(path)
  small = _saved(tmp_path / "a.png", Image.fromarray(RGB))
  with pytest.raises(PhotoError, match="48 x 40"):
    read_photo(small, max_pixels=1000)


def test_missing_files_and_folders(tmp_path):
  with pytest.raises(PhotoError, match="no such file"):
    read_photo(tmp_path / "gone.jpg")
  with pytest.raises(PhotoError, match="regular"):
    read_photo(tmp_path)
  with pytest.raises(ValueError, match="max_pixels"):
    read_photo(tmp_path, max_pixels=0)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_damaged_files_raise_nothing_else(tmp_path, kind):
  """Sixty files with flipped bytes or a missing end: a picture or one line."""
  out = io.BytesIO()
  Image.fromarray(RGB).save(out, kind)
  rng = np.random.default_rng(0)
  path = tmp_path / "damaged"
  for _ in range(60):
    content = np.frombuffer(out.getvalue(), np.uint8).copy()
    places = rng.integers(0, min(len(content), rng.choice([64, 4000])), 3)
    content[places] = rng.integers(0, 256, 3)
    path.write_bytes(content[: rng.integers(1, 2 * len(content))].tobytes())
    try:
      outcome = read_photo(path)
    except PhotoError as error:
      outcome = str(error)
    if isinstance(outcome, str):
      assert "\n" not in outcome
    else:
      assert outcome.shape[2] == 3
