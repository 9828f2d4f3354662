"""Random calls of the C++ affine convolution under address and undefined sanitizers.

Sizes, forms (matrices, priors, free offsets), dtypes and threads are random;
coordinates are NaN, infinite, huge, on the pixel grid and ordinary. Values and
gradients are compared with the sum spelled out in double precision.

    python -m experiments.fuzz.affine_conv [--cases 100000] [--seed 0]
    python -m experiments.fuzz.affine_conv --cases 3000 --target haswell     # AVX2
    python -m experiments.fuzz.affine_conv --cases 3000 --target x86-64      # SSE2
    CXX=aarch64-linux-gnu-g++ python -m experiments.fuzz.affine_conv --cases 1500 \\
      --target armv8-a --runner qemu-aarch64                                 # NEON

Needs g++ or clang++ with its sanitizers; about five minutes on two cores. Another
target than this machine is built without them, and run by `--runner` if it needs one.
Writes `results/fuzz_affine_conv[_TARGET].json`; exits with 1 if anything differed.
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
DRIVER = HERE / "affine_conv_driver.cc"
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def build(out: pathlib.Path, target: str) -> None:
  """Compiles the driver, for this machine with sanitizers."""
  compiler = compilers.find("cpu").path
  tuning = ("-std=c++17", "-O1", "-g", "-w", f"-march={target}", "-pthread")
  checks = SANITIZERS if target == "native" else ("-static",)
  include = compilers.includes(DRIVER)
  command = [compiler, *tuning, *checks, *include, str(DRIVER), "-o", str(out)]
  subprocess.run(command, check=True)


def run(program: list[str], cases: int, seed: int) -> tuple[int, str]:
  """Runs cases `seed` to `seed + cases`; returns the exit status and what it said."""
  done = subprocess.run(
    [*program, str(cases), str(seed)], capture_output=True, text=True, errors="replace"
  )
  return done.returncode, done.stdout + done.stderr


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--cases", type=int, default=100_000)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--target", default="native", help="what -march takes")
  parser.add_argument("--runner", help="runs programs of the target")
  parser.add_argument("--out", type=pathlib.Path, default=HERE.parent / "results")
  args = parser.parse_args()
  start = time.monotonic()
  workers = os.cpu_count() or 1
  share = -(-args.cases // workers)
  with tempfile.TemporaryDirectory() as folder:
    program = pathlib.Path(folder) / "fuzz"
    build(program, args.target)
    command = [*filter(None, [args.runner]), str(program)]
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
      seeds = [args.seed + worker * share for worker in range(workers)]
      results = list(pool.map(lambda seed: run(command, share, seed), seeds))
  for _, said in results:
    print(said.strip())
  failed = sum(status != 0 for status, _ in results)
  record = {
    "cases": share * workers,
    "first_seed": args.seed,
    "target": args.target,
    "sanitizers": SANITIZERS[0] if args.target == "native" else "none",
    "workers_that_failed": failed,
    "said": [said.strip().splitlines()[-1] for _, said in results if said.strip()],
    "seconds": round(time.monotonic() - start, 1),
  }
  args.out.mkdir(parents=True, exist_ok=True)
  name = "fuzz_affine_conv" + ("" if args.target == "native" else f"_{args.target}")
  scratch = args.out / f".{name}.json"
  scratch.write_text(json.dumps(record, indent=2) + "\n", "utf-8")
  os.replace(scratch, args.out / f"{name}.json")
  return 1 if failed else 0


if __name__ == "__main__":
  sys.exit(main())
