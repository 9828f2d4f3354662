"""Performances: weights of expression units over time, from JSON or CSV files.

Files are hostile input: nothing of them is executed, and every mistake is one line.
"""

import csv
import dataclasses
import io
import json
import math
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

_MAX_BYTES, _MAX_UNITS = 1 << 28, 1024
# Columns of Live Link Face that are no expression units. The unit of its angles differs
# between versions, and eyes are in the gaze units as well.
_NO_UNIT = re.compile(
  r"timecode|blendshapecount|(head|lefteye|righteye)(yaw|pitch|roll)"
)
_TIMECODE = re.compile(r"(\d+):(\d+):(\d+)[:;.](\d+(?:\.\d+)?)")
# Frame rates of Live Link Face, frames a second.
_RATES = (24.0, 25.0, 30.0, 60.0)
_DAY = 24 * 3600


@dataclasses.dataclass(frozen=True, eq=False)
class Performance:
  """Weights of expression units over time.

  Attributes:
    names: Name of each unit, in ARKit.
    times: Time of each frame, seconds, growing, the first one 0.
    weights: Weight of each unit in each frame, 0 = none, 1 = full.
    head_deg: Yaw, pitch and roll of the head in each frame, degrees; None if it rests.
  """

  names: tuple[str, ...]
  times: Float[np.ndarray, " f"]
  weights: Float[np.ndarray, "f e"]
  head_deg: Float[np.ndarray, "f 3"] | None = None

  def __post_init__(self) -> None:
    if not len(self.times):
      raise ValueError("a performance must have at least one frame, got none")
    arrays = (
      self.times,
      self.weights,
      *([] if self.head_deg is None else [self.head_deg]),
    )
    if not all(np.isfinite(values).all() for values in arrays):
      raise ValueError("weights, times and angles must be finite, got NaN or infinity")
    if (np.diff(self.times) <= 0).any():
      frame = int(np.argmax(np.diff(self.times) <= 0)) + 1
      raise ValueError(f"times must grow from frame to frame, frame {frame} does not")


def read_performance(
  path: str | pathlib.Path, *, fps: float | None = None
) -> Performance:
  """Reads a performance from a JSON file, or from a CSV file of Live Link Face.

  docs/animation.md states both formats.

  Args:
    path: File whose name ends in `.json` or `.csv`.
    fps: Frames a second, in place of what the file says.

  Raises:
    ValueError: The file is missing, too large, of no such format, or holds a number
      that is none; the message names the file.
  """
  path = pathlib.Path(path)
  try:
    if fps is not None and not 0 < fps < math.inf:
      raise ValueError(f"fps must be positive, got {fps}")
    read = {".json": _from_json, ".csv": _from_csv}.get(path.suffix.lower())
    if read is None:
      raise ValueError("the name of a performance must end in .json or .csv")
    if not path.is_file():
      raise ValueError("no such file")
    if path.stat().st_size > _MAX_BYTES:
      raise ValueError(f"a performance must have at most {_MAX_BYTES} bytes")
    return read(path.read_text("utf-8-sig"), fps)
  except UnicodeDecodeError:
    raise ValueError(f"performance {str(path)!r}: not text in UTF-8") from None
  except (ValueError, RecursionError, csv.Error) as error:
    reason = " ".join(str(error).split())
    raise ValueError(f"performance {str(path)!r}: {reason}") from None


def _from_json(text: str, fps: float | None) -> Performance:
  try:
    content = json.loads(text)
  except ValueError as error:
    raise ValueError(f"not JSON: {error}") from None
  if not isinstance(content, dict) or not isinstance(content.get("frames"), list):
    raise ValueError('expected an object with a list "frames" and a number "fps"')
  frames: list[Any] = content["frames"]
  for k, frame in enumerate(frames):
    if not isinstance(frame, dict):
      raise ValueError(f"frame {k} must map names of units to weights, got {frame!r}")
  rate = fps or _number(content.get("fps"), "fps")
  if not 0 < rate < math.inf:
    raise ValueError(f"fps must be positive, got {rate}")
  names, weights = _table(frames)
  head = content.get("head_deg")
  angles = None if head is None else _angles(head, len(frames))
  return Performance(names, np.arange(len(frames)) / rate, weights, angles)


def _from_csv(text: str, fps: float | None) -> Performance:
  rows = list(csv.DictReader(io.StringIO(text)))
  if not rows or "Timecode" not in rows[0]:
    raise ValueError('expected rows under a header with a column "Timecode"')
  # Rows without weights are frames in which the phone saw no face.
  seen = [row for row in rows if row.get("BlendShapeCount") != "0"]
  frames = [
    {
      f"{name[0].lower()}{name[1:]}": value
      for name, value in row.items()
      if _unit(name)
    }
    for row in seen
  ]
  names, weights = _table(frames)
  return Performance(names, _times([row["Timecode"] for row in seen], fps), weights)


def _unit(column: str | None) -> bool:
  """Returns whether a column of a CSV file is an expression unit."""
  return bool(column) and not _NO_UNIT.fullmatch(str(column).lower())


def _table(
  frames: Sequence[Mapping[str, Any]],
) -> tuple[tuple[str, ...], Float[np.ndarray, "f e"]]:
  """Returns the names of units and their weights; 0 where a frame names none."""
  names = tuple(dict.fromkeys(name for frame in frames for name in frame))
  if len(names) > _MAX_UNITS:
    raise ValueError(f"a performance must have at most {_MAX_UNITS} units")
  column = {name: k for k, name in enumerate(names)}
  weights = np.zeros((len(frames), len(names)))
  for k, frame in enumerate(frames):
    for name, value in frame.items():
      weights[k, column[name]] = _number(value, f"{name} of frame {k}")
  return names, weights


def _number(value: Any, what: str) -> float:
  try:
    if isinstance(value, bool):
      raise TypeError
    return float(value)
  except OverflowError:
    raise ValueError(f"{what} must be a number below 1e308") from None
  except (TypeError, ValueError):
    raise ValueError(f"{what} must be a number, got {value!r}") from None


def _angles(given: Any, count: int) -> Float[np.ndarray, "f 3"]:
  """Returns the angles of the head, degrees."""
  try:
    angles = np.array(given, np.float64)
  except (OverflowError, TypeError, ValueError):
    angles = np.zeros(0)
  if angles.shape != (count, 3):
    raise ValueError(f"head_deg must hold yaw, pitch and roll of {count} frames")
  return angles


def _times(codes: Sequence[str], fps: float | None) -> Float[np.ndarray, " f"]:
  """Returns seconds since the first timecode, `HH:MM:SS:FF` with a fraction of FF."""
  matches = [_TIMECODE.fullmatch((code or "").strip()) for code in codes]
  for code, match in zip(codes, matches, strict=True):
    if match is None:
      raise ValueError(f"a timecode must be HH:MM:SS:FF.FFF, got {code!r}")
  table = np.array([m.groups() for m in matches if m], np.float64).reshape(-1, 4)
  last = table[:, 3].max(initial=0)
  rate = fps or next((rate for rate in _RATES if last < rate), _RATES[-1])
  seconds = table[:, :3] @ [3600, 60, 1] + table[:, 3] / rate
  # A recording may pass midnight.
  seconds += _DAY * np.cumsum(np.diff(seconds, prepend=seconds[:1]) < -_DAY / 2)
  return seconds - seconds[:1]
