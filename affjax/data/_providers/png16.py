"""A reader of 16-bit RGB PNGs.

Pillow reduces them to 8 bits, OpenCV and imagecodecs are large, and pypng decompresses
each chunk without a limit on its unpacked size. This reader never unpacks more than the
header announces.
"""

import pathlib
import struct
import zlib

import numpy as np
from jaxtyping import UInt16

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MOST_SIDE = 4096
_PIXEL = 6


def read(path: pathlib.Path) -> UInt16[np.ndarray, "h w 3"]:
  """Returns the pixels of a 16-bit RGB PNG that is not interlaced.

  Raises:
    ValueError: The file is of another kind, too large, or damaged.
  """
  data = path.read_bytes() if path.stat().st_size <= 256 << 20 else b""
  chunks = dict(_chunks(data))
  header = chunks.get(b"IHDR", b"")
  if len(header) != 13:
    raise ValueError(f"{path.name!r} is no PNG, or too large")
  width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", header)
  if (depth, color, interlaced) != (16, 2, 0):
    raise ValueError(f"{path.name!r} must be a 16-bit RGB PNG, not interlaced")
  if not 0 < max(width, height) <= _MOST_SIDE:
    raise ValueError(f"{path.name!r} must be at most {_MOST_SIDE} px wide and high")
  expected = height * (1 + _PIXEL * width)
  try:
    raw = zlib.decompressobj().decompress(chunks.get(b"IDAT", b""), expected)
  except zlib.error as error:
    raise ValueError(f"{path.name!r} is damaged: {error}") from error
  if len(raw) != expected:
    raise ValueError(f"{path.name!r} is damaged: it has too few pixels")
  rows = np.frombuffer(raw, np.uint8).reshape(height, 1 + _PIXEL * width)
  pixels = _unfiltered(rows, path.name)
  return pixels.view(">u2").reshape(height, width, 3).astype(np.uint16)


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
  """Returns kinds and contents of chunks; contents of one kind are joined."""
  joined: dict[bytes, list[bytes]] = {}
  place = len(_SIGNATURE) if data.startswith(_SIGNATURE) else len(data)
  while place + 8 <= len(data):
    size, kind = struct.unpack(">I4s", data[place : place + 8])
    joined.setdefault(kind, []).append(data[place + 8 : place + 8 + size])
    place += size + 12
  return [(kind, b"".join(parts)) for kind, parts in joined.items()]


def _unfiltered(rows: np.ndarray, name: str) -> np.ndarray:
  """Inverts the filter of each row (PNG 1.2, section 6)."""
  out = np.zeros((len(rows), rows.shape[1] - 1), np.uint8)
  above = np.zeros(rows.shape[1] - 1, np.uint8)
  for k, (kind, row) in enumerate(zip(rows[:, 0], rows[:, 1:], strict=True)):
    if kind == 0:
      out[k] = row
    elif kind == 1:
      out[k] = np.cumsum(row.reshape(-1, _PIXEL), 0, dtype=np.uint8).reshape(-1)
    elif kind == 2:
      out[k] = row + above
    elif kind in (3, 4):
      out[k] = _by_pixels(row, above, mean=bool(kind == 3))
    else:
      raise ValueError(f"{name!r} is damaged: no filter {kind}")
    above = out[k]
  return out


def _by_pixels(row: np.ndarray, above: np.ndarray, *, mean: bool) -> np.ndarray:
  """Inverts the two filters in which each pixel depends on the previous one."""
  pixels = row.reshape(-1, _PIXEL).astype(np.int32)
  up = above.reshape(-1, _PIXEL).astype(np.int32)
  left, corner = np.zeros(_PIXEL, np.int32), np.zeros(_PIXEL, np.int32)
  for k in range(len(pixels)):
    guess = (left + up[k]) // 2 if mean else _paeth(left, up[k], corner)
    left, corner = (pixels[k] + guess) & 255, up[k]
    pixels[k] = left
  return pixels.astype(np.uint8).reshape(-1)


def _paeth(left: np.ndarray, up: np.ndarray, corner: np.ndarray) -> np.ndarray:
  """Returns the neighbor that is nearest to `left + up - corner`."""
  middle = left + up - corner
  a, b, c = np.abs(middle - left), np.abs(middle - up), np.abs(middle - corner)
  return np.where((a <= b) & (a <= c), left, np.where(b <= c, up, corner))
