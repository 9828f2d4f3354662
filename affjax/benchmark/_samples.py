"""One sample of a benchmark set: a photo and the head that it shows, as two files."""

import dataclasses
import hashlib
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

# Vertices and scan points are stored in steps of 0.01 mm.
_STEP_DM = 1e-4
_JPEG_QUALITY = 95
_ARRAYS = ("vertices", "pose", "light", "light_color", "expression_mm", "scan")
_PICTURES = ("visible", "diffuse")


class SampleError(ValueError):
  """The files of a sample are damaged or missing."""


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
  """A photo and its truth, see `affjax.eval.Truths`."""

  photo: UInt8[np.ndarray, "h h 3"]
  visible: UInt8[np.ndarray, "h h"]
  vertices: Float[np.ndarray, "v 3"]
  pose: Float[np.ndarray, " 6"]
  diffuse: UInt8[np.ndarray, "s s 3"]
  light: Float[np.ndarray, "l l 1"]
  light_color: Float[np.ndarray, " 3"]
  expression_mm: float
  scan: Float[np.ndarray, "p 3"]


@dataclasses.dataclass(frozen=True)
class Encoded:
  """The content of the two files of a sample: a JPEG and an `.npz`."""

  photo: bytes
  truth: bytes

  @property
  def sha256(self) -> str:
    """The hash of both files."""
    return hashlib.sha256(self.photo + self.truth).hexdigest()


def encode(sample: Sample) -> Encoded:
  """Returns the files of a sample."""
  arrays: dict[str, Any] = {
    "vertices": _quantized(sample.vertices),
    "pose": sample.pose.astype(np.float32),
    "light": sample.light.astype(np.float16),
    "light_color": sample.light_color.astype(np.float32),
    "expression_mm": np.float32(sample.expression_mm),
    "scan": _quantized(sample.scan),
    "visible": np.frombuffer(_picture(sample.visible, "PNG"), np.uint8),
    "diffuse": np.frombuffer(_picture(sample.diffuse, "PNG"), np.uint8),
  }
  stream = io.BytesIO()
  np.savez_compressed(stream, **arrays)
  return Encoded(_picture(sample.photo, "JPEG"), stream.getvalue())


def decode(files: Encoded) -> Sample:
  """Returns the sample in two files.

  Raises:
    SampleError: A file cannot be read or lacks something.
  """
  try:
    with np.load(io.BytesIO(files.truth), allow_pickle=False) as file:
      found: Mapping[str, np.ndarray] = {k: file[k] for k in (*_ARRAYS, *_PICTURES)}
    pictures = {name: _pixels(found[name].tobytes(), "PNG") for name in _PICTURES}
    photo = _pixels(files.photo, "JPEG")
  except (OSError, ValueError, KeyError, EOFError, SyntaxError) as error:
    raise SampleError(f"cannot be read: {error}") from error
  return Sample(
    photo=photo,
    vertices=found["vertices"].astype(np.float32) * np.float32(_STEP_DM),
    pose=found["pose"],
    light=found["light"].astype(np.float32),
    light_color=found["light_color"],
    expression_mm=float(found["expression_mm"]),
    scan=found["scan"].astype(np.float32) * np.float32(_STEP_DM),
    **pictures,
  )


def _quantized(points: Float[np.ndarray, "p 3"]) -> np.ndarray:
  steps = np.rint(points / _STEP_DM)
  if not (np.abs(steps) <= 32767).all():
    raise ValueError("points must be finite and within 3.27 dm of the origin")
  return steps.astype(np.int16)


def _picture(pixels: np.ndarray, kind: str) -> bytes:
  stream = io.BytesIO()
  options = {"quality": _JPEG_QUALITY, "subsampling": 0} if kind == "JPEG" else {}
  Image.fromarray(pixels).save(stream, kind, **options)
  return stream.getvalue()


def _pixels(data: bytes, kind: str) -> np.ndarray:
  with Image.open(io.BytesIO(data), formats=(kind,)) as image:
    return np.asarray(image)
