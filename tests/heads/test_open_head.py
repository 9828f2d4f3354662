"""The one door for heads: any OBJ with UVs becomes a model that can be fitted."""

import json
import os

import numpy as np
import pytest

from affjax.geometry import uv
from affjax.heads import (
  landmarks,
  load_template,
  open_head,
  plain_diffuse,
  random_vertices,
)
from experiments.tables import heads_at_hand

HEAD = open_head("embedded")
MEINGAME_AUTO = {"groups": heads_at_hand.MEINGAME_GROUPS, "landmarks": "auto"}
# The file's axes are those of a Z-up program, its unit is the centimeter.
TURN = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])


def write_obj(path, vertices, *, faces=None, uvs=True, inward=False, extra=""):
  """Writes the skin of a head above the neck, with its vertices in another order."""
  template = HEAD.template
  group = template.face_groups == template.group_names.index("skin")
  keep = group & (template.vertices[template.faces][..., 1].min(1) > -1.3)
  order = np.random.default_rng(0).permutation(len(vertices))
  place = (vertices[order] @ TURN) * 10 + [3, -2, 150]
  lines = [f"v {x:.5f} {y:.5f} {z:.5f}" for x, y, z in place]
  lines += [f"vt {u:.6f} {v:.6f}" for u, v in template.uvs] if uvs else []
  number = np.argsort(order) + 1
  corners = number[template.faces[keep]]
  for v, t in zip(corners, template.faces_uv[keep] + 1, strict=True):
    words = [f"{a}/{b}" if uvs else str(a) for a, b in zip(v, t, strict=True)]
    lines.append("f " + " ".join(words[::-1] if inward else words))
  path.write_text("\n".join(lines) + "\n" + extra)
  return path, number


@pytest.fixture(scope="module")
def person():
  return random_vertices(np.random.default_rng(3), HEAD, 1)[0]


@pytest.fixture(scope="module")
def head(tmp_path_factory, person):
  """The file and the model of a random person's head with a random expression."""
  path, _ = write_obj(tmp_path_factory.mktemp("obj") / "person.obj", person)
  return path, open_head(path)


def test_an_obj_carries_the_whole_model(head):
  model = head[1]
  assert model.template.name == "person"
  assert model.template.group_names == ("skin",)
  assert model.expression_names == HEAD.expression_names
  assert len(model.identity_basis) == len(HEAD.identity_basis)
  assert len(model.template.landmark_faces) == 68
  assert np.isfinite(model.expression_basis).all()


def test_landmarks_are_found_by_the_shape(head):
  template = head[1].template
  own = HEAD.template.landmark_positions(HEAD.template.vertices)
  found = template.landmark_positions(template.vertices)
  apart = np.linalg.norm(found - own, axis=-1)[landmarks.JAW[-1] + 1 :]
  assert np.median(apart) < 0.02
  assert apart.max() < 0.06


def test_masks_and_diffuse_are_carried(head):
  template, size = head[1].template, 128
  shown = uv.uv_table(template, size).inside
  assert set(template.masks) == set(HEAD.template.masks)
  for name in ("skin", "face", "scalp", "lips", "brows"):
    here, there = (
      uv.resize_mask(one.masks[name], size)[shown] for one in (template, HEAD.template)
    )
    assert np.abs(here - there).mean() < 0.04, name
  step = plain_diffuse(template, size) - plain_diffuse(HEAD.template, size)
  assert np.abs(step[shown]).mean() < 0.03


def test_the_same_file_gives_the_same_model(head, person, tmp_path):
  path, model = head
  assert open_head(path) is model
  assert open_head(str(path)) is model


def sidecar(path, **options):
  path.with_suffix(".json").write_text(json.dumps(options))


def test_a_sidecar_gives_the_landmarks(tmp_path, person):
  path, number = write_obj(tmp_path / "named.obj", person, inward=True)
  template = HEAD.template
  weights = template.landmark_weights.argmax(1)
  corners = template.faces[template.landmark_faces, weights]
  sidecar(
    path, name="sidecar's", landmarks={"vertices": (number[corners] - 1).tolist()}
  )
  model = open_head(path)
  assert model.template.name == "sidecar's"
  own = template.landmark_positions(template.vertices)
  found = model.template.landmark_positions(model.template.vertices)
  assert np.median(np.linalg.norm(found - own, axis=-1)[17:]) < 0.05
  corner = model.template.vertices[model.template.faces]
  normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
  assert (normal * corner.mean(1)).sum() > 0


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({"colour": 1}, "unknown key 'colour'; possible: name, groups"),
    ({"units": True}, "units must be a unit or a number, got 'True'"),
    ({"mirrored": 1}, "mirrored must be true or false"),
    ({"groups": {"a": 3}}, "groups must be an object of group names"),
    ({"layout": {"a": [0, 1]}}, "layout must be an object of"),
    ({"landmarks": "../landmarks.json"}, "lies outside its folder"),
    ({"landmarks": "absent.json"}, "is no file in its folder"),
    ({"masks": {"skin": "/etc/hostname"}}, "lies outside its folder"),
    ({"landmarks": {"some": {"36": 1}}}, "at least 8 are needed"),
    ({"landmarks": {"some": {"36": None}}}, "must be whole numbers"),
    ({"landmarks": {"vertices": [1, 2]}}, "landmarks need 68 vertices"),
    ({"landmarks": {}}, "landmarks need one of"),
    ({"groups": {"hat": "skin"}}, r"groups \['hat'\] are not in the file"),
  ],
)
def test_bad_sidecars_are_one_line(options, words, tmp_path, person):
  path, _ = write_obj(tmp_path / "head.obj", person)
  sidecar(path, **options)
  with pytest.raises(ValueError, match=words) as error:
    open_head(path)
  assert "\n" not in str(error.value)
  assert "head." in str(error.value)


@pytest.mark.parametrize("text", ["{", "[1]", '{"weld": NaN}', "\udcff"])
def test_unreadable_sidecars_are_one_line(text, tmp_path, person):
  path, _ = write_obj(tmp_path / "head.obj", person)
  path.with_suffix(".json").write_bytes(text.encode("utf-8", "surrogateescape"))
  with pytest.raises(ValueError, match=r"head\.json") as error:
    open_head(path)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(
  ("made", "words"),
  [
    ({"uvs": False}, r"head\.obj:\d+: a face without UV indices"),
    ({"extra": "v nan 0 0\n"}, "3 finite numbers expected"),
    ({"extra": "f 1/1 2/2 9999999/3\n"}, "points nowhere|names v 9999999"),
  ],
)
def test_damaged_heads_are_one_line(made, words, tmp_path, person):
  path, _ = write_obj(tmp_path / "head.obj", person, **made)
  with pytest.raises(ValueError, match=words) as error:
    open_head(path)
  assert "\n" not in str(error.value)


def test_a_head_that_is_no_manifold_is_refused(tmp_path, person):
  path, number = write_obj(tmp_path / "fan.obj", person)
  first = next(line for line in path.read_text().splitlines() if line.startswith("f "))
  a, b, _ = first.split()[1:]
  other = f"{len(number)}/1"
  template = HEAD.template
  corners = template.faces[template.landmark_faces, template.landmark_weights.argmax(1)]
  sidecar(path, landmarks={"vertices": (number[corners] - 1).tolist()})
  with path.open("a") as file:
    file.write(f"f {a} {b} {other}\nf {b} {a} {other}\n")
  with pytest.raises(ValueError, match="not a manifold") as error:
    open_head(path)
  assert "fan.obj" in str(error.value)


def test_a_shape_that_is_no_head_is_refused(tmp_path):
  """A ball has no face: the message says how to name landmarks."""
  rows, columns = 24, 48
  up = np.linspace(0.05, np.pi - 0.05, rows)
  turn = np.linspace(0, 2 * np.pi, columns)
  lines = [
    f"v {np.sin(a) * np.sin(b)} {np.cos(a)} {np.sin(a) * np.cos(b)}"
    for a in up
    for b in turn
  ]
  lines += [
    f"vt {k / columns} {1 - j / rows}" for j in range(rows) for k in range(columns)
  ]
  for j in range(rows - 1):
    for k in range(columns - 1):
      i = j * columns + k + 1
      cell = (i, i + columns, i + columns + 1, i + 1)
      lines.append("f " + " ".join(f"{n}/{n}" for n in cell))
  path = tmp_path / "ball.obj"
  path.write_text("\n".join(lines))
  with pytest.raises(ValueError, match="told by its shape") as error:
    open_head(path)
  assert str(path) in str(error.value)
  assert '"landmarks"' in str(error.value)
  assert "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.skipif(not heads_at_hand.MEINGAME.is_dir(), reason="needs MeInGame's head")
def test_meingame_head(tmp_path):
  """Landmarks that the shape gives are those of a person who looked for them."""
  known = heads_at_hand.meingame().template
  found = open_head(heads_at_hand.meingame_file(tmp_path)).template
  own = HEAD.template.landmark_positions(HEAD.template.vertices)
  apart = np.linalg.norm(found.landmark_positions(found.vertices) - own, axis=-1)
  assert np.median(apart[17:]) < 0.02
  loaded = load_template(tmp_path / "meingame.obj", **MEINGAME_AUTO).template
  places = [head.landmark_positions(head.vertices) for head in (loaded, known)]
  assert np.median(np.linalg.norm(places[0] - places[1], axis=-1)[17:]) < 0.04
  skin = uv.resize_mask(found.masks["skin"], 128)
  assert 0.3 < skin.mean() < 0.8
  np.testing.assert_array_equal(skin, uv.resize_mask(known.masks["skin"], 128))


def test_other_paths_are_refused_by_name(tmp_path):
  (tmp_path / "head.fbx").write_bytes(b"x")
  for spec, words in (
    (tmp_path / "absent.obj", "no such file or folder"),
    (tmp_path / "head.fbx", r"must be a folder or end in .*\.obj"),
    (tmp_path, "is not a usable ICT-FaceKit model"),
  ):
    with pytest.raises(ValueError, match=words) as error:
      open_head(spec)
    assert str(spec) in str(error.value)


def test_a_changed_file_is_read_again(tmp_path, person):
  path, _number = write_obj(tmp_path / "twice.obj", person)
  sidecar(path, units="parsec")
  with pytest.raises(ValueError, match="units"):
    open_head(path)
  os.utime(path.with_suffix(".json"), ns=(1, 1))
  sidecar(path, up="sideways")
  with pytest.raises(ValueError, match="up must be"):
    open_head(path)
