"""Folders of other tools: a tiny example of each format, written as the tool does."""

import numpy as np
import pytest

from affjax import benchmark
from affjax.benchmark import _tools
from affjax.eval import Cases, chosen, measured
from affjax.heads import open_head


def _obj(vertices, faces, *, colors=False, uvs=False, comment=""):
  color = " 0.5 0.4 0.3" if colors else ""
  lines = [comment] if comment else []
  lines += [f"v {x:.6f} {y:.6f} {z:.6f}{color}" for x, y, z in vertices]
  if uvs:
    lines += [f"vt {x:.4f} 0.5" for x in np.linspace(0, 1, len(vertices))]
    lines += [f"f {a}/{a} {b}/{b} {c}/{c}" for a, b, c in faces + 1]
  else:
    lines += [f"f {a} {b} {c}" for a, b, c in faces + 1]
  return "\n".join(lines) + "\n"


def _ply(vertices, faces):
  head = (
    f"ply\nformat ascii 1.0\nelement vertex {len(vertices)}\nproperty float x\n"
    f"property float y\nproperty float z\nelement face {len(faces)}\n"
    "property list uchar int vertex_indices\nend_header\n\n"
  )
  rows = [f"{x:.2f} {y:.2f} {z:.2f}" for x, y, z in vertices]
  rows += [f"3 {a} {b} {c}" for a, b, c in faces]
  return head + "\n".join(rows) + "\n"


def _deca(folder, vertices, faces):
  (folder / "000000").mkdir(parents=True)
  text = "mtllib 000000.mtl\n" + _obj(vertices / 1.3, faces, uvs=True)
  (folder / "000000" / "000000.obj").write_text(text)
  (folder / "000000" / "000000_detail.obj").write_text("v 0 0 0\n")


def _ddfa_obj(folder, vertices, faces):
  # Pixels of the photo, y up, two digits.
  px = np.round(vertices * 90 + [128, 128, 40], 2)
  (folder / "000000_obj.obj").write_text(_obj(px, faces, colors=True))


def _ddfa_ply(folder, vertices, faces):
  px = vertices * 90 + [128, 128, 40]
  (folder / "000000_ply.ply").write_text(_ply(px, faces))


def _deep3d(folder, vertices, faces):
  place = folder / "examples" / "epoch_20_000000"
  place.mkdir(parents=True)
  text = _obj(
    vertices, faces, colors=True, comment="# https://github.com/mikedh/trimesh"
  )
  (place / "000000.obj").write_text(text)
  (place / "000000.mat").write_bytes(b"MATLAB 5.0 MAT-file")


def _meingame(folder, vertices, faces):
  (folder / "000000_neu.obj").write_text(_obj(vertices * 0.3, faces, uvs=True))
  (folder / "000000_uv.png").write_bytes(b"")


def _plain(folder, vertices, faces):
  (folder / "000000.obj").write_text(_obj(vertices, faces[:, ::-1]))


@pytest.fixture(scope="module")
def skin():
  """The triangles of the skin, without the rest of the head."""
  template = open_head("embedded").template
  return template.faces[template.face_groups == template.group_names.index("skin")]


@pytest.mark.parametrize(
  ("write", "tool"),
  [
    (_deca, "DECA"),
    (_ddfa_obj, "3DDFA"),
    (_ddfa_ply, "3DDFA"),
    (_deep3d, "Deep3DFaceRecon"),
    (_meingame, "MeInGame"),
    (_plain, "mesh"),
  ],
)
def test_the_true_shape_in_the_files_of_a_tool_has_no_error(
  samples, skin, tmp_path, write, tool
):
  photos = samples.load([0, 1])
  folder = tmp_path / "results"
  folder.mkdir()
  write(folder, photos.vertices[0], skin)
  found = benchmark.tool_folder(folder, samples.names)
  assert found.tool.name == tool
  assert tool in found.about
  answer = found.heads_in(photos)
  assert tuple(answer.index) == (0,)
  assert answer.problems == {1: f"no {tool} file"}
  names = ("position, raw", "scan (NoW-like)", "SIDE, similarity", "rotation")
  values = measured(Cases(chosen(photos, [0]), answer.heads), names)
  # Corresponding points and poses are not known.
  assert set(values) == {"scan (NoW-like)", "SIDE, similarity"}
  assert values["scan (NoW-like)"][""][0] < 0.15
  assert values["SIDE, similarity"][""][0] < 0.3


def test_bad_files_are_named(samples, tmp_path):
  (tmp_path / "000000.obj").write_text("v 0 0 nan\nf 1 1 1\n")
  (tmp_path / "000001.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
  (tmp_path / "000002.ply").write_bytes(b"ply\nformat ascii 1.0\nend_header\n")
  found = benchmark.tool_folder(tmp_path, samples.names)
  answer = found.heads_in(samples.load([0, 1, 2]))
  assert answer.heads is None
  assert "finite numbers expected" in answer.problems[0]
  assert "no face is seen on the mesh" in answer.problems[1]
  assert "elements must be vertex, then face" in answer.problems[2]


def test_a_folder_without_meshes_says_what_is_looked_for(tmp_path):
  with pytest.raises(ValueError, match=r"DECA: 000000/000000\.obj"):
    benchmark.tool_folder(tmp_path, ["000000"])


def test_names_are_not_patterns(tmp_path):
  (tmp_path / "a1.obj").write_text("")
  (tmp_path / "a[1].ply").write_text("")
  (mesh,) = (tool for tool in _tools.TOOLS if tool.name == "mesh")
  assert mesh.file_of(tmp_path, "a[1]") == tmp_path / "a[1].ply"
