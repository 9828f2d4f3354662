"""The checker behind jaxtyping's import hook: beartype, accepting int as float.

jaxtyping's own decorator compiles two checks for each function when it is defined: ten
seconds for all of `affjax`, and again whenever a function inside another is defined.
`check_arrays` puts one in its place that compiles a check when it is first needed.
"""

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

import beartype
import jaxtyping

typechecker = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))
_jaxtyped = jaxtyping.jaxtyped


def check_arrays() -> None:
  """Has jaxtyping's import hook decorate by `_checked`."""
  jaxtyping.jaxtyped = lambda *, typechecker: _checked


def _checked(item: Any) -> Any:
  """Returns a function or a class whose arguments and results are checked."""
  if isinstance(item, classmethod | staticmethod):
    return type(item)(_checked(item.__func__))
  if inspect.isclass(item) and dataclasses.is_dataclass(item):
    if "__init__" in vars(item):
      item.__init__ = _checked(item.__init__)
    return item
  return _lazily(item) if isinstance(item, types.FunctionType) else item


def _lazily(plain: Callable[..., Any]) -> Callable[..., Any]:
  check = None

  @functools.wraps(plain)
  def function(*args: Any, **kwargs: Any) -> Any:
    nonlocal check
    if jaxtyping.config.jaxtyping_disable:
      return plain(*args, **kwargs)
    check = check or _check(plain)
    return check(*args, **kwargs)

  return function


def _check(plain: Callable[..., Any]) -> Callable[..., Any]:
  """Returns a function that is checked: its shapes, or just its types without arrays.

  A function inside another one that takes no arrays is left as it is.
  """
  if any(map(_has_arrays, plain.__annotations__.values())):
    return _jaxtyped(typechecker(plain), typechecker=None)
  inside = "<locals>" in plain.__qualname__.rpartition(".")[0]
  return plain if inside else typechecker(plain)


def _has_arrays(annotation: Any) -> bool:
  """Returns whether an annotation names the shape of an array."""
  if isinstance(annotation, list):  # the arguments of a Callable
    return any(map(_has_arrays, annotation))
  if inspect.isclass(annotation) and issubclass(annotation, jaxtyping.AbstractArray):
    return True
  return any(map(_has_arrays, typing.get_args(annotation)))
