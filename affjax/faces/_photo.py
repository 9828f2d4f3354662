"""Photo files of the common formats as RGB arrays.

Files are hostile input: only the listed formats are opened (PostScript, which Pillow
hands to an interpreter, is not among them), the size is read from the header before
anything is decoded, and every error of Pillow becomes a `PhotoError`.
"""

import contextlib
import io
import os
import pathlib
import warnings
from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8
from PIL import Image

# Default of the largest number of pixels that is decoded, 240 MB as RGB.
MAX_PIXELS = 80_000_000
# Least width and height, px.
_SMALLEST = 32
_FORMATS = (
  "AVIF",
  "BMP",
  "GIF",
  "JPEG",
  "JPEG2000",
  "MPO",
  "PNG",
  "PPM",
  "TIFF",
  "WEBP",
)
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
  """Reads a photo as 8-bit RGB, turned upright by its EXIF orientation.

  Gray, palette, CMYK and 16-bit images are converted (16-bit ones to their upper eight
  bits), transparent pixels are laid over white, and an animation gives its first frame.
  Color profiles are not applied.

  Args:
    path: Regular file in AVIF, BMP, GIF, JPEG, JPEG 2000, MPO, PNG, PPM, TIFF or WebP
      format, as far as the installed Pillow knows them.
    max_pixels: Largest width times height. Beyond 179 million Pillow's own limit
      (`PIL.Image.MAX_IMAGE_PIXELS`) must be raised as well.

  Raises:
    PhotoError: The file does not exist, is empty, no image, of an unknown format,
      broken, truncated, smaller than 32 px or larger than `max_pixels`.
  """
  path = pathlib.Path(path)
  with _named_errors(str(path), max_pixels):
    _check_file(path)
    return _decode(path, max_pixels)


def decode_photo(
  content: bytes, name: str, *, max_pixels: int = MAX_PIXELS
) -> UInt8[np.ndarray, "h w 3"]:
  """Decodes the content of a photo's file, as `read_photo` does.

  Args:
    content: Content of the file.
    name: Name of the photo in messages.
    max_pixels: Largest width times height.

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
  except Image.UnidentifiedImageError:
    message = f"not an image, expected one of {', '.join(_known())}"
    raise PhotoError(f"photo {name!r}: {message}") from None
  except Image.DecompressionBombError:
    message = f"too large, expected at most {max_pixels} pixels"
    raise PhotoError(f"photo {name!r}: {message}") from None
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


def _known() -> list[str]:
  """Returns the formats of the list that the installed Pillow can open."""
  Image.init()
  return [name for name in _FORMATS if name in Image.OPEN]


def _decode(
  file: pathlib.Path | io.BytesIO, max_pixels: int
) -> UInt8[np.ndarray, "h w 3"]:
  with Image.open(file, formats=_known()) as image:
    width, height = image.size
    if width * height > max_pixels:
      raise PhotoError(
        f"too large: {width} x {height} px, expected at most {max_pixels} pixels"
      )
    if min(width, height) < _SMALLEST:
      raise PhotoError(
        f"too small: {width} x {height} px, expected at least {_SMALLEST} x {_SMALLEST}"
      )
    orientation = _orientation(image)
    rgb = _rgb(image)
  if orientation in _TRANSPOSE:
    rgb = rgb.transpose(_TRANSPOSE[orientation])
  return np.array(rgb, np.uint8)


def _orientation(image: Image.Image) -> int:
  """Returns the EXIF orientation, 1 (upright) without any or if the EXIF is broken."""
  try:
    return int(image.getexif().get(_EXIF_ORIENTATION, 1))
  except Exception:  # On broken EXIF, too, Pillow raises nearly anything.
    return 1


def _rgb(image: Image.Image) -> Image.Image:
  """Returns the first frame, decoded, as 8-bit RGB."""
  image.load()
  if image.mode == "F":
    raise PhotoError("floating-point pixels are not supported")
  if image.mode.startswith("I"):
    return _from_16_bit(image)
  if image.has_transparency_data:
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")
  return image.convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
  gray = np.asarray(image)
  if gray.min() < 0 or gray.max() > 65535:
    raise PhotoError("pixels of more than 16 bit are not supported")
  return Image.fromarray((gray // 257).astype(np.uint8)).convert("RGB")
