"""Configs: derived from the options, found by name, and read back into options."""

import dataclasses
import difflib
import importlib.util
import inspect
import json
import pathlib
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from affjax.build._options import SHARED, Options
from affjax.losses import TERMS, LossWeights

# In a wheel the configs lie inside the package, in the repository beside it.
_PACKAGE = pathlib.Path(__file__).parents[1]
_FOLDERS = (_PACKAGE / "configs", _PACKAGE.parent / "configs")


class UserError(ValueError):
  """A config, workdir or data set cannot be used; one line, for the user."""


def default_config() -> ConfigDict:
  """Returns a config with every option at its default."""
  return ConfigDict(_section(Options()))


def get_config(name: str) -> ConfigDict:
  """Loads a config.

  Args:
    name: Name of a file of `configs/`, or a path; ":ARGUMENT" may follow, such as
      "stage1" or "demo:stage2".

  Raises:
    UserError: There is no such config.
  """
  name, _, argument = name.partition(":")
  path = config_file(name)
  spec = importlib.util.spec_from_file_location(path.stem, path)
  assert spec is not None
  assert spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config(*([argument] if argument else []))


def config_file(name: str) -> pathlib.Path:
  """Returns the file of a config.

  Args:
    name: Path of a file, or the name of a file of `configs/` such as "stage1".

  Raises:
    UserError: There is no such config; the message lists those of `configs/`.
  """
  path = pathlib.Path(name)
  if path.is_file():
    return path
  # "configs/stage1.py" is found from any folder, too.
  if path.parent in (pathlib.Path(), pathlib.Path("configs")):
    for folder in _FOLDERS:
      if (found := folder / f"{path.stem}.py").is_file():
        return found
  known = sorted(file.stem for folder in _FOLDERS for file in folder.glob("[!_]*.py"))
  raise UserError(f"config must be a file or one of {', '.join(known)}, got {name!r}")


def read_config(config: ConfigDict | Mapping[str, Any] | Options) -> Options:
  """Returns the options that a config states.

  Raises:
    UserError: Keys are unknown or missing, or values are impossible; the message names
      all of them.
  """
  options, problems = read_and_check(config)
  if problems:
    raise UserError("; ".join(problems))
  return options


def read_and_check(
  config: ConfigDict | Mapping[str, Any] | Options,
) -> tuple[Options, list[str]]:
  """Returns the options that a config states, and all that is wrong with it.

  What is wrong is at its default.
  """
  if isinstance(config, Options):
    return config, []
  plain = config.to_dict() if isinstance(config, ConfigDict) else config
  problems: list[str] = []
  return _read(Options(), plain, "config", problems), problems


def completed(stored: Mapping[str, Any]) -> dict[str, Any]:
  """Returns a stored config with the keys that are newer than it, at their defaults.

  Without a section "model" it stays as it is: it is not a whole config.
  """
  stored = dict(stored)
  if "model" not in stored:
    return stored
  devices = stored.pop("devices", 0)
  if devices:
    stored.setdefault("mesh", {"data": devices, "model": 1})
  return json.loads(json.dumps(_completed(Options(), stored)))


def _completed(default: Any, stored: Any) -> Any:
  fields = _fields(default)
  free = isinstance(default, Mapping) and not isinstance(default, LossWeights)
  if fields is None or free or not isinstance(stored, Mapping):
    return stored
  added = {k: _section(v) for k, v in fields.items() if k not in stored}
  kept = {k: _completed(fields.get(k), v) for k, v in stored.items()}
  return {**kept, **added}


def to_json(options: Options) -> dict[str, Any]:
  """Returns the options as JSON holds them."""
  return json.loads(json.dumps(_section(options)))


def config_help() -> str:
  """Returns one line for each key of a config: its name, default and meaning."""
  wrap = textwrap.TextWrapper(initial_indent=" " * 6, subsequent_indent=" " * 6)
  return "\n".join(
    f"  --config.{key}={value!r}\n{wrap.fill(text)}"
    for key, value, text in _documented(Options(), "")
  )


def _fields(node: Any) -> dict[str, Any] | None:
  """Returns the values of a section by key, or `None` for a plain value."""
  if isinstance(node, Mapping):
    return dict(node)
  if not dataclasses.is_dataclass(node):
    return None
  names = [field.name for field in dataclasses.fields(node)]
  if not isinstance(node, Options):
    names = [name for name in names if name not in SHARED]
  return {name: getattr(node, name) for name in names}


def _section(node: Any) -> Any:
  """Returns nested dicts of plain values."""
  fields = _fields(node)
  if fields is None:
    return node
  return {name: _section(value) for name, value in fields.items()}


def _read(default: Any, section: Any, where: str, problems: list[str]) -> Any:
  """Returns `default` with the values of a section; collects what is wrong with it."""
  fields = _fields(default)
  assert fields is not None
  if not isinstance(section, Mapping):
    problems.append(f"{where} must be a section, got {section!r}")
    return default
  free = isinstance(default, Mapping) and not isinstance(default, LossWeights)
  if free:  # a mixture, whose parts have any names
    part = next(iter(fields.values()))
    fields = dict.fromkeys(section, part)
  problems += _wrong_keys(list(fields), list(section), where)
  values = {}
  for name, old in fields.items():
    if name not in section:
      continue
    inner = f"{where}.{name}"
    before = len(problems)
    if _fields(old) is not None:
      values[name] = _read(old, section[name], inner, problems)
      continue
    value = _value(type(old), section[name], inner, problems)
    if len(problems) == before:
      values[name] = value
  try:
    return values if free else _with_values(default, values)
  except ValueError as error:
    problems.append(f"{where}: {error}")
    return default


def _with_values(default: Any, values: dict[str, Any]) -> Any:
  if isinstance(default, LossWeights):
    return LossWeights(**values)
  return dataclasses.replace(default, **values)


def _wrong_keys(known: Sequence[str], found: Sequence[str], where: str) -> list[str]:
  """Returns a message for the missing keys and one for each unknown key."""
  messages = []
  missing = [name for name in known if name not in found]
  if missing:
    messages.append(f"{where} lacks {', '.join(missing)}")
  for name in found:
    if name not in known:
      close = difflib.get_close_matches(name, known, n=1)
      hint = f"did you mean {close[0]!r}? " if close else ""
      messages.append(
        f"{where} has no key {name!r}; {hint}the keys are {', '.join(known)}"
      )
  return messages


def _value(kind: type, value: Any, where: str, problems: list[str]) -> Any:
  """Returns a plain value; an integer may stand for a float, a list for a tuple."""
  if kind is float and type(value) is int:
    return float(value)
  if kind is tuple and type(value) is list:
    return tuple(value)
  if type(value) is not kind:
    problems.append(f"{where} must be of type {kind.__name__}, got {value!r}")
  return value


def _documented(node: Any, prefix: str) -> Iterator[tuple[str, Any, str]]:
  """Yields key, default and help of every plain value of a tree of options."""
  texts = _attribute_help(type(node))
  if isinstance(node, LossWeights):
    texts = {term.name: term.help for term in TERMS}
  for name, value in (_fields(node) or {}).items():
    if _fields(value) is None:
      yield prefix + name, value, texts.get(name, "")
    else:
      yield from _documented(value, f"{prefix}{name}.")


def _attribute_help(kind: type) -> dict[str, str]:
  """Returns the help of each field, from the docstrings of a class and its bases."""
  texts: dict[str, str] = {}
  for base in reversed(kind.__mro__):
    entries = (inspect.cleandoc(base.__doc__ or "")).partition("Attributes:\n")[2]
    for name, text in re.findall(r"^  (\w+): ((?:.|\n(?!  \w))*)", entries, re.M):
      texts[name] = " ".join(text.split())
  return texts
