"""Random calls of the C++ affine convolution under address and undefined sanitizers.

Sizes, forms (matrices, priors, free offsets), dtypes and threads are random;
coordinates are NaN, infinite, huge, on the pixel grid and ordinary. Values and
gradients are compared with the sum spelled out in double precision.

    python experiments/fuzz_affine_conv.py [--cases 100000] [--seed 0]

Needs g++ or clang++ with its sanitizers; about five minutes on two cores. Writes
`results/fuzz_affine_conv.json` and exits with 1 if anything differed.
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
DRIVER = HERE / "fuzz" / "affine_conv_driver.cc"
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def build(out: pathlib.Path) -> None:
  """Compiles the driver with sanitizers."""
  compiler = compilers.find("cpu").path
  tuning = ("-std=c++17", "-O1", "-g", "-w", "-march=native", "-pthread")
  include = compilers.includes(DRIVER)
  command = [compiler, *tuning, *SANITIZERS, *include, str(DRIVER), "-o", str(out)]
  subprocess.run(command, check=True)


def run(program: pathlib.Path, cases: int, seed: int) -> tuple[int, str]:
  """Runs cases `seed` to `seed + cases`; returns the exit status and what it said."""
  done = subprocess.run(
    [program, str(cases), str(seed)], capture_output=True, text=True, errors="replace"
  )
  return done.returncode, done.stdout + done.stderr


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--cases", type=int, default=100_000)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--out", type=pathlib.Path, default=HERE / "results")
  args = parser.parse_args()
  start = time.monotonic()
  workers = os.cpu_count() or 1
  share = -(-args.cases // workers)
  with tempfile.TemporaryDirectory() as folder:
    program = pathlib.Path(folder) / "fuzz"
    build(program)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
      seeds = [args.seed + worker * share for worker in range(workers)]
      results = list(pool.map(lambda seed: run(program, share, seed), seeds))
  for _, said in results:
    print(said.strip())
  failed = sum(status != 0 for status, _ in results)
  record = {
    "cases": share * workers,
    "first_seed": args.seed,
    "sanitizers": SANITIZERS[0],
    "workers_that_failed": failed,
    "said": [said.strip().splitlines()[-1] for _, said in results if said.strip()],
    "seconds": round(time.monotonic() - start, 1),
  }
  args.out.mkdir(parents=True, exist_ok=True)
  scratch = args.out / ".fuzz_affine_conv.json"
  scratch.write_text(json.dumps(record, indent=2) + "\n", "utf-8")
  os.replace(scratch, args.out / "fuzz_affine_conv.json")
  return 1 if failed else 0


if __name__ == "__main__":
  sys.exit(main())
