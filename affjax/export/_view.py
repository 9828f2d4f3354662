"""A head in 3D for the viewer of the page, as scripts that the page loads.

Browsers refuse to read files beside a page that was opened from the disk, but they do
run scripts; hence the mesh, its textures and its expression units are numbers in
scripts.
"""

import base64
import json

import numpy as np

from affjax.export import _head_mesh, _images
from affjax.export._reconstruction import Reconstruction

_GLOSS = {"eyes": 1.0, "teeth": 0.6}
# Quality of the texture, which diffuse.png holds without loss.
_QUALITY = 92
# Smaller displacements by expression units, dm, are not seen and left out.
_LEAST_MOVE = 1e-3


def view_script(head: Reconstruction, *, light_png: bytes) -> str:
  """Returns a script that sets `affjaxHead` to the head.

  Positions and UVs are 16-bit fractions of their bounds.

  Args:
    head: The head.
    light_png: Light map, as in light.png.
  """
  mesh = head.mesh
  corners = _head_mesh.split_at_seams(mesh.template)
  points = mesh.vertices.astype(np.float64)
  low, high = points.min(0), points.max(0)
  rotation = np.eye(4)
  rotation[:3, :3] = head.rotation
  _, white = _images.light_picture(head.light)
  diffuse = _images.jpeg_bytes(head.diffuse, quality=_QUALITY)
  kind = "<u2" if len(corners.vertex) <= 65536 else "<u4"
  content = {
    "points": _packed(_quantized(points, low, high), "<u2"),
    "low": low.tolist(),
    "high": high.tolist(),
    "diffuse": f"data:image/jpeg;base64,{base64.b64encode(diffuse).decode()}",
    "light": f"data:image/png;base64,{base64.b64encode(light_png).decode()}",
    "lightScale": (white * np.asarray(head.light_color, float)).tolist(),
    "rotation": rotation.T.reshape(-1).tolist(),
    "wide": kind == "<u4",
    "vertex": _packed(corners.vertex, kind),
    "faces": _packed(corners.faces, kind),
    "uv": _packed(
      _quantized(mesh.template.uvs[corners.uv], np.zeros(2), np.ones(2)), "<u2"
    ),
    "gloss": _packed(np.round(255 * _gloss(mesh, corners)), "u1"),
  }
  return f"affjaxHead = {json.dumps(content, allow_nan=False)};\n"


def moves_script(head: Reconstruction) -> str | None:
  """Returns a script that sets `affjaxMoves` to the expression units of the head.

  Displacements are 16-bit fractions of the largest one, of the vertices that move.

  Args:
    head: The head.

  Returns:
    The script; None for heads without ARKit's units.
  """
  if head.expression is None or not head.expression.is_arkit:
    return None
  moves = head.expression.moves.astype(np.float64)
  unit, vertex = np.nonzero(np.linalg.norm(moves, axis=-1) > _LEAST_MOVE)
  scale = max(float(np.abs(moves).max()), 1e-12) / 32767
  kind = "<u2" if moves.shape[1] <= 65536 else "<u4"
  content = {
    "names": list(head.expression.names),
    "weights": np.round(head.expression.weights.astype(float), 5).tolist(),
    "counts": np.bincount(unit, minlength=len(moves)).tolist(),
    "wide": kind == "<u4",
    "vertex": _packed(vertex, kind),
    "offset": _packed(np.round(moves[unit, vertex] / scale), "<i2"),
    "scale": scale,
  }
  return f"affjaxMoves = {json.dumps(content, allow_nan=False)};\n"


def _gloss(mesh: _head_mesh.HeadMesh, corners: _head_mesh.Corners) -> np.ndarray:
  """Returns how shiny each corner is, from 0 to 1."""
  gloss = np.zeros(len(corners.vertex))
  for name, triangles in _head_mesh.group_faces(corners.faces, mesh.template).items():
    gloss[triangles.reshape(-1)] = _GLOSS.get(name, 0.0)
  return gloss


def _quantized(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
  """Returns values between the bounds as 0..65535."""
  span = np.maximum(high - low, 1e-12)
  return np.round(65535 * np.clip((values - low) / span, 0, 1))


def _packed(values: np.ndarray, dtype: str) -> str:
  """Returns numbers as little-endian bytes in base64."""
  return base64.b64encode(np.ascontiguousarray(values, dtype).tobytes()).decode()
