"""Puts the networks of a workdir into the package.

    python -m experiments.training.embedded runs/embedded

The workdir is that of `--config=embedded` (configs/embedded.py). The weights are
rounded to float16; their hashes are printed, for `affjax/assets/store.py`.
"""

import argparse
import pathlib

from affjax import build
from affjax.assets import store

ASSETS = pathlib.Path(store.__file__).parent


def main() -> None:
  """Writes the two files and prints their hashes."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("workdir", type=pathlib.Path)
  build.save_embedded(build.load_run(parser.parse_args().workdir), ASSETS)
  for name in ("networks.json", "networks.safetensors"):
    path = ASSETS / name
    print(f'  "{name}": "{store.sha256(path)}",  # {path.stat().st_size:,} bytes')


if __name__ == "__main__":
  main()
