"""The checker behind jaxtyping's import hook: beartype, accepting int as float.

jaxtyping's own decorator compiles two checks for each function when it is defined: ten
seconds for all of `affjax`, and again whenever a function inside another is defined.
`check_lazily` puts one in its place that compiles one check when it is first needed.
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
_jaxtyped = jaxtyping.jaxtyped


def check_lazily() -> None:
  """Has jaxtyping's import hook decorate by `_checked`."""
  jaxtyping.jaxtyped = lambda *, typechecker: _checked


def _checked(item: Any) -> Any:
  """Returns a function or a class whose arguments and results are checked."""
  if isinstance(item, classmethod | staticmethod):
    return type(item)(_checked(item.__func__))
  if isinstance(item, types.FunctionType):
    return _lazily(item)
  return _jaxtyped(item, typechecker=typechecker)


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
  """Returns a function that checks its shapes, or its types where it has no arrays."""
  annotations = list(plain.__annotations__.values())
  if any(_holds(annotation, _is_name) for annotation in annotations):
    return _jaxtyped(plain, typechecker=typechecker)  # beartype would import the name
  if any(_holds(annotation, _is_array) for annotation in annotations):
    return _jaxtyped(typechecker(plain), typechecker=None)
  return typechecker(plain)


def _holds(annotation: Any, wanted: Callable[[Any], bool]) -> bool:
  """Returns whether an annotation or a part of it is as wanted."""
  parts = annotation if isinstance(annotation, list) else typing.get_args(annotation)
  return wanted(annotation) or any(_holds(part, wanted) for part in parts)


def _is_array(annotation: Any) -> bool:
  return inspect.isclass(annotation) and issubclass(annotation, jaxtyping.AbstractArray)


def _is_name(annotation: Any) -> bool:
  return isinstance(annotation, str | typing.ForwardRef)
