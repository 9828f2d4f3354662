"""Random scenes for the rasterizer under address and undefined sanitizers.

Sub-pixel to full-screen triangles, corners on pixel centers, slivers, corners behind
the eye, homogeneous coordinates of all sizes, NaN, infinities, indices out of range,
empty meshes and batches. The CPU's search, and CUDA's device code run on the CPU in
random orders of threads (slow: a fiftieth of the scenes), are compared with the
definition at every pixel: the nearest surface, and the next behind it (`peel`). The
places in triangles with their gradient, and the search for silhouettes, run on the same
scenes and on corrupt ids for the sanitizers alone; the tests check their values.

    python -m experiments.fuzz.rasterizer [--scenes 100000] [--seed 0] [--out FOLDER]

Needs g++ or clang++ with its sanitizers; about five minutes on two cores. Writes
`results/fuzz_rasterizer.json` and exits with 1 if anything differed.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from affjax.native import compilers

HERE = pathlib.Path(__file__).parent
DRIVER = HERE / "rasterizer_driver.cc"
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
HOST = HERE.parents[1] / "tests" / "native"  # the folder of cuda_host.h
# A block's threads are fibers, whose stacks the sanitizer must not move.
ENVIRONMENT = {"ASAN_OPTIONS": "detect_stack_use_after_return=0:detect_leaks=0"}


def build(kernel: str, out: pathlib.Path) -> None:
  """Compiles the driver for the "cpu" or the "cuda" kernel with sanitizers."""
  compiler = compilers.find("cpu").path
  flags = ["-std=c++17", "-O1", "-g", "-w", "-pthread", "-ffp-contract=off"]
  flags += ["-march=native"] if kernel == "cpu" else ["-DAFFJAX_ON_HOST", f"-I{HOST}"]
  include = compilers.includes(DRIVER)
  command = [compiler, *flags, *SANITIZERS, *include, str(DRIVER), "-o", str(out)]
  subprocess.run(command, check=True)


def run(program: pathlib.Path, scenes: int, seed: int) -> tuple[int, str]:
  """Runs scenes `seed` to `seed + scenes`; returns the exit status and what it said."""
  done = subprocess.run(
    [program, str(scenes), str(seed)],
    capture_output=True,
    text=True,
    errors="replace",
    env={**os.environ, **ENVIRONMENT},
  )
  return done.returncode, done.stdout + done.stderr


def fuzz(kernel: str, scenes: int, seed: int) -> dict:
  """Runs a kernel on so many scenes, divided among the cores."""
  began = time.monotonic()
  workers = os.cpu_count() or 1
  share = -(-scenes // workers)
  with tempfile.TemporaryDirectory() as folder:
    program = pathlib.Path(folder) / "fuzz"
    build(kernel, program)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
      seeds = [seed + worker * share for worker in range(workers)]
      results = list(pool.map(lambda seed: run(program, share, seed), seeds))
  for _, said in results:
    print(f"{kernel}: {said.strip()}", flush=True)
  return {
    "scenes": share * workers,
    "first_seed": seed,
    "sanitizers": SANITIZERS[0],
    "workers_that_failed": sum(status != 0 for status, _ in results),
    "said": [said.strip().splitlines()[-1] for _, said in results if said.strip()],
    "seconds": round(time.monotonic() - began, 1),
  }


def main() -> int:
  """Runs both kernels; 1 if anything was wrong."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
  parser.add_argument("--scenes", type=int, default=100_000)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--out", type=pathlib.Path, default=HERE.parent / "results")
  options = parser.parse_args()
  counts = {"cpu": options.scenes, "cuda": -(-options.scenes // 50)}
  record = {kernel: fuzz(kernel, n, options.seed) for kernel, n in counts.items()}
  options.out.mkdir(parents=True, exist_ok=True)
  scratch = options.out / ".fuzz_rasterizer.json"
  scratch.write_text(json.dumps(record, indent=2) + "\n", "utf-8")
  os.replace(scratch, options.out / "fuzz_rasterizer.json")
  return int(any(kernel["workers_that_failed"] for kernel in record.values()))


if __name__ == "__main__":
  sys.exit(main())
