"""Heads with expressions: morph targets, eyes that turn, animations, three.js."""

import json
import os
import pathlib
import shutil
import subprocess

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from affjax.export import (
  Expression,
  Performance,
  _gltf_file,
  animated_glb,
  glb_bytes,
  head_mesh,
  png_bytes,
  target_names,
)
from tests.export.conftest import EYES, ball_expression
from tests.export.gltf import issues, node_package, parse, values

WEIGHTS = {"jawOpen": 0.5, "eyeLookOutLeft": 0.5, "eyeLookUpLeft": 0.25}


@pytest.fixture(scope="module")
def expression(ball):
  return ball_expression(ball, **WEIGHTS)


@pytest.fixture(scope="module")
def content(ball_mesh, texture, expression):
  texture_png = png_bytes(texture)
  return glb_bytes(ball_mesh, texture_png=texture_png, extras={}, expression=expression)


def _posed(content):
  """Vertices of each node in the space of the head, meters, under default weights."""
  document, data = parse(content)
  posed = {}
  for node in document["nodes"]:
    mesh = document["meshes"][node["mesh"]]
    primitive = mesh["primitives"][0]
    points = values(document, data, primitive["attributes"]["POSITION"]).astype(float)
    for weight, target in zip(
      mesh.get("weights", []), primitive.get("targets", []), strict=True
    ):
      points = points + weight * values(document, data, target["POSITION"])
    turned = Rotation.from_quat(node.get("rotation", [0, 0, 0, 1])).apply(points)
    posed[node["name"]] = turned + node.get("translation", [0, 0, 0])
  return posed


def test_targets_are_named_and_weighed(content, expression):
  document, data = parse(content)
  head = document["meshes"][0]
  assert head["extras"]["targetNames"] == list(expression.names)
  assert target_names(content) == expression.names
  np.testing.assert_allclose(head["weights"], expression.weights, atol=1e-5)
  for primitive in head["primitives"]:
    assert len(primitive["targets"]) == len(expression.names)
  jaw = head["primitives"][0]["targets"][expression.names.index("jawOpen")]
  moves = values(document, data, jaw["POSITION"])
  bounds = document["accessors"][jaw["POSITION"]]
  np.testing.assert_array_equal(bounds["min"], moves.min(0))
  np.testing.assert_array_equal(bounds["max"], moves.max(0))


def test_the_default_weights_show_the_expression(content, ball, expression):
  """Neutral + weights is the head with its expression; teeth fall with the jaw."""
  shown = (ball.vertices + expression.displacement) * 0.1
  posed = np.concatenate(list(_posed(content).values()))
  apart = np.linalg.norm(shown[:, None] - posed[None], axis=-1)
  eyes = np.unique(ball.faces[ball.face_groups == 1])
  rest = np.setdiff1d(np.unique(ball.faces), eyes)
  assert apart[rest].min(1).max() < 2e-5
  # The eyes turn on circles, the sum of their units goes straight.
  assert apart[eyes].min(1).max() < 6e-4
  teeth = np.unique(ball.faces[ball.face_groups == 2])
  np.testing.assert_allclose(expression.displacement[teeth, 1], -0.15, atol=1e-6)


def test_moved_vertices_only_are_stored_where_that_is_smaller(content, expression):
  document, _ = parse(content)
  targets = document["meshes"][0]["primitives"][0]["targets"]
  accessors = [document["accessors"][target["POSITION"]] for target in targets]
  by_name = dict(zip(expression.names, accessors, strict=True))
  brow = by_name["browInnerUp"]
  assert "bufferView" not in brow
  assert 0 < brow["sparse"]["count"] < brow["count"]
  # A gaze moves an eye, which is another mesh, and nothing of the head.
  assert not {"bufferView", "sparse"} & set(by_name["eyeLookInLeft"])


def test_a_target_that_moves_all_is_dense(ball, ball_mesh, texture):
  all_move = Expression(("jawOpen",), np.ones((1, *ball.vertices.shape)), np.zeros(1))
  content = glb_bytes(
    ball_mesh, texture_png=png_bytes(texture), extras={}, expression=all_move
  )
  document, _ = parse(content)
  (target,) = document["meshes"][0]["primitives"][0]["targets"]
  assert "bufferView" in document["accessors"][target["POSITION"]]
  # All vertices move, the eyes too: they are no eyeballs.
  assert len(document["nodes"]) == 1


def test_eyes_are_nodes_that_turn_about_their_centers(content):
  document, data = parse(content)
  nodes = {node["name"]: node for node in document["nodes"]}
  assert [document["nodes"][k]["name"] for k in nodes["head"]["children"]] == [
    *("eyeLeft", "eyeRight")
  ]
  for side, center in EYES.items():
    node = nodes[f"eye{side}"]
    np.testing.assert_allclose(node["translation"], 0.1 * center, atol=1e-6)
    mesh = document["meshes"][node["mesh"]]
    position = mesh["primitives"][0]["attributes"]["POSITION"]
    radius = np.linalg.norm(values(document, data, position), axis=1)
    np.testing.assert_allclose(radius, 0.015, atol=1e-6)
    turns = node["extras"]["turns"]
    assert set(turns) == {f"eyeLook{way}{side}" for way in ("In", "Out", "Up", "Down")}
    np.testing.assert_allclose(
      np.degrees(turns[f"eyeLookUp{side}"]), [-15, 0, 0], atol=0.01
    )
  turned = Rotation.from_quat(nodes["eyeLeft"]["rotation"]).as_rotvec(degrees=True)
  np.testing.assert_allclose(turned, [-15 / 4, 10, 0], atol=0.01)
  assert nodes["eyeRight"]["rotation"] == [0, 0, 0, 1]


def test_normals_bend_with_the_surface(ball, ball_mesh, texture, content, expression):
  document, data = parse(content)
  primitive = document["meshes"][0]["primitives"][0]
  row = expression.names.index("jawOpen")
  normal = values(document, data, primitive["attributes"]["NORMAL"])
  bend = values(document, data, primitive["targets"][row]["NORMAL"])
  moved = head_mesh(ball.vertices + expression.moves[row], ball).normals
  expected = {tuple(np.round(n, 2)) for n in moved}
  got = {tuple(np.round(n, 2)) for n in normal + bend}
  assert len(got - expected) < 0.1 * len(got)
  assert np.abs(bend).max() > 0.1


def _performance(count=4, **changes):
  weights = np.linspace(0, 1, count)[:, None] * [1.0, 0.5]
  given = {
    "names": ("jawOpen", "eyeLookUpLeft"),
    "times": np.arange(count) / 10,
    "weights": weights,
  }
  return Performance(**{**given, **changes})


def test_an_animation_moves_weights_eyes_and_head(content, expression):
  head_deg = np.linspace([0, 0, 0], [30, -10, 5], 4)
  moved = animated_glb(content, _performance(head_deg=head_deg), name="talk")
  document, data = parse(moved)
  before, _ = parse(content)
  assert document["meshes"] == before["meshes"]
  (animation,) = document["animations"]
  assert animation["name"] == "talk"
  tracks = {}
  for channel in animation["channels"]:
    sampler = animation["samplers"][channel["sampler"]]
    times = values(document, data, sampler["input"])[:, 0]
    np.testing.assert_allclose(times, [0, 0.1, 0.2, 0.3], atol=1e-6)
    target = channel["target"]
    name = document["nodes"][target["node"]]["name"]
    tracks[name, target["path"]] = values(document, data, sampler["output"])
  assert set(tracks) == {
    *[("head", "weights"), ("head", "rotation")],
    *[("eyeLeft", "rotation"), ("eyeRight", "rotation")],
  }
  weights = tracks["head", "weights"].reshape(4, -1)
  np.testing.assert_allclose(
    weights[:, expression.names.index("jawOpen")], [0, 1 / 3, 2 / 3, 1], atol=1e-6
  )
  assert not weights[:, expression.names.index("browInnerUp")].any()
  eye = Rotation.from_quat(tracks["eyeLeft", "rotation"]).as_rotvec(degrees=True)
  np.testing.assert_allclose(eye[-1], [-7.5, 0, 0], atol=0.01)
  head = Rotation.from_quat(tracks["head", "rotation"][-1]).as_euler("ZYX", True)
  np.testing.assert_allclose(head, [5, 30, -10], atol=1e-4)


def test_an_animated_head_can_be_animated_again(content):
  twice = animated_glb(animated_glb(content, _performance()), _performance(), name="b")
  assert [a["name"] for a in parse(twice)[0]["animations"]] == ["performance", "b"]


def test_weights_are_limited(content, expression):
  wild = _performance(weights=np.array([[-1, 0], [3, 0], [0, 0], [0, 0.0]]))
  document, data = parse(animated_glb(content, wild))
  output = document["animations"][0]["samplers"][0]["output"]
  weights = values(document, data, output).reshape(4, -1)
  assert (weights.min(), weights.max()) == (0, 1)


def _with(content, change):
  """The file with another document."""
  document, data = parse(content)
  change(document)
  return _gltf_file.file_bytes(document, data)


def _damaged(content):
  """What is said about files that are no heads, and the files."""
  yield "not a whole .glb", b""
  yield "not a .glb file", b"\x89PNG" + bytes(100)
  yield "bytes of", content[:-40]
  yield "no JSON", content.replace(b'{"asset"', b'["asset"')
  yield "one buffer", _with(content, lambda d: d.pop("buffers"))
  yield "no morph targets", _with(content, lambda d: d["meshes"][0].pop("extras"))
  yield "damaged", _with(content, lambda d: d["nodes"][0].update(mesh=9))
  for name in ("nodes", "animations", "bufferViews", "accessors", "meshes"):
    for wrong in (None, {}, ["x"]):
      change = {name: wrong}
      yield f"{name} are no list", _with(content, lambda d, c=change: d.update(c))
  no_extras = {"extras": None}
  yield "no rotations", _with(content, lambda d: d["nodes"][1].update(no_extras))
  no_turn = {"extras": {"turns": {"a": "b"}}}
  yield "no rotations", _with(content, lambda d: d["nodes"][1].update(no_turn))


def test_damaged_files_are_refused(content):
  for words, bad in _damaged(content):
    with pytest.raises(ValueError, match=words):
      animated_glb(bad, _performance())


def test_a_recording_of_other_names_is_refused(content):
  with pytest.raises(ValueError, match="none of the morph targets smile, frown"):
    animated_glb(content, _performance(names=("smile", "frown")))


def test_khronos_validator_finds_nothing(content, tmp_path):
  assert issues(content, tmp_path) == []
  assert issues(animated_glb(content, _performance()), tmp_path) == []


def test_three_js_plays_it(content, tmp_path):
  """The head opens in a browser, its weights and eyes are as the animation says."""
  node, browser = shutil.which("node"), shutil.which("chromium")
  if None in (node, browser, node_package("three"), node_package("playwright-core")):
    pytest.skip("needs node, chromium, `npm install three playwright-core`, NODE_PATH")
  path = tmp_path / "head.glb"
  path.write_bytes(animated_glb(content, _performance()))
  script = tmp_path / "three_page.mjs"
  script.write_bytes((pathlib.Path(__file__).with_name("three_page.mjs")).read_bytes())
  (tmp_path / "node_modules").symlink_to(node_package("three").parent)
  done = subprocess.run(
    [node, str(script), str(path), browser, "0,0.15"],
    capture_output=True,
    text=True,
    timeout=120,
    env={**os.environ, "HOME": str(tmp_path)},
  )
  assert done.returncode == 0, done.stderr
  seen = json.loads(done.stdout)
  assert seen["errors"] == []
  assert seen["clips"] == [["performance", pytest.approx(0.3)]]
  first, second = seen["frames"]
  assert first["influences"]["jawOpen"] == 0
  assert second["influences"]["jawOpen"] == pytest.approx(0.5, abs=1e-3)
  turned = Rotation.from_quat(second["eyes"]["eyeLeft"]).as_rotvec(degrees=True)
  np.testing.assert_allclose(turned, [-15 / 4, 0, 0], atol=0.01)


def test_blender_opens_it(content, ball, expression, tmp_path):
  """Shape keys with names and values, eyes as children, z up, meters, an action."""
  bpy = pytest.importorskip("bpy", reason="needs `pip install bpy`")
  path = tmp_path / "head.glb"
  path.write_bytes(animated_glb(content, _performance()))
  bpy.ops.wm.read_factory_settings(use_empty=True)
  bpy.ops.import_scene.gltf(filepath=str(path))
  head = bpy.data.objects["head"]
  keys = head.data.shape_keys.key_blocks
  assert tuple(key.name for key in keys)[1:] == expression.names
  assert head.data.shape_keys.animation_data is not None
  reach = np.array(bpy.data.objects["eyeLeft"].matrix_world.translation)
  # The face looks along -y, the person's left is +x.
  np.testing.assert_allclose(reach, [0.03, -0.075, 0.02], atol=1e-6)
  assert bpy.data.objects["eyeLeft"].parent is head
  points = np.array([head.matrix_world @ v.co for v in head.data.vertices])
  width, height = np.ptp(ball.vertices[:, :2], axis=0) * 0.1
  np.testing.assert_allclose(np.ptp(points, axis=0)[[0, 2]], [width, height], atol=1e-5)
