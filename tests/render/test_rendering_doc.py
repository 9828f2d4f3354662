"""The page about rendering: its code runs, and its pictures exist."""

import pathlib
import re

import jax
import pytest

DOCS = pathlib.Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "rendering.md").read_text("utf-8")


@pytest.mark.slow
def test_the_code_runs():
  """All blocks in their order, in one namespace, with their own assertions."""
  blocks = re.findall(r"```python\n(.*?)```", PAGE, re.S)
  assert len(blocks) >= 6
  with jax.numpy_rank_promotion("allow"):
    exec("\n".join(blocks), {"__name__": "rendering"})


@pytest.mark.parametrize("name", re.findall(r"\]\((images/[^)]*)\)", PAGE))
def test_pictures_exist(name):
  assert (DOCS / name).stat().st_size > 1000
