"""Everything that is written of a head, and that it lies where the photo shows it."""

import base64
import dataclasses
import io
import json
import os
import shutil
import subprocess
import threading

import jax.numpy as jnp
import numpy as np
import pytest
import trimesh
from PIL import Image

from affjax import types
from affjax.export import (
  CARD_FOLDER,
  FILES,
  MESH_FORMATS,
  SURE,
  Expression,
  Frame,
  PagePhoto,
  Reconstruction,
  _images,
  _projection,
  card_files,
  head_files,
  page_html,
  paint_photo,
  read_card,
  to_uint8,
)
from affjax.geometry import uv

SIZE = 64


@pytest.fixture(scope="module")
def photo():
  return np.full((300, 420, 3), 40, np.uint8)


@pytest.fixture(scope="module")
def head(ball, texture):
  table = uv.uv_table(ball, SIZE)
  position = uv.map_from_vertices(jnp.asarray(ball.vertices), table)
  scale = SIZE / 150
  return Reconstruction(
    template=ball,
    camera=types.Camera(),
    crop_image=np.full((SIZE, SIZE, 3), 0.5, np.float32),
    crop=np.array([[scale, 0, -scale * 180], [0, scale, -scale * 90]]),
    position=np.asarray(position),
    diffuse=texture,
    light=np.full((8, 8, 1), 0.9, np.float32),
    light_color=np.ones(3, np.float32),
    pose=np.array([0.1, 0.4, 0, 0, 0, 0]),
    found={"score": 0.9},
    notes={"pose_from": "network"},
  )


@pytest.fixture(scope="module")
def files(head, photo):
  return head_files(head, photo)


def test_all_files_are_there_and_open(files, head):
  assert tuple(files) == tuple(name for name in FILES if name != "neutral.obj")
  for name in ("diffuse.png", "light.png", "render.png", "overlay.png", "crop.png"):
    Image.open(io.BytesIO(files[name])).verify()
  position = np.load(io.BytesIO(files["position.npy"]), allow_pickle=False)
  np.testing.assert_array_equal(position, head.position)
  np.testing.assert_array_equal(
    _images.decoded(files["diffuse.png"]), to_uint8(head.diffuse)
  )
  facts = json.loads(files["pose.json"])
  light = _images.decoded(files["light.png"]) / 255 * facts["light"]["light_png_white"]
  np.testing.assert_allclose(light, head.light[..., 0], atol=0.01)
  render = _images.decoded(files["render.png"])
  assert render.shape[-1] == 4
  assert 0.2 < (render[..., 3] > 128).mean() < 0.9


def test_the_glb_lies_on_the_overlay(files, photo):
  """Vertices of head.glb, through pose.json, land where overlay.png shows the head."""
  facts = json.loads(files["pose.json"])
  overlay = _images.decoded(files["overlay.png"]).astype(int)
  assert overlay.shape == photo.shape
  painted = np.abs(overlay - photo).max(-1) > 8
  scene = trimesh.load(io.BytesIO(files["head.glb"]), file_type="glb")
  points = np.concatenate([part.vertices for part in scene.dump()])
  px = _projection.project(points, np.array(facts["projection_from_metres"]))
  rows, columns = np.nonzero(painted)
  np.testing.assert_allclose(
    [px[:, 0].min(), px[:, 1].min(), px[:, 0].max(), px[:, 1].max()],
    [columns.min(), rows.min(), columns.max(), rows.max()],
    atol=1.5,
  )
  inside = np.round(px).astype(int)
  near = painted[inside[:, 1], inside[:, 0]]
  assert near.mean() > 0.9
  # The same from decimetres, as position.npy holds them.
  other = _projection.project(
    points * 10, np.array(facts["projection_from_decimetres"])
  )
  np.testing.assert_allclose(px, other, atol=1e-6)


def test_the_overlay_has_the_colors_of_the_texture(files, head):
  """Red is u and green is v: a front vertex must show its uv, times the light."""
  overlay = _images.decoded(files["overlay.png"]) / 255
  ball = head.template
  front = np.argmax(ball.vertices @ _projection.rigid(head.pose)[2, :3])
  (px,) = np.round(
    _projection.project(head.mesh.vertices[[front]], head.projection)
  ).astype(int)
  u, v = ball.uvs[ball.faces_uv[ball.faces == front][0]]
  np.testing.assert_allclose(overlay[px[1], px[0], :2], [0.9 * u, 0.9 * v], atol=0.05)


def test_original_eyes_stay(head, photo):
  arguments = (photo, head.mesh.vertices, head.shaded, head.template, head.camera)
  painted = paint_photo(*arguments, head.projection)
  kept = paint_photo(*arguments, head.projection, keep_original=True)
  changed = np.abs(painted.astype(int) - kept).max(-1) > 0
  rows, columns = np.nonzero(changed)
  eyes = np.unique(head.template.faces[head.template.face_groups > 0])
  px = _projection.project(head.mesh.vertices[eyes], head.projection)
  assert changed.any()
  assert columns.min() > px[:, 0].min() - 3
  assert columns.max() < px[:, 0].max() + 3
  assert rows.min() > px[:, 1].min() - 3
  assert (kept[changed] == 40).all(-1).mean() > 0.3


def test_large_photos_are_painted_like_small_ones(head, photo):
  """A head wider than the largest raster, cut off by the photo's edge."""
  zoom = 12
  large = np.repeat(np.repeat(photo[:, 170:], zoom, 0), zoom, 1)
  shift = np.array([[1 / zoom, 0, 170], [0, 1 / zoom, 0], [0, 0, 1]])
  matrix = np.linalg.inv(shift) @ head.projection
  arguments = (head.mesh.vertices, head.shaded, head.template, head.camera)
  expected = paint_photo(photo, *arguments, head.projection)[:, 170:]
  got = paint_photo(large, *arguments, matrix)
  assert got.shape == large.shape
  small = np.asarray(
    Image.fromarray(got).resize(expected.shape[1::-1], Image.Resampling.BOX)
  )
  off = np.abs(small.astype(int) - expected).max(-1)
  # Silhouettes may differ by a pixel (the zoom counts from centres), areas may not.
  assert (off > 12).mean() < 0.02


def test_a_head_outside_the_photo_leaves_it_alone(head, photo):
  arguments = (head.mesh.vertices, head.shaded, head.template, head.camera)
  away = np.array([[1, 0, 5000], [0, 1, 0], [0, 0, 1]]) @ head.projection
  np.testing.assert_array_equal(paint_photo(photo, *arguments, away), photo)
  with pytest.raises(ValueError, match="finite"):
    paint_photo(photo, *arguments, away * np.nan)


def _write_card(head, photo, files, out):
  """Writes a head and its card into a folder, and returns the card."""
  place = out / "a photo" / "face1"
  (place / CARD_FOLDER).mkdir(parents=True)
  for name, content in files.items():
    (place / name).write_bytes(content)
  for name, content in card_files(head, photo, files, title="Face 1").items():
    (place / CARD_FOLDER / name).write_bytes(content)
  return read_card(out, "a photo/face1")


def test_the_card_shows_the_head_close_up(head, photo, files, tmp_path):
  card = _write_card(head, photo, files, tmp_path)
  before, after = (
    np.asarray(Image.open(tmp_path / path)) for path in (card.before, card.after)
  )
  assert before.shape == after.shape
  assert before.shape[1] < photo.shape[1]
  assert card.size == before.shape[:2]
  assert 0.3 < card.split < 0.7
  assert set(card.files) == set(files)
  assert card.facts["Pose from"] == "network"
  assert all(
    (tmp_path / card.folder / path).exists() for path in card.pictures.values()
  )
  (tmp_path / card.folder / CARD_FOLDER / "card.json").write_text('{"title": 3}')
  assert read_card(tmp_path, card.folder) is None


def _first_shown(page, selectors, browser, seconds=120):
  """The first of the selectors that an element of a page on the disk matches.

  A script at the end of the page writes it to the console, for however long a busy
  machine takes to draw it.
  """
  script = f"""<script>
    setInterval(() => {{
      const shown = {json.dumps(selectors)}.find(name => document.querySelector(name));
      if (shown) console.log("shown:" + shown + ":");
    }}, 50);
  </script>"""
  page.write_text(page.read_text().replace("</body>", script + "</body>"))
  options = ("--headless", "--no-sandbox", "--enable-unsafe-swiftshader")
  with subprocess.Popen(
    [browser, *options, "--enable-logging=stderr", page.as_uri()],
    stderr=subprocess.PIPE,
    text=True,
    env={**os.environ, "HOME": str(page.parent)},
  ) as process:
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    lines = (line for line in process.stderr if "shown:" in line)
    shown = next(lines, "shown:nothing:").split("shown:")[1].split(":")[0]
    timer.cancel()
    process.terminate()
  return shown


def test_the_page_draws_the_head_when_opened_from_the_disk(
  head, photo, files, tmp_path
):
  browser = shutil.which("chromium")
  if browser is None:
    pytest.skip("needs chromium")
  card = _write_card(head, photo, files, tmp_path)
  frame = Frame("t", "s", "f", {}, ["index.html"])
  page = page_html([PagePhoto("a photo.jpg", photo.shape[:2], [card])], frame)
  (tmp_path / "index.html").write_text(page)
  # A head that cannot be drawn has a note, which is hidden until its style changes.
  selectors = [".sorry[style]", "[data-drawn=yes]"]
  assert _first_shown(tmp_path / "index.html", selectors, browser) == selectors[1]


def test_the_mesh_of_the_card_can_be_read_back(head, photo, files):
  script = card_files(head, photo, files, title="Face 1")["view.js"].decode()
  face = json.loads(script.removeprefix("affjaxHead = ").removesuffix(";\n"))

  def numbers(name, kind):
    return np.frombuffer(base64.b64decode(face[name]), kind)

  ball, low, high = head.template, np.array(face["low"]), np.array(face["high"])
  points = low + numbers("points", "<u2").reshape(-1, 3) / 65535 * (high - low)
  np.testing.assert_allclose(points, head.mesh.vertices, atol=1e-4)
  assert not face["wide"]
  corners, vertex = numbers("faces", "<u2").reshape(-1, 3), numbers("vertex", "<u2")
  np.testing.assert_array_equal(vertex[corners], ball.faces)
  uvs = numbers("uv", "<u2").reshape(-1, 2) / 65535
  np.testing.assert_allclose(uvs[corners], ball.uvs[ball.faces_uv], atol=1e-5)
  gloss = numbers("gloss", "u1")[corners]
  assert gloss[ball.face_groups == 1].min() == 255
  assert gloss[ball.face_groups == 0].max() == 0


def test_heads_with_an_expression_have_a_neutral_version(head, photo, ball, files):
  # A unit that inflates the head survives the coarse map of this test.
  inflate = Expression(("jawOpen",), 0.02 * ball.vertices[None], np.float32([0.5]))
  table = uv.uv_table(ball, SIZE)
  smiling = dataclasses.replace(
    head,
    position=np.asarray(uv.map_from_vertices(jnp.asarray(1.01 * ball.vertices), table)),
    expression=inflate,
    scale=1.1,
  )
  written = head_files(smiling, photo, formats=MESH_FORMATS)
  assert {"head.ply", "head.usdz", "neutral.obj"} <= set(written)
  names = {"head.ply", "head.usdz", "neutral.obj"}
  assert not names & set(head_files(head, photo))
  np.testing.assert_allclose(smiling.neutral.vertices, ball.vertices, atol=5e-3)
  neutral = trimesh.load(
    io.BytesIO(written["neutral.obj"]), file_type="obj", process=False, force="mesh"
  )
  reach = np.ptp(ball.vertices, axis=0) * 0.11
  np.testing.assert_allclose(np.ptp(neutral.vertices, axis=0), reach, atol=1e-3)
  # The scaled mesh lies in the photo where the unscaled one does.
  facts, plain = (
    json.loads(head_files(h, photo)["pose.json"]) for h in (smiling, head)
  )
  assert facts["scale"] == 1.1
  scaled = np.array(facts["projection_from_metres"]) @ [0.011, 0.022, 0.033, 1]
  unscaled = np.array(plain["projection_from_metres"]) @ [0.01, 0.02, 0.03, 1]
  np.testing.assert_allclose(scaled, unscaled)


@pytest.mark.parametrize(
  ("confidence", "unsure"), [(None, False), (0.46, True), (SURE, False), (0.97, False)]
)
def test_confidence_is_told(head, photo, confidence, unsure, tmp_path):
  told = dataclasses.replace(head, confidence=confidence)
  written = head_files(told, photo)
  facts = json.loads(written["pose.json"])
  assert (facts["confidence"], facts["unsure"]) == (confidence, unsure)
  card = _write_card(told, photo, written, tmp_path)
  assert card.warning.startswith("Unsure, confidence 46 %") == unsure
  assert card.facts.get("Confidence") == (
    None if confidence is None else f"{100 * confidence:.0f} %"
  )


def test_light_beyond_white_is_told(head, photo):
  bright = dataclasses.replace(head, light=np.full((8, 8, 1), 3.0, np.float32))
  files = head_files(bright, photo)
  assert json.loads(files["pose.json"])["light"]["light_png_white"] == 4.0
