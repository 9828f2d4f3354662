"""Reads `HEAD.json`, the options of the head's file `HEAD.obj` beside it."""

import json
import math
import pathlib
from collections.abc import Callable
from typing import Any

_MAX_BYTES = 1 << 24
_AUTO = ("landmarks", "auto")
# The options of an OBJ, and of other kinds of files.
OBJ = (
  "name", "groups", "layout", "landmarks", "masks", "mask_rows", "units", "up", "front",
  "mirrored", "uv_axes", "weld",
)  # fmt: skip
MODEL, SURREY = ("landmarks",), ("landmarks", "blendshapes")
_number = lambda value: type(value) in (int, float) and math.isfinite(value)
_text = lambda value: isinstance(value, str)
_each = lambda check: (
  lambda value: isinstance(value, dict) and all(map(check, value.values()))
)
_box = lambda value: isinstance(value, list) and len(value) == 4 and all(
  map(_number, value)
)  # fmt: skip
# For each key, a check of its value and a description of it for messages.
_KEYS: dict[str, tuple[Callable[[Any], bool], str]] = {
  "name": (_text, "a string"),
  "groups": (_each(_text), "an object of group names"),
  "layout": (_each(_box), "an object of [u0, v0, u1, v1]"),
  "landmarks": (
    lambda value: isinstance(value, str | dict),
    'an object such as {"some": {"36": 12, ...}}, a file, or "auto"',
  ),
  "masks": (_each(_text), "an object of image files"),
  "blendshapes": (_text, "a file"),
  "mask_rows": (_text, '"top" or "bottom"'),
  "units": (lambda value: _text(value) or _number(value), "a unit or a number"),
  "up": (_text, 'an axis such as "+y"'),
  "front": (_text, 'an axis such as "+z"'),
  "mirrored": (lambda value: isinstance(value, bool), "true or false"),
  "uv_axes": (_text, '"auto" or "keep"'),
  "weld": (_number, "a number"),
}


def read(head: pathlib.Path, keys: tuple[str, ...]) -> dict[str, Any]:
  """Returns the options beside a head's file; none if there is no such sidecar.

  File names in it are relative to it and must stay inside its folder.

  Args:
    head: file of the head.
    keys: the possible options of such a file, `OBJ`, `MODEL` or `SURREY`.

  Raises:
    ValueError: the sidecar cannot be read, has an unknown key or an unusable value.
  """
  path = head.with_suffix(".json")
  if not path.is_file():
    return {}
  try:
    if path.stat().st_size > _MAX_BYTES:
      raise ValueError(f"more than {_MAX_BYTES} bytes")
    options = json.loads(path.read_text("utf-8"))
  except (OSError, ValueError, RecursionError) as error:
    raise ValueError(f"{path} cannot be read as JSON: {error}") from error
  if not isinstance(options, dict):
    raise ValueError(f"{path} must hold an object, got a {type(options).__name__}")
  for key, value in options.items():
    if key not in keys:
      raise ValueError(f"{path}: unknown key {key!r}; possible: {', '.join(keys)}")
    fits, expected = _KEYS[key]
    if not fits(value):
      raise ValueError(f"{path}: {key} must be {expected}, got {str(value)[:80]!r}")
  for key in ("landmarks", "blendshapes"):
    if isinstance(options.get(key), str) and (key, options[key]) != _AUTO:
      options[key] = _inside(path, options[key])
  if "masks" in options:
    options["masks"] = {
      name: _inside(path, file) for name, file in options["masks"].items()
    }
  return options


def _inside(sidecar: pathlib.Path, name: str) -> pathlib.Path:
  """The file of that name in the sidecar's folder."""
  folder = sidecar.parent.resolve()
  path = (folder / name).resolve()
  if not path.is_relative_to(folder):
    raise ValueError(f"{sidecar}: {name!r} lies outside its folder")
  if not path.is_file():
    raise ValueError(f"{sidecar}: {name!r} is no file in its folder")
  return path
