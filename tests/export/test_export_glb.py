"""GLB files: structure read byte for byte, trimesh's view, Khronos's validator."""

import io

import numpy as np
import pytest
import trimesh
from PIL import Image

from affjax.export import _gltf_file, glb_bytes, head_mesh, png_bytes, to_uint8
from tests.export.gltf import issues, parse, values


@pytest.fixture(scope="module")
def content(ball_mesh, texture):
  return glb_bytes(
    ball_mesh,
    texture_png=png_bytes(texture),
    extras={"pose": {"axis_angle": [0.1, 0.2, 0.3]}, "photo": "Zoë.jpg"},
  )


def test_views_are_aligned_disjoint_and_have_targets(content):
  document, data = parse(content)
  end = 0
  for view in document["bufferViews"]:
    assert view["byteOffset"] % 4 == 0
    assert view["byteOffset"] >= end
    end = view["byteOffset"] + view["byteLength"]
  assert end <= len(data)
  used = {a["bufferView"]: a["type"] for a in document["accessors"]}
  for k, kind in used.items():
    target = document["bufferViews"][k]["target"]
    assert target == (34963 if kind == "SCALAR" else 34962)


def test_mesh_survives_with_seams_split(content, ball, ball_mesh):
  document, data = parse(content)
  (mesh,) = document["meshes"]
  attributes = mesh["primitives"][0]["attributes"]
  position = values(document, data, attributes["POSITION"])
  normal = values(document, data, attributes["NORMAL"])
  uv = values(document, data, attributes["TEXCOORD_0"])
  bounds = document["accessors"][attributes["POSITION"]]
  np.testing.assert_array_equal(bounds["min"], position.min(0))
  np.testing.assert_array_equal(bounds["max"], position.max(0))
  np.testing.assert_allclose(np.linalg.norm(normal, axis=-1), 1, atol=1e-5)
  assert len(mesh["primitives"]) == 3
  for group, primitive in enumerate(mesh["primitives"]):
    index = values(document, data, primitive["indices"]).reshape(-1, 3)
    chosen = ball.face_groups == group
    np.testing.assert_allclose(
      position[index], ball.vertices[ball.faces[chosen]] * 0.1, atol=1e-7
    )
    np.testing.assert_allclose(normal[index], ball_mesh.normals[ball.faces[chosen]])
    expected = ball.uvs[ball.faces_uv[chosen]]
    np.testing.assert_allclose(uv[index][..., 0], expected[..., 0])
    np.testing.assert_allclose(uv[index][..., 1], 1 - expected[..., 1], atol=1e-7)


def test_materials_texture_and_extras(content, texture):
  document, data = parse(content)
  roughness = {
    m["name"]: m["pbrMetallicRoughness"]["roughnessFactor"]
    for m in document["materials"]
  }
  assert roughness["eyes"] < roughness["teeth"] < roughness["skin"]
  assert all(
    m["pbrMetallicRoughness"]["metallicFactor"] == 0 for m in document["materials"]
  )
  (picture,) = document["images"]
  view = document["bufferViews"][picture["bufferView"]]
  start = view["byteOffset"]
  stored = Image.open(io.BytesIO(data[start : start + view["byteLength"]]))
  np.testing.assert_array_equal(np.asarray(stored), to_uint8(texture))
  extras = document["nodes"][0]["extras"]
  assert extras == {"pose": {"axis_angle": [0.1, 0.2, 0.3]}, "photo": "Zoë.jpg"}


def test_trimesh_reads_the_texture_the_right_way_up(content):
  scene = trimesh.load(io.BytesIO(content), file_type="glb")
  parts = scene.dump()
  assert len(parts) == 3
  for part in parts:
    # Red is u and green is v (trimesh gives v growing upwards again).
    colors = part.visual.to_color().vertex_colors[:, :3] / 255
    np.testing.assert_allclose(colors[:, :2], part.visual.uv, atol=0.03)


def test_many_vertices_take_32_bit_indices():
  triangles = np.array([[0, 1, 2], [65534, 65535, 65536]])
  for count, kind, width in ((65534, 5123, 2), (65537, 5125, 4)):
    chunks = _gltf_file.Chunks()
    chunks.add_indices(triangles[: 1 if count < 65535 else 2], count)
    (accessor,) = chunks.accessors
    assert accessor["componentType"] == kind
    assert chunks.views[0]["byteLength"] == accessor["count"] * width


def test_khronos_validator_finds_nothing(content, tmp_path):
  assert issues(content, tmp_path) == []


def test_flat_normals_cannot_break_the_file(ball, texture):
  mesh = head_mesh(np.zeros_like(ball.vertices), ball)
  content = glb_bytes(mesh, texture_png=png_bytes(texture), extras={})
  document, data = parse(content)
  normal = values(
    document, data, document["meshes"][0]["primitives"][0]["attributes"]["NORMAL"]
  )
  np.testing.assert_allclose(np.linalg.norm(normal, axis=-1), 1)


def test_nan_in_extras_is_refused(ball_mesh, texture):
  with pytest.raises(ValueError, match="JSON"):
    glb_bytes(ball_mesh, texture_png=png_bytes(texture), extras={"x": float("nan")})
