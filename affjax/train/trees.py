"""Names and shapes of the arrays of a tree."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax

Shapes = Mapping[str, tuple[int, ...]]

# Number of differences that a message names.
_NAMED = 12


def shapes(tree: Any) -> dict[str, tuple[int, ...]]:
  """Returns the shape of each leaf by its name, such as "diffuse/layer1/kernel"."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {_name(path): tuple(leaf.shape) for path, leaf in leaves}


def differences(there: Shapes, here: Shapes) -> list[str]:
  """Describes each array that has another shape in one of two trees, or is missing.

  Args:
    there: Shapes of a checkpoint.
    here: Shapes that the config makes.
  """
  return [
    f"{name} is {there.get(name, 'absent')} there and {here.get(name, 'absent')} here"
    for name in sorted({*there, *here})
    if there.get(name) != here.get(name)
  ]


def listed(lines: Sequence[str]) -> str:
  """Returns the first lines as one, and the number of those that are left out."""
  more = [f"and {len(lines) - _NAMED} more"] if len(lines) > _NAMED else []
  return "; ".join([*lines[:_NAMED], *more])


def _name(path: tuple[Any, ...]) -> str:
  return "/".join(map(_part, path))


def _part(key: Any) -> str:
  """Returns a part of a name: the key of a dict, an index, or an attribute."""
  found = (getattr(key, name, None) for name in ("key", "idx", "name"))
  return str(next((part for part in found if part is not None), key))
