"""The builder of the face encoder, on a small package and on the real one."""

import hashlib
import io
import json
import os
import pathlib
import tarfile

import numpy as np
import pytest

from affjax.assets import store
from experiments.assets import identity

ROOT = pathlib.Path(__file__).parents[2]
SHARED = pathlib.Path(os.environ.get("AFFJAX_SHARED", ROOT.parent / "shared"))
MODELS = SHARED / "data" / "vladmandic-face-api"
MODEL = "package/model/face_recognition_model"


def _package(path, manifest, data):
  with tarfile.open(path, "w:gz") as tar:
    for name, content in (
      (f"{MODEL}-weights_manifest.json", manifest),
      (f"{MODEL}.bin", data),
    ):
      info = tarfile.TarInfo(name)
      info.size = len(content)
      tar.addfile(info, io.BytesIO(content))
  return path


def _small(path, *, plain="float32", extra=b""):
  """A package of one quantized and one plain convolution, and the last matrix."""
  rng = np.random.default_rng(0)
  entries, data, values = [], b"", {}
  for layer in ("a/conv1", "b/conv1"):
    for part, shape in (
      ("conv/filters", (3, 3, 2, 4)),
      ("conv/bias", (4,)),
      ("scale/weights", (4,)),
      ("scale/biases", (4,)),
    ):
      name = f"{layer}/{part}"
      entry = {"name": name, "shape": shape, "dtype": "float32"}
      if name == "b/conv1/conv/filters":
        stored = rng.normal(size=shape).astype(np.float32)
        values[name] = stored
        entry["dtype"] = plain
      else:
        stored = rng.integers(0, 256, shape, np.uint8)
        coding = {"dtype": "uint8", "scale": 0.01, "min": -0.3}
        values[name], entry["quantization"] = stored * 0.01 - 0.3, coding
      entries.append(entry)
      data += stored.tobytes()
  last = rng.integers(0, 256, (4, 3), np.uint8)
  coding = {"dtype": "uint8", "scale": 0.5, "min": 2}
  entries.append(
    {"name": "fc", "shape": (4, 3), "dtype": "float32", "quantization": coding}
  )
  values["fc"] = last * 0.5 + 2
  manifest = json.dumps([{"weights": entries}]).encode()
  return _package(path, manifest, data + last.tobytes() + extra), values


def test_layers_are_joined_with_what_follows_them(tmp_path):
  package, values = _small(tmp_path / "x.tgz")
  asset = identity.build(package)
  for layer in ("a/conv1", "b/conv1"):
    gain, offset = (values[f"{layer}/scale/{k}"] for k in ("weights", "biases"))
    kernel, scale, shift, bias = (
      asset[f"{layer}/{k}"] for k in ("kernel", "scale", "shift", "bias")
    )
    want = values[f"{layer}/conv/filters"] * gain
    np.testing.assert_allclose(kernel * scale + shift, want, atol=2e-3)
    np.testing.assert_allclose(bias, values[f"{layer}/conv/bias"] * gain + offset, 1e-5)
  assert asset["a/conv1/kernel"].dtype == np.uint8
  assert asset["b/conv1/kernel"].dtype == np.float16
  output = asset["output/kernel"] * asset["output/scale"] + asset["output/shift"]
  np.testing.assert_allclose(output, values["fc"], rtol=1e-6)


def test_writes_the_same_bytes_and_prints_their_hash(tmp_path, capsys):
  package, _ = _small(tmp_path / "x.tgz")
  out = tmp_path / "identity.npz"
  identity.main(["--package", str(package), "--out", str(out)])
  assert out.read_bytes() == identity.asset_bytes(identity.build(package))
  assert hashlib.sha256(out.read_bytes()).hexdigest() in capsys.readouterr().out


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"plain": "int32"}, "'b/conv1/conv/filters' has unknown type 'int32'"),
    ({"extra": b"12"}, "bytes of weights, got"),
  ],
)
def test_other_packages_are_refused(tmp_path, options, message):
  package, _ = _small(tmp_path / "x.tgz", **options)
  with pytest.raises(ValueError, match=message):
    identity.build(package)


@pytest.mark.skipif(
  not MODELS.is_dir(), reason=f"{MODELS} is absent: set AFFJAX_SHARED"
)
def test_the_package_gives_the_shipped_asset(tmp_path):
  name = "face_recognition_model"
  manifest = (MODELS / f"{name}-weights_manifest.json").read_bytes()
  data = (MODELS / f"{name}.bin").read_bytes()
  package = _package(tmp_path / "x.tgz", manifest, data)
  content = identity.asset_bytes(identity.build(package))
  assert content == store.read_asset("identity.npz")
