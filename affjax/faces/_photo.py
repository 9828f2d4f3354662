"""Photo files of the common formats as RGB arrays.

Files are hostile input: only the listed formats are opened (PostScript, which Pillow
hands to an interpreter, is not among them), the size is read from the header before
anything is decoded, and every error of Pillow becomes a `PhotoError`.
"""

import contextlib
import functools
import importlib
import io
import math
import os
import pathlib
import struct
import warnings
from collections.abc import Iterator
from typing import IO, cast

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFile

from affjax.faces import _photo_colors

# Default of the largest number of pixels of a result, 240 MB as RGB.
MAX_PIXELS = 80_000_000
# Largest number of pixels that a file may promise. The largest sensors of phones and
# cameras have 200 million.
_MOST_PIXELS = 256_000_000
# Least width and height, px.
_SMALLEST = 32
_FORMATS = (
  "AVIF",
  "BMP",
  "GIF",
  "HEIF",
  "JPEG",
  "JPEG2000",
  "MPO",
  "PNG",
  "PPM",
  "TIFF",
  "WEBP",
)
# Names of files that are not read, by the four letters after "ftyp" or the first bytes.
_BRANDS = {
  **dict.fromkeys((b"heic", b"heix", b"hevc", b"heim", b"heis", b"hevm"), "HEIC"),
  **dict.fromkeys((b"hevs", b"hevx"), "HEIC"),
  **dict.fromkeys((b"mif1", b"msf1"), "HEIF"),
  **dict.fromkeys((b"avif", b"avis"), "AVIF"),
  b"crx ": "a raw photo",
}
_SIGNATURES = {
  b"\xff\x0a": "JPEG XL",
  b"\x00\x00\x00\x0cJXL ": "JPEG XL",
  b"%PDF": "a PDF",
  b"8BPS": "a Photoshop file",
  b"\x1aE\xdf\xa3": "a video",
  b"FUJIFILMCCD-RAW": "a raw photo",
  b"\x00\x05\x16\x07": "an AppleDouble file",
}
_EXIF_ORIENTATION = 0x0112
_TRANSPOSE = {
  2: Image.Transpose.FLIP_LEFT_RIGHT,
  3: Image.Transpose.ROTATE_180,
  4: Image.Transpose.FLIP_TOP_BOTTOM,
  5: Image.Transpose.TRANSPOSE,
  6: Image.Transpose.ROTATE_270,
  7: Image.Transpose.TRANSVERSE,
  8: Image.Transpose.ROTATE_90,
}


class PhotoError(ValueError):
  """An error in reading a photo; its message is one line and names the file."""


def read_photo(
  path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS
) -> UInt8[np.ndarray, "h w 3"]:
  """Reads a photo as 8-bit sRGB, turned upright by its EXIF orientation.

  Gray, palette, CMYK, LAB and 16-bit images are converted. Of 16 bits the upper eight
  count; if all values of a file stay below 1024 or 4096, they are taken for 10 or 12
  bits. An embedded ICC profile is applied; colors without one are Adobe RGB if EXIF
  says so, as cameras write it, otherwise sRGB.
  Transparent pixels are laid over white, and an animation gives its first frame.

  Args:
    path: Regular file in AVIF, BMP, GIF, HEIC (with the package `pillow-heif`), JPEG,
      JPEG 2000, MPO, PNG, PPM, TIFF or WebP format, as far as the installed Pillow
      knows them.
    max_pixels: Largest width times height of the result. A larger photo of at most 256
      million pixels is reduced by a whole factor, so that it fits.

  Raises:
    PhotoError: The file does not exist, is empty, no image, of an unknown format,
      broken, truncated, smaller than 32 px or larger than 256 million pixels.
  """
  path = pathlib.Path(path)
  with _named_errors(str(path), max_pixels):
    _check_file(path)
    with path.open("rb") as file:
      return _decode(file, max_pixels)


def decode_photo(
  content: bytes, name: str, *, max_pixels: int = MAX_PIXELS
) -> UInt8[np.ndarray, "h w 3"]:
  """Decodes the content of a photo's file, as `read_photo` does.

  Args:
    content: Content of the file.
    name: Name of the photo in messages.
    max_pixels: Largest width times height of the result.

  Raises:
    PhotoError: The content cannot be read; see `read_photo`.
  """
  with _named_errors(name, max_pixels):
    if not content:
      raise PhotoError("the file is empty")
    return _decode(io.BytesIO(content), max_pixels)


@contextlib.contextmanager
def _named_errors(name: str, max_pixels: int) -> Iterator[None]:
  """Turns every exception of Pillow into a `PhotoError` that names the photo."""
  if max_pixels < 1:
    raise ValueError(f"max_pixels must be positive, got {max_pixels}")
  try:
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")
      yield
  except PhotoError as error:
    raise PhotoError(f"photo {name!r}: {error}") from None
  except Exception as error:  # On broken files Pillow raises nearly anything.
    reason = " ".join(str(error).split()) or type(error).__name__
    raise PhotoError(f"photo {name!r}: cannot be read: {reason}") from error


def _check_file(path: pathlib.Path) -> None:
  if not path.exists():
    raise PhotoError("no such file")
  if not path.is_file():
    raise PhotoError("not a regular file")
  if path.stat().st_size == 0:
    raise PhotoError("the file is empty")


@functools.cache
def _known() -> list[str]:
  """Returns the formats of the list that can be opened on this machine."""
  Image.init()
  with contextlib.suppress(ImportError):
    importlib.import_module("pillow_heif").register_heif_opener()
  return [name for name in _FORMATS if name in Image.OPEN]


def _decode(file: io.BufferedIOBase, max_pixels: int) -> UInt8[np.ndarray, "h w 3"]:
  with _opened(file) as image:
    _check_size(*image.size)
    wide = _photo_colors.is_wide(image)
    # JPEG files are decoded at a half, a quarter or an eighth of their size.
    factor = _factor(image.size, max_pixels)
    image.draft(None, (image.width // factor, image.height // factor))
    image.load()
    pixels = _photo_colors.flat(image)
    if wide and _photo_colors.is_nearly_black(image):
      pixels = _with_lower_bytes(image, file)
    orientation, profile = _orientation(image), image.info.get("icc_profile")
    adobe = _photo_colors.is_adobe(image)
  factor = _factor(pixels.size, max_pixels)
  reduced = pixels.reduce(factor) if factor > 1 else pixels
  rgb = _photo_colors.srgb(reduced, profile, adobe=adobe)
  if orientation in _TRANSPOSE:
    rgb = rgb.transpose(_TRANSPOSE[orientation])
  return np.array(rgb, np.uint8)


def check_signature(prefix: bytes, name: str) -> None:
  """Checks that a file begins like a photo, whatever it is called; decodes nothing.

  Args:
    prefix: The first 16 bytes of the file.
    name: Name of the photo in the message.

  Raises:
    PhotoError: It is of none of the formats that `read_photo` reads.
  """
  with _named_errors(name, MAX_PIXELS):
    if not any(_accepts(kind, prefix) for kind in _known()):
      raise _unknown(prefix)


def _accepts(name: str, prefix: bytes) -> bool:
  """Returns whether a file that begins like this may be of a format."""
  _, accept = Image.OPEN[name]
  return accept is None or accept(prefix) is True


def _opened(file: io.BufferedIOBase) -> ImageFile.ImageFile:
  """Opens an image as `Image.open` does, but for the largest number of pixels."""
  prefix = file.read(16)
  for name in _known():
    if _accepts(name, prefix):
      file.seek(0)
      # The plugins raise these where a file is of another format after all.
      with contextlib.suppress(SyntaxError, IndexError, TypeError, struct.error):
        return Image.OPEN[name][0](cast(IO[bytes], file), "")
  raise _unknown(prefix)


def _unknown(prefix: bytes) -> PhotoError:
  """Returns the error for a file of a format that is not read."""
  kind = _kind(prefix)
  if kind in ("HEIC", "HEIF") and "HEIF" not in _known():
    return PhotoError(
      f"{kind} needs pillow-heif: install it by pip install 'affjax[heif]'"
    )
  return PhotoError(f"{kind or 'not an image'}, expected one of {', '.join(_known())}")


def _kind(prefix: bytes) -> str:
  """Returns the name of a kind of file that is not read, or nothing."""
  if prefix[4:8] == b"ftyp":
    return _BRANDS.get(prefix[8:12], "a video")
  kinds = (name for start, name in _SIGNATURES.items() if prefix.startswith(start))
  return next(kinds, "")


def _check_size(width: int, height: int) -> None:
  if min(width, height) < _SMALLEST:
    raise PhotoError(
      f"too small: {width} x {height} px, expected at least {_SMALLEST} x {_SMALLEST}"
    )
  if width * height > _MOST_PIXELS:
    raise PhotoError(
      f"too large: {width} x {height} px, expected at most {_MOST_PIXELS} pixels"
    )


def _factor(size: tuple[int, int], max_pixels: int) -> int:
  """Returns the least whole factor by which a picture fits into some pixels."""
  factor = 1
  while math.prod(-(-side // factor) for side in size) > max_pixels:
    factor += 1
  return factor


def _with_lower_bytes(upper: Image.Image, file: io.BufferedIOBase) -> Image.Image:
  """Returns 10- and 12-bit colors, of which `upper` holds the upper bytes."""
  file.seek(0)
  with _opened(file) as image:
    _photo_colors.load_lower_bytes(image)
    values = 256 * np.asarray(upper, np.uint16) + np.asarray(image)
  return Image.fromarray(_photo_colors.eight_bits(values))


def _orientation(image: Image.Image) -> int:
  """Returns the EXIF orientation, 1 (upright) without any or if the EXIF is broken.

  Call it when the pixels are loaded: Pillow turns TIFF images while it loads them.
  """
  try:
    return int(image.getexif().get(_EXIF_ORIENTATION, 1))
  except Exception:  # On broken EXIF, too, Pillow raises nearly anything.
    return 1
