"""The irises of faces whose landmarks are known."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from affjax.faces import _mesh, _network, warp

# FaceMesh's corners of each eye, the image's left ones first when upright.
_CORNERS = ((33, 133), (362, 263))
# Side of the network's square, in widths of the eye.
_MARGIN = 2.3
# The network expects the eye on the image's left; the other one is shown mirrored,
# which swaps its right and left points.
_MIRRORED = (0, 3, 2, 1, 4)


def irises(
  net: _network.Network,
  photos: Sequence[UInt8[np.ndarray, "_ _ 3"]],
  landmarks: Sequence[Float[np.ndarray, "468 3"]],
) -> Float[np.ndarray, "n 2 5 2"]:
  """Returns center and right, top, left and bottom ends of both irises of each face.

  Args:
    net: Network "iris" of the asset.
    photos: Photo of each face, 8-bit RGB.
    landmarks: FaceMesh's points of each face, px.

  Returns:
    Points in px of the photo; the image's left eye of an upright face first, right and
    left as in that image. The iris of a closed eye is a guess.
  """
  matrices = [
    [_matrix(points[a, :2], points[b, :2], net.size) for a, b in _CORNERS]
    for points in landmarks
  ]

  def image(k: int) -> Float[np.ndarray, "h w 3"]:
    face, eye = divmod(k, 2)
    seen = warp.warp(photos[face], matrices[face][eye], net.size)
    return seen[:, ::-1] if eye else seen

  found = np.zeros((len(matrices), 2, 5, 2))
  for k, outputs in enumerate(net.map(image, range(2 * len(matrices)))):
    face, eye = divmod(k, 2)
    points = outputs["iris"].reshape(5, 3)[:, :2].astype(np.float64)
    if eye:
      points = (points * [-1, 1] + [net.size, 0])[list(_MIRRORED)]
    # Like FaceMesh's, the coordinates count from the edge of the first pixel.
    found[face, eye] = warp.transform(warp.invert(matrices[face][eye]), points - 0.5)
  return found


def _matrix(left: np.ndarray, right: np.ndarray, size: int) -> warp.Matrix:
  """Returns the map from photo px to the upright square around an eye's corners."""
  width = max(float(np.linalg.norm(right - left)), 1e-3)
  return warp.similarity(
    (left + right) / 2, _MARGIN * width, _mesh.direction(left, right), size
  )
