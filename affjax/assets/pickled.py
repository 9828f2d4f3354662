"""Interprets pickles as data, never as programs.

A pickle is a program for a stack machine whose instruction REDUCE calls any function by
name. Python's own unpickler, even with an allow list, lets such a program work on real
objects. This interpreter only has dicts, lists, tuples, numbers, strings and the
objects that the reader built on it describes, and only makes the calls that the reader
imitates.
"""

import dataclasses
import pickletools
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any


@dataclasses.dataclass(frozen=True)
class Global:
  """A name that the pickle mentions, "module name"; nothing is imported."""

  name: str


class _Mark:
  """The position on the stack at which the items of a tuple, list or dict begin."""


class Machine:
  """The stack and memo of a pickle, and the instructions that make plain data.

  Args:
    calls: imitations of calls, by the name of the function; each takes the arguments as
      a tuple and raises a ValueError if they are not as expected.
    names: names that the pickle may mention without calling them.
    actions: additional instructions; each takes the machine and the argument.
    purpose: the kind of content, for messages: "no ... needs this instruction".
    content: the parts that are read, for messages: "only ... are read".
  """

  def __init__(
    self,
    *,
    calls: Mapping[str, Callable[[tuple[Any, ...]], Any]],
    names: Set[str] = frozenset(),
    actions: Mapping[str, Callable[["Machine", Any], None]] | None = None,
    purpose: str,
    content: str,
  ):
    self.calls = calls
    self.names = names | calls.keys()
    self.actions = {**_ACTIONS, **(actions or {})}
    self.purpose = purpose
    self.content = content
    self.stack: list[Any] = []
    self.memo: dict[int | str, Any] = {}

  def run(self, data: bytes) -> tuple[Any, int]:
    """Returns the value of a pickle, and the pickle's length in bytes.

    Args:
      data: bytes that begin with a pickle; the rest is ignored.

    Raises:
      ValueError: the pickle is damaged or uses an unexpected instruction.
    """
    for opcode, argument, position in pickletools.genops(data):
      if opcode.name == "STOP":
        return self.pop(), (position or 0) + 1
      self.do(opcode.name, argument)
    raise ValueError("its pickle has no end")

  def do(self, instruction: str, argument: Any) -> None:
    """Executes one instruction."""
    if instruction in _LITERALS:
      self.stack.append(argument)
    elif instruction in _FRESH:
      self.stack.append(_FRESH[instruction]())
    elif instruction in self.actions:
      self.actions[instruction](self, argument)
    elif instruction not in _IGNORED:
      raise ValueError(f"its pickle uses {instruction}, which no {self.purpose} needs")

  def pop(self, kind: type = object) -> Any:
    """Removes and returns the top of the stack, which must be of a kind."""
    value = self.top(kind)
    self.stack.pop()
    return value

  def top(self, kind: type = object) -> Any:
    """Returns the top of the stack, which must be of a kind."""
    if not self.stack or not isinstance(self.stack[-1], kind):
      wanted = kind.__name__.strip("_").lower()
      raise ValueError(f"its pickle is damaged: no {wanted} on the stack")
    if isinstance(self.stack[-1], _Mark) and kind is not _Mark:
      raise ValueError("its pickle is damaged: a mark is no value")
    return self.stack[-1]

  def pop_items(self) -> list[Any]:
    """Removes and returns everything down to the last mark."""
    items = []
    while not (self.stack and isinstance(self.stack[-1], _Mark)):
      items.append(self.pop())
    self.stack.pop()
    return items[::-1]

  def put(self, key: int | str) -> None:
    """Stores the top of the stack in the memo."""
    self.memo[key] = self.top()

  def get(self, key: int | str) -> None:
    """Pushes a value from the memo."""
    if key not in self.memo:
      raise ValueError("its pickle reads a value that it never stored")
    self.stack.append(self.memo[key])

  def push_tuple(self, length: int) -> None:
    """Packs the top items of the stack into a tuple."""
    self.stack.append(tuple([self.pop() for _ in range(length)][::-1]))

  def append(self, items: list[Any]) -> None:
    """Adds items to the list below them."""
    self.top(list).extend(items)

  def set_items(self, items: list[Any]) -> None:
    """Adds keys and values, alternating, to the dict below them."""
    if len(items) % 2:
      raise ValueError("its pickle is damaged: a key without a value")
    update(self.top(dict), zip(items[::2], items[1::2], strict=True))

  def push_global(self, name: str) -> None:
    """Pushes a name that may be mentioned."""
    if name not in self.names:
      raise ValueError(
        f"its pickle wants {name.replace(' ', '.')[:80]!r}, but only {self.content} "
        "are read"
      )
    self.stack.append(Global(name))

  def reduce(self, arguments: tuple[Any, ...]) -> None:
    """Imitates a call."""
    name = self.pop(Global).name
    if name not in self.calls:
      raise ValueError(f"its pickle wants to call {name.replace(' ', '.')!r}")
    self.stack.append(self.calls[name](arguments))


def update(target: dict[str | int, Any], pairs: Iterable[Sequence[Any]]) -> None:
  """Adds keys, which must be names or numbers, and values to a dict."""
  for key, value in pairs:
    if not isinstance(key, str | int):
      raise ValueError("its pickle has a dict with keys other than names and numbers")
    target[key] = value


def ordered_dict(arguments: tuple[Any, ...]) -> dict[str | int, Any]:
  """Imitates `collections.OrderedDict()`, with or without a list of pairs."""
  result: dict[str | int, Any] = {}
  match arguments:
    case ():
      pass
    case ([*pairs],) if all(isinstance(p, list | tuple) and len(p) == 2 for p in pairs):
      update(result, pairs)
    case _:
      raise ValueError("its pickle makes a dict of something strange")
  return result


_IGNORED = frozenset({"PROTO", "FRAME"})
_LITERALS = frozenset(
  {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"}
  | {"BINUNICODE", "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING"}
  | {"SHORT_BINBYTES", "BINBYTES", "BINBYTES8"}
)
_FRESH = {
  "MARK": _Mark,
  "EMPTY_TUPLE": tuple,
  "EMPTY_LIST": list,
  "EMPTY_DICT": dict,
  "NONE": lambda: None,
  "NEWTRUE": lambda: True,
  "NEWFALSE": lambda: False,
}
_ACTIONS = {
  "BINPUT": lambda machine, key: machine.put(key),
  "LONG_BINPUT": lambda machine, key: machine.put(key),
  "MEMOIZE": lambda machine, _: machine.put(len(machine.memo)),
  "BINGET": lambda machine, key: machine.get(key),
  "LONG_BINGET": lambda machine, key: machine.get(key),
  "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.pop_items())),
  "TUPLE1": lambda machine, _: machine.push_tuple(1),
  "TUPLE2": lambda machine, _: machine.push_tuple(2),
  "TUPLE3": lambda machine, _: machine.push_tuple(3),
  "APPEND": lambda machine, _: machine.append([machine.pop()]),
  "APPENDS": lambda machine, _: machine.append(machine.pop_items()),
  "SETITEM": lambda machine, _: machine.set_items([machine.pop(), machine.pop()][::-1]),
  "SETITEMS": lambda machine, _: machine.set_items(machine.pop_items()),
  "GLOBAL": lambda machine, name: machine.push_global(name),
  "STACK_GLOBAL": lambda machine, _: machine.push_global(
    " ".join([machine.pop(str), machine.pop(str)][::-1])
  ),
  "REDUCE": lambda machine, _: machine.reduce(machine.pop(tuple)),
}
