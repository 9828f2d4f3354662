"""Hook of mkdocs: each script of `docs/examples` becomes a page.

Cells that begin with `# %% [markdown]` are prose, the others are code.
"""

import pathlib

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

_EXAMPLES = pathlib.Path(__file__).parent / "examples"


def on_files(files: Files, config: MkDocsConfig) -> Files:
  """Adds `examples/NAME.md` for each `examples/NAME.py`."""
  for path in sorted(_EXAMPLES.glob("*.py")):
    name = f"examples/{path.stem}.md"
    text = markdown(path.read_text("utf-8"))
    files.append(File.generated(config, name, content=text))
  return files


def markdown(script: str) -> str:
  """Returns the Markdown text of a script that consists of cells."""
  parts = []
  for cell in script.split("# %%")[1:]:
    kind, _, body = cell.partition("\n")
    if kind.strip() == "[markdown]":
      lines = body.strip().splitlines()
      parts.append(
        "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines)
      )
    elif body.strip():
      parts.append(f"```python\n{body.strip()}\n```")
  return "\n\n".join(parts) + "\n"
