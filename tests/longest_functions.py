"""Prints the longest functions of affjax: `python -m tests.longest_functions [COUNT]`.

A report and no gate: a long function that reads well is better than a compressed one.
"""

import ast
import pathlib
import sys

ROOT = pathlib.Path(__file__).parents[1]


def functions(path: pathlib.Path) -> list[tuple[int, str]]:
  """Returns `(lines, "file:line name")` of every function of a file."""
  return [
    (
      (node.end_lineno or node.lineno) - node.lineno + 1,
      f"{path.relative_to(ROOT)}:{node.lineno} {node.name}",
    )
    for node in ast.walk(ast.parse(path.read_text("utf-8")))
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
  ]


def main(count: int = 10) -> None:
  """Prints the longest functions, longest first."""
  files = (ROOT / "affjax").rglob("*.py")
  every = sorted((entry for path in files for entry in functions(path)), reverse=True)
  for lines, name in every[:count]:
    print(f"{lines:4} lines  {name}")


if __name__ == "__main__":
  main(*(int(argument) for argument in sys.argv[1:2]))
