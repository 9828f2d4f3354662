"""A morphable model: a template deformed by identity and expression coefficients."""

import dataclasses

import numpy as np
from jaxtyping import Float

from affjax.types import ArrayT, Template, namespace


@dataclasses.dataclass(frozen=True, eq=False)
class MorphableModel:
  """A linear head model: plain data, compared and hashed by identity.

  Attributes:
    template: the mean head.
    identity_basis: float32 `[K, V, 3]`, dm; modes multiplied with their standard
      deviations, so that coefficients of people are about N(0, 1).
    identity_std: float32 `[K]`, standard deviation of each mode as the root mean square
      over vertices of its displacement, dm; not needed to compute vertices.
    expression_basis: float32 `[E, V, 3]`, dm at coefficient 1.
    expression_names: the name of each expression unit, in ARKit if it has one.
  """

  template: Template
  identity_basis: np.ndarray
  identity_std: np.ndarray
  expression_basis: np.ndarray
  expression_names: tuple[str, ...]

  def __post_init__(self):
    count = len(self.template.vertices)
    for field in ("identity_basis", "expression_basis"):
      shape = getattr(self, field).shape
      if len(shape) != 3 or shape[1:] != (count, 3):
        raise ValueError(f"{field} must have shape [*, {count}, 3], got {shape}")
    if self.identity_std.shape != self.identity_basis.shape[:1]:
      raise ValueError(
        f"identity_std must have shape {self.identity_basis.shape[:1]}, got "
        f"{self.identity_std.shape}"
      )
    if len(self.expression_names) != len(self.expression_basis):
      raise ValueError(
        f"expression_names must name {len(self.expression_basis)} units, got "
        f"{len(self.expression_names)}"
      )

  def vertices(
    self,
    identity: Float[ArrayT, "... k"],
    expression: Float[ArrayT, "... e"],
  ) -> Float[ArrayT, "... v 3"]:
    """Returns head-space vertices, dm, for coefficients.

    Args:
      identity: coefficients of the first modes, in standard deviations.
      expression: activations of the first units, 0 = none, 1 = full.

    Raises:
      ValueError: there are more coefficients than modes or units.
    """
    for name, given, basis in (
      ("identity", identity, self.identity_basis),
      ("expression", expression, self.expression_basis),
    ):
      if given.shape[-1] > len(basis):
        raise ValueError(
          f"{name} must hold at most {len(basis)} coefficients, got {given.shape[-1]}"
        )
    xp = namespace(identity)
    shape = xp.tensordot(identity, self.identity_basis[: identity.shape[-1]], 1)
    move = xp.tensordot(expression, self.expression_basis[: expression.shape[-1]], 1)
    lead = np.broadcast_shapes(shape.shape, move.shape)
    offset = xp.broadcast_to(shape, lead) + xp.broadcast_to(move, lead)
    return xp.broadcast_to(self.template.vertices, lead) + offset

  def vertex_std(self, *, expression_std: float = 0.15) -> Float[np.ndarray, "v 3"]:
    """Returns the standard deviation of each vertex coordinate over people, dm.

    Args:
      expression_std: standard deviation of the expression coefficients, which are
        taken as independent.
    """
    variance = (self.identity_basis.astype(np.float64) ** 2).sum(0)
    variance += ((expression_std * self.expression_basis) ** 2).sum(0)
    return np.sqrt(variance).astype(np.float32)


def unit_index(model: MorphableModel, name: str) -> int:
  """Returns the index of the expression unit called `name`.

  Raises:
    ValueError: the model has no such unit; the message lists its units.
  """
  if name not in model.expression_names:
    raise ValueError(
      f"unknown expression {name!r}; known: {', '.join(model.expression_names)}"
    )
  return model.expression_names.index(name)
