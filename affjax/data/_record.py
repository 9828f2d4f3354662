"""The codec of prepared records: one aligned photo with the geometry of its head.

A record is a `tf.train.Example` as TFDS writes it. The photo is a JPEG, masks and maps
are PNGs. The geometry is stored as the template's vertices in steps of 0.01 mm, which
is small; the accelerator expands it to the position map.

| feature | as TFDS stores it | decoded |
|---|---|---|
| `image` | Image (S, S, 3), JPEG | uint8 `[S, S, 3]` |
| `visible` | Image (S, S, 1), PNG | uint8 `[S, S, 1]`, 255 on the head's surface |
| `vertices` | Tensor (V, 3), int16, bytes | float32 `[V, 3]`, head space, dm |
| `pose` | Tensor (6,) | float32 `[6]`, zeros where `has_pose` is 0 |
| `landmarks` | Tensor (68, 2) | float32 `[68, 2]`, px of the aligned photo |
| `diffuse` | Image (any, any, 3), PNG | uint8 `[M, M, 3]`, 1 × 1 if there is no map |
| `has_pose`, `has_diffuse` | scalars | float32 `[]`, 0 or 1 |
| `source` | Text | str, file name in the input, then `#face k` |
| `licence` | Text | str |
| `quality` | scalar | float32 `[]` in [0, 1] |
| `crop` | Tensor (2, 3) | float32 `[2, 3]`, photo px to aligned px |
"""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from affjax.data import _tf_example, _train_extra

# Head space is in dm: the step is 0.01 mm.
STEP_DM = 1e-4
FARTHEST_DM = 32767 * STEP_DM
JPEG_QUALITY = 95

_MOST_PIXELS = 64_000_000
_NUMBERS = {
  "pose": (6,),
  "landmarks": (68, 2),
  "has_pose": (),
  "has_diffuse": (),
  "quality": (),
  "crop": (2, 3),
}
_TEXTS = ("source", "licence")
_IMAGES = {"image": ("JPEG", 3), "visible": ("PNG", 1), "diffuse": ("PNG", 3)}
FIELDS = (*_IMAGES, "vertices", *_NUMBERS, *_TEXTS)


def features(size: int, vertices: int) -> Any:
  """Returns the `tfds.features.FeaturesDict` of records.

  Args:
    size: S, width and height of the aligned photos.
    vertices: V, number of the template's vertices.
  """
  with _train_extra.needed_for("describing a data set"):
    import tensorflow_datasets as tfds

  kinds = {
    "image": tfds.features.Image(shape=(size, size, 3), encoding_format="jpeg"),
    "visible": tfds.features.Image(shape=(size, size, 1), encoding_format="png"),
    "diffuse": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
    "vertices": tfds.features.Tensor(
      shape=(vertices, 3), dtype=np.int16, encoding=tfds.features.Encoding.BYTES
    ),
  }
  for name, shape in _NUMBERS.items():
    kinds[name] = tfds.features.Tensor(shape=shape, dtype=np.float32)
  kinds |= {name: tfds.features.Text() for name in _TEXTS}
  return tfds.features.FeaturesDict(kinds)


def encode(record: Mapping[str, Any]) -> bytes:
  """Returns a record as the bytes that go into a shard; deterministic.

  Args:
    record: Every field of the table above, as `decode` returns it. `image` may also be
      the bytes of a JPEG.

  Raises:
    ValueError: A field is missing, has another shape, is not finite, or lies farther
      than 3.27 dm from the center of the head.
  """
  missing = [name for name in FIELDS if name not in record]
  if missing:
    raise ValueError(f"record lacks {', '.join(missing)}")
  found: dict[str, bytes | np.ndarray] = {
    name: _encode_image(name, record[name]) for name in _IMAGES
  }
  found["vertices"] = _quantized(record["vertices"])
  for name, shape in _NUMBERS.items():
    value = np.asarray(record[name], np.float32)
    found[name] = _checked(name, value, shape).ravel()
  return _tf_example.pack(found | {name: str(record[name]).encode() for name in _TEXTS})


def tfds_example(data: bytes) -> dict[str, Any]:
  """Returns a record as the builders of TFDS yield it, for `features`.

  Args:
    data: Content as `encode` returns it; images stay encoded.

  Raises:
    ValueError: As in `decode`.
  """
  packed = _tf_example.unpack(data)
  found = decode(data, fields=("vertices", *_NUMBERS, *_TEXTS))
  found["vertices"] = np.rint(found["vertices"] / STEP_DM).astype(np.int16)
  return found | {name: io.BytesIO(bytes(packed[name])) for name in _IMAGES}


def decode(data: bytes, *, fields: tuple[str, ...] = FIELDS) -> dict[str, Any]:
  """Returns the record that bytes hold; inverts `encode` up to JPEG and rounding.

  Args:
    data: Content of one record of a shard.
    fields: Names of the fields to decode; the others cost nothing.

  Raises:
    ValueError: The bytes are no record, an image cannot be read or is not square, or a
      number is not finite.
  """
  packed = _tf_example.unpack(data)
  missing = [name for name in fields if name not in packed]
  if missing:
    raise ValueError(f"record lacks {', '.join(missing)}")
  return {name: _decode_field(name, packed[name]) for name in fields}


def _decode_field(name: str, value: _tf_example.Value) -> Any:
  if name in _NUMBERS:
    if not isinstance(value, np.ndarray):
      raise ValueError(f"{name} must be numbers, got bytes")
    shape = _NUMBERS[name]
    if value.size != np.prod(shape, dtype=int):
      raise ValueError(f"{name} must have shape {shape}, got {value.size} numbers")
    return _checked(name, value.reshape(shape), shape)
  if isinstance(value, np.ndarray):
    raise ValueError(f"{name} must be bytes, got numbers")
  if name in _IMAGES:
    return _decode_image(name, value)
  if name == "vertices":
    if len(value) % 6:
      raise ValueError(f"vertices must be triples of int16, got {len(value)} bytes")
    steps = np.frombuffer(value, "<i2").reshape(-1, 3)
    return steps.astype(np.float32) * np.float32(STEP_DM)
  try:
    return bytes(value).decode()
  except UnicodeDecodeError as error:
    raise ValueError(f"{name} is no UTF-8 text: {error}") from error


def _quantized(vertices: Any) -> bytes:
  positions = np.asarray(vertices, np.float64)
  if positions.ndim != 2 or positions.shape[1] != 3:
    raise ValueError(f"vertices must have shape [V, 3], got {positions.shape}")
  farthest = np.abs(positions).max(initial=0)
  if not farthest <= FARTHEST_DM:
    raise ValueError(
      f"vertices must lie within {FARTHEST_DM:.4f} dm of the origin, got {farthest}"
    )
  return np.rint(positions / STEP_DM).astype("<i2").tobytes()


def _checked(name: str, value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
  if value.shape != shape or not np.isfinite(value).all():
    raise ValueError(
      f"{name} must be finite, of shape {shape}, got shape {value.shape}"
    )
  return value


def _encode_image(name: str, picture: Any) -> bytes:
  kind, channels = _IMAGES[name]
  if isinstance(picture, bytes):
    _decode_image(name, picture)
    return picture
  pixels = np.asarray(picture)
  square = pixels.ndim == 3 and pixels.shape[0] == pixels.shape[1] > 0
  if not square or pixels.shape[2] != channels or pixels.dtype != np.uint8:
    raise ValueError(
      f"{name} must be uint8 [S, S, {channels}], got {pixels.dtype} {pixels.shape}"
    )
  stream = io.BytesIO()
  image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
  # 4:4:4 subsampling keeps the colors of lips and eyes sharp.
  options = {"quality": JPEG_QUALITY, "subsampling": 0} if kind == "JPEG" else {}
  image.save(stream, kind, **options)
  return stream.getvalue()


def _decode_image(name: str, data: bytes | memoryview) -> np.ndarray:
  kind, channels = _IMAGES[name]
  try:
    with Image.open(io.BytesIO(data), formats=(kind,)) as image:
      width, height = image.size
      if width != height or width * height > _MOST_PIXELS:
        raise ValueError(
          f"{name} must be square and at most {_MOST_PIXELS} pixels, got "
          f"{width} x {height}"
        )
      mode = "RGB" if channels == 3 else "L"
      if image.mode != mode:
        raise ValueError(f"{name} must be a {kind} of mode {mode}, got {image.mode}")
      pixels = np.asarray(image)
  except (OSError, SyntaxError, Image.DecompressionBombError) as error:
    raise ValueError(f"{name} is no {kind} that can be read: {error}") from error
  return pixels[..., None] if channels == 1 else pixels
