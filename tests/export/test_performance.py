"""Recordings of expressions: JSON, Live Link Face's CSV, and hostile files."""

import json

import numpy as np
import pytest

from affjax.export import RecordingWriter, read_performance

HEADER = "Timecode,BlendShapeCount,EyeBlinkLeft,JawOpen,HeadYaw,LeftEyePitch"


def _written(path, content):
  path.write_text(content if isinstance(content, str) else json.dumps(content))
  return path


def test_json(tmp_path):
  frames = [{"jawOpen": 0.5}, {}, {"jawOpen": 1, "browInnerUp": 0.25}]
  content = {"fps": 20, "frames": frames, "head_deg": [[0, 0, 0], [1, 2, 3], [2, 4, 6]]}
  read = read_performance(_written(tmp_path / "a.json", content))
  assert read.names == ("jawOpen", "browInnerUp")
  np.testing.assert_allclose(read.times, [0, 0.05, 0.1])
  np.testing.assert_array_equal(read.weights, [[0.5, 0], [0, 0], [1, 0.25]])
  np.testing.assert_array_equal(read.head_deg[1], [1, 2, 3])
  slow = read_performance(tmp_path / "a.json", fps=10)
  np.testing.assert_allclose(slow.times, [0, 0.1, 0.2])


def test_live_link_face(tmp_path):
  rows = [
    "23:59:59:58.500,61,0.1,0.2,12,3",
    "23:59:59:59.250,0,,,,",
    "00:00:00:00.500,61,0.3,0.4,12,3",
  ]
  path = _written(tmp_path / "take.csv", "\ufeff" + "\n".join([HEADER, *rows]))
  read = read_performance(path)
  assert read.names == ("eyeBlinkLeft", "jawOpen")
  # Two frames of 60 a second; the one without a face is left out.
  np.testing.assert_allclose(read.times, [0, 2 / 60], atol=1e-9)
  np.testing.assert_array_equal(read.weights, [[0.1, 0.2], [0.3, 0.4]])
  assert read.head_deg is None


@pytest.mark.parametrize(
  ("last", "fps"), [(23, 24), (24, 25), (29, 30), (30, 60), (59, 60)]
)
def test_the_frame_rate_is_the_least_that_fits(tmp_path, last, fps):
  rows = [f"10:00:00:{k}.0,61,0,0,0,0" for k in (0, last)]
  read = read_performance(_written(tmp_path / "a.csv", "\n".join([HEADER, *rows])))
  np.testing.assert_allclose(read.times[-1], last / fps)


@pytest.mark.parametrize(
  ("name", "content", "words"),
  [
    ("a.txt", "x", "must end in .json or .csv"),
    ("a.json", "{", "not JSON"),
    ("a.json", "[" * 100_000, "recursion"),
    ("a.json", [1], 'a list "frames"'),
    ("a.json", {"fps": 30, "frames": [3]}, "frame 0 must map names"),
    ("a.json", {"fps": 30, "frames": []}, "at least one frame"),
    ("a.json", {"frames": [{}]}, "fps must be a number, got None"),
    ("a.json", {"fps": 0, "frames": [{}]}, "fps must be positive"),
    ("a.json", {"fps": 1, "frames": [{"x": "much"}]}, "x of frame 0 must be a number"),
    ("a.json", '{"fps": 1, "frames": [{"x": NaN}]}', "finite"),
    ("a.json", {"fps": 1, "frames": [{"x": 10**400}]}, "x of frame 0 must be a number"),
    ("a.json", {"fps": 10**400, "frames": [{}]}, "fps must be a number"),
    ("a.json", {"fps": 1, "frames": [{}], "head_deg": [[10**400] * 3]}, "must hold"),
    (
      "a.json",
      {"fps": 1, "frames": [{str(k): 0} for k in range(1025)]},
      "at most 1024",
    ),
    ("a.json", '{"fps": 1e400, "frames": [{}]}', "positive"),
    ("a.json", {"fps": 1, "frames": [{}], "head_deg": [1]}, "head_deg must hold"),
    ("a.csv", "", "Timecode"),
    ("a.csv", "a,b\n1,2\n", "Timecode"),
    ("a.csv", HEADER + "\nnow,61,0,0,0,0\n", "got 'now'"),
    ("a.csv", HEADER + "\n1:2:3:4,61,,0,0,0\n", "must be a number, got ''"),
    ("a.csv", HEADER + "\n1:2:3:4,61,0,0,0,0" * 2, "times must grow"),
  ],
)
def test_mistakes_are_one_line(tmp_path, name, content, words):
  path = _written(tmp_path / name, content)
  with pytest.raises(ValueError, match=words) as caught:
    read_performance(path)
  assert str(path) in str(caught.value)
  assert "\n" not in str(caught.value)


def test_missing_and_binary_files(tmp_path):
  with pytest.raises(ValueError, match="no such file"):
    read_performance(tmp_path / "none.json")
  (tmp_path / "a.json").write_bytes(b"\xff\xfe\x00")
  with pytest.raises(ValueError, match="not text in UTF-8"):
    read_performance(tmp_path / "a.json")


def test_a_recording_with_poses_is_read_as_it_was_written(tmp_path):
  times = [0.5, 0.5333, 0.7, 61.999999]
  path = tmp_path / "frames.csv"
  rng = np.random.default_rng(5)
  weights, poses = rng.random((4, 2)), rng.normal(0, 30, (4, 6))
  with path.open("w", newline="") as file:
    writer = RecordingWriter(file, ("jawOpen", "browInnerUp"))
    for k, time in enumerate(times):
      angles, place = poses[k, :3].tolist(), poses[k, 3:].tolist()
      writer.add(k, time, weights[k], confidence=0.9, head_deg=angles, head_mm=place)
  found = read_performance(path)
  assert found.names == ("jawOpen", "browInnerUp")
  np.testing.assert_allclose(found.times, np.subtract(times, 0.5), atol=1e-5)
  np.testing.assert_allclose(found.weights, weights, atol=1e-4)
  np.testing.assert_allclose(found.head_deg, poses[:, :3], atol=1e-3)
  np.testing.assert_allclose(found.head_mm, poses[:, 3:], atol=1e-3)
  np.testing.assert_allclose(read_performance(path, fps=10).times, np.arange(4) / 10)
  assert path.read_text().splitlines()[4].startswith("00:01:02:00.000,2,")


def test_a_movement_in_json_becomes_a_translation(tmp_path):
  path = tmp_path / "a.json"
  path.write_text(
    json.dumps({"fps": 10, "frames": [{}, {}], "head_mm": [[0, 0, 0], [10, 20, -30]]})
  )
  np.testing.assert_allclose(read_performance(path).head_mm[1], [10, 20, -30])
  path.write_text(json.dumps({"fps": 10, "frames": [{}], "head_mm": [[0, 0]]}))
  with pytest.raises(ValueError, match="head_mm must hold"):
    read_performance(path)
