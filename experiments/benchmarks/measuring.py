"""Measurement for benchmarks: interleaved medians, peak memory, the machine, JSON.

Times come from one process in which all variants take turns, so that a disturbance of
the machine meets all of them. A turn is a pause (idle threads of the last library stop
spinning), one call that does not count, and some that do.
"""

import contextlib
import ctypes
import dataclasses
import gc
import importlib
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent import futures
from typing import Any

PAUSE_S = 0.02


@dataclasses.dataclass(frozen=True)
class Variant:
  """Something to time.

  Attributes:
    run: does the work and returns when it is done.
    repeats: how many times one call of `run` does it.
  """

  run: Callable[[], Any]
  repeats: int = 1


@dataclasses.dataclass(frozen=True)
class Timing:
  """Seconds for doing the work once: the median, the quartles, the least, how many."""

  median: float
  low: float
  high: float
  least: float
  count: int


def interleaved(
  variants: Mapping[str, Variant],
  *,
  rounds: int,
  calls: int = 2,
  slow: Collection[str] = (),
  most_s: float = 3.0,
  seed: int = 0,
  clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
  """Times variants in turns, in a new order every round, after one warm-up round.

  Every variant gets at least three turns, and no more than fit into `most_s`.

  Args:
    variants: by name.
    rounds: turns of each variant.
    calls: counted calls a turn.
    slow: names of variants that get two turns of one call only.
    most_s: seconds for all turns of a variant.
    seed: seed of the orders.
    clock: what tells the time. `time.process_time` is right for one thread that shares
      its core with other processes.
  """
  seconds: dict[str, list[float]] = {name: [] for name in variants}
  shuffle = random.Random(seed).shuffle
  turns = {}
  for name, variant in variants.items():
    variant.run()  # may compile, so it does not tell how long a turn takes
    start = time.perf_counter()
    variant.run()
    turn_s = (calls + 1) * (time.perf_counter() - start) + PAUSE_S
    turns[name] = 2 if name in slow else min(rounds, max(3, int(most_s / turn_s)))
  gc.collect()
  gc.disable()
  try:
    for turn in range(rounds):
      names = [name for name in variants if turn < turns[name]]
      shuffle(names)
      for name in names:
        seconds[name] += _turn(variants[name], 1 if name in slow else calls, clock)
  finally:
    gc.enable()
  return {name: timing(values) for name, values in seconds.items()}


def _turn(variant: Variant, calls: int, clock: Callable[[], float]) -> list[float]:
  time.sleep(PAUSE_S)
  variant.run()
  seconds = []
  for _ in range(calls):
    start = clock()
    variant.run()
    seconds.append((clock() - start) / variant.repeats)
  return seconds


def timing(seconds: Sequence[float]) -> Timing:
  """Sums up the times of one variant."""
  ordered = sorted(seconds)
  low, _, high = (
    statistics.quantiles(ordered, n=4, method="inclusive")
    if len(ordered) > 1
    else ordered * 3
  )
  median = statistics.median(ordered)
  return Timing(median, low, high, ordered[0], len(ordered))


def geometric_mean(values: Sequence[float]) -> float:
  """Returns the geometric mean of positive numbers; NaN if there are none."""
  if not values:
    return math.nan
  return math.exp(statistics.fmean(map(math.log, values)))


# Threads and memory.


def start(device: str | None, threads: int) -> str:
  """Settles where this process computes, before anything has been computed in it.

  Args:
    device: "cpu", "gpu", or None for what JAX finds.
    threads: cores that the process is confined to if it computes on the CPU. XLA makes
      a thread for each core that it may use, PyTorch is told.

  Returns:
    "cpu" or "gpu".
  """
  import jax

  if device == "cpu":
    jax.config.update("jax_platforms", "cpu")
  # A process that may become a GPU's asks JAX first, and keeps all its cores.
  if device is None and _has_gpu():
    device = "gpu"
  if device != "gpu" and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    os.environ["OMP_NUM_THREADS"] = str(threads)
  found = "gpu" if jax.default_backend() in ("gpu", "cuda", "rocm") else "cpu"
  if device == "gpu" and found == "cpu":
    raise RuntimeError("--device gpu: JAX finds no GPU here")
  with contextlib.suppress(ImportError):
    import torch

    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = True  # as XLA does by default
  return found


def _has_gpu() -> bool:
  """Returns whether there is a GPU that JAX may use, without starting JAX."""
  asked = os.environ.get("JAX_PLATFORMS", "")
  if asked and not {"cuda", "gpu"} & set(asked.split(",")):
    return False
  return pathlib.Path("/dev/nvidiactl").exists() and any(
    _installed(f"jax-cuda{n}-plugin") for n in (12, 13)
  )


def peak_rss_mib(run: Callable[[], Any]) -> float:
  """MiB by which the resident memory rises at most while `run` runs for the first time.

  Counted from just before the call, so without its inputs and with its results. Linux
  only: NaN elsewhere. To be called in a process of its own (`children`), whose
  allocator gives freed arrays back.
  """
  gc.collect()
  with contextlib.suppress(OSError, AttributeError):
    ctypes.CDLL("libc.so.6").malloc_trim(0)
  try:
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    before = _status_kib("VmRSS")
  except OSError:
    return math.nan
  result = run()
  peak = _status_kib("VmHWM")
  del result
  return max(peak - before, 0) / 1024


def _status_kib(field: str) -> int:
  for line in pathlib.Path("/proc/self/status").read_text().splitlines():
    if line.startswith(f"{field}:"):
      return int(line.split()[1])
  raise OSError(f"/proc/self/status has no {field}")


def children(
  script: str, arguments: Sequence[Sequence[str]], *, at_once: int = 2
) -> list[Any]:
  """Returns the JSON that Python processes print on their last line, one per job.

  A child that fails gives None, its error goes to stderr. Freed arrays go back to the
  system at once in them, so that resident memory follows what is in use.
  """
  environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
  environment["MALLOC_TRIM_THRESHOLD_"] = "65536"
  # On a GPU two processes share the memory.
  environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"

  def child(flags: Sequence[str]) -> Any:
    command = [sys.executable, script, *flags]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
      print(f"{' '.join(flags)}: {done.stderr[-2000:]}", file=sys.stderr)
      return None
    return json.loads(done.stdout.splitlines()[-1])

  with futures.ThreadPoolExecutor(at_once) as pool:
    return list(pool.map(child, arguments))


# What a result says about its origin.


def machine(device: str, threads: int) -> dict[str, Any]:
  """Returns the machine and the versions with which a result is measured."""
  import jax

  load = os.getloadavg()[0] if hasattr(os, "getloadavg") else math.nan
  return {
    "device": jax.devices()[0].device_kind if device == "gpu" else _cpu_name(),
    "platform": device,
    "threads": threads,
    "cores": os.cpu_count(),
    "load_at_start": round(load, 2),
    "python": platform.python_version(),
    "commit": _commit(),
    "versions": {
      name: importlib.metadata.version(name)
      for name in ("jax", "jaxlib", "numpy", "torch", "torchvision")
      if _installed(name)
    },
  }


def _installed(name: str) -> bool:
  try:
    importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError:
    return False
  return True


def _cpu_name() -> str:
  with contextlib.suppress(OSError):
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
      if line.startswith("model name"):
        return line.split(":", 1)[1].strip()
  return platform.processor() or platform.machine()


def _commit() -> str:
  """The commit, with a plus if files differ from it."""

  def git(*arguments: str) -> str:
    root = pathlib.Path(__file__).parent
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()

  try:
    dirty = "+" if git("status", "--porcelain", "--untracked-files=no") else ""
    return git("rev-parse", "--short", "HEAD") + dirty
  except OSError:
    return ""


def write_json(path: pathlib.Path, value: Any) -> None:
  """Writes beside the file and moves it into place; numbers get four digits."""
  path.parent.mkdir(parents=True, exist_ok=True)
  beside = path.with_name(f".{path.name}.{os.getpid()}")
  beside.write_text(json.dumps(_rounded(value), indent=1) + "\n")
  os.replace(beside, path)


def _rounded(value: Any) -> Any:
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    value = dataclasses.asdict(value)
  if isinstance(value, Mapping):
    return {str(key): _rounded(item) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [_rounded(item) for item in value]
  if isinstance(value, float):
    return float(f"{value:.4g}") if math.isfinite(value) else None
  return value


def pyplot() -> Any:
  """Returns `matplotlib.pyplot`, which draws into files; None if not installed."""
  try:
    import matplotlib
  except ImportError:
    print("no plot: matplotlib is not installed")
    return None
  matplotlib.use("agg")
  return importlib.import_module("matplotlib.pyplot")


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """A table; the first column is for names, the others are aligned right."""
  line = lambda cells: "| " + " | ".join(cells) + " |"
  rule = "|---|" + "---:|" * (len(header) - 1)
  return "\n".join([line(header), rule, *map(line, rows)])
