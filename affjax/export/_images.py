"""Images: PNG and JPEG bytes, maps as colors, sheets of images."""

import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from PIL import Image

# In light.png 255 stands for at least this much light, so that images are comparable.
_LIGHT_WHITE = 2.0
# Level 6 makes files of our maps 5 % smaller and takes three times as long.
_PNG_LEVEL = 4


def to_uint8(image: np.ndarray) -> np.ndarray:
  """Returns an image in [0, 1] as uint8, rounded; NaN becomes 0, uint8 is returned."""
  if image.dtype == np.uint8:
    return image
  return np.asarray(np.round(255 * np.clip(np.nan_to_num(image), 0, 1)), np.uint8)


def png_bytes(image: np.ndarray) -> bytes:
  """Returns a PNG file of `[H, W]` or `[H, W, 1, 3 or 4]`, uint8 or in [0, 1]."""
  return _encode(image, "PNG", compress_level=_PNG_LEVEL)


def jpeg_bytes(image: np.ndarray, *, quality: int = 88) -> bytes:
  """Returns a JPEG file of `[H, W, 3]`, uint8 or in [0, 1]."""
  return _encode(image, "JPEG", quality=quality)


def decoded(content: bytes) -> np.ndarray:
  """Returns the uint8 pixels of an image file that this module wrote."""
  with Image.open(io.BytesIO(content)) as image:
    return np.asarray(image)


def thumbnail(image: np.ndarray, side: int) -> np.ndarray:
  """Shrinks uint8 `[H, W, C]` to sides of at most `side` px; never enlarges."""
  height, width = image.shape[:2]
  scale = side / max(height, width)
  if scale >= 1:
    return image
  size = (max(1, round(width * scale)), max(1, round(height * scale)))
  return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def position_picture(
  position: Float[np.ndarray, "s s 3"], support: np.ndarray | None = None
) -> Float[np.ndarray, "s s 3"]:
  """Returns a position map as colors: x, y, z in [-1.6, 1.6] dm become [0, 1].

  Args:
    position: Position map, head space, dm.
    support: Mask, bool `[S, S]`; texels outside it become black.
  """
  picture = np.clip((np.asarray(position) + 1.6) / 3.2, 0, 1)
  return picture if support is None else picture * support[..., None]


def light_picture(
  light: Float[np.ndarray, "h w 1"],
) -> tuple[Float[np.ndarray, "h w 1"], float]:
  """Returns a light map as gray in [0, 1], and the light that white stands for.

  White is 2 (double the neutral light), doubled until it covers the map: the images of
  several heads are comparable.
  """
  light = np.asarray(light)
  white = _LIGHT_WHITE
  while white < light.max(initial=0.0, where=np.isfinite(light)):
    white *= 2
  return light / white, white


def over_black(
  color: Float[np.ndarray, "h w 3"], alpha: Float[np.ndarray, "h w 1"]
) -> Float[np.ndarray, "h w 4"]:
  """Returns a render over black and its coverage as RGBA, not premultiplied."""
  straight = np.where(alpha > 1e-3, color / np.maximum(alpha, 1e-3), 0)
  return np.concatenate([np.clip(straight, 0, 1), np.clip(alpha, 0, 1)], -1)


def sheet(
  rows: Sequence[Sequence[np.ndarray]], *, size: int, gap: int = 4, paper: float = 1.0
) -> np.ndarray:
  """Returns images side by side in rows, uint8.

  Args:
    rows: Images `[H, W, 1 or 3]` of any size; each is fitted into a square.
    size: Side of the square, px; smaller images are enlarged smoothly.
    gap: Space between the images, px.
    paper: Gray of the background in [0, 1].
  """
  if not rows or not any(len(row) for row in rows):
    raise ValueError("rows must hold at least one image, got none")
  columns = max(len(row) for row in rows)
  step = size + gap
  canvas = np.full(
    (len(rows) * step + gap, columns * step + gap, 3),
    to_uint8(np.array(paper)),
    np.uint8,
  )
  for i, row in enumerate(rows):
    for j, picture in enumerate(row):
      tile = _fit(to_uint8(np.asarray(picture)), size)
      y = gap + i * step + (size - tile.shape[0]) // 2
      x = gap + j * step + (size - tile.shape[1]) // 2
      canvas[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
  return canvas


def _fit(picture: np.ndarray, size: int) -> np.ndarray:
  """Scales uint8 `[H, W, C]` to a longer side of `size` px and to RGB."""
  if picture.ndim == 2:
    picture = picture[..., None]
  picture = np.repeat(picture, 3, -1) if picture.shape[-1] == 1 else picture[..., :3]
  height, width = picture.shape[:2]
  scale = size / max(height, width)
  target = (max(1, round(width * scale)), max(1, round(height * scale)))
  kind = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC
  return np.asarray(Image.fromarray(picture).resize(target, kind))


def _encode(image: np.ndarray, kind: str, **options: int) -> bytes:
  """Returns the content of an image file."""
  pixels = to_uint8(np.asarray(image))
  if pixels.ndim == 3 and pixels.shape[-1] == 1:
    pixels = pixels[..., 0]
  out = io.BytesIO()
  Image.fromarray(pixels).save(out, kind, **options)
  return out.getvalue()
