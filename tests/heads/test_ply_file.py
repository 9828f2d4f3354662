"""PLY files: text, both byte orders, polygons, and damage."""

import numpy as np
import pytest

from affjax.heads import PlyError, read_ply

_POINTS = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0.5]], np.float32)


def _content(order: str, faces: list[list[int]], *, count: int | None = None) -> bytes:
  """A file with colors of vertices."""
  count = len(faces) if count is None else count
  kind = {"": "ascii", "<": "binary_little_endian", ">": "binary_big_endian"}[order]
  head = (
    f"ply\nformat {kind} 1.0\ncomment x\nelement vertex 4\nproperty float x\n"
    "property float y\nproperty float z\nproperty uchar red\n"
    f"element face {count}\nproperty list uchar int vertex_indices\nend_header\n"
  ).encode()
  if not order:
    rows = [f"{x} {y} {z} 7" for x, y, z in _POINTS]
    rows += [" ".join(map(str, [len(face), *face])) for face in faces]
    return head + "\n".join(rows).encode()
  vertex = np.dtype([("p", order + "f4", (3,)), ("red", "u1")])
  table = np.array([(point, 7) for point in _POINTS], vertex)
  body = b"".join(
    bytes([len(face)]) + np.array(face, order + "i4").tobytes() for face in faces
  )
  return head + table.tobytes() + body


@pytest.mark.parametrize("order", ["", "<", ">"])
@pytest.mark.parametrize("faces", [[[0, 1, 2], [0, 2, 3]], [[0, 1, 2, 3]]])
def test_files_are_read(tmp_path, order, faces):
  (tmp_path / "a.ply").write_bytes(_content(order, faces))
  points, triangles = read_ply(tmp_path / "a.ply")
  np.testing.assert_allclose(points, _POINTS)
  np.testing.assert_array_equal(triangles, [[0, 1, 2], [0, 2, 3]])


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (b"solid", "not a PLY file"),
    (_content("", [[0, 1, 9]]), "beyond the 4"),
    (_content("", []), "no faces"),
    (_content("", [[0, 1]]), "2 corners"),
    (_content("", [[0, 1, 2]], count=2), "out of bounds"),
    (_content("<", [[0, 1, 2, 3]], count=2), "buffer"),
    (_content("", [[0, 1, 2]], count=10**9), "rows of a kind"),
    (_content("", [[0, 1, 2]]).replace(b"0.5", b"nan"), "finite"),
    (_content("", [[0, 1, 2]]).replace(b"float", b"code"), "code"),
  ],
)
def test_damage_is_refused_in_one_line(tmp_path, content, message):
  (tmp_path / "a.ply").write_bytes(content)
  with pytest.raises(PlyError, match=message) as caught:
    read_ply(tmp_path / "a.ply")
  assert "a.ply" in str(caught.value)
  assert "\n" not in str(caught.value)
