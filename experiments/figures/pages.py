"""Takes pictures of the pages that affjax makes, with the portrait's head.

  NODE_PATH=... python -m experiments.figures.pages

Writes `docs/images/app.png`, the page of `affjax app` with the expression "Surprise",
and `docs/images/report_page.png`, the page of `affjax fit`. Needs node, chromium and
`npm install playwright-core`.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

from PIL import Image

IMAGES = pathlib.Path(__file__).parents[2] / "docs" / "images"
SCRIPT = pathlib.Path(__file__).with_suffix(".mjs")
COLORS = 256


def main() -> None:
  """Starts the app, and takes the pictures."""
  pictures = IMAGES / "app.png", IMAGES / "report_page.png"
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    modules = pathlib.Path(os.environ["NODE_PATH"].split(os.pathsep)[0])
    (folder / "node_modules").symlink_to(modules.resolve())
    script, results = shutil.copy(SCRIPT, folder), folder / "results"
    with subprocess.Popen(
      [sys.executable, "-m", "affjax.commands", "app", "--port", "0", "-o", results],
      stdout=subprocess.PIPE,
      text=True,
    ) as app:
      assert app.stdout is not None
      address = app.stdout.readline().split()[0]
      browser = shutil.which("chromium") or "chromium"
      try:
        subprocess.run(
          ["node", script, address, results, browser, *pictures], check=True
        )
      finally:
        app.send_signal(signal.SIGINT)
  for picture in pictures:
    image = Image.open(picture).convert("RGB")
    # A given palette is dithered, so that maps show no bands.
    image.quantize(palette=image.quantize(COLORS)).save(picture, optimize=True)
    print(f"{picture.name}: {picture.stat().st_size} bytes")


if __name__ == "__main__":
  main()
