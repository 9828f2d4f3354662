"""PLY and USDZ: what other software reads from them."""

import io
import zipfile

import numpy as np
import pytest
import trimesh

from affjax.export import ply_bytes, png_bytes, usdz_bytes


def test_ply_holds_the_mesh_its_uvs_and_colors(ball, ball_mesh, texture):
  content = ply_bytes(ball_mesh, diffuse=texture, texture_name="diffuse.png")
  assert b"comment TextureFile diffuse.png\n" in content[:500]
  mesh = trimesh.load(io.BytesIO(content), file_type="ply", process=False)
  corners = ball.vertices[ball.faces] * 0.1
  np.testing.assert_allclose(mesh.vertices[mesh.faces], corners, atol=1e-7)
  np.testing.assert_allclose(
    mesh.vertex_normals[mesh.faces], ball_mesh.normals[ball.faces], atol=1e-5
  )
  # Red is u, green is v.
  uvs, table = ball.uvs[ball.faces_uv], mesh.metadata["_ply_raw"]["vertex"]["data"]
  colors = np.stack([table["red"], table["green"]], -1)[mesh.faces] / 255
  np.testing.assert_allclose(colors, uvs, atol=0.02)
  np.testing.assert_allclose(mesh.visual.uv[mesh.faces], uvs, atol=1e-6)


def test_usdz_is_aligned_and_stored(ball_mesh, texture):
  png = png_bytes(texture)
  content = usdz_bytes(ball_mesh, texture_png=png)
  with zipfile.ZipFile(io.BytesIO(content)) as archive:
    assert archive.testzip() is None
    names = [info.filename for info in archive.infolist()]
    assert names == ["head.usda", "diffuse.png"]
    for info in archive.infolist():
      assert info.compress_type == zipfile.ZIP_STORED
      assert (info.header_offset + 30 + len(info.filename) + len(info.extra)) % 64 == 0
      start = info.header_offset + 30 + len(info.filename) + len(info.extra)
      assert content[start : start + info.file_size] == archive.read(info)
    assert archive.read("diffuse.png") == png
    text = archive.read("head.usda").decode()
  assert text.startswith("#usda 1.0\n")
  assert "metersPerUnit = 1\n" in text
  assert 'upAxis = "Y"' in text


def test_usd_reads_it(ball, ball_mesh, texture, tmp_path):
  """Pixar's library opens the file and finds geometry, UVs and materials."""
  usd = pytest.importorskip("pxr.Usd", reason="needs `pip install usd-core`")
  geometry = pytest.importorskip("pxr.UsdGeom")
  validation = pytest.importorskip("pxr.UsdValidation")
  path = tmp_path / "head.usdz"
  path.write_bytes(usdz_bytes(ball_mesh, texture_png=png_bytes(texture)))
  stage = usd.Stage.Open(str(path))
  validators = validation.ValidationRegistry().GetOrLoadAllValidators()
  found = validation.ValidationContext(validators).Validate(stage)
  assert [error.GetMessage() for error in found] == []
  assert geometry.GetStageMetersPerUnit(stage) == 1
  mesh = geometry.Mesh(stage.GetPrimAtPath("/head/surface"))
  points = np.array(mesh.GetPointsAttr().Get())
  faces = np.array(mesh.GetFaceVertexIndicesAttr().Get()).reshape(-1, 3)
  np.testing.assert_allclose(points[faces], ball.vertices[ball.faces] / 10, atol=1e-6)
