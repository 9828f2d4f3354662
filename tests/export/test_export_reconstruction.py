"""Everything that is written of a head, and that it lies where the photo shows it."""

import dataclasses
import io
import json

import jax.numpy as jnp
import numpy as np
import pytest
import trimesh
from PIL import Image

from affjax import types
from affjax.export import (
  FILES,
  SURE,
  Reconstruction,
  _images,
  _projection,
  head_files,
  page_face,
  paint_photo,
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
  assert tuple(files) == FILES
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


def test_the_card_shows_the_head_close_up(head, photo, files):
  card = page_face(head, photo, files, title="Face 1", folder="photo/face1")
  before, after = _images.decoded(card.before), _images.decoded(card.after)
  assert before.shape == after.shape
  assert before.shape[1] < photo.shape[1]
  assert 0.3 < card.split < 0.7
  assert set(card.files) == set(FILES)
  assert card.facts["Pose from"] == "network"


@pytest.mark.parametrize(
  ("confidence", "unsure"), [(None, False), (0.46, True), (SURE, False), (0.97, False)]
)
def test_confidence_is_told(head, photo, confidence, unsure):
  told = dataclasses.replace(head, confidence=confidence)
  written = head_files(told, photo)
  facts = json.loads(written["pose.json"])
  assert (facts["confidence"], facts["unsure"]) == (confidence, unsure)
  card = page_face(told, photo, written, title="Face 1", folder="a/face1")
  assert card.warning.startswith("Unsure, confidence 46 %") == unsure
  assert card.facts.get("Confidence") == (
    None if confidence is None else f"{100 * confidence:.0f} %"
  )


def test_light_beyond_white_is_told(head, photo):
  bright = dataclasses.replace(head, light=np.full((8, 8, 1), 3.0, np.float32))
  files = head_files(bright, photo)
  assert json.loads(files["pose.json"])["light"]["light_png_white"] == 4.0
