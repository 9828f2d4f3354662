"""Reading and writing of video files, and files that are none."""

import sys
from fractions import Fraction

import av
import numpy as np
import pytest

from affjax.photos import ClipError, ClipWriter
from affjax.photos._video_file import LONGEST, Clip


def picture(k: int, height: int = 64, width: int = 96) -> np.ndarray:
  """A frame whose left half is red, and whose right half tells its number."""
  frame = np.zeros((height, width, 3), np.uint8)
  frame[:, : width // 2, 0] = 200
  frame[:, width // 2 :] = 4 * k
  return frame


def write(
  path, times, *, size=(64, 96), codec="libx264", kind="mp4", turn=0, **options
):
  with av.open(str(path), "w", format=kind, options=options) as container:
    stream = container.add_stream(codec, rate=30)
    stream.height, stream.width = size
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = Fraction(1, 1000)
    stream.codec_context.gop_size = 5
    if turn:
      stream.set_display_rotation(turn)
    for k, time in enumerate(times):
      frame = av.VideoFrame.from_ndarray(picture(k, *size), "rgb24")
      frame.pts, frame.time_base = round(1000 * time), Fraction(1, 1000)
      container.mux(stream.encode(frame))
    container.mux(stream.encode())
  return path


@pytest.mark.parametrize("kind", ["mp4", "matroska", "mpegts", "avi"])
def test_frames_come_back_in_order(tmp_path, kind):
  codec = "mpeg4" if kind == "avi" else "libx264"
  path = write(tmp_path / "clip", np.arange(7) / 25, kind=kind, codec=codec)
  clip = Clip(path)
  frames = list(clip)
  assert [frame.number for frame in frames] == list(range(7))
  assert clip.frames == 7
  assert clip.broken == ""
  gray = [frame.pixels[32, 80].mean() for frame in frames]
  np.testing.assert_allclose(gray, 4 * np.arange(7), atol=3)
  assert [frame.time for frame in clip] == [frame.time for frame in frames], "again"


def test_times_are_those_of_a_variable_frame_rate(tmp_path):
  times = [0, 0.033, 0.5, 0.51, 2.0]
  frames = list(Clip(write(tmp_path / "clip.mp4", times)))
  np.testing.assert_allclose([frame.time for frame in frames], times, atol=2e-3)


def test_what_the_writer_writes_is_read_again(tmp_path):
  times = [3.0, 3.1, 3.5]
  with ClipWriter(tmp_path / "a.mp4", (64, 96)) as writer:
    for k, time in enumerate(times):
      writer.add(picture(k), time)
  frames = list(Clip(tmp_path / "a.mp4"))
  np.testing.assert_allclose([frame.time for frame in frames], [0, 0.1, 0.5], atol=1e-3)
  assert frames[0].pixels.shape == (64, 96, 3)
  assert frames[0].pixels[32, 20, 0] > 150 > 60 > frames[0].pixels[32, 20, 1]


@pytest.mark.parametrize(("turn", "red"), [(90, (75, 32)), (-90, (20, 32))])
def test_frames_are_turned_as_the_file_says(tmp_path, turn, red):
  """A quarter turn to the left brings the left half to the bottom."""
  (frame, *_) = Clip(write(tmp_path / "clip.mp4", [0, 0.1], turn=turn))
  assert frame.pixels.shape == (96, 64, 3)
  assert frame.pixels[red][0] > 150
  assert frame.pixels[95 - red[0], red[1], 0] < 60


def test_large_frames_are_reduced(tmp_path):
  path = write(tmp_path / "8k.mp4", [0], size=(4320, 7680), codec="mpeg4")
  (frame,) = Clip(path)
  assert frame.pixels.shape == (LONGEST * 9 // 16, LONGEST, 3)


def test_frames_before_a_break_are_used(tmp_path):
  whole = write(
    tmp_path / "a.mp4", np.arange(60) / 30, movflags="faststart", size=(96, 128)
  )
  content = whole.read_bytes()
  cut = tmp_path / "cut.mp4"
  cut.write_bytes(content[: len(content) * 3 // 4])
  clip = Clip(cut)
  frames = list(clip)
  assert 10 < len(frames) < 60
  assert clip.broken


def test_a_file_whose_index_is_cut_off_is_one_line(tmp_path):
  whole = write(tmp_path / "a.mp4", np.arange(30) / 30)
  cut = tmp_path / "cut.mp4"
  cut.write_bytes(whole.read_bytes()[:-200])
  with pytest.raises(ClipError, match="cannot be read"):
    list(Clip(cut))


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (b"", "empty"),
    (b"hello, this is no video at all", "not a video"),
    (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.ts\n", "not a video"),
    (b"ffconcat version 1.0\nfile other.mp4\n", "not a video"),
    (b"\x00\x00\x00\x18ftypmp42" + bytes(300), "video"),
    (b"\x1aE\xdf\xa3" + bytes(300), "video"),
  ],
)
def test_what_is_no_video_is_one_line(tmp_path, content, message):
  path = tmp_path / "a.mp4"
  path.write_bytes(content)
  with pytest.raises(ClipError, match=message) as error:
    list(Clip(path))
  assert "\n" not in str(error.value)


def test_a_video_without_frames_is_one_line(tmp_path):
  path = tmp_path / "a.mkv"
  with av.open(str(path), "w", format="matroska") as container:
    container.add_stream("libx264", rate=30).width = 64
    container.start_encoding()
  with pytest.raises(ClipError, match=r"without frames|cannot be read"):
    list(Clip(path))


def test_sound_alone_is_no_video(tmp_path):
  path = tmp_path / "a.mp4"
  with av.open(str(path), "w", format="mp4") as container:
    stream = container.add_stream("aac", rate=8000)
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
    frame.sample_rate = 8000
    container.mux(stream.encode(frame))
    container.mux(stream.encode())
  with pytest.raises(ClipError, match="without moving pictures"):
    list(Clip(path))


def test_without_pyav_the_extra_is_named(tmp_path, monkeypatch):
  path = write(tmp_path / "a.mp4", [0])
  monkeypatch.setitem(sys.modules, "av", None)
  with pytest.raises(ClipError, match=r"affjax\[video\]"):
    Clip(path)
