"""`affjax animate` as a user meets it."""

import json

import pytest

from affjax.export import glb_bytes, head_mesh, png_bytes
from tests.command_line import run
from tests.export.conftest import ball_expression, ball_template, landmark_texture
from tests.export.gltf import parse


@pytest.fixture
def head(tmp_path):
  ball = ball_template()
  content = glb_bytes(
    head_mesh(ball.vertices, ball),
    texture_png=png_bytes(landmark_texture()),
    extras={},
    expression=ball_expression(ball),
  )
  path = tmp_path / "head.glb"
  path.write_bytes(content)
  return path


@pytest.fixture
def recording(tmp_path):
  frames = [{"jawOpen": 0}, {"jawOpen": 1.2, "mouthSmileLeft": 0.5}]
  path = tmp_path / "talk.json"
  path.write_text(json.dumps({"fps": 10, "frames": frames}))
  return path


def test_an_animated_head_is_written(head, recording, tmp_path):
  result = run("animate", head, recording)
  assert result.exit_code == 0, result.stderr
  out = tmp_path / "head-talk.glb"
  assert result.stdout == f"2 frames, 0.10 s: {out}\n"
  assert result.stderr.splitlines() == [
    "note: the head has no morph target for mouthSmileLeft",
    "note: 1 weight outside of 0 to 1 limited to it",
  ]
  (animation,) = parse(out.read_bytes())[0]["animations"]
  assert animation["name"] == "talk"
  assert run("animate", head, recording).exit_code == 2
  slow = run("animate", head, recording, "--fps", "2", "--overwrite")
  assert slow.stdout.startswith("2 frames, 0.50 s")


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    (("none.glb", "talk.json"), "none.glb': No such file"),
    (("talk.json", "talk.json"), "not a .glb file"),
    (("head.glb", "none.json"), "none.json': no such file"),
    (("head.glb", "talk.json", "--fps", "-1"), "fps must be positive"),
    (("head.glb", "talk.json", "-o", "none/out.glb"), "out.glb': no such folder"),
  ],
)
def test_mistakes_are_one_line(
  head, recording, tmp_path, monkeypatch, arguments, words
):
  monkeypatch.chdir(tmp_path)
  result = run("animate", *arguments)
  assert result.exit_code == 2
  assert words in result.stderr
  assert len(result.stderr.splitlines()) == 1
  assert sorted(p.name for p in tmp_path.iterdir()) == ["head.glb", "talk.json"]
