"""Loaders of head models, on small files of their formats and on real files."""

import contextlib
import dataclasses
import os
import pathlib
import pickle

import jax.numpy as jnp
import numpy as np
import pytest

from affjax.faces import check_fittable
from affjax.geometry import mesh
from affjax.heads import (
  ModelFileError,
  _bfm,
  _flame,
  _ict,
  _surrey,
  open_head,
  plain_diffuse,
  with_landmarks,
  with_uvs,
)
from tests.heads import head_files

ROOT = pathlib.Path(__file__).parents[2]
SHARED = pathlib.Path(os.environ.get("AFFJAX_SHARED", ROOT.parent / "shared"))
ICT_DATA = SHARED / "data" / "ICT-FaceKit" / "ict_facekit_light_headface.npz"


def _check_head(model, *, eyes):
  """Checks the properties that every loader guarantees."""
  template = model.template
  assert template.vertices.dtype == model.identity_basis.dtype == np.float32
  assert template.faces.dtype == template.faces_uv.dtype == np.int32
  assert template.uvs.min() >= 0
  assert template.uvs.max() <= 1
  middle = np.mean(eyes, 0) if np.ndim(eyes) == 2 else eyes
  np.testing.assert_allclose(middle, [0, 0, 0.55], atol=1e-3)
  corner = template.vertices[template.faces]
  normals = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
  outward = (normals * (corner.mean(1) - template.vertices.mean(0))).sum()
  assert outward > 0
  rms = np.sqrt((model.identity_basis**2).sum(-1).mean(-1))
  np.testing.assert_allclose(model.identity_std, rms, rtol=1e-5)
  one = jnp.ones(1)
  moved = model.vertices(one, one[: len(model.expression_basis)])
  assert moved.shape == template.vertices.shape


def _write_pickle(path, content, protocol=2):
  path.write_bytes(pickle.dumps(content, protocol))
  return path


class TestFlame:
  @pytest.fixture(scope="class")
  @classmethod
  def arrays(cls):
    return head_files.flame()

  def test_pickle_with_chumpy_and_npz(self, arrays, tmp_path, monkeypatch):
    wrapped = head_files.chumpy_module(monkeypatch)
    content = {**arrays, "shapedirs": wrapped(arrays["shapedirs"]), "bs_type": "lrot"}
    model = _flame.load(_write_pickle(tmp_path / "generic_model.pkl", content))
    template = model.template
    centres = [
      template.vertices[part].mean(0) for part in np.split(np.arange(3931, 5023), 2)
    ]
    _check_head(model, eyes=centres)
    assert centres[0][0] > centres[1][0]  # the left eye is to the right of the image
    assert model.identity_basis.shape == (300, 5023, 3)
    assert model.expression_basis.shape == (100, 5023, 3)
    np.testing.assert_allclose(model.identity_basis[0, :, 1], 0.04)
    np.testing.assert_allclose(model.expression_basis[0, :3931, 0], 0.1)
    np.testing.assert_array_equal(template.faces, arrays["f"])
    assert template.landmark_faces.size == 0
    np.savez(tmp_path / "flame.npz", **arrays)
    again = _flame.load(tmp_path / "flame.npz")
    np.testing.assert_array_equal(again.template.vertices, template.vertices)

  def test_bad_files(self, arrays, tmp_path):
    nan = arrays["v_template"].copy()
    nan[7, 1] = np.nan
    bad = {
      "shape \\(5022, 3\\)": {"v_template": nan[1:]},
      "mean has 1 numbers that are not finite": {"v_template": nan},
      "shapedirs has shape": {"shapedirs": arrays["shapedirs"][..., 1:]},
      "indices in \\[0, 5023\\], not in \\[0, 5023\\)": {"f": np.array([[0, 1, 5023]])},
      "eyes are 6.2 dm apart": {"v_template": arrays["v_template"] * 10},
      "eyes are -0.62 dm apart": {"v_template": arrays["v_template"] * (-1, 1, 1)},
    }  # fmt: skip
    for message, change in bad.items():
      np.savez(tmp_path / "f.npz", **{**arrays, **change})
      with pytest.raises(ModelFileError, match=message):
        _flame.load(tmp_path / "f.npz")

  def test_messages_name_the_file_and_where_to_get_it(self, tmp_path, monkeypatch):
    class Exploit:
      def __reduce__(self):
        return os.system, ("touch ran",)

    monkeypatch.chdir(tmp_path)
    _write_pickle(tmp_path / "evil.pkl", {"v_template": Exploit()})
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04")
    (tmp_path / "flame.txt").write_text("?")
    for name, message in {
      "evil.pkl": "wants 'posix.system', but only arrays are read",
      "cut.npz": "not a readable .npz",
      "absent.pkl": "FileNotFoundError",
      "flame.txt": "ends in '.txt'",
    }.items():
      with pytest.raises(ModelFileError, match=message) as caught:
        _flame.load(tmp_path / name)
      for part in (name, "v_template [5023, 3]", "https://flame.is.tue.mpg.de"):
        assert part in str(caught.value)
    assert not (tmp_path / "ran").exists()


class TestBaselFaceModel2009:
  def test_load(self, tmp_path):
    model = _bfm.load_2009(head_files.write_deep3d(tmp_path / "BFM_model_front.mat"))
    template = model.template
    points = np.asarray(template.landmark_positions(template.vertices))
    _check_head(model, eyes=points[[36, 45]])
    assert points.shape == (68, 3)
    assert points[36, 0] < 0 < points[45, 0]
    assert model.identity_basis.shape == (2, 35709, 3)
    np.testing.assert_allclose(model.expression_basis, 0.02)
    # Deep3D's origin, the mean of the vertices, was the centre of the ball.
    radius = np.linalg.norm(template.vertices - template.vertices.mean(0), axis=1)
    np.testing.assert_allclose(radius, 1, atol=1e-3)

  def test_bad_files(self, tmp_path):
    good = head_files.deep3d()
    nan = good["idBase"].copy()
    nan[5] = np.nan
    path = tmp_path / "BFM_model_front.mat"
    for message, change in {
      "meanshape has 107124 numbers": {"meanshape": good["meanshape"][:, 3:]},
      "idBase has NaN": {"idBase": nan},
      "exBase has shape": {"exBase": good["exBase"][3:]},
      "keypoints are 67 vertices": {"keypoints": good["keypoints"][:, 1:]},
      "keypoints are 68 vertices in \\[0,": {"keypoints": good["keypoints"] * 0},
      "triangle list has indices in \\[-1": {"tri": good["tri"] - 1},
      "tri is not an array of numbers": {"tri": np.array(["x"], object)},
    }.items():
      head_files.write_deep3d(path, **change)
      with pytest.raises(ModelFileError, match=message):
        _bfm.load_2009(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelFileError, match=r"faces.dmi.unibas.ch"):
      _bfm.load_2009(path)


class TestBaselFaceModel2017:
  @pytest.fixture(autouse=True)
  def _need_h5py(self):
    pytest.importorskip("h5py", reason="h5py reads BFM 2017")

  def test_load(self, tmp_path):
    content = head_files.bfm2017()
    model = _bfm.load_2017(head_files.write_h5(tmp_path / "bfm.h5", content))
    template = model.template
    move = template.vertices[0] - content["shape/model/mean"][:3] / 100
    _check_head(model, eyes=head_files.RIGHT_AND_LEFT_EYE + move)
    assert model.expression_names == ("mean", "expression0", "expression1")
    np.testing.assert_allclose(model.expression_basis[0], 0.02, rtol=1e-6)
    # Unit modes of variance 400 mm² and 100 mm².
    lengths = np.sqrt((model.identity_basis**2).sum((1, 2)))
    np.testing.assert_allclose(lengths, [0.2, 0.1], rtol=1e-5)
    assert template.uvs.shape[0] >= 400

  def test_bad_files(self, tmp_path):
    good = head_files.bfm2017()
    path = tmp_path / "bfm.h5"
    for message, change in {
      "mean \\(1199,\\)": {"shape/model/mean": good["shape/model/mean"][1:]},
      "pcaVariance \\(3,\\)": {"expression/model/pcaVariance": np.ones(3)},
      "has NaN": {"expression/model/mean": np.full(1200, np.nan)},
      "do not name": {"metadata/landmarks/json": "[]"},
      "JSONDecodeError": {"metadata/landmarks/json": "["},
      "indices in": {"shape/representer/cells": np.full((3, 5), 400)},
    }.items():
      head_files.write_h5(path, {**good, **change})
      with pytest.raises(ModelFileError, match=message):
        _bfm.load_2017(path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ModelFileError, match="OSError"):
      _bfm.load_2017(path)


class TestSurrey:
  @pytest.mark.parametrize("version", [1, 2, 3, 4])
  def test_versions(self, tmp_path, version):
    path = tmp_path / "sfm.bin"
    path.write_bytes(head_files.surrey_bytes(version))
    model = _surrey.load(path)
    template = model.template
    _check_head(model, eyes=template.vertices[[177, 610]])
    assert model.expression_basis.shape == (0, 700, 3)
    lengths = np.sqrt((model.identity_basis**2).sum((1, 2)))
    np.testing.assert_allclose(lengths, [0.2, 0.1], rtol=1e-5)
    # v grows with y, once turned.
    slope = np.polyfit(template.vertices[:, 1], template.uvs[:, 1], 1)[0]
    assert slope == pytest.approx(0.4, rel=1e-3)

  def test_a_model_without_landmarks_is_told_how_to_get_them(self, tmp_path):
    (tmp_path / "sfm.bin").write_bytes(head_files.surrey_bytes())
    model = _surrey.load(tmp_path / "sfm.bin")
    with pytest.raises(ValueError, match="got 0: affjax"):
      check_fittable(model)
    given = {"vertices": list(range(68))}
    marked = with_landmarks(model.template, given)
    check_fittable(dataclasses.replace(model, template=marked))

  def test_expressions_within_and_beside(self, tmp_path):
    points, faces = head_files.surrey_ball()
    modes = head_files.pca_bytes(
      np.ones(2100), np.full((2100, 1), 0.1), np.array([4.0]), faces
    )
    path, beside = tmp_path / "sfm.bin", tmp_path / "shapes.bin"
    kind = lambda number: int(number).to_bytes(4, "little")
    path.write_bytes(head_files.surrey_bytes(4, kind(0) + modes))
    model = _surrey.load(path)
    assert model.expression_names == ("mean", "expression0")
    np.testing.assert_allclose(model.expression_basis[1], 0.002, rtol=1e-6)
    path.write_bytes(
      head_files.surrey_bytes(4, kind(1) + head_files.blendshape_bytes())
    )
    within = _surrey.load(path)
    beside.write_bytes(head_files.blendshape_bytes())
    with pytest.raises(ModelFileError, match="expressions of its own"):
      _surrey.load(path, blendshapes=beside)
    path.write_bytes(head_files.surrey_bytes(4))
    for model in (within, _surrey.load(path, blendshapes=beside)):
      assert model.expression_names == ("anger", "joy")
      np.testing.assert_allclose(model.expression_basis, 0.03, rtol=1e-6)
    beside.write_bytes(head_files.blendshape_bytes(count=699))
    with pytest.raises(ModelFileError, match=r"shapes.bin.*have 699 vertices"):
      _surrey.load(path, blendshapes=beside)
    assert len(points) == 700

  def test_bad_files(self, tmp_path):
    good = head_files.surrey_bytes(4)
    path = tmp_path / "sfm.bin"
    for message, data in {
      "its version is 7": b"\x07" + good[1:],
      "bytes needed": good[:-3],
      "4 bytes needed": b"",
      "1 bytes are left over": good + b"x",
      "indices in": head_files.surrey_bytes(4, faces=np.array([[0, 1, 700]])),
      "of kind 9": head_files.surrey_bytes(4, b"\x09\0\0\0"),
      "promises": head_files.surrey_bytes(4, b"\x01\0\0\0" + b"\xff" * 8),
      "https://github.com/patrikhuber/eos": b"#include <eos>",
    }.items():
      path.write_bytes(data)
      with pytest.raises(ModelFileError, match=message):
        _surrey.load(path)

  def test_any_broken_byte_gives_a_model_or_a_model_file_error(self, tmp_path):
    good = head_files.surrey_bytes(4)
    path = tmp_path / "sfm.bin"
    rng = np.random.default_rng(0)
    for _ in range(30):
      broken = bytearray(good)
      broken[rng.integers(40 if rng.random() < 0.5 else len(good))] = rng.integers(256)
      path.write_bytes(broken)
      with contextlib.suppress(ModelFileError):
        _surrey.load(path)


class TestIct:
  """The authors' geometry, written as the OBJs of their folder."""

  @pytest.fixture(scope="class")
  @classmethod
  def data(cls):
    if not ICT_DATA.is_file():
      pytest.skip(f"{ICT_DATA} is not here: set AFFJAX_SHARED to the shared folder")
    with np.load(ICT_DATA) as file:
      return dict(file)

  @pytest.fixture(scope="class")
  @classmethod
  def folder(cls, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ICT-FaceKit") / "FaceXModel"
    folder.mkdir()
    places, at = np.zeros((26719, 3)), data["orig_vertex_index"]
    places[at] = data["neutral"]
    lines = [f"vt {u:.6f} {v:.6f}" for u, v in data["uv"]]
    for face, face_uv in zip(at[data["faces"]], data["faces_uv"], strict=True):
      corners = [
        f"{v + 1}/{t + 1}/1" for v, t in zip(face, face_uv, strict=True) if t >= 0
      ]
      lines.append("f " + " ".join(corners))
    cls._write(folder / "generic_neutral_mesh.obj", places, lines)
    for name, moves in cls._moves(data).items():
      moved = places.copy()
      moved[at] += moves
      cls._write(folder / f"{name}.obj", moved)
    return folder.parent

  @staticmethod
  def _moves(data):
    names = data["expression_names"].tolist()
    chosen = ["browDown_L", "jawOpen"]
    moves = {name: data["expression_deltas"][names.index(name)] for name in chosen}
    return moves | {f"identity{i:03d}": data["identity_deltas"][i] for i in range(2)}

  @staticmethod
  def _write(path, places, more=()):
    rows = [f"v {x:.9g} {y:.9g} {z:.9g}" for x, y, z in places]
    path.write_text("\n".join(["# ICT FaceKit", "mtllib x.mtl", *rows, *more]))

  def test_face(self, folder, data):
    model = _ict.load(folder)
    template = model.template
    points = np.asarray(template.landmark_positions(template.vertices))
    _check_head(model, eyes=points[[36, 45]])
    own = data["neutral"][data["landmarks68"]] / 10
    np.testing.assert_allclose(points - points[30], own - own[30], atol=1e-6)
    assert len(template.vertices) == 9409
    in_face = data["face_part"] == 0
    assert len(template.faces) == (2 - (data["faces_uv"][in_face, 3] < 0)).sum()
    assert model.expression_names == ("browDownLeft", "jawOpen")
    np.testing.assert_allclose(
      model.identity_basis, data["identity_deltas"][:2, :9409] / 10, atol=1e-4
    )
    # No triangle covers another in the authors' tile of the face.
    uv = template.uvs[template.faces_uv]
    a, b = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    area = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2
    assert (area > 0).mean() > 0.99
    assert np.abs(area).sum() < 1

  @pytest.mark.slow
  def test_open_head_adds_masks_and_a_diffuse_map(self, folder):
    model = open_head(folder)
    template = model.template
    assert open_head(folder) is model
    assert plain_diffuse(template, 32).std() > 0.01
    points = template.uvs[template.faces_uv[template.landmark_faces]].mean(1)
    row, column = np.floor((1 - points[:, 1]) * 256), np.floor(points[:, 0] * 256)
    at = lambda name, which: template.masks[name][
      row[which].astype(int), column[which].astype(int)
    ]
    assert at("face", slice(17, 68)).mean() > 0.9
    assert at("skin", slice(27, 36)).min() > 0.9
    assert at("lips", slice(48, 60)).mean() > 0.4

  def test_parts_side_by_side(self, folder):
    parts = ("face", "head_neck", "eyeball_left", "eyeball_right")
    model = _ict.load(folder, parts=parts, identities=1)
    template = model.template
    assert template.group_names == parts
    assert len(template.vertices) == 9409 + 1839 + 2 * 1570
    cells = [
      np.floor(
        template.uvs[np.unique(template.faces_uv[template.face_groups == g])] * 2
      )
      for g in range(4)
    ]
    assert [cell.min(0).tolist() for cell in cells] == [[0, 1], [1, 1], [0, 0], [1, 0]]
    assert all((cell.min(0) == cell.max(0)).all() for cell in cells)
    assert mesh.neighbors(template.faces).shape == template.faces.shape

  def test_bad_folders(self, folder, tmp_path):
    with pytest.raises(ValueError, match="must be 'face' and others of"):
      _ict.load(folder, parts=("face", "hair"))
    with pytest.raises(ModelFileError, match=r"generic_neutral_mesh.obj is missing"):
      _ict.load(tmp_path)
    (tmp_path / "generic_neutral_mesh.obj").write_text("v 0 0 0\nf 1/1 1/1 1/1\nvt 0 0")
    (tmp_path / "identity000.obj").write_text("v 0 0 0\n")
    with pytest.raises(ModelFileError, match=r"has 1 vertices.*MIT"):
      _ict.load(tmp_path)
    good = (folder / "FaceXModel" / "generic_neutral_mesh.obj").read_text()
    for message, old, new in (
      ("vertex indices in", "\nf ", "\nf 99999/1 "),
      ("has NaN among", "\nv ", "\nv nan 0 0 # "),
      ("UV indices in", "\nf ", "\nf 1/999999 "),
    ):
      changed = good.replace(old, new, 1)
      (tmp_path / "generic_neutral_mesh.obj").write_text(changed)
      with pytest.raises(ModelFileError, match=message):
        _ict.load(tmp_path)


class TestCylinder:
  def test_a_model_without_uvs_says_so(self, tmp_path, caplog):
    path = tmp_path / "sfm.bin"
    path.write_bytes(head_files.surrey_bytes(3, uvs=False))
    template = _surrey.load(path).template
    assert "has no UV coordinates" in caplog.text
    u, v = template.uvs[:700].T
    assert np.corrcoef(v, template.vertices[:, 1])[0, 1] > 0.999
    front = template.vertices[:, 2] > 0.3
    assert (np.sign(u[front] - 0.5) == np.sign(template.vertices[front, 0])).all()
    # Nothing runs across the whole square: the cut behind has corners of its own.
    assert np.ptp(template.uvs[template.faces_uv][..., 0], axis=1).max() < 0.55
    assert len(template.uvs) > 700


class TestUvsOfAnotherFile:
  @pytest.fixture
  def model(self, tmp_path):
    path = tmp_path / "sfm.bin"
    path.write_bytes(head_files.surrey_bytes(4))
    return _surrey.load(path)

  def test_triangles_in_any_order(self, model):
    template = model.template
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(template.faces))
    corners = rng.permuted(np.tile(np.arange(3), (len(rows), 1)), axis=1)
    shuffle = lambda faces: np.take_along_axis(faces[rows], corners, 1)
    new = with_uvs(
      model,
      faces=shuffle(template.faces),
      uvs=template.uvs[::-1],
      faces_uv=len(template.uvs) - 1 - shuffle(template.faces_uv),
    ).template
    np.testing.assert_array_equal(
      new.uvs[new.faces_uv], template.uvs[template.faces_uv]
    )

  def test_another_mesh_is_refused(self, model):
    template = model.template
    with pytest.raises(ValueError, match="1 are missing, the first is"):
      with_uvs(
        model,
        faces=template.faces[1:],
        uvs=template.uvs,
        faces_uv=template.faces_uv[1:],
      )
    with pytest.raises(ValueError, match=r"uvs must lie in \[0, 1\]"):
      with_uvs(
        model, faces=template.faces, uvs=template.uvs + 1, faces_uv=template.faces_uv
      )
