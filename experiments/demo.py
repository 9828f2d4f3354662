"""`make demo`: reconstructs five photos, then trains small networks in three stages.

    python -m experiments.demo --out out/demo

The heads are made by the networks that come with affjax. The networks that are trained
here for minutes show that the three stages run; their heads are apart. Prints the
losses of each stage on held-out samples, before and after the stage, and the paths of
the pictures. A second call continues where the first one was stopped.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
STAGES = ("stage1", "stage2", "stage3")
# Four samples of the test split, which no stage trains on or reports.
HELD_OUT = (100, 102, 105, 111)


def main() -> None:
  """Reconstructs, trains and prints the report."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out/demo"))
  out = parser.parse_args().out
  out.mkdir(parents=True, exist_ok=True)
  began = time.monotonic()
  photos = write_photos(out / "photos")
  heads, sheet = reconstruct(photos, out, "heads", "embedded")
  print(f"\n{sheet}: {_minutes(began)} minutes. Now small networks are trained.\n")
  run = out / "run"
  for stage in STAGES:
    _call("-m", "affjax.main", f"--config=configs/demo.py:{stage}", f"--workdir={run}")
  trained_here, sheet_here = reconstruct(photos, out, "trained_here", str(run))
  print(losses_table(run))
  print(f"\nDone in {_minutes(began)} minutes. Look at")
  for what, path in (
    ("all heads in 3D, in a browser", heads / "index.html"),
    ("the heads as one picture", sheet),
    ("meshes and maps", heads / "*" / "face1"),
    ("heads of the networks trained here", trained_here / "index.html"),
    ("the same as one picture", sheet_here),
    ("pictures of the training", run / "pictures"),
  ):
    print(f"  {what:36} {path}")


def reconstruct(
  photos: pathlib.Path, out: pathlib.Path, name: str, weights: str
) -> tuple[pathlib.Path, pathlib.Path]:
  """Reconstructs the photos; returns the folder of the heads and a picture of them."""
  heads, sheet = out / name, out / f"{name}.png"
  _call(
    *("-m", "affjax.commands", "reconstruct", str(photos), "-o", str(heads)),
    *("--weights", weights, "--overwrite"),
  )
  _call("-m", "experiments.figures.reconstructions", str(heads), str(sheet))
  return heads, sheet


def write_photos(folder: pathlib.Path) -> pathlib.Path:
  """Writes the astronaut portrait and four synthetic faces as image files."""
  # These imports are slow; `--help` and a wrong flag shall not wait for them.
  from PIL import Image

  from affjax.assets import store
  from affjax.data import SyntheticFaces
  from affjax.heads import open_head

  folder.mkdir(parents=True, exist_ok=True)
  (folder / "astronaut.jpg").write_bytes(store.read_asset("astronaut.jpg"))
  faces = SyntheticFaces(
    open_head("embedded"), max(HELD_OUT) + 1, 384, seed=0, split="test", occluders=0.0
  )
  for number, index in enumerate(HELD_OUT, start=1):
    image = Image.fromarray(faces[index]["image"])
    image.save(folder / f"held_out_{number}.png")
  return folder


def losses_table(run: pathlib.Path) -> str:
  """Returns the losses on held-out samples before and after each stage, as text."""
  lines = [f"{'stage':8} {'loss (held-out)':28} {'before':>10} {'after':>10}"]
  for stage in STAGES:
    summary = json.loads((run / stage / "summary.json").read_text())
    before, after = summary["eval_before"], summary["eval_after"]
    for name in after:
      lines.append(f"{stage:8} {name:28} {before[name]:10.4f} {after[name]:10.4f}")
    lines.append(f"{stage:8} {'seconds':28} {'':10} {summary['seconds']:10.0f}")
  return "\n".join(lines)


def _minutes(began: float) -> str:
  """Returns the minutes since `time.monotonic()` was `began`."""
  return f"{(time.monotonic() - began) / 60:.1f}"


def _call(*arguments: str) -> None:
  """Runs Python with the arguments; if it fails, ends the demo with its status."""
  environment = {**os.environ, "PYTHONPATH": str(ROOT)}
  finished = subprocess.run([sys.executable, *arguments], env=environment, cwd=ROOT)
  if finished.returncode:
    sys.exit(finished.returncode)


if __name__ == "__main__":
  main()
