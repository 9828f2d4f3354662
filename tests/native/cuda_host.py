"""Compiles CUDA device code for the CPU (see cuda_host.h) and calls it with arrays."""

import ctypes
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[2]
CSRC = ROOT / "affjax" / "csrc"
_CACHE = ROOT / ".cache" / "cuda_host"
_FLAGS = [
  *("-std=c++17", "-O2", "-g1", "-fPIC", "-shared", "-DAFFJAX_ON_HOST=1"),
  # Kernels' static variables are each library's own; single operations stay single.
  *("-fno-gnu-unique", "-ffp-contract=off", "-U_FORTIFY_SOURCE"),
  *("-Wall", "-Wno-unknown-pragmas", "-Wno-unused-function"),
]


def build(
  source: str | pathlib.Path, *, sanitize: bool = False, include: str = ""
) -> ctypes.CDLL:
  """The library of a driver: C++ that includes cuda_host.h, then device code.

  Its functions are `extern "C" const char* name(...)`, made to be run by `call`, and
  return "" or what went wrong. `affjax/csrc` and this folder are on the include path.

  Args:
    source: C++, or the file that holds it.
    sanitize: with address sanitizer; load it in a process with `sanitized`'s
      environment only.
    include: one more folder of headers.
  """
  compiler = shutil.which("g++")
  if compiler is None:
    pytest.skip("no g++ here, which compiles CUDA device code for the CPU")
  text = source if isinstance(source, str) else source.read_text("utf-8")
  flags = [*_FLAGS, f"-I{CSRC}", f"-I{pathlib.Path(__file__).parent}"]
  flags += [f"-I{include}"] if include else []
  if sanitize:
    flags += ["-fsanitize=address", "-fno-omit-frame-pointer"]
  plain = _run([compiler, *flags, "-x", "c++", "-E", "-"], text)
  key = hashlib.sha256("\n".join([compiler, *flags, plain]).encode()).hexdigest()[:20]
  library = _CACHE / f"{key}.so"
  if not library.exists():
    _CACHE.mkdir(parents=True, exist_ok=True)
    partial = library.with_suffix(f".{os.getpid()}.partial")
    _run([compiler, *flags, "-x", "c++", "-", "-o", str(partial)], text)
    partial.replace(library)
  return ctypes.CDLL(str(library))


def _run(command: list[str], text: str) -> str:
  done = subprocess.run(command, input=text, capture_output=True, text=True)
  if done.returncode:
    raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
  return done.stdout


def call(library: ctypes.CDLL, name: str, *args: np.ndarray | int | float) -> None:
  """Calls a driver's function: arrays as pointers, ints as int64, floats as float.

  Raises:
    RuntimeError: with the driver's words, if it returns any.
  """
  function = getattr(library, name)
  function.restype = ctypes.c_char_p
  message = function(*(_argument(arg) for arg in args))
  if message:
    raise RuntimeError(f"{name}: {message.decode()}")


def _argument(value: np.ndarray | int | float):
  if isinstance(value, np.ndarray):
    if not value.flags.c_contiguous:
      raise ValueError(f"array must be contiguous, got strides {value.strides}")
    return ctypes.c_void_p(value.ctypes.data)
  return ctypes.c_float(value) if isinstance(value, float) else ctypes.c_int64(value)


def set_order(library: ctypes.CDLL, order: int) -> None:
  """Order of the threads of a block: 0 ascending, 1 descending, more = shuffled."""
  ctypes.c_int.in_dll(library, "_ZN9cuda_host5orderE").value = order


def sanitized(script: str, *args: str) -> subprocess.CompletedProcess[str]:
  """Runs Python code in a process in which address sanitizer watches every malloc."""
  compiler = shutil.which("g++")
  if compiler is None:
    pytest.skip("no g++ here, which compiles CUDA device code for the CPU")
  names = ("libasan.so", "libstdc++.so")
  libraries = [
    _run([compiler, f"-print-file-name={name}"], "").strip() for name in names
  ]
  environment = os.environ | {
    "LD_PRELOAD": " ".join(libraries),
    "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
    "PYTHONMALLOC": "malloc",
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
  }
  return subprocess.run(
    [sys.executable, "-c", script, *args],
    env=environment,
    capture_output=True,
    text=True,
  )
