"""Pictures as files: PNG and JPEG bytes, maps made visible, sheets of pictures."""

import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from PIL import Image

# light.png: 255 stands for at least this much light, so that sheets compare.
_LIGHT_WHITE = 2.0


def to_uint8(image: np.ndarray) -> np.ndarray:
  """[0, 1] to 0..255, rounded; uint8 passes. NaN, as nothing to show, becomes 0."""
  if image.dtype == np.uint8:
    return image
  return np.round(255 * np.clip(np.nan_to_num(image), 0, 1)).astype(np.uint8)


def png_bytes(image: np.ndarray, *, compression: int = 6) -> bytes:
  """A PNG file of `[H, W]`, `[H, W, 1]`, `[H, W, 3]` or `[H, W, 4]`, in [0, 1]."""
  return _encode(image, "PNG", compress_level=compression)


def jpeg_bytes(image: np.ndarray, *, quality: int = 88) -> bytes:
  """A JPEG file of `[H, W, 3]`, in [0, 1]."""
  return _encode(image, "JPEG", quality=quality)


def decoded(content: bytes) -> np.ndarray:
  """The pixels of an image file that this module wrote, uint8."""
  with Image.open(io.BytesIO(content)) as image:
    return np.asarray(image)


def thumbnail(image: np.ndarray, side: int) -> np.ndarray:
  """Shrinks uint8 `[H, W, C]` so that no side is longer than `side`; never grows."""
  height, width = image.shape[:2]
  scale = side / max(height, width)
  if scale >= 1:
    return image
  size = (max(1, round(width * scale)), max(1, round(height * scale)))
  return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def position_picture(
  position: Float[np.ndarray, "s s 3"], support: np.ndarray | None = None
) -> np.ndarray:
  """A position map as colours `[S, S, 3]`: x, y, z run over [-1.6, 1.6] dm.

  Args:
    position: head-space position map, dm.
    support: bool `[S, S]`; texels outside it become black.
  """
  picture = np.clip((np.asarray(position) + 1.6) / 3.2, 0, 1)
  return picture if support is None else picture * support[..., None]


def light_picture(light: Float[np.ndarray, "l l 1"]) -> tuple[np.ndarray, float]:
  """A light map as grey `[l, l, 1]` in [0, 1], and the light that white stands for.

  White is 2 (double the neutral light) and only more where the map needs more, in
  steps of two, so that several heads' pictures can be compared.
  """
  light = np.asarray(light)
  white = _LIGHT_WHITE
  while white < light.max(initial=0.0, where=np.isfinite(light)):
    white *= 2
  return light / white, white


def over_black(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
  """A render over black and its coverage `[H, W, 1]` as RGBA, not premultiplied."""
  straight = np.where(alpha > 1e-3, color / np.maximum(alpha, 1e-3), 0)
  return np.concatenate([np.clip(straight, 0, 1), np.clip(alpha, 0, 1)], -1)


def sheet(
  rows: Sequence[Sequence[np.ndarray]], *, size: int, gap: int = 4, paper: float = 1.0
) -> np.ndarray:
  """Pictures side by side in rows, uint8.

  Args:
    rows: pictures `[H, W, 1 or 3]` of any size; each is fitted into a square.
    size: side of that square, px; small pictures are enlarged smoothly.
    gap: px between the pictures.
    paper: grey of the background in [0, 1].
  """
  if not rows or not any(len(row) for row in rows):
    raise ValueError("rows must hold at least one picture, got none")
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
  """Scales uint8 `[H, W, C]` so that its longer side is `size`; RGB."""
  if picture.ndim == 2:
    picture = picture[..., None]
  picture = np.repeat(picture, 3, -1) if picture.shape[-1] == 1 else picture[..., :3]
  height, width = picture.shape[:2]
  scale = size / max(height, width)
  target = (max(1, round(width * scale)), max(1, round(height * scale)))
  kind = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC
  return np.asarray(Image.fromarray(picture).resize(target, kind))


def _encode(image: np.ndarray, kind: str, **options: int) -> bytes:
  """The bytes of an image file."""
  pixels = to_uint8(np.asarray(image))
  if pixels.ndim == 3 and pixels.shape[-1] == 1:
    pixels = pixels[..., 0]
  out = io.BytesIO()
  Image.fromarray(pixels).save(out, kind, **options)
  return out.getvalue()
