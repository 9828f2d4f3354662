"""Reading photos: every common kind, and every way to break one."""

import importlib.util
import io
import struct
import sys
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from affjax.faces import PhotoError, _photo, decode_photo, read_photo

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


def _wide_png(rows, width, height):
  """Returns a 16-bit RGB PNG file of its unpacked rows."""

  def chunk(kind, data):
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

  header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
  body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows))
  return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def test_sixteen_bit_rgb():
  rows = b"".join(b"\0" + struct.pack(">HHH", 65535, 257, 0) * 40 for _ in range(40))
  read = decode_photo(_wide_png(rows, 40, 40), "a.png")
  np.testing.assert_allclose(read[3, 3], [255, 1, 0], atol=1)


def test_transparency_lies_on_white(tmp_path):
  clear = np.concatenate([RGB, np.zeros((40, 48, 1), np.uint8)], -1)
  path = _saved(tmp_path / "a.png", Image.fromarray(clear))
  assert (read_photo(path) == 255).all()


def test_the_first_frame_of_an_animation(tmp_path):
  frames = [Image.new("RGB", (40, 40), color) for color in ("red", "blue")]
  path = tmp_path / "a.gif"
  frames[0].save(path, save_all=True, append_images=frames[1:])
  np.testing.assert_allclose(read_photo(path)[20, 20], [255, 0, 0], atol=4)


def _sixteen_bit_tiff(values):
  """Returns an uncompressed RGB TIFF file of 16-bit values `[H, W, 3]`."""
  height, width, _ = values.shape
  tags = (
    *((256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, 134), (259, 3, 1, 1)),
    *((262, 3, 1, 2), (273, 4, 1, 140), (277, 3, 1, 3), (278, 3, 1, height)),
    *((279, 4, 1, values.size * 2), (284, 3, 1, 1)),
  )
  entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
  head = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4)
  bits = struct.pack("<HHH", 16, 16, 16)
  return head + bits + values.astype("<u2").tobytes()


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_ten_and_twelve_bits_in_sixteen(bits):
  """Colors and gray, in TIFF and PNG, unshifted as scanners and cameras store them."""
  values = np.rint(RGB / 255 * (2**bits - 1)).astype(np.uint16)
  read = decode_photo(_sixteen_bit_tiff(values), "a.tif")
  np.testing.assert_allclose(read, RGB, atol=1)
  out = io.BytesIO()
  Image.fromarray(values[..., 0]).save(out, "PNG")
  gray = decode_photo(out.getvalue(), "a.png")
  np.testing.assert_allclose(gray[..., 1], RGB[..., 0], atol=1)


def test_twelve_bits_of_a_png():
  """The lower bytes of a compressed file."""
  values = np.rint(RGB / 255 * 4095).astype(np.uint16)
  rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
  read = decode_photo(_wide_png(rows, 48, 40), "a.png")
  np.testing.assert_allclose(read, RGB, atol=1)


def _profile(exponent, red, green, blue):
  """Returns an ICC profile of three primaries (xy) and a power curve, under D50."""
  xyz = np.array([[x / y, 1, (1 - x - y) / y] for x, y in (red, green, blue)]).T
  white = np.array([0.95047, 1, 1.08883])
  bradford = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
  )
  d50 = np.array([0.9642, 1, 0.8249])
  adapt = np.linalg.inv(bradford) @ np.diag((bradford @ d50) / (bradford @ white))
  columns = adapt @ bradford @ (xyz * np.linalg.solve(xyz, white))
  fixed = lambda v: struct.pack(">3i", *np.rint(np.asarray(v) * 65536).astype(int))
  parts = {
    b"desc": b"desc" + struct.pack(">II", 0, 5) + b"test\0" + bytes(79),
    b"cprt": b"text" + bytes(4) + b"none\0",
    b"wtpt": b"XYZ " + bytes(4) + fixed(d50),
    **{
      name: b"XYZ " + bytes(4) + fixed(columns[:, k])
      for k, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))
    },
    **dict.fromkeys(
      (b"rTRC", b"gTRC", b"bTRC"),
      b"curv" + struct.pack(">IIH", 0, 1, round(exponent * 256)),
    ),
  }
  return _packed_profile(b"RGB ", parts)


def _gray_profile(exponent):
  d50 = np.rint(np.array([0.9642, 1, 0.8249]) * 65536).astype(int)
  return _packed_profile(
    b"GRAY",
    {
      b"desc": b"desc" + struct.pack(">II", 0, 5) + b"test\0" + bytes(79),
      b"wtpt": b"XYZ " + bytes(4) + struct.pack(">3i", *d50),
      b"kTRC": b"curv" + struct.pack(">IIH", 0, 1, round(exponent * 256)),
    },
  )


def _packed_profile(space, parts):
  table, data = b"", b""
  start = 132 + 12 * len(parts)
  for name, part in parts.items():
    table += struct.pack(">4sII", name, start + len(data), len(part))
    data += part + bytes(-len(part) % 4)
  illuminant = struct.pack(">3i", 63190, 65536, 54061)
  head = struct.pack(">I4sI4s4s4s", 0, b"lcms", 0x02100000, b"mntr", space, b"XYZ ")
  head += bytes(12) + b"acsp" + bytes(28) + illuminant + bytes(48)
  whole = head + struct.pack(">I", len(parts)) + table + data
  return struct.pack(">I", len(whole)) + whole[4:]


ADOBE = _profile(563 / 256, (0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
P3 = _profile(2.2, (0.68, 0.32), (0.265, 0.69), (0.15, 0.06))


@pytest.mark.parametrize("profile", [ADOBE, P3], ids=["Adobe RGB", "Display P3"])
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp"])
def test_profiles_are_converted_to_srgb(tmp_path, profile, name):
  """A picture of sRGB colors, stored in another space, comes back as it was."""
  smooth = np.asarray(Image.fromarray(RGB).resize((6, 5)).resize((48, 40)))
  source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
  stored = ImageCms.profileToProfile(
    Image.fromarray(smooth // 2 + 64), ImageCms.createProfile("sRGB"), source
  )
  best = {} if name == "a.tif" else {"quality": 100}
  best |= {"subsampling": 0} if name == "a.jpg" else {}
  best |= {"lossless": True} if name == "a.webp" else {}
  path = _saved(tmp_path / name, stored, icc_profile=profile, **best)
  assert np.abs(np.asarray(stored) - (smooth // 2 + 64.0)).mean() > 2
  off = np.abs(read_photo(path) - (smooth // 2 + 64.0))
  assert off.mean() < 1
  assert off.max() <= (8 if name == "a.jpg" else 2)


def _adobe_exif(index):
  exif = Image.Exif()
  interop = {ExifTags.Interop.InteropIndex: index}
  exif.get_ifd(ExifTags.IFD.Exif).update(
    {ExifTags.Base.ColorSpace: 65535, ExifTags.IFD.Interop: interop}
  )
  return exif


def test_adobe_rgb_marked_in_exif_alone_is_converted(tmp_path):
  source = ImageCms.ImageCmsProfile(io.BytesIO(ADOBE))
  stored = ImageCms.profileToProfile(
    Image.fromarray(RGB), ImageCms.createProfile("sRGB"), source, outputMode="RGB"
  )
  path = _saved(tmp_path / "a.png", stored, exif=_adobe_exif("R03"))
  away = np.abs(read_photo(path).astype(int) - RGB)
  unconverted = np.abs(np.asarray(stored).astype(int) - RGB)
  assert unconverted.max() > 20
  assert np.percentile(away, 99) <= 2
  assert away.mean() < 0.7
  # "R98" is sRGB, and a profile says more than EXIF does.
  plain = _saved(tmp_path / "b.png", Image.fromarray(RGB), exif=_adobe_exif("R98"))
  np.testing.assert_array_equal(read_photo(plain), RGB)


def test_gray_profiles_are_converted(tmp_path):
  gray = Image.fromarray(np.full((40, 40), 100, np.uint8))
  path = _saved(tmp_path / "a.png", gray, icc_profile=_gray_profile(1.0))
  # A linear 100 is as bright as 168 in sRGB.
  np.testing.assert_allclose(read_photo(path), 168, atol=2)


@pytest.mark.parametrize("profile", [b"", b"no profile", ADOBE[:300], _gray_profile(1)])
def test_useless_profiles_change_nothing(tmp_path, profile):
  path = _saved(tmp_path / "a.png", Image.fromarray(RGB), icc_profile=profile)
  np.testing.assert_array_equal(read_photo(path), RGB)


@pytest.mark.parametrize("name", ["a.jpg", "a.tif", "a.png", "a.webp", "a.avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(tmp_path, orientation, name):
  """The red corner of the upright picture must come back to the top left."""
  backwards = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
  stored = Image.fromarray(RGB)
  if backwards is not None:
    stored = stored.transpose(Image.Transpose(backwards))
  exif = Image.Exif()
  exif[0x0112] = orientation
  best = {} if name == "a.tif" else {"quality": 95}
  path = _saved(tmp_path / name, stored, exif=exif, **best)
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
  with pytest.raises(PhotoError, match="too large: 20000 x 20000 px"):
    read_photo(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gif"])
def test_large_photos_are_read_at_reduced_size(tmp_path, name):
  path = _saved(tmp_path / name, Image.fromarray(RGB).resize((480, 400)))
  read = read_photo(path, max_pixels=12_000)
  assert read.shape == (100, 120, 3)
  assert read[5:45, 5:55, 0].mean() > 200
  assert read[5:45, 5:55, 1].mean() < 60
  assert read_photo(path, max_pixels=192_000).shape == (400, 480, 3)


def test_a_photo_of_108_megapixels(tmp_path):
  """As phones take them: more than is kept, and more than Pillow's own warning."""
  path = _saved(tmp_path / "a.png", Image.new("1", (12_000, 9_000), 1))
  read = read_photo(path)
  assert read.shape == (4500, 6000, 3)
  assert (read == 255).all()


def test_heic_needs_a_package(tmp_path, monkeypatch):
  """Without `pillow-heif` the message names the format and what to install."""
  monkeypatch.setitem(sys.modules, "pillow_heif", None)
  monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
  _photo._known.cache_clear()
  path = tmp_path / "IMG_1.HEIC"
  path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
  with pytest.raises(PhotoError, match=r"HEIC needs pillow-heif.*'affjax\[heif\]'"):
    read_photo(path)
  _photo._known.cache_clear()


@pytest.mark.skipif(
  importlib.util.find_spec("pillow_heif") is None, reason="pillow-heif is not installed"
)
def test_heic_with_the_package(tmp_path):
  import pillow_heif

  path = tmp_path / "IMG_1.HEIC"
  smooth = Image.fromarray(RGB).resize((6, 5)).resize((480, 400))
  pillow_heif.from_pillow(smooth).save(path, quality=95)
  read = read_photo(path)
  assert np.abs(read - np.asarray(smooth, float)).mean() < 4


@pytest.mark.parametrize(
  ("content", "word"),
  [
    (b"%PDF-1.7\n" + bytes(40), "a PDF"),
    (b"\0\0\0\x18ftypisom" + bytes(40), "a video"),
    (b"\0\0\0\x18ftypcrx " + bytes(40), "a raw photo"),
    (b"\xff\x0a" + bytes(40), "JPEG XL"),
    (b"\0\x05\x16\x07" + bytes(40), "an AppleDouble file"),
  ],
)
def test_known_kinds_of_files_are_named(content, word):
  with pytest.raises(PhotoError, match=f"{word}, expected one of .*JPEG"):
    decode_photo(content, "a.jpg")


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
