"""Compilers on this machine, and their command lines."""

import dataclasses
import functools
import os
import pathlib
import platform
import shutil
import site
import subprocess
import sys

import jax
import jax.ffi

PLATFORMS = ("cpu", "cuda")
SOURCES = pathlib.Path(__file__).parents[1] / "csrc"

# A compilation takes about 10 s, and several times that on a busy machine.
_TIMEOUT_S = 600


_NO_COMPILER = (
  "no C++ compiler (CXX, c++, g++ or clang++); kernels in C++ are faster: install one, "
  "by apt install g++ or xcode-select --install"
)
_NO_NVCC = (
  "no nvcc (CUDACXX, PATH, CUDA_HOME); kernels in CUDA are faster: pip install "
  "nvidia-cuda-nvcc"
)


class CompileError(RuntimeError):
  """An error of compilation; its message gives the reason in one line."""


@dataclasses.dataclass(frozen=True)
class Compiler:
  """A compiler with its flags.

  Attributes:
    path: Path of the program.
    flags: Sets of flags, the best first; the next set is tried if one fails.
    identity: Version and target machine, which are part of a cached library's name.
  """

  path: str
  flags: tuple[tuple[str, ...], ...]
  identity: str


def find(target: str) -> Compiler:
  """Returns the compiler for a platform.

  Args:
    target: "cpu" or "cuda".

  Raises:
    CompileError: There is no compiler.
  """
  if target not in PLATFORMS:
    raise ValueError(f"platform must be one of {PLATFORMS}, got {target!r}")
  return _cpp() if target == "cpu" else _nvcc()


def run(compiler: Compiler, source: pathlib.Path, out: pathlib.Path) -> None:
  """Compiles a source to a shared library with the first set of flags that works.

  Args:
    compiler: The compiler.
    source: The source file.
    out: Path of the shared library.

  Raises:
    CompileError: Every set of flags failed; the message has the first error.
  """
  complaint = ""
  for flags in compiler.flags:
    command = [compiler.path, *flags, *includes(source), str(source), "-o", str(out)]
    try:
      done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S
      )
    except (OSError, subprocess.TimeoutExpired) as error:
      raise CompileError(f"{compiler.path}: {error}") from error
    if done.returncode == 0:
      return
    complaint = complaint or _first_error(done.stderr + done.stdout)
  raise CompileError(f"{compiler.path} on {source.name}: {complaint}")


def includes(source: pathlib.Path) -> list[str]:
  """Returns include flags: for the source's folder, affjax's and jaxlib's headers."""
  return [f"-I{source.parent}", f"-I{SOURCES}", f"-I{jax.ffi.include_dir()}"]


def _first_error(output: str) -> str:
  lines = [line.strip() for line in output.splitlines() if line.strip()]
  errors = [line for line in lines if "error" in line.lower()]
  return (errors or lines or ["no message"])[0][:300]


@functools.cache
def _cpp() -> Compiler:
  named = os.environ.get("CXX", "")
  for name in (named, "c++", "g++", "clang++"):
    path = shutil.which(name) if name else None
    if path:
      break
  else:
    raise CompileError(_NO_COMPILER)
  # Without contraction, the rasterizer's arithmetic is the same on every platform.
  common = ("-std=c++17", "-O3", "-ffp-contract=off", "-fPIC", "-shared", "-w")
  if sys.platform == "darwin":
    common += ("-undefined", "dynamic_lookup")
  flags = tuple(
    (*common, *tune) for tune in (("-march=native",), ("-mcpu=native",), ())
  )
  return Compiler(path, flags, f"{_version(path)} {processor()}")


@functools.cache
def _nvcc() -> Compiler:
  path = next(filter(None, map(shutil.which, _nvcc_places())), None)
  if path is None:
    raise CompileError(_NO_NVCC)
  code = (
    "-gencode=arch=compute_80,code=sm_80",
    "-gencode=arch=compute_90,code=[sm_90,compute_90]",
  )
  flags = ("-std=c++17", "-O3", "-shared", "-Xcompiler=-fPIC,-w", "-w", *code)
  return Compiler(path, ((*flags, "-cudart=static", "-t0"),), _version(path))


def _nvcc_places() -> list[str]:
  environment = [os.environ.get("CUDACXX", ""), "nvcc"]
  homes = [os.environ.get(name, "") for name in ("CUDA_HOME", "CUDA_PATH")]
  homes = [pathlib.Path(home) for home in [*homes, "/usr/local/cuda"] if home]
  for folder in (*site.getsitepackages(), site.getusersitepackages()):
    homes += sorted(pathlib.Path(folder).glob("nvidia/*/"), reverse=True)
  return [name for name in environment if name] + [
    str(home / "bin" / "nvcc") for home in homes
  ]


def _version(path: str) -> str:
  try:
    done = subprocess.run(
      [path, "--version"], capture_output=True, text=True, errors="replace", timeout=60
    )
  except (OSError, subprocess.TimeoutExpired) as error:
    raise CompileError(f"{path}: {error}") from error
  return f"{path} {done.stdout}"


def processor() -> str:
  """Returns a description of the processor, on which `-march=native` depends."""
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
  except OSError:
    return f"{platform.machine()} {platform.processor()} {platform.version()}"
  wanted = ("model name", "flags", "Features", "CPU part")
  chosen = {line for line in lines if line.startswith(wanted)}
  return f"{platform.machine()} {sorted(chosen)}"
