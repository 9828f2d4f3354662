"""Inline PTX of one instruction, rewritten to calls of `in_fibers/ptx.h`."""

import re

_ASM = re.compile(r'asm\("([^"]*)"\s*:\s*"=\w"\((\w+)\)\s*(?::\s*([^;]*?))?\)\s*;')
_VIDEO = {"vadd": "+", "vsub": "-", "vmad": "*", "vmax": ">", "vmin": "<"}
_SECOND = {"add": "+", "max": ">", "min": "<"}
_ROUND = {"rni": "std::nearbyint", "rmi": "std::floor"}
_RANGES = {
  "s32": ("-2147483648.0", "2147483647.0"),
  "u32": ("0.0", "4294967295.0"),
  "u8": ("0.0", "255.0"),
  "s64": ("-9.2e18", "9.2e18"),
}


def rewrite(source: str) -> str:
  """A source without inline PTX; KeyError if there is an instruction not known here."""

  def replace(found: re.Match) -> str:
    text, target, inputs = found.groups()
    variables = [target, *re.findall(r'"\w"\((\w+)\)', inputs or "")]
    instruction, operands = text.rstrip("; ").split(None, 1)
    value = _expression(instruction.split("."), operands.split(", "), variables)
    return f"{target} = {value};"

  return _ASM.sub(replace, source)


def _expression(parts: list[str], operands: list[str], variables: list[str]) -> str:
  name = parts[0]
  if name in _VIDEO:
    return _video(parts, operands, variables)
  if name == "mov":
    return f'ptx::lanemask("{operands[1][-2:]}")'
  a, b, c = (*variables[1:], "0", "0")[:3]
  if name == "cvt" and parts[1] == "s16":
    return f"static_cast<int16_t>({a})"
  if name == "cvt":
    kind = next(p for p in parts[2:] if p in _RANGES)
    return f"ptx::cvt({_ROUND[parts[1]]}({a}), {', '.join(_RANGES[kind])})"
  return {
    "bfind": f"ptx::bfind({a})",
    "prmt": f"ptx::prmt({a}, {b}, {c})",
    "slct": f"{c} >= 0 ? {a} : {b}",
    "set": f"{a} >= {b} ? 0xffffffffu : 0u",
    "rcp": f"ptx::rcp({a})",
    "fma": f"ptx::fma_down({a}, {b}, {c})",
  }[name]


def _video(parts: list[str], operands: list[str], variables: list[str]) -> str:
  name, kind, first, second, *more = parts
  a = _operand(operands[1], variables, first)
  b = _operand(operands[2], variables, second)
  third = variables[3] if len(variables) > 3 else "0"
  byte = operands[0].partition(".b")[2] or "-1"
  last = (
    "+" if name == "vmad" else next((_SECOND[m] for m in more if m in _SECOND), None)
  )
  last = f"'{last}'" if last else "0"
  flags = f"{_cpp(kind[0] == 's')}, {_cpp('sat' in more)}"
  return f"ptx::video('{_VIDEO[name]}', {a}, {b}, {flags}, {byte}, {last}, {third})"


def _operand(text: str, variables: list[str], kind: str) -> str:
  number, _, selected = text.partition(".")
  variable = variables[int(number.lstrip("%"))]
  size, index = (f"'{selected[0]}'", selected[1]) if selected else ("0", "0")
  return f"ptx::part({variable}, {size}, {index}, {_cpp(kind[0] == 's')})"


def _cpp(flag: bool) -> str:
  return "true" if flag else "false"
