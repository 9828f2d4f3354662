"""Light CNN 29 against the same network in PyTorch, and its converter."""

import numpy as np
import pytest

from affjax.models import extract_identity, load_identity

torch = pytest.importorskip(
  "torch", reason="PyTorch is the reference: pip install torch"
)
from tests.reference import light_cnn_torch  # noqa: E402

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
CONTAINERS = {"zip": True, "older": False}


def _network(second_version):
  torch.manual_seed(0)
  network = light_cnn_torch.Network(second_version)
  for parameter in network.parameters():
    # PyTorch's start shrinks the features of 29 layers to nearly the last bias.
    torch.nn.init.normal_(parameter, std=(2 / parameter[0].numel()) ** 0.5)
  return network.eval()


def _save(path, network, *, container="zip", prefix="module."):
  """A checkpoint as the authors' train.py writes one."""
  state = {prefix + name: value for name, value in network.state_dict().items()}
  checkpoint = {"epoch": 80, "arch": "LightCNN", "state_dict": state, "prec1": 97.5}
  torch.save(checkpoint, path, _use_new_zipfile_serialization=CONTAINERS[container])
  return path


@pytest.mark.parametrize("version", [1, 2])
def test_agrees_with_pytorch(tmp_path, version):
  network = _network(version == 2)
  net = load_identity(_save(tmp_path / "x.pth.tar", network))
  assert net.name.startswith(f"light-cnn-29-v{version}-")
  assert net.size == 128
  images = np.random.default_rng(1).random((2, 128, 128, 3), np.float32)
  with torch.no_grad():
    want = network(torch.from_numpy((images @ LUMA)[:, None])).numpy()
  got = np.asarray(extract_identity(net, images))
  assert got.shape == (2, 256)
  assert np.abs(want[0] - want[1]).max() > 0.01 * np.abs(want).max()
  np.testing.assert_allclose(got, want, atol=2e-5 * np.abs(want).max())


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("prefix", ["module.", ""])
def test_reads_every_form_of_a_checkpoint(tmp_path, container, prefix):
  network = _network(second_version=True)
  first = load_identity(_save(tmp_path / "first.pth", network))
  other = _save(tmp_path / "other.pth", network, container=container, prefix=prefix)
  assert load_identity(other).name == first.name


def test_a_damaged_layer_is_named(tmp_path):
  network = _network(second_version=False)
  with torch.no_grad():
    network.block3[1].conv2.filter.bias[3] = float("nan")
  path = _save(tmp_path / "x.pth", network)
  with pytest.raises(ValueError, match=r"block3\.1\.conv2\.filter\.bias.*not finite"):
    load_identity(path)


def test_another_network_is_refused(tmp_path):
  path = tmp_path / "other.pth"
  torch.save({"state_dict": torch.nn.Linear(3, 2).state_dict()}, path)
  with pytest.raises(ValueError, match=r"conv1\.filter\.weight.*got nothing"):
    load_identity(path)


def test_code_in_a_checkpoint_is_not_run(tmp_path):
  class Trap:
    def __reduce__(self):
      return (open, (str(tmp_path / "trapped"), "w"))

  path = tmp_path / "trap.pth"
  torch.save({"state_dict": {}, "trap": Trap()}, path)
  with pytest.raises(ValueError, match="not a readable PyTorch file"):
    load_identity(path)
  assert not (tmp_path / "trapped").exists()
