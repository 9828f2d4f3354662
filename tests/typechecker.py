"""The checker behind jaxtyping's import hook: beartype, accepting int as float.

jaxtyping's own decorator compiles two checks for each function when it is defined: ten
seconds for all of `affjax`, and again whenever a function inside another is defined.
`check_lazily` has it compile them when the function is first called.
"""

import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

import beartype
import jaxtyping

typechecker = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))
_jaxtyped = functools.partial(jaxtyping.jaxtyped, typechecker=typechecker)


def check_lazily() -> None:
  """Has jaxtyping's import hook decorate by `_checked`."""
  jaxtyping.jaxtyped = lambda *, typechecker: _checked


def _checked(item: Any) -> Any:
  """Returns a function or a class whose arguments and results are checked."""
  if isinstance(item, classmethod | staticmethod):
    return type(item)(_checked(item.__func__))
  return _lazily(item) if isinstance(item, types.FunctionType) else _jaxtyped(item)


def _lazily(plain: Callable[..., Any]) -> Callable[..., Any]:
  if "<locals>" in plain.__qualname__ and not _takes_arrays(plain):
    return plain  # it is defined again and again

  @functools.wraps(plain)
  def function(*args: Any, **kwargs: Any) -> Any:
    nonlocal check
    check = check or _jaxtyped(plain)
    return check(*args, **kwargs)

  check = None
  return function


def _takes_arrays(function: Callable[..., Any]) -> bool:
  return any(map(_has_arrays, function.__annotations__.values()))


def _has_arrays(annotation: Any) -> bool:
  """Returns whether an annotation names the shape of an array."""
  if isinstance(annotation, list):  # the arguments of a Callable
    return any(map(_has_arrays, annotation))
  if inspect.isclass(annotation) and issubclass(annotation, jaxtyping.AbstractArray):
    return True
  return any(map(_has_arrays, typing.get_args(annotation)))
