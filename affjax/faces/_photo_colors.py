"""The pixels of image files of any mode and color space as 8-bit sRGB."""

import functools
import io
import sys

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import ExifTags, Image, ImageCms, ImageFile, ImageFilter

# Color spaces of ICC profiles, and the modes of the images that they describe.
_SPACES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab ": "LAB"}
# Decoders of 16-bit colors, of which Pillow keeps the upper bytes, and those that keep
# the lower bytes of the same file.
_UPPER = {
  "RGB;16L": "RGB;16B",
  "RGB;16B": "RGB;16L",
  "RGB;16N": "RGB;16B" if sys.byteorder == "little" else "RGB;16L",
}
# Adobe RGB (1998): exponent, and the matrix from its linear values to those of sRGB,
# which has the same white, red and blue.
_ADOBE_GAMMA = 563 / 256
_ADOBE_TO_SRGB = np.array(
  [[1.39836, -0.39836, 0.0], [0.0, 1.0, 0.0], [0.0, -0.04293, 1.04293]]
)
# The name that cameras give it in EXIF (Design rule for Camera File system, 2.0).
_ADOBE_INDEX = "R03"
# Fewest values above that of the darkest 12-bit photo, in upper bytes.
_TWELVE_BITS = 16


def is_wide(image: ImageFile.ImageFile) -> bool:
  """Returns whether an image that is not loaded yet has 16-bit colors."""
  return len(image.tile) == 1 and _decoder(image) in _UPPER


def is_nearly_black(image: Image.Image) -> bool:
  """Returns whether the upper bytes of 16-bit colors hold less than four bits."""
  return int(np.asarray(image).max()) < _TWELVE_BITS


def load_lower_bytes(image: ImageFile.ImageFile) -> None:
  """Decodes an image for which `is_wide` holds to the lower bytes of its colors."""
  (tile,) = image.tile
  name = _UPPER[_decoder(image)]
  old = tile.args
  args = (name, *old[1:]) if isinstance(old, tuple) else name
  image.tile = [tile._replace(args=args)]
  image.load()


def _decoder(image: ImageFile.ImageFile) -> str:
  args = image.tile[0].args
  return str(args if isinstance(args, str) or not args else args[0])


def eight_bits(values: UInt16[np.ndarray, "h w *c"]) -> UInt8[np.ndarray, "h w *c"]:
  """Returns 16-bit values as 8-bit ones.

  Cameras and scanners store 10 and 12 bits unshifted: the largest value tells.
  """
  top = int(values.max(initial=0))
  largest = next(x for x in (1023, 4095, 65535) if top <= x)
  # Of 16 bits, 257 whole steps are one.
  scaled = values // 257 if largest == 65535 else np.rint(values * (255 / largest))
  return scaled.astype(np.uint8)


def flat(image: Image.Image) -> Image.Image:
  """Returns a loaded image in 8 bits, laid over white.

  Raises:
    ValueError: Pixels are floating-point numbers or of more than 16 bits.
  """
  if image.mode == "F":
    raise ValueError("floating-point pixels are not supported")
  if image.mode.startswith("I"):
    gray = np.asarray(image)
    if gray.min() < 0 or gray.max() > 65535:
      raise ValueError("pixels of more than 16 bits are not supported")
    return Image.fromarray(eight_bits(gray.astype(np.uint16)))
  if image.has_transparency_data:
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")
  return image if image.mode in _SPACES.values() else image.convert("RGB")


def is_adobe(image: Image.Image) -> bool:
  """Returns whether the EXIF of a loaded image says that its colors are Adobe RGB."""
  try:
    interop = image.getexif().get_ifd(ExifTags.IFD.Interop)
  except Exception:  # On broken EXIF Pillow raises nearly anything.
    return False
  return str(interop.get(ExifTags.Interop.InteropIndex, "")).strip() == _ADOBE_INDEX


@functools.cache
def _adobe_table() -> ImageFilter.Color3DLUT:
  """Returns the conversion of Adobe RGB, within one level of 255."""

  def converted(*adobe: float) -> tuple[float, ...]:
    linear = np.clip(_ADOBE_TO_SRGB @ np.power(adobe, _ADOBE_GAMMA), 0, 1)
    curve = np.where(
      linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055
    )
    return tuple(curve.tolist())

  return ImageFilter.Color3DLUT.generate(33, converted)


def srgb(
  image: Image.Image, profile: bytes | None, *, adobe: bool = False
) -> Image.Image:
  """Returns an image in sRGB.

  Args:
    image: Image in one of the modes that `flat` returns.
    profile: ICC profile. A broken one, or one of another kind of color, is not used.
    adobe: Whether colors without a profile are Adobe RGB.
  """
  if adobe and not profile and image.mode == "RGB":
    return image.filter(_adobe_table())
  try:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile or b""))
    mode = _SPACES.get(getattr(source.profile, "xcolor_space", ""), "")
    if mode == "RGB" or mode == image.mode:
      converted = ImageCms.profileToProfile(
        image.convert(mode),
        source,
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
      )
      return image.convert("RGB") if converted is None else converted
  except (ImageCms.PyCMSError, OSError, ValueError):
    pass
  return image.convert("RGB")
