"""The mesh of the head's builder, and the names of its parts."""

import dataclasses

import numpy as np
from scipy import sparse

GROUPS = ("skin", "eyes", "teeth")
SKIN, MOUTH, SOCKET, EYE, UPPER_TEETH, LOWER_TEETH, TONGUE = range(7)


@dataclasses.dataclass(frozen=True, eq=False)
class HeadMesh:
  """A symmetric triangle mesh whose vertices are sums of base vertices.

  Attributes:
    weights: sparse `[V, B]`; `weights @ base` are the vertices.
    faces: int `[T, 3]`.
    parts: int `[T]`, SKIN, MOUTH, ... of each triangle.
    mirror: int `[V]`, the vertex on the other side; itself on the mid-plane.
    face_mirror: int `[T]`, the triangle on the other side.
  """

  weights: sparse.csr_matrix
  faces: np.ndarray
  parts: np.ndarray
  mirror: np.ndarray
  face_mirror: np.ndarray

  def face_groups(self) -> np.ndarray:
    """Index into GROUPS of each triangle."""
    return np.array([0, 0, 0, 1, 2, 2, 2])[self.parts]
