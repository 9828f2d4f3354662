"""OBJ files: welded, in metres, and the texture the right way up."""

import numpy as np
import pytest
import trimesh

from affjax.export import head_mesh, mtl_text, obj_text, png_bytes


@pytest.fixture
def obj_file(tmp_path, ball_mesh, texture):
  (tmp_path / "head.obj").write_text(obj_text(ball_mesh, mtl_name="head.mtl"))
  (tmp_path / "head.mtl").write_text(mtl_text(ball_mesh, texture_name="diffuse.png"))
  (tmp_path / "diffuse.png").write_bytes(png_bytes(texture))
  return tmp_path / "head.obj"


def test_positions_stay_welded_and_are_metres(obj_file, ball):
  lines = obj_file.read_text().splitlines()
  rows = [line.split() for line in lines]
  points = np.array([row[1:] for row in rows if row[0] == "v"], float)
  np.testing.assert_allclose(points, ball.vertices * 0.1, atol=1e-6)
  assert sum(row[0] == "vt" for row in rows) == len(ball.uvs)
  corners = [row[1:] for row in rows if row[0] == "f"]
  index = np.array([[c.split("/") for c in face] for face in corners], int) - 1
  assert set(map(tuple, index[..., 0].tolist())) == set(map(tuple, ball.faces.tolist()))
  assert set(map(tuple, index[..., 1].tolist())) == set(
    map(tuple, ball.faces_uv.tolist())
  )


def test_trimesh_reads_the_texture_the_right_way_up(obj_file, ball):
  scene = trimesh.load(obj_file, force="scene")
  assert set(scene.geometry) >= {"skin", "eyes", "teeth"} or len(scene.geometry) == 3
  skin = max(scene.geometry.values(), key=lambda part: len(part.faces))
  # Red is u and green is v: the colours at the vertices must tell their uvs.
  colors = skin.visual.to_color().vertex_colors[:, :3] / 255
  np.testing.assert_allclose(colors[:, :2], skin.visual.uv, atol=0.03)
  top = skin.vertices[:, 1] > 0.105
  bottom = skin.vertices[:, 1] < -0.105
  assert colors[top, 1].min() > colors[bottom, 1].max() + 0.5
  np.testing.assert_allclose(
    skin.bounds, np.array([[-0.08, -0.11, -0.09], [0.08, 0.11, 0.09]]), atol=2e-3
  )


def test_normals_point_out_of_the_ball(ball_mesh, ball):
  skin = np.unique(ball.faces[ball.face_groups == 0])
  out = ball_mesh.vertices[skin] / np.array([0.64, 1.21, 0.81])
  out /= np.linalg.norm(out, axis=-1, keepdims=True)
  assert np.sum(out * ball_mesh.normals[skin], -1).min() > 0.95


def test_bad_vertices_are_refused(ball):
  with pytest.raises(ValueError, match="vertices of template 'ball' must be"):
    head_mesh(ball.vertices[:-1], ball)
  with pytest.raises(ValueError, match="finite"):
    head_mesh(np.full_like(ball.vertices, np.nan), ball)


def test_a_vertex_without_area_gets_some_unit_normal(ball):
  mesh = head_mesh(np.zeros_like(ball.vertices), ball)
  np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=-1), 1)
