"""The rules of the code base, read from its sources: imports, sizes, names."""

import ast
import importlib
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "affjax"
FILES = sorted(PACKAGE.rglob("*.py"))
# The packages that export names.
PACKAGES = sorted(
  path.parent.name
  for path in PACKAGE.glob("*/__init__.py")
  if "__all__" in path.read_text("utf-8")
)

# The places that each place may import from, beside itself.
_BASE = {"types", "geometry", "files", "names", "bugs", "threads"}
_KERNELS = _BASE | {"native", "compilation"}
_RENDER = _KERNELS | {"ops", "render"}
_NETS = _RENDER | {"nn", "assets"}
_HEADS = _BASE | {"assets", "heads"}
_FACES = _NETS | _HEADS | {"models", "faces"}
_PHOTOS = _FACES | {"export", "photos", "pool"}
_APP = _PHOTOS | {"app"}
_BENCHMARK = _PHOTOS | {"data", "eval", "benchmark"}
_ALL = _BENCHMARK | {"app", "losses", "train"}
ALLOWED = {
  "__init__": set(),
  "types": set(),
  "bugs": set(),
  "files": set(),
  "names": set(),
  "threads": set(),
  "pool": {"bugs"},
  "assets": {"types", "geometry"},
  "geometry": {"types"},
  "native": {"files"},
  "compilation": {"files", "native"},
  "ops": _KERNELS,
  "render": _KERNELS | {"ops"},
  "nn": _BASE | {"ops", "render"},
  "models": _NETS,
  "losses": _NETS | {"models"},
  "heads": _HEADS,
  "faces": _FACES,
  "data": _FACES | {"pool"},
  "export": _FACES - {"faces"},
  "photos": _PHOTOS,
  "app": _APP,
  "eval": _FACES | {"losses"},
  "train": _NETS | {"models", "losses", "eval"},
  "benchmark": _BENCHMARK,
  "build": _ALL,
  "main": _ALL | {"build"},
  "commands": _ALL | {"build", "main"},
}

# The only places that may import a third-party package, so that the rest works without.
ONLY_IN = {
  "absl": {"main", "commands"},
  "apache_beam": {"data"},
  "array_record": {"data"},
  "av": {"photos"},
  "beartype": set(),
  "etils": {"data"},
  "flax": {"nn", "models"},
  "grain": {"data", "train"},
  "h5py": {"heads"},
  "importlib_resources": set(),
  "matplotlib": set(),
  "ml_collections": {"build", "main"},
  "optax": {"train"},
  "orbax": {"train"},
  "pickle": set(),
  "rich": {"commands", "train"},
  "safetensors": {"build", "models"},
  "starlette": {"app"},
  "tensorboardX": {"train"},
  "tensorflow": set(),
  "tensorflow_datasets": {"data"},
  "torch": set(),
  "trimesh": set(),
  "typer": set(),
  "tyro": {"commands"},
  "uvicorn": {"app"},
}

# Packages that `pip install affjax` does not install.
EXTRA_SOFTWARE = (
  *("array_record", "grain", "tensorboardX", "tensorflow_datasets"),
  *("starlette", "uvicorn"),
)


def _place(path: pathlib.Path) -> str:
  """Returns the layer of a file: a folder of the package, or a file in it."""
  return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(path: pathlib.Path) -> set[str]:
  """Returns the dotted names that a file imports, at any depth."""
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
def test_files_stay_small(path):
  assert len(path.read_text("utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_other_packages_are_used_by_their_public_names(path):
  private = [
    name
    for name in _imports(path)
    if name.startswith("affjax.")
    and name.split(".")[1] != _place(path)
    and any(part.startswith("_") for part in name.split(".")[2:])
  ]
  assert not private


def test_tests_and_experiments_import_what_is_there():
  """Optional software would hide a module that has moved: its tests are skipped."""
  lost = [
    f"{_name(path)}: {name}"
    for folder in ("tests", "experiments")
    for path in sorted((ROOT / folder).rglob("*.py"))
    for name in _imports(path)
    if name.split(".")[0] in ("tests", "experiments") and not _is_there(name)
  ]
  assert not lost


def _is_there(name: str) -> bool:
  """Returns whether a dotted name is a module, or something inside of one."""
  path = ROOT.joinpath(*name.split("."))
  inside = path.parent != ROOT and path.parent.with_suffix(".py").exists()
  return inside or path.is_dir() or path.with_suffix(".py").exists()


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_exports_the_names_that_it_lists(name):
  """Every name in `__all__` exists, and no public name is missing there."""
  package = importlib.import_module(f"affjax.{name}")
  assert all(hasattr(package, key) for key in package.__all__)
  assert list(package.__all__) == sorted(package.__all__, key=_isort_key)
  public = _public_names(name, PACKAGE / name / "__init__.py")
  assert {key for key in public if not key.startswith("_")} == set(package.__all__)


def _public_names(package: str, path: pathlib.Path) -> set[str]:
  """Returns the names that a file of a package imports from it or defines."""
  names = set()
  body = ast.parse(path.read_text("utf-8")).body
  # Names that only the type checker sees are imported inside of an `if`.
  checked = [inner for node in body if isinstance(node, ast.If) for inner in node.body]
  if package == "commands":
    checked = []  # imports a base class for its annotations only
  for node in (*body, *checked):
    if isinstance(node, ast.ImportFrom):
      inside = f"{node.module}.".startswith(f"affjax.{package}.")
      if inside and node.names[0].name == "*":
        module = path.with_name(f"{str(node.module).rpartition('.')[2]}.py")
        names |= _public_names(package, module)
      elif inside:
        names |= {alias.asname or alias.name for alias in node.names}
    elif isinstance(node, ast.FunctionDef | ast.ClassDef):
      names.add(node.name)
    elif isinstance(node, ast.Assign):
      names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
  return names


def _isort_key(name: str) -> tuple[int, str]:
  """Sorts as ruff does: constants, classes, functions."""
  return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


@pytest.mark.parametrize("name", [name for name in PACKAGES if name != "commands"])
def test_a_package_has_a_page_in_the_reference(name):
  page = ROOT / "docs" / "api" / f"{name}.md"
  assert f"::: affjax.{name}\n" in page.read_text("utf-8")
  assert f"api/{name}.md" in (ROOT / "mkdocs.yml").read_text("utf-8")


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_every_parameter_is_annotated(path):
  bare = []
  for node in ast.walk(ast.parse(path.read_text("utf-8"))):
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
      continue
    every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    every += [arg for arg in (node.args.vararg, node.args.kwarg) if arg]
    bare += [
      f"{path.name}:{arg.lineno} {node.name}({arg.arg})"
      for arg in every
      if arg.annotation is None and arg.arg not in ("self", "cls", "_")
    ]
  assert not bare


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
  ]
  program = (
    f"import importlib\nfor name in {modules!r}:\n  importlib.import_module(name)\n"
    "from jax._src import xla_bridge\nassert not xla_bridge._backends\n"
  )
  subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, timeout=300)


@pytest.mark.smoke
def test_the_base_installation_needs_no_extra_software():
  """Every package can be imported without what `affjax[train]` and others add."""
  names = sorted({_place(path) for path in FILES} - {"__init__", "csrc"})
  program = (
    f"import importlib, sys\nfor name in {EXTRA_SOFTWARE!r}:\n"
    "  sys.modules[name] = None\n"
    f"for name in {names!r}:\n  importlib.import_module(f'affjax.{{name}}')\n"
  )
  subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, timeout=300)
