"""Everything that wants a GPU, in one command: builds, checks, timings, training.

  python -m experiments.gpu_session --out out/gpu            # all parts, 24 minutes
  python -m experiments.gpu_session --out out/gpu --part 1 2 # four minutes each
  python -m experiments.gpu_session --out out/gpu --only rasterizer affine
  python -m experiments.gpu_session --out out/gpu --cpu      # tiny, without a GPU
  python -m experiments.gpu_session --dry-run                # only say what would run

Run it from the repository's root. The parts are in the order of their value and end
after four minutes each, whatever is left of them. Each step is a process with a time
limit of its own; one that fails, hangs or lacks something is recorded and the next one
begins. Writes `session.json` (rewritten after every step, so that an interrupted
session keeps what it has; parts that ran before stay in it), `session.log` (all output)
and the JSON files of the benchmarks into the folder, by default `$OUT`. `docs/gpu.md`
says what to expect.
"""

import argparse
import dataclasses
import importlib.util
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parents[1]
PART_S = 240
PARTS = {
  1: "each CUDA kernel is right",
  2: "affine convolution against PyTorch, rasterizer against nvdiffrast",
  3: "both networks at 512²",
  4: "images a second of stage 3, at 512²",
  5: "training by the user's commands",
  6: "the kernels under compute-sanitizer, nvdiffrast's tests",
}
# Factor on all limits without a GPU, where the machine may be small and shared.
_CPU_LIMITS = 5
_RESULT = "RESULT "
_TAIL = 3000
_TRAINING = ("ml_collections", "grain", "array_record")
_SCRATCH = pathlib.Path(tempfile.gettempdir()) / f"affjax_gpu_session_{os.getpid()}"


@dataclasses.dataclass(frozen=True)
class Step:
  """One process of the session.

  Attributes:
    name: in the record, and for `--only`.
    part: the number of its part, from 1.
    command: arguments, a shell's if a string. `{out}` is the folder of the session,
      `{scratch}` a folder for files that are not kept.
    limit_s: after which it is killed.
    needs: modules, programs and files without which it is skipped.
    needs_gpu: skipped with `--cpu`.
  """

  name: str
  part: int
  command: tuple[str, ...] | str
  limit_s: int
  needs: tuple[str, ...] = ()
  needs_gpu: bool = False


def plan(cpu: bool) -> list[Step]:
  """The steps in order, the most telling first; small ones with `cpu`."""
  python = sys.executable
  code, watched = _standalone()
  affine, rasterizer, network = (
    Step(name, part, (python, script, *arguments), limit, (script,))
    for name, part, script, arguments, limit in _benchmarks(cpu)
  )
  steps = [
    Step("machine", 1, _check("machine", cpu), 60),
    Step("build", 1, _check("build", cpu), 120),
    Step("rasterizer", 1, _check("rasterizer", cpu), 120),
    Step("affine", 1, _check("affine", cpu), 150),
    Step("render", 1, _check("render", cpu), 90),
    code,
    Step("nvdiffrast", 2, _check("nvdiffrast", cpu), 60, needs_gpu=True),
    affine,
    rasterizer,
    network,
    Step("stage3_speed", 4, _check("stage3", cpu), PART_S, _TRAINING),
    *(Step(f"stage{n}", 5, _stage(n, cpu), 120, _TRAINING) for n in (1, 2, 3)),
    Step("memcheck", 6, _memcheck(), 90, ("compute-sanitizer",), needs_gpu=True),
    watched,
    Step("nvdiffrast_tests", 6, _tests("third_party", "cuda"), 120, ("pytest",), True),
  ]
  factor = _CPU_LIMITS if cpu else 1
  return [dataclasses.replace(step, limit_s=factor * step.limit_s) for step in steps]


def _check(name: str, cpu: bool) -> tuple[str, ...]:
  return (sys.executable, "experiments/gpu/checks.py", name, *(["--cpu"] * cpu))


def _standalone() -> list[Step]:
  """The rasterizer's device code without JAX, which sanitizers can watch."""
  build = (
    "nvcc -std=c++17 -O3 -arch=native -Iaffjax/csrc"
    " experiments/gpu/rasterizer_check.cu -o {scratch}/rasterizer_check"
  )
  check = "{scratch}/rasterizer_check"
  watched = (("memcheck", 40), ("racecheck", 8), ("initcheck", 8))
  watch = f"test -x {check} || {build}; " + " && ".join(
    f"compute-sanitizer --error-exitcode 9 --tool {tool} {check} -{scenes}"
    for tool, scenes in watched
  )
  sanitizer = ("compute-sanitizer",)
  return [
    Step("device_code", 1, f"{build} && {check} 400", 60, ("nvcc",), needs_gpu=True),
    Step("device_code_memory", 6, watch, 90, sanitizer, needs_gpu=True),
  ]


def _memcheck() -> str:
  """A small case of each kernel as JAX calls it, every buffer an allocation."""
  return (
    "XLA_PYTHON_CLIENT_ALLOCATOR=platform XLA_FLAGS=--xla_gpu_autotune_level=0"
    " compute-sanitizer --tool memcheck --error-exitcode 9"
    f" {sys.executable} experiments/gpu/checks.py small"
  )


def _tests(folder: str, which: str) -> tuple[str, ...]:
  """Those tests of a folder that want a GPU."""
  return (sys.executable, "-m", "pytest", f"tests/{folder}", "-k", which, "-rs")


def _benchmarks(cpu: bool) -> list[tuple[str, int, str, tuple[str, ...], int]]:
  """Returns name, part, script, arguments and time limit of each benchmark.

  They write what they have after each case, so that a limit cuts only the last ones.
  """
  arguments = ("--quick" if cpu else "--device=gpu", "--out", "{out}")
  # Peak memory takes a process for every number.
  named = {
    "affine_conv": (2, (*arguments, "--no-memory", "--rounds=4"), 130),
    "rasterizer": (2, (*arguments, "--rounds=3"), 90),
    "network": (3, arguments, PART_S),
  }
  return [
    (f"bench_{name}", part, f"experiments/benchmarks/{name}.py", how, limit)
    for name, (part, how, limit) in named.items()
  ]


def _stage(number: int, cpu: bool) -> tuple[str, ...]:
  """A few updates of a stage, each going on from the one before."""
  values = {"steps": 30, "data.count": 40, "data.held_out": 2, "log.every": 5}
  values |= {"data.cache": "workdir", "log.tensorboard": False, "data.threads": 12}
  if cpu:
    values |= {"steps": 2, "data.count": 4, "data.batch_size": 2, "model.size": 32}
    values |= {"log.every": 1, "data.threads": 1}
  changes = [f"--config.{name}={value}" for name, value in values.items()]
  config = f"--config=configs/stage{number}.py"
  command = (sys.executable, "-m", "affjax.main", config, "--workdir={scratch}/train")
  return (*command, *changes)


def run(step: Step, out: pathlib.Path, limit_s: float, environment: dict) -> dict:
  """Runs a step; what happened, as it stands in `session.json`."""
  record = {"name": step.name, "part": step.part, "limit_s": round(limit_s)}
  missing = [need for need in step.needs if not _there(need)]
  if missing:
    return {**record, "status": "skipped", "reason": f"needs {', '.join(missing)}"}
  command = _filled(step.command, out)
  began = time.monotonic()
  log = out / "session.log"
  with log.open("ab") as stream:
    stream.write(f"\n===== {step.name}: {command}\n".encode())
    stream.flush()
    at = stream.tell()
    process = subprocess.Popen(
      command,
      shell=isinstance(command, str),
      cwd=ROOT,
      env=environment,
      stdout=stream,
      stderr=subprocess.STDOUT,
      start_new_session=True,
    )
    status = _wait(process, limit_s)
  output = log.read_bytes()[at:].decode(errors="replace")
  record |= {"status": status, "seconds": round(time.monotonic() - began, 1)}
  return {
    **record,
    "exit": process.returncode,
    "result": _result(output),
    "end_of_output": output[-_TAIL:],
  }


def _there(need: str) -> bool:
  if "/" in need:
    return (ROOT / need).is_file()
  return bool(shutil.which(need) or importlib.util.find_spec(need))


def _filled(command: tuple[str, ...] | str, out: pathlib.Path) -> str | list[str]:
  def fill(text: str) -> str:
    return text.replace("{out}", str(out)).replace("{scratch}", str(_SCRATCH))

  return fill(command) if isinstance(command, str) else [fill(c) for c in command]


def _wait(process: subprocess.Popen, limit_s: float) -> str:
  try:
    code = process.wait(timeout=limit_s)
  except subprocess.TimeoutExpired:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return "out of time"
  return "ok" if code == 0 else "failed"


def _result(output: str):
  """Returns the JSON of the last line that begins with RESULT."""
  for line in reversed(output.splitlines()):
    if line.startswith(_RESULT):
      try:
        return json.loads(line[len(_RESULT) :])
      except json.JSONDecodeError:
        return None
  return None


def main(arguments: list[str] | None = None) -> int:
  """Runs the session; 0 if every step that could run was right."""
  options = _parse(arguments)
  steps = [
    step
    for step in plan(options.cpu)
    if (not options.part or step.part in options.part)
    and (not options.only or step.name in options.only)
  ]
  if options.dry_run:
    for step in steps:
      command = _filled(step.command, options.out)
      shown = command if isinstance(command, str) else " ".join(command)
      print(f"{step.part} {step.name} ({step.limit_s} s): {shown}")
    return 0
  options.out.mkdir(parents=True, exist_ok=True)
  _SCRATCH.mkdir()
  try:
    records = _session(steps, options.out.resolve(), options.seconds, options.cpu)
  finally:
    shutil.rmtree(_SCRATCH)
  return int(any(r["status"] in ("failed", "out of time") for r in records))


def _session(steps: list[Step], out: pathlib.Path, seconds: float, cpu: bool):
  """Runs steps, those of a part for so many seconds; their records."""
  path = out / "session.json"
  names = {step.name for step in steps}
  before = json.loads(path.read_text())["steps"] if path.exists() else []
  before = [record for record in before if record["name"] not in names]
  records, ends = [], {}
  for step in steps:
    if step.part not in ends:
      print(f"part {step.part}: {PARTS[step.part]}", flush=True)
      ends[step.part] = time.monotonic() + seconds
    limit = min(step.limit_s, ends[step.part] - time.monotonic())
    if cpu and step.needs_gpu:
      record = {"name": step.name, "status": "skipped", "reason": "needs a GPU"}
    elif limit < min(step.limit_s, 10):
      record = {"name": step.name, "status": "skipped", "reason": "no time left"}
    else:
      record = run(step, out, limit, _environment(cpu))
    records.append(record)
    _report(record)
    text = json.dumps({"steps": [*before, *records]}, indent=1)
    path.write_text(f"{text}\n")
  return records


def _report(record: dict) -> None:
  what = record.get("reason") or json.dumps(record.get("result")) or ""
  if record["status"] in ("failed", "out of time"):
    what = "\n" + record["end_of_output"][-600:]
  seconds = record.get("seconds", 0)
  print(
    f"{record['status']:>12} {seconds:7.1f} s  {record['name']}  {what}", flush=True
  )


def _environment(cpu: bool) -> dict:
  paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
  added = {
    "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    "PYTHONUNBUFFERED": "1",
    "JAX_PLATFORMS": "cpu" if cpu else "cuda,cpu",
    # Several processes share the card in turn; none should find it taken.
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
  }
  # What is compiled once serves the later steps, and later calls on this machine.
  cache = pathlib.Path(tempfile.gettempdir()) / "affjax_gpu_session_jax"
  return {"JAX_COMPILATION_CACHE_DIR": str(cache), **os.environ, **added}


def _parse(arguments: list[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
  parser.add_argument(
    "--out", type=pathlib.Path, default=os.environ.get("OUT", "out/gpu")
  )
  parser.add_argument("--part", type=int, nargs="*", default=[], choices=PARTS)
  parser.add_argument("--only", nargs="*", default=[], metavar="STEP")
  parser.add_argument(
    "--seconds",
    type=float,
    help=f"for each part; {PART_S}, and {_CPU_LIMITS} times as many with --cpu",
  )
  parser.add_argument("--cpu", action="store_true", help="tiny sizes, no GPU")
  parser.add_argument("--dry-run", action="store_true")
  options = parser.parse_args(arguments)
  if options.seconds is None:
    options.seconds = PART_S * (_CPU_LIMITS if options.cpu else 1)
  known = [step.name for step in plan(options.cpu)]
  for name in options.only:
    if name not in known:
      parser.error(f"--only must name steps among {known}, got {name!r}")
  return options


if __name__ == "__main__":
  sys.exit(main())
