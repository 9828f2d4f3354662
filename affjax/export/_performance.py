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
from typing import Any, TextIO

import numpy as np
from jaxtyping import Float

_MAX_BYTES, _MAX_UNITS = 1 << 28, 1024
# Columns of Live Link Face that are no expression units. The unit of its angles differs
# between versions, and eyes are in the gaze units as well.
_NO_UNIT = re.compile(
  r"timecode|blendshapecount|(head|lefteye|righteye)(yaw|pitch|roll)"
  r"|frame|seconds|confidence|head(yaw|pitch|roll)deg|head[xyz]mm"
)
# Columns that affjax adds: time, s, angles and place of the head.
_SECONDS = "Seconds"
_ANGLES = ("HeadYawDeg", "HeadPitchDeg", "HeadRollDeg")
_PLACE = ("HeadXMm", "HeadYMm", "HeadZMm")
_TIMECODE = re.compile(r"(\d+):(\d+):(\d+)[:;.](\d+(?:\.\d+)?)")
# Frame rates of Live Link Face, frames a second.
_RATES = (24.0, 25.0, 30.0, 60.0)
_DAY = 24 * 3600
# Steps of written timecodes a second: thousandths of 60 frames.
_TICKS = 60000


@dataclasses.dataclass(frozen=True, eq=False)
class Performance:
  """Weights of expression units over time.

  Attributes:
    names: Name of each unit, in ARKit.
    times: Time of each frame, seconds, growing, the first one 0.
    weights: Weight of each unit in each frame, 0 = none, 1 = full.
    head_deg: Yaw, pitch and roll of the head in each frame, degrees; None if it rests.
    head_mm: Movement of the head in each frame, mm: to the right of the image, up, and
      towards the camera; None if it stays in its place.
  """

  names: tuple[str, ...]
  times: Float[np.ndarray, " f"]
  weights: Float[np.ndarray, "f e"]
  head_deg: Float[np.ndarray, "f 3"] | None = None
  head_mm: Float[np.ndarray, "f 3"] | None = None

  def __post_init__(self) -> None:
    if not len(self.times):
      raise ValueError("a performance must have at least one frame, got none")
    arrays = (self.times, self.weights, self.head_deg, self.head_mm)
    if not all(np.isfinite(values).all() for values in arrays if values is not None):
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


class RecordingWriter:
  """Writes a recording, row by row, as a CSV file that `read_performance` reads.

  It has the columns of Live Link Face, and those of the head's pose after them.

  Args:
    file: Text file, opened with `newline=""`.
    names: Names of the expression units, in ARKit.
  """

  def __init__(self, file: TextIO, names: Sequence[str]) -> None:
    self._rows = csv.writer(file, lineterminator="\n")
    units = [f"{name[0].upper()}{name[1:]}" for name in names]
    more = ("Frame", _SECONDS, "Confidence", *_ANGLES, *_PLACE)
    self._rows.writerow(["Timecode", "BlendShapeCount", *units, *more])

  def add(
    self,
    frame: int,
    time: float,
    weights: Float[np.ndarray, " e"],
    *,
    confidence: float,
    head_deg: Sequence[float],
    head_mm: Sequence[float],
  ) -> None:
    """Appends a frame.

    Args:
      frame: Number of the frame in its video.
      time: Time of the frame, s.
      weights: Weight of each unit.
      confidence: Probability that the head lies right on a face.
      head_deg: Yaw, pitch and roll, see `Performance`.
      head_mm: Movement, see `Performance`.
    """
    seconds, part = divmod(round(time * _TICKS), _TICKS)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    code = f"{hours:02}:{minutes:02}:{seconds:02}:{part / 1000:06.3f}"
    self._rows.writerow(
      [
        *(code, len(weights), *(f"{max(value, 0):.4f}" for value in weights)),
        *(frame, f"{time:.6f}", f"{confidence:.3f}"),
        *(f"{value:.3f}" for value in (*head_deg, *head_mm)),
      ]
    )


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
  angles, moves = (
    _vectors(content, key, len(frames)) for key in ("head_deg", "head_mm")
  )
  return Performance(names, np.arange(len(frames)) / rate, weights, angles, moves)


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
  if _SECONDS in rows[0]:
    times = _columns(seen, (_SECONDS,))[:, 0]
    times = np.arange(len(seen)) / fps if fps else times - times[:1]
  else:
    times = _times([row["Timecode"] for row in seen], fps)
  angles, moves = (
    _columns(seen, group) if group[0] in rows[0] else None
    for group in (_ANGLES, _PLACE)
  )
  return Performance(names, times, weights, angles, moves)


def _columns(
  rows: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> Float[np.ndarray, "f n"]:
  """Returns numbers of some columns."""
  found = np.zeros((len(rows), len(names)))
  for k, row in enumerate(rows):
    found[k] = [_number(row.get(name), f"{name} of frame {k}") for name in names]
  return found


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


def _vectors(
  content: Mapping[str, Any], key: str, count: int
) -> Float[np.ndarray, "f 3"] | None:
  """Returns three numbers for each frame, or None where a file has none."""
  given = content.get(key)
  if given is None:
    return None
  try:
    found = np.array(given, np.float64)
  except (OverflowError, TypeError, ValueError):
    found = np.zeros(0)
  if found.shape != (count, 3):
    raise ValueError(f"{key} must hold three numbers for each of {count} frames")
  return found


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
