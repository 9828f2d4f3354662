"""Traced programs on disk, by what they depend on."""

import contextlib
import dataclasses
import functools
import hashlib
import inspect
import json
import pathlib
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.core
import jax.export
import jax.numpy as jnp
import numpy as np

import affjax
from affjax import files
from affjax.native import compilers, dispatch, library

R = TypeVar("R")

_DIGEST_BYTES = 32
# These programs run a few times: the default level of LLVM, and XLA's newer emitters,
# take more time to compile than they save.
_LEVEL = {"xla_backend_optimization_level": 1}
_EMITTERS = {"xla_cpu_use_fusion_emitters": False}
_place: pathlib.Path | None = None


def use(folder: pathlib.Path) -> None:
  """Has all functions of `saved` keep their programs in a private folder."""
  global _place
  _place = folder


def saved(
  *, static_argnames: Sequence[str] = (), kernels: Sequence[str] = ()
) -> Callable[[Callable[..., R]], Callable[..., R]]:
  """Returns a decorator like `jax.jit` whose programs later processes can load.

  Without `enable`, inside of another program and on accelerators it is `jax.jit`. The
  function must return an array, or a tuple or dict of arrays.

  Args:
    static_argnames: Names of arguments that are not arrays: numbers, texts, and
      dataclasses, mappings and sequences of such values or of arrays.
    kernels: Names of the libraries in C++ that the program calls.

  Raises:
    TypeError: The function takes `*args` or `**kwargs`.
  """

  def decorate(function: Callable[..., R]) -> Callable[..., R]:
    compiled = jax.jit(function, static_argnames=tuple(static_argnames))
    program = _Program(function, tuple(static_argnames), tuple(kernels))

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> R:
      if _place is None or not program.accepts(args, kwargs):
        return compiled(*args, **kwargs)
      return program(_place, args, kwargs)

    return call

  return decorate


@dataclasses.dataclass(eq=False)
class _Program:
  """A function with its programs, one for each set of shapes and static arguments."""

  function: Callable[..., Any]
  static: tuple[str, ...]
  kernels: tuple[str, ...]
  loaded: dict[Any, Callable[..., Any]] = dataclasses.field(default_factory=dict)
  lock: Any = dataclasses.field(default_factory=threading.RLock)

  def __post_init__(self):
    self._signature = inspect.signature(self.function)
    kinds = {p.kind for p in self._signature.parameters.values()}
    if kinds & {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
      name = self.function.__qualname__
      raise TypeError(f"function {name} must name all of its arguments")

  def accepts(self, args: Any, kwargs: Any) -> bool:
    """Returns whether the call is one of arrays on a CPU, not part of another trace."""
    leaves = jax.tree.leaves((args, kwargs))
    traced = any(isinstance(leaf, jax.core.Tracer) for leaf in leaves)
    return not traced and jax.default_backend() == "cpu"

  def __call__(self, folder: pathlib.Path, args: Any, kwargs: Any) -> Any:
    given = self._signature.bind(*args, **kwargs).arguments
    static = {name: given.pop(name) for name in self.static if name in given}
    leaves, tree = jax.tree.flatten(dict(given))
    shapes = tuple((np.shape(leaf), jax.dtypes.result_type(leaf)) for leaf in leaves)
    key = (tuple(static.items()), tree, shapes, _settings())
    found = self.loaded.get(key)
    if found is None:
      with self.lock:
        # Of threads that need the same program, one makes it.
        found = self.loaded.get(key)
        if found is None:
          flat = functools.partial(self._flat, static, tree)
          name = _hash(_code(), self.function.__qualname__, *key, self._ready())
          found = _loaded(folder / name, flat, shapes, self.kernels)
          found = _named(found, self.function.__name__)
          result = found(*leaves)
          self.loaded[key] = found
          return result
    return found(*leaves)

  def _flat(self, static: dict[str, Any], tree: Any, *leaves: Any) -> Any:
    return self.function(**jax.tree.unflatten(tree, leaves), **static)

  def _ready(self) -> tuple[tuple[str, ...], ...]:
    """Returns where each library is ready, and so has it registered with XLA."""
    return tuple(dispatch.ready_platforms(name) for name in self.kernels)


def _loaded(
  path: pathlib.Path, flat: Callable[..., Any], shapes: Any, kernels: Sequence[str]
) -> Callable[..., Any]:
  """Returns the program of a file, which is written if it is missing or damaged."""
  arguments = [jax.ShapeDtypeStruct(*shape) for shape in shapes]
  content = _read(path)
  if content is None:
    content = _traced(flat, arguments, kernels)
    # On a full disk the program is made again next time.
    with contextlib.suppress(OSError):
      files.write_file(path, hashlib.sha256(content).digest() + content)
  return _program(content, arguments).call


def _named(call: Callable[..., Any], name: str) -> Callable[..., Any]:
  """Returns a compiled function whose files and profiles have the function's name."""

  def run(*leaves: Any) -> Any:
    return call(*leaves)

  run.__name__ = name
  return jax.jit(run, compiler_options=_compiler_options())


@functools.cache
def _compiler_options() -> dict[str, Any]:
  """Returns the options of XLA, of which it refuses those that it does not know."""
  options = {**_LEVEL, **_EMITTERS}
  try:
    jax.jit(lambda: jnp.zeros(()), compiler_options=options).lower().compile()
  except jax.errors.JaxRuntimeError:
    return _LEVEL
  return options


def _read(path: pathlib.Path) -> bytes | None:
  try:
    content = path.read_bytes()
  except OSError:
    return None
  digest, program = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
  return program if hashlib.sha256(program).digest() == digest else None


def _traced(
  flat: Callable[..., Any],
  arguments: Sequence[jax.ShapeDtypeStruct],
  kernels: Sequence[str],
) -> bytes:
  """Returns the program of a function of flat arguments, and what calls of it need."""
  targets = [
    target
    for name in kernels
    for target in library.handlers(compilers.SOURCES / f"{name}.cc")
  ]
  allowed = [jax.export.DisabledSafetyCheck.custom_call(name) for name in targets]
  found = jax.export.export(jax.jit(flat), disabled_checks=allowed)(*arguments)
  outputs = [[list(aval.shape), aval.dtype.name] for aval in found.out_avals]
  tree = jax.tree.unflatten(found.out_tree, outputs)
  names = list(tree) if isinstance(tree, dict) else type(tree).__name__
  head = {"outputs": outputs, "names": names, "kept": list(found.module_kept_var_idx)}
  return json.dumps(head).encode() + b"\n" + found.mlir_module_serialized


def _program(
  content: bytes, arguments: Sequence[jax.ShapeDtypeStruct]
) -> jax.export.Exported:
  """Returns the program that `_traced` made.

  JAX's own format needs a package that JAX does not install; a program of the same
  arguments and results, which computes zeros, supplies everything else.
  """
  text, _, module = content.partition(b"\n")
  head = json.loads(text)
  names = head["names"]

  def outline(*_: jax.Array) -> Any:
    zeros = [jnp.zeros(shape, dtype) for shape, dtype in head["outputs"]]
    if isinstance(names, list):
      return dict(zip(names, zeros, strict=True))
    return tuple(zeros) if names == "tuple" else zeros[0]

  return dataclasses.replace(
    jax.export.export(jax.jit(outline))(*arguments),
    mlir_module_serialized=module,
    module_kept_var_idx=tuple(head["kept"]),
  )


def _settings() -> tuple[Any, ...]:
  """Returns the settings of JAX that programs of the same arguments depend on."""
  config: Any = jax.config
  return (config.jax_enable_x64, config.jax_default_matmul_precision)


@functools.cache
def _code() -> str:
  """Returns a hash of affjax's sources."""
  package = pathlib.Path(affjax.__file__).parent
  digest = hashlib.sha256(np.__version__.encode())
  for path in sorted(package.rglob("*.py")):
    digest.update(str(path.relative_to(package)).encode() + path.read_bytes())
  return digest.hexdigest()


def _hash(*values: Any) -> str:
  """Returns a hash of the contents of values."""
  digest = hashlib.sha256()
  for value in values:
    digest.update(_content(value))
  return digest.hexdigest()[:32]


def _content(value: Any) -> bytes:
  """Returns bytes that are the same for values of the same content."""
  if isinstance(value, np.ndarray | jax.Array):
    array = np.asarray(value)
    head = f"{array.dtype}{array.shape}".encode()
    return head + hashlib.sha256(np.ascontiguousarray(array).tobytes()).digest()
  if isinstance(value, Mapping):
    return b"{" + b",".join(map(_content, sorted(value.items()))) + b"}"
  if isinstance(value, tuple | list):
    return b"(" + b",".join(map(_content, value)) + b")"
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    fields = dataclasses.fields(value)
    inner = _content([getattr(value, field.name) for field in fields])
    return type(value).__qualname__.encode() + inner
  return repr(value).encode()
