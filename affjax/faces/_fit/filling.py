"""Smooth fields on a head's surface through values that only some texels know.

The field is a membrane on the mesh: it follows the known texels and is as flat as it
can be between them. A mesh has no seams, so neither has the field, and one sparse
system of as many unknowns as vertices takes some hundredths of a second at any size.
"""

import numpy as np
from jaxtyping import Float
from scipy import sparse
from scipy.sparse import linalg

from affjax.geometry import uv
from affjax.types import Template, per_template

# Pull towards the default, relative to the membrane's stiffness: the field comes back
# to the default over about twenty edges of the mesh.
_PULL = 3e-3


def membrane(
  values: Float[np.ndarray, "s s c"],
  weight: Float[np.ndarray, "s s"],
  default: Float[np.ndarray, " c"],
  template: Template,
  stiffness: float = 1.0,
) -> Float[np.ndarray, "s s c"]:
  """Returns a smooth field that is near the values where their weight is large.

  It minimizes, over the template's vertices v and edges (v, u),
  sum w_v |x_v - d_v|^2 + stiffness * (sum |x_v - x_u|^2 + pull * sum |x_v - e|^2),
  where w_v and d_v are weight and mean value of the texels around a vertex, and e is
  the default.

  Args:
    values: Values of the texels.
    weight: Weights of the values, in [0, 1]. A vertex whose texels all have weight one
      has weight one.
    default: Value far from all known texels.
    template: Head of the map.
    stiffness: How much the field smooths the values where they are known.
  """
  size = len(values)
  spread, area = _spread(template, size)
  known = weight.reshape(-1, 1)
  share = spread @ known / area
  offset = spread @ (known * (values.reshape(size * size, -1) - default)) / area
  system = sparse.diags(share[:, 0]) + stiffness * _stiffness(template)
  solve = linalg.splu(
    system.tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}
  ).solve
  field = spread.T @ solve(offset)
  return field.reshape(values.shape) + default


@per_template
def _spread(
  template: Template, size: int
) -> tuple[sparse.csr_matrix, Float[np.ndarray, "v 1"]]:
  """Returns the matrix `[V, S * S]` from texels to vertices, and the mean of its sums.

  Its transpose writes values of vertices into a map.
  """
  table = uv.uv_table(template, size)
  texel = np.repeat(np.arange(size * size), 3)
  shape = (table.vertex_count, size * size)
  weights, corners = table.weights.reshape(-1), table.corners.reshape(-1)
  matrix = sparse.csr_matrix((weights.astype(float), (corners, texel)), shape)
  area = np.asarray(matrix.sum(1))
  return matrix, np.maximum(area, 0.1 * area.mean())


@per_template
def _stiffness(template: Template) -> sparse.csr_matrix:
  """Returns the Laplacian of the mesh's graph plus the pull towards the default."""
  count = len(template.vertices)
  start, end = template.faces.reshape(-1), np.roll(template.faces, -1, 1).reshape(-1)
  edges = sparse.csr_matrix((np.ones(len(start)), (start, end)), (count, count))
  joined = edges.maximum(edges.T)
  degree = np.asarray(joined.sum(1))[:, 0]
  return sparse.csr_matrix(sparse.diags(degree + _PULL) - joined)
