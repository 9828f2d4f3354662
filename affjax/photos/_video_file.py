"""Video files as frames, and frames as video files, by PyAV.

Files are hostile input: the first bytes choose the only format that FFmpeg may take a
file for, so that playlists, which name other files, are never followed.
"""

import contextlib
import dataclasses
import importlib
import pathlib
from collections.abc import Iterator
from fractions import Fraction
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import UInt8

# Longer side of the frames that are worked on, px: larger ones are reduced.
LONGEST = 1280
# Largest number of pixels of a frame of a file: 8K has 33 million.
_MOST_PIXELS = 67_000_000
# Least width and height, px.
_SMALLEST = 32
# Formats by the bytes at a place of the file.
_SIGNATURES = (
  (4, b"ftyp", "mov"),
  (4, b"moov", "mov"),
  (4, b"mdat", "mov"),
  (4, b"wide", "mov"),
  (4, b"free", "mov"),
  (0, b"\x1aE\xdf\xa3", "matroska"),
  (8, b"AVI ", "avi"),
  (0, b"\x47", "mpegts"),
  (4, b"\x47", "mpegts"),  # with time stamps, as AVCHD cameras write it
  (0, b"\x00\x00\x01\xba", "mpeg"),
  (0, b"FLV", "flv"),
  (0, b"OggS", "ogg"),
  (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
)
# Missing time at the end, s, from which a file is said to break off.
_MISSING = 0.5
# Longest time between two frames that is believed, s.
_LONGEST_GAP = 3600.0
# Frame rate where a file states none, frames a second.
_RATE = 30.0
# Time base of written files.
_TIME_BASE = Fraction(1, 90000)


class ClipError(ValueError):
  """An error in reading a video; its message is one line without the file's name."""


@dataclasses.dataclass(frozen=True, eq=False)
class ClipFrame:
  """A frame: its number, its time since the first one (s), and its pixels, upright."""

  number: int
  time: float
  pixels: UInt8[np.ndarray, "h w 3"]


class Clip:
  """A video file, whose frames are read one after the other.

  Args:
    path: The file.

  Attributes:
    broken: Where and why the file ended early, after its frames were read; "" if it did
      not.
    frames: Number of frames that were read.
  """

  def __init__(self, path: pathlib.Path) -> None:
    self.path, self.broken, self.frames = path, "", 0
    self._av = _pyav()
    self._format = _format(path)

  def __iter__(self) -> Iterator[ClipFrame]:
    """Yields the frames.

    A damaged part is left out, and what follows the point at which the file breaks off
    is missing; `broken` tells.

    Raises:
      ClipError: The file cannot be opened, or has no frames.
    """
    self.broken, self.frames = "", 0
    try:
      with (
        self.path.open("rb") as file,
        self._av.open(file, format=self._format) as container,
      ):
        yield from self._frames(container, _stream(container))
    except self._av.FFmpegError as error:
      if not self.frames:
        raise ClipError(f"a video that cannot be read: {_reason(error)}") from None
      self.broken = f"{self.frames} frames were read, then: {_reason(error)}"
    if not self.frames:
      raise ClipError("a video without frames")

  def _frames(self, container: Any, stream: Any) -> Iterator[ClipFrame]:
    size: tuple[int, int] | None = None
    first, last, step = 0.0, 0.0, 1 / float(stream.average_rate or _RATE)
    for frame in self._decoded(container, stream):
      size = size or _reduced(frame, stream)
      known = None if frame.pts is None else float(frame.pts * frame.time_base)
      if not self.frames:
        first = known or 0.0
      time = last + step if known is None else known - first
      if self.frames and not last < time < last + _LONGEST_GAP:
        time = last + step
      yield ClipFrame(self.frames, time, _upright(frame, size))
      self.frames, last = self.frames + 1, time
    stated = float((stream.duration or 0) * (stream.time_base or 0))
    if self.frames and not self.broken and last + step < stated - _MISSING:
      self.broken = f"it breaks off after {last:.1f} of {stated:.1f} s"

  def _decoded(self, container: Any, stream: Any) -> Iterator[Any]:
    """Yields decoded frames; parts that cannot be decoded are left out."""
    stream.thread_type = "AUTO"
    for packet in container.demux(stream):
      try:
        frames = packet.decode()
      except self._av.error.InvalidDataError as error:
        self.broken = f"some of its frames are damaged: {_reason(error)}"
        continue
      yield from frames


class ClipWriter:
  """Writes an MP4 file, frame by frame, with the times of another video.

  Args:
    path: The file.
    size: Height and width of the frames, px, even.
  """

  def __init__(self, path: pathlib.Path, size: tuple[int, int]) -> None:
    self._av = _pyav()
    self._container = self._av.open(str(path), "w", format="mp4")
    encoders = self._av.codecs_available
    h264 = "libx264" in encoders
    self._stream = self._container.add_stream("libx264" if h264 else "mpeg4", rate=30)
    self._stream.height, self._stream.width = size
    self._stream.pix_fmt = "yuv420p"
    self._stream.codec_context.time_base = _TIME_BASE
    if h264:
      self._stream.options = {"preset": "veryfast", "crf": "20"}
    self._start: float | None = None

  def __enter__(self) -> "ClipWriter":
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
  ) -> None:
    self.close()

  def add(self, pixels: UInt8[np.ndarray, "h w 3"], time: float) -> None:
    """Appends a frame; times, s, grow, and the first one becomes 0."""
    self._start = time if self._start is None else self._start
    frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24")
    frame.pts = round((time - self._start) / _TIME_BASE)
    frame.time_base = _TIME_BASE
    with self._as_os_errors():
      self._container.mux(self._stream.encode(frame))

  def close(self) -> None:
    """Writes what is left, and closes the file; a second time it does nothing."""
    started, self._start = self._start is not None, None
    with self._as_os_errors():
      if started:
        self._container.mux(self._stream.encode())
      self._container.close()

  @contextlib.contextmanager
  def _as_os_errors(self) -> Iterator[None]:
    """Turns errors of FFmpeg, such as a full disk, into an `OSError`."""
    try:
      yield
    except self._av.FFmpegError as error:
      raise OSError(error.errno, _reason(error)) from error


def _pyav() -> Any:
  """Returns PyAV, or says how to get it."""
  try:
    return importlib.import_module("av")
  except ImportError:
    raise ClipError(
      "a video needs PyAV: install it by pip install 'affjax[video]'"
    ) from None


def _format(path: pathlib.Path) -> str:
  """Returns FFmpeg's name of the format of a file."""
  if not path.exists():
    raise ClipError("no such file")
  if not path.is_file():
    raise ClipError("not a regular file")
  with path.open("rb") as file:
    start = file.read(16)
  if not start:
    raise ClipError("the file is empty")
  for place, content, name in _SIGNATURES:
    if start[place:].startswith(content):
      return name
  raise ClipError("not a video: its first bytes are those of no known format")


def _stream(container: Any) -> Any:
  """Returns the first stream of moving pictures, cover pictures aside."""
  for stream in container.streams.video:
    if "attached_pic" not in str(stream.disposition):
      if stream.width * stream.height > _MOST_PIXELS:
        raise ClipError(
          f"too large: {stream.width} x {stream.height} px, expected at most "
          f"{_MOST_PIXELS} pixels"
        )
      return stream
  raise ClipError("a file without moving pictures")


def _reduced(frame: Any, stream: Any) -> tuple[int, int]:
  """Returns width and height of the frames that are worked on, before turning."""
  aspect = float(stream.sample_aspect_ratio or 1) or 1.0
  wide, high = frame.width * aspect, float(frame.height)
  if min(wide, high) < _SMALLEST:
    raise ClipError(
      f"too small: {frame.width} x {frame.height} px, expected at least "
      f"{_SMALLEST} x {_SMALLEST}"
    )
  scale = min(1.0, LONGEST / max(wide, high))
  return max(2, round(wide * scale)), max(2, round(high * scale))


def _upright(frame: Any, size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
  """Returns the pixels of a frame, turned as its file says."""
  width, height = size
  rgb = frame.reformat(width=width, height=height, format="rgb24", interpolation="AREA")
  turns = round(frame.rotation / 90)
  return np.ascontiguousarray(np.rot90(rgb.to_ndarray(), turns))


def _reason(error: Exception) -> str:
  """Returns what FFmpeg says, without its number and the file's name."""
  return str(getattr(error, "strerror", "") or error) or type(error).__name__
