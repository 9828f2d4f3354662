"""A smile in three.js: fits the portrait, animates its GLB, and plays it in a browser.

  NODE_PATH=... python -m experiments.figures.living_head

Writes `docs/examples/smile.json`, the recording, and `docs/images/smile_three.jpg`, six
moments of it. Needs node, chromium and `npm install three playwright-core`.
"""

import importlib.resources
import json
import math
import os
import pathlib
import shutil
import subprocess
import tempfile

from PIL import Image

from affjax.export import animated_glb, head_files, read_performance
from affjax.faces import read_photo
from affjax.heads import open_head
from affjax.photos import FitReconstructor

ROOT = pathlib.Path(__file__).parents[2]
RECORDING = ROOT / "docs" / "examples" / "smile.json"
PICTURE = ROOT / "docs" / "images" / "smile_three.jpg"
PAGE = ROOT / "tests" / "export" / "three_page.mjs"
FRAMES, FPS = 60, 30
MOMENTS = (0.0, 0.45, 0.85, 1.26, 1.48, 1.65)

SMILE = {
  "mouthSmile*": 0.85,
  "cheekSquint*": 0.5,
  "eyeSquint*": 0.25,
  "mouthUpperUp*": 0.25,
  "jawOpen": 0.2,
}


def smile() -> dict:
  """Returns a recording: a smile, a glance to the side, a blink, an open mouth."""
  frames = [_frame(k / (FRAMES - 1)) for k in range(FRAMES)]
  yaw = [round(12 * math.sin(2 * math.pi * k / (FRAMES - 1)), 2) for k in range(FRAMES)]
  return {"fps": FPS, "frames": frames, "head_deg": [[y, 0, 0] for y in yaw]}


def _frame(time: float) -> dict[str, float]:
  bump = lambda middle, width: math.exp(-(((time - middle) / width) ** 2))
  weights = {name: value * bump(0.43, 0.2) for name, value in SMILE.items()}
  weights["eyeBlink*"] = bump(0.64, 0.035)
  weights["jawOpen"] += 0.7 * bump(0.82, 0.07)
  aside = bump(0.24, 0.08)
  weights |= {"eyeLookOutLeft": aside, "eyeLookInRight": aside}
  both = {
    name.replace("*", side): round(value, 3)
    for name, value in weights.items()
    for side in (("Left", "Right") if "*" in name else ("",))
  }
  return {name: value for name, value in both.items() if value >= 0.005}


def play(glb: bytes, moments: tuple[float, ...], picture: pathlib.Path) -> dict:
  """Returns what three.js saw of a head, and writes the moments side by side."""
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    (folder / "head.glb").write_bytes(glb)
    modules = pathlib.Path(os.environ["NODE_PATH"].split(os.pathsep)[0])
    (folder / "node_modules").symlink_to(modules.resolve())
    script = shutil.copy(PAGE, folder)
    browser = shutil.which("chromium") or "chromium"
    times = ",".join(map(str, moments))
    done = subprocess.run(
      ["node", script, str(folder / "head.glb"), browser, times, str(picture)],
      capture_output=True,
      text=True,
      check=True,
    )
  return json.loads(done.stdout)


def main() -> None:
  """Writes the recording and the picture."""
  RECORDING.write_text(json.dumps(smile()) + "\n")
  asset = importlib.resources.files("affjax.assets") / "astronaut.jpg"
  with importlib.resources.as_file(asset) as path:
    photo = read_photo(path)
    head, *_ = FitReconstructor(open_head("embedded")).heads_of(photo, path)
  glb = head_files(head, photo, formats=["glb"])["head.glb"]
  moved = animated_glb(glb, read_performance(RECORDING), name="smile")
  with tempfile.TemporaryDirectory() as name:
    strip = pathlib.Path(name) / "strip.png"
    seen = play(moved, MOMENTS, strip)
    Image.open(strip).convert("RGB").save(PICTURE, quality=88)
  print(f"{len(glb)} bytes, {len(seen['names'])} morph targets, {seen['errors']}")


if __name__ == "__main__":
  main()
