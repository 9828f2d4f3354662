"""Templates from OBJ files."""

import json
import os
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from affjax.export import head_mesh, obj_text
from affjax.geometry import uv
from affjax.heads import (
  ObjError,
  ObjTemplate,
  _obj_file,
  load_template,
  open_head,
  read_obj,
)

ROOT = pathlib.Path(__file__).parents[2]
SHARED = pathlib.Path(os.environ.get("AFFJAX_SHARED", ROOT.parent / "shared"))
MEINGAME = SHARED / "data" / "MeInGame" / "mesh_230"
SQUARE = """
v 0 0 0
v 1 0 0
v 1 1 0
v 0 1 0
vt 0 0
vt 1 0
vt 1 1
vt 0 1
"""


def _write(folder: pathlib.Path, text: str) -> pathlib.Path:
  path = folder / "head.obj"
  path.write_text(text)
  return path


@pytest.fixture(scope="module")
def skin(tmp_path_factory):
  """The embedded head's skin as an OBJ, and the JSON of its landmarks."""
  head = open_head("embedded").template
  folder = tmp_path_factory.mktemp("obj")
  text = obj_text(head_mesh(head.vertices, head), mtl_name="none.mtl")
  path = folder / "head.obj"
  path.write_text(text)
  points = np.asarray(head.landmark_positions(jnp.asarray(head.vertices))) / 10
  (folder / "landmarks.json").write_text(json.dumps({"points": points.tolist()}))
  return path


def _load(path: pathlib.Path, **options) -> ObjTemplate:
  options = {"landmarks": path.parent / "landmarks.json", **options}
  return load_template(path, **options)


@pytest.fixture(scope="module")
def loaded(skin):
  return _load(skin)


def test_our_own_export_comes_back(loaded):
  head, got = open_head("embedded").template, loaded
  np.testing.assert_allclose(got.template.vertices, head.vertices, atol=2e-4)
  assert got.template.faces.shape == head.faces.shape
  assert set(got.template.group_names) == set(head.group_names)
  assert got.placement.scale == 10
  assert not got.placement.flip_u
  assert not got.placement.flip_v
  np.testing.assert_allclose(
    got.to_file(got.template.vertices), got.file_vertices, atol=1e-6
  )
  mine = got.template.landmark_positions(jnp.asarray(got.template.vertices))
  theirs = head.landmark_positions(jnp.asarray(head.vertices))
  np.testing.assert_allclose(mine, theirs, atol=2e-4)


def _turned(skin, folder, *, rotation, scale, offset, flip_u=False, flip_v=False):
  """The same head as another program writes it."""
  lines = []
  for line in skin.read_text().splitlines():
    key, *rest = line.split()
    if key == "v":
      point = scale * rotation @ np.array(rest, float) + offset
      line = "v " + " ".join(f"{x:.7f}" for x in point)
    if key == "vt":
      u, v = map(float, rest)
      line = f"vt {1 - u if flip_u else u:.6f} {1 - v if flip_v else v:.6f}"
    lines.append(line)
  points = np.array(json.loads((skin.parent / "landmarks.json").read_text())["points"])
  points = scale * points @ rotation.T + offset
  (folder / "landmarks.json").write_text(json.dumps({"points": points.tolist()}))
  return _write(folder, "\n".join(lines))


@pytest.mark.parametrize(
  ("rotation", "scale"),
  [
    ([[1, 0, 0], [0, 0, -1], [0, 1, 0]], 100.0),  # Blender's z up, centimetres
    ([[-1, 0, 0], [0, 1, 0], [0, 0, -1]], 1000.0),  # looks away, millimetres
  ],
)
def test_axes_units_and_the_direction_of_uvs_are_found(
  skin, loaded, tmp_path, rotation, scale
):
  path = _turned(
    skin, tmp_path, rotation=np.array(rotation), scale=scale, offset=[5, -3, 160],
    flip_u=True, flip_v=True,
  )  # fmt: skip
  got, want = _load(path), loaded
  np.testing.assert_allclose(got.template.vertices, want.template.vertices, atol=2e-4)
  assert got.placement.flip_u
  assert got.placement.flip_v
  corner = lambda t: t.uvs[t.faces_uv]
  np.testing.assert_allclose(corner(got.template), corner(want.template), atol=1e-5)
  np.testing.assert_allclose(
    got.to_file(got.template.vertices), got.file_vertices, atol=1e-4 * scale
  )


def test_mirror_images_and_wrong_options_are_named(skin, loaded, tmp_path):
  mirror = np.diag([-1.0, 1, 1])
  path = _turned(skin, tmp_path, rotation=mirror, scale=10.0, offset=[0, 0, 0])
  with pytest.raises(ValueError, match="mirror image"):
    _load(path)
  got = _load(path, mirrored=True)
  want = loaded.template
  np.testing.assert_allclose(got.template.vertices, want.vertices, atol=2e-4)
  faces, vertices = got.template.faces, got.template.vertices
  corner = vertices[faces]
  volume = np.einsum("tx,tx", np.cross(corner[:, 0], corner[:, 1]), corner[:, 2])
  assert volume > 0
  for options, message in (
    ({"units": "yard"}, "units"),
    ({"units": "mm"}, "units"),
    ({"up": "up"}, "up"),
    ({"up": "+z", "front": "-z"}, "different axes"),
    ({"uv_axes": "both"}, "uv_axes"),
    ({"landmarks": {"vertices": [0] * 67}}, "68"),
    ({"landmarks": {"vertices": [10**6] * 68}}, "whole numbers"),
    ({"landmarks": {"points": np.full((68, 3), np.nan)}}, "finite"),
    ({"landmarks": {"noses": [1]}}, "noses"),
    ({"groups": {"hair": "hair"}}, "hair"),
    ({"layout": {"hair": (0, 0, 1, 1)}}, "hair"),
    ({"layout": {"skin": (0, 0, 2, 1)}}, "layout"),
  ):
    with pytest.raises(ValueError, match=message):
      _load(skin, **options)


def test_without_landmarks_a_head_on_its_back_is_noticed(skin, tmp_path):
  got = _load(skin, landmarks=None).template
  assert len(got.landmark_faces) == 0
  np.testing.assert_allclose(got.vertices.min(0), -got.vertices.max(0), atol=1e-4)
  turn = np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]])
  path = _turned(skin, tmp_path, rotation=turn, scale=10.0, offset=[0, 0, 0])
  with pytest.raises(ValueError, match="symmetric"):
    _load(path, landmarks=None)
  again = _load(path, landmarks=None, up="+x", front="+z").template
  np.testing.assert_allclose(again.vertices, got.vertices, atol=2e-4)


def test_groups_layout_and_masks(skin, tmp_path):
  mask = np.zeros((64, 64), np.uint8)
  mask[:16, :32] = 255  # top left: v > 0.75, u < 0.5
  Image.fromarray(mask).save(tmp_path / "mask.png")
  got = _load(
    skin,
    groups={"skin": "skin", "eyes": "eyes"},
    layout={"skin": (0.0, 0.5, 0.5, 1.0), "eyes": (0.5, 0.0, 1.0, 0.5)},
    masks={"top": tmp_path / "mask.png"},
  ).template
  assert got.group_names == ("skin", "eyes")
  eyes = got.uvs[got.faces_uv[got.face_groups == 1]]
  assert eyes[..., 0].min() >= 0.5
  assert eyes[..., 1].max() <= 0.5
  rows, columns = np.nonzero(got.masks["top"] > 0.5)
  assert (rows.max(), columns.max()) == (7, 15)
  low = _load(skin, masks={"top": tmp_path / "mask.png"}, mask_rows="bottom").template
  assert low.masks["top"][48:, :32].min() == 1
  with pytest.raises(ValueError, match="mask_rows"):
    _load(skin, masks={"top": tmp_path / "mask.png"}, mask_rows="left")


def test_seams_are_welded_and_touching_lips_are_not(tmp_path):
  """Adjacent quads are welded; quads that face each other are not."""
  text = "".join(f"v {x} {y} 0\n" for x, y in [(0, 0), (2, 0), (2, 2), (0, 2)])
  text += "".join(f"v {x} {y} 0\n" for x, y in [(2, 0), (4, 0), (4, 2), (2, 2)])
  text += "".join(f"v {x} {y} 0\n" for x, y in [(0, 0), (2, 0), (2, 2), (0, 2)])
  places = [(0, 0), (0.2, 0), (0.2, 0.2), (0, 0.2)]
  for k in range(3):
    text += "".join(f"vt {u + k * 0.3} {v}\n" for u, v in places)
  text += "f 1/1 2/2 3/3 4/4\nf 5/5 6/6 7/7 8/8\nf 12/12 11/11 10/10 9/9\n"
  got = load_template(_write(tmp_path, text), units=1.0)
  assert len(got.template.vertices) == 12 - 2
  assert got.vertex[1] == got.vertex[4]
  assert got.vertex[0] != got.vertex[8]
  assert len(got.template.uvs) == 12
  loose = load_template(_write(tmp_path, text), units=1.0, weld=-1)
  assert len(loose.template.vertices) == 12


def test_polygons_negative_indices_comments_and_groups(tmp_path):
  text = SQUARE + "g a b # two names\nf -4/-4 -3/-3 \\\n -2/-2 -1/-1\nf 1/1 1/1 2/2\n"
  got = read_obj(_write(tmp_path, text))
  np.testing.assert_array_equal(got.faces, [[0, 1, 2], [0, 2, 3]])
  np.testing.assert_array_equal(got.faces_uv, got.faces)
  assert got.group_names == ("a b",)
  bare = read_obj(_write(tmp_path, SQUARE + "f 1 2 3\n"))
  np.testing.assert_array_equal(bare.faces_uv, [[0, 1, 2]])


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("", "no faces"),
    ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "without UV"),
    (SQUARE + "vt 0 0\nf 1 2 3\n", "without UV"),
    (SQUARE + "f 1/1 2/2 3\n", "without UV"),
    (SQUARE + "f 1/1 2/2 5/3\n", "v 5 of 4"),
    (SQUARE + "f 1/1 2/2 3/9\n", "vt 9 of 4"),
    (SQUARE + "f 0/1 2/2 3/3\n", "points nowhere"),
    (SQUARE + "f -5/1 2/2 3/3\n", "points nowhere"),
    (SQUARE + "f 99999999999999999999/1 2/2 3/3\n", "points nowhere"),
    (SQUARE + "f 1/1 2/2\n", "2 corners"),
    (SQUARE + "f " + "1/1 " * 300, "300 corners"),
    (SQUARE + "f a/b c d\n", "points nowhere"),
    ("v 0 nan 0\n", "finite"),
    ("v 0 1e999 0\n", "finite"),
    ("v 0 0\n", "finite"),
    ("v x y z\n", "could not convert"),
    ("v " + "1" * 100_000, "characters"),
    (("v 0 0 0 \\\n") * 20_000, "characters"),
  ],
)
def test_hostile_files_are_refused_by_line(tmp_path, text, message):
  with pytest.raises(ObjError, match=message) as error:
    read_obj(_write(tmp_path, text))
  assert "head.obj" in str(error.value)


def test_files_out_of_bounds_are_refused(tmp_path, monkeypatch):
  path = _write(tmp_path, SQUARE)
  monkeypatch.setattr(_obj_file, "MAX_ROWS", 3)
  with pytest.raises(ObjError, match="more than 3 rows"):
    read_obj(path)
  monkeypatch.setattr(_obj_file, "MAX_BYTES", 10)
  with pytest.raises(ObjError, match="at most 10"):
    read_obj(path)


def test_uvs_outside_the_square_or_used_twice_are_refused(tmp_path):
  text = SQUARE.replace("vt 1 1", "vt 1.5 1") + "f 1/1 2/2 3/3\n"
  with pytest.raises(ValueError, match="outside the unit square"):
    load_template(_write(tmp_path, text), units=2.0, up="+y", front="+z")
  text = SQUARE + "v 0 0 1\nv 1 0 1\nv 1 1 1\nf 1/1 2/2 3/3\nf 5/1 6/2 7/3\n"
  with pytest.raises(ValueError, match="overlap"):
    load_template(_write(tmp_path, text), units=2.0, up="+y", front="+z")


@pytest.mark.skipif(not MEINGAME.is_dir(), reason="needs MeInGame's template")
def test_meingame_head():
  path, masks = MEINGAME / "nsh_bfm.obj", MEINGAME.parent / "masks"
  with pytest.raises(ValueError, match="overlap"):
    load_template(path)
  got = load_template(
    path,
    groups={"face_face": "skin"},
    masks={"lips": masks / "lip_mask.png"},
    mask_rows="bottom",
  )
  assert len(got.template.vertices) == 5926 - 111
  assert (got.placement.scale, got.placement.flip_u, got.placement.flip_v) == (
    1.0, True, True,
  )  # fmt: skip
  table = uv.uv_table(got.template, 512)
  position = uv.map_from_vertices(jnp.asarray(got.template.vertices), table)
  # Upright and not mirrored: columns run along +x, rows downwards.
  middle = np.asarray(position)[200:360]
  assert np.polyfit(np.arange(512), middle[..., 0].mean(0), 1)[0] > 0
  assert position[150, 256, 1] > position[350, 256, 1]
