"""The rules of the house, read off the sources: imports, sizes, names."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "affjax"
FILES = sorted(PACKAGE.rglob("*.py"))

# Each place may import from those named, and from itself.
_BASE = {"types", "geometry", "files", "bugs"}
_KERNELS = _BASE | {"native"}
_RENDER = _KERNELS | {"ops", "render"}
_NETS = _RENDER | {"nn", "assets"}
_HEADS = _BASE | {"assets", "heads"}
_FACES = _NETS | _HEADS | {"models", "faces"}
_PHOTOS = _FACES | {"export", "photos"}
_ALL = _PHOTOS | {"losses", "data", "train", "eval"}
ALLOWED = {
  "__init__": set(),
  "types": set(),
  "files": set(),
  "bugs": set(),
  "assets": {"types", "geometry"},
  "geometry": {"types"},
  "native": {"files"},
  "ops": _KERNELS,
  "render": _KERNELS | {"ops"},
  "nn": _BASE | {"ops", "render"},
  "models": _NETS,
  "losses": _NETS | {"models"},
  "heads": _HEADS,
  "faces": _FACES,
  "data": _FACES,
  "export": _FACES - {"faces"},
  "photos": _PHOTOS,
  "eval": _FACES | {"losses"},
  "train": _NETS | {"models", "losses", "eval"},
  "build": _ALL,
  "main": _ALL | {"build"},
  "commands": _ALL | {"build", "main"},
}

# Software that lives in few places only, so that the rest does without it.
ONLY_IN = {
  "absl": {"main", "commands"},
  "tyro": {"commands"},
  "rich": {"commands"},
  "ml_collections": {"build", "main"},
  "flax": {"nn", "models"},
  "optax": {"train"},
  "orbax": {"train"},
  "grain": {"data", "train"},
  "apache_beam": {"data"},
  "tensorflow_datasets": {"data"},
  "tensorboardX": {"train"},
  "trimesh": {"export"},
  "torch": set(),
  "pickle": set(),
}


def _place(path: pathlib.Path) -> str:
  """The layer a file belongs to: a folder of the package, or a file in it."""
  return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(path: pathlib.Path) -> set[str]:
  """Dotted names that a file imports, wherever in it."""
  found = set()
  for node in ast.walk(ast.parse(path.read_text("utf-8"))):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f"{path}: relative import"
      found |= {f"{node.module}.{alias.name}" for alias in node.names}
  return found


def _name(path: pathlib.Path) -> str:
  return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_imports_go_one_way(path):
  place = _place(path)
  assert place in ALLOWED, f"{place} has no layer: name it in this test"
  names = {name.split(".")[1] for name in _imports(path) if name.startswith("affjax.")}
  used = {name for name in names if name in ALLOWED}
  assert used <= ALLOWED[place] | {place}, f"{place} may not import {used}"


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_third_party_software_lives_where_it_belongs(path):
  tops = {name.split(".")[0] for name in _imports(path)}
  for software, places in ONLY_IN.items():
    assert software not in tops or _place(path) in places, (
      f"{software} is for {sorted(places) or 'nobody'} only"
    )


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_files_and_functions_stay_small(path):
  source = path.read_text("utf-8")
  assert len(source.splitlines()) <= 400
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.FunctionDef):
      length = node.end_lineno - node.lineno + 1
      assert length <= 60, f"{node.name} has {length} lines"


def test_modules_are_named_after_what_they_are():
  forbidden = {"utils", "util", "helpers", "helper", "common", "misc"}
  assert not {p for p in FILES if p.stem in forbidden or p.parent.name in forbidden}


def test_every_public_function_says_what_it_does():
  bare = [
    f"{_name(path)}:{node.lineno} {node.name}"
    for path in FILES
    for node in ast.parse(path.read_text("utf-8")).body
    if isinstance(node, ast.FunctionDef | ast.ClassDef)
    and not node.name.startswith("_")
    and not ast.get_docstring(node)
    and not any("overload" in ast.unparse(d) for d in node.decorator_list)
  ]
  assert not bare


@pytest.mark.smoke
def test_importing_touches_no_device():
  """Neither the package nor any layer starts a JAX backend when it is imported."""
  modules = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in FILES
    if "build" not in path.parts[:-1]  # builders of assets are programs
  ]
  program = (
    f"import importlib\nfor name in {modules!r}:\n  importlib.import_module(name)\n"
    "from jax._src import xla_bridge\nassert not xla_bridge._backends\n"
  )
  subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, timeout=300)
