"""Builds `affjax/assets/identity.npz`: dlib's face recognition network.

  python -m experiments.assets.identity [--package FILE] [--out FILE]

The weights are Davis King's `dlib_face_recognition_resnet_model_v1`, in the 8-bit tfjs
format of the npm package `@vladmandic/face-api`. Without `--package`, `npm pack`
downloads the package into a temporary folder. Nothing of it is executed: it is read as
a tar of JSON and numbers. The same package gives the same bytes.

A convolution NAME becomes four arrays: `NAME/kernel` `[k, k, in, out]`, and
`NAME/scale`, `NAME/shift`, `NAME/bias` float32 `[out]`; its kernel is
`kernel * scale + shift`. Scale, shift and bias contain the learned gain and offset that
follow the convolution. Kernels are uint8 as in the package, but for eight that it does
not quantize: those are float16. `output/...` is the last matrix. `chip/points` says
where the landmarks `chip/landmarks` of the 68 lie in an aligned face, px.
"""

import argparse
import hashlib
import io
import json
import math
import pathlib
import subprocess
import tarfile
import tempfile

import numpy as np

import affjax.assets
from affjax import files

_PACKAGE = "@vladmandic/face-api@1.7.15"
_MODEL = "package/model/face_recognition_model"
_TARGET = pathlib.Path(affjax.assets.__file__).with_name("identity.npz")
# Side of the aligned face, px, and the width that dlib adds on each side of the mean
# face, as a share of it.
_SIZE, _PADDING = 150, 0.25
# dlib's mean face, landmarks 27-54 and 60-64 (without brows and lower lip), as in
# dlib/image_transforms/interpolation.h (Boost Software License 1.0).
_LANDMARKS = (*range(27, 55), *range(60, 65))
_MEAN_X = (
  *(0.490127, 0.490127, 0.490127, 0.490127, 0.36688, 0.426036, 0.490127, 0.554217),
  *(0.613373, 0.121737, 0.187122, 0.265825, 0.334606, 0.260918, 0.182743, 0.645647),
  *(0.714428, 0.793132, 0.858516, 0.79751, 0.719335, 0.254149, 0.340985, 0.428858),
  *(0.490127, 0.551395, 0.639268, 0.726104, 0.290379, 0.428096, 0.490127, 0.552157),
  0.689874,
)
_MEAN_Y = (
  *(0.203352, 0.307009, 0.409805, 0.515625, 0.587326, 0.609345, 0.628106, 0.609345),
  *(0.587326, 0.216423, 0.178758, 0.179852, 0.231733, 0.245099, 0.244077, 0.231733),
  *(0.179852, 0.178758, 0.216423, 0.244077, 0.245099, 0.780233, 0.745405, 0.727388),
  *(0.742578, 0.727388, 0.745405, 0.780233, 0.784792, 0.778746, 0.785343, 0.778746),
  0.784792,
)


def build(package: pathlib.Path) -> dict[str, np.ndarray]:
  """Reads the package (a `.tgz`) and returns the arrays of the asset."""
  with tarfile.open(package) as tar:
    manifest = json.loads(_member(tar, f"{_MODEL}-weights_manifest.json"))
    tensors = _tensors(manifest, _member(tar, f"{_MODEL}.bin"))
  arrays: dict[str, np.ndarray] = {}
  for name, (kernel, scale, shift) in tensors.items():
    if name.endswith("/conv/filters"):
      layer = name.removesuffix("/conv/filters")
      gain, offset, bias = (
        _floats(*tensors[f"{layer}/{part}"])
        for part in ("scale/weights", "scale/biases", "conv/bias")
      )
      arrays |= _layer(layer, kernel, scale * gain, shift * gain, bias * gain + offset)
    elif name == "fc":
      ones = np.ones(kernel.shape[1])
      arrays |= _layer("output", kernel, scale * ones, shift * ones, 0 * ones)
  # dlib maps the unit square onto the centers of the outermost pixels.
  share = (np.stack([_MEAN_X, _MEAN_Y], 1) + _PADDING) / (1 + 2 * _PADDING)
  arrays["chip/landmarks"] = np.array(_LANDMARKS, np.int32)
  arrays["chip/points"] = (share * (_SIZE - 1)).astype(np.float32)
  return arrays


def asset_bytes(arrays: dict[str, np.ndarray]) -> bytes:
  """Returns the content of the asset; the same arrays give the same bytes."""
  # Uncompressed, so that the bytes do not depend on zlib.
  content = io.BytesIO()
  np.savez(content, allow_pickle=False, **arrays)
  return content.getvalue()


def _layer(
  name: str, kernel: np.ndarray, scale: np.ndarray, shift: np.ndarray, bias: np.ndarray
) -> dict[str, np.ndarray]:
  numbers = {"scale": scale, "shift": shift, "bias": bias}
  floats = {f"{name}/{key}": value.astype(np.float32) for key, value in numbers.items()}
  return {f"{name}/kernel": kernel, **floats}


def _member(tar: tarfile.TarFile, name: str) -> bytes:
  file = tar.extractfile(name)
  if file is None:
    raise ValueError(f"the package has no file {name!r}")
  return file.read()


def _tensors(
  manifest: list[dict], data: bytes
) -> dict[str, tuple[np.ndarray, float, float]]:
  """Returns the stored tensors with scale and shift; consecutive in the data."""
  tensors, offset = {}, 0
  for entry in (entry for group in manifest for entry in group["weights"]):
    coding = entry.get("quantization", {"dtype": entry["dtype"], "scale": 1, "min": 0})
    if coding["dtype"] not in ("uint8", "float32"):
      raise ValueError(f"weight {entry['name']!r} has unknown type {coding['dtype']!r}")
    value = np.frombuffer(data, coding["dtype"], math.prod(entry["shape"]), offset)
    offset += value.nbytes
    value = value.reshape(entry["shape"])
    if value.dtype != np.uint8:
      value = value.astype(np.float16)
    tensors[entry["name"]] = value, coding["scale"], coding["min"]
  if offset != len(data):
    raise ValueError(f"expected {offset} bytes of weights, got {len(data)}")
  return tensors


def _floats(value: np.ndarray, scale: float, shift: float) -> np.ndarray:
  return value.astype(np.float64) * scale + shift


def _download(folder: str) -> pathlib.Path:
  """Downloads the package with npm from its configured registry."""
  subprocess.run(
    ["npm", "pack", _PACKAGE, "--silent"], cwd=folder, check=True, capture_output=True
  )
  (package,) = pathlib.Path(folder).glob("*.tgz")
  return package


def main(arguments: list[str] | None = None) -> None:
  """Writes the asset and prints its hash, for `store.py`."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--package", type=pathlib.Path, help="the .tgz, if at hand")
  parser.add_argument("--out", type=pathlib.Path, default=_TARGET)
  options = parser.parse_args(arguments)
  with tempfile.TemporaryDirectory() as folder:
    content = asset_bytes(build(options.package or _download(folder)))
  files.write_file(options.out, content)
  digest = hashlib.sha256(content).hexdigest()
  print(f"{options.out.name}: {len(content)} bytes, sha256 {digest}")


if __name__ == "__main__":
  main()
