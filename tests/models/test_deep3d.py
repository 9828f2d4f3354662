"""The Deep3D regressor against the same network in PyTorch, and its converter."""

import os
import pickle
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax.models import _params, _resnet, deep3d
from affjax.models._resnet import ResNetConfig

torch = pytest.importorskip(
  "torch", reason="PyTorch is the reference: pip install torch"
)
from tests.reference import deep3d_torch  # noqa: E402

SMALL = ResNetConfig(width=4, depths=(2, 1, 1))


def _network(config):
  return deep3d_torch.randomized(deep3d_torch.Network(config.width, config.depths))


def _save(path, network, **options):
  """A checkpoint as Deep3DFaceRecon writes one: with optimizer and scheduler."""
  optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
  loss = network(torch.zeros(1, 3, 32, 32)).sum()
  loss.backward()
  optimizer.step()
  scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 10, 0.2)
  state = {
    "net_recon": network.state_dict(),
    "opt_00": optimizer.state_dict(),
    "sched_00": scheduler.state_dict(),
  }
  torch.save(state, path, **options)
  return path


def _compare(config, path, size):
  network = _network(config)
  _save(path, network)
  images = np.random.default_rng(1).random((2, size, size, 3), np.float32)
  with torch.no_grad():
    want = network(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy()
  weights = deep3d.load(path, config=config)
  got = jax.jit(lambda w, x: deep3d.predict(w, x, config=config))(weights, images)
  values = np.concatenate(jax.tree.leaves(got), 1)
  assert np.abs(want).max() > 0.1
  np.testing.assert_allclose(values, want, atol=2e-5 * np.abs(want).max())
  return got


def test_small_network_agrees_with_pytorch(tmp_path):
  got = _compare(SMALL, tmp_path / "x.pth", 33)
  shapes = [leaf.shape[1] for leaf in jax.tree.leaves(got)]
  assert shapes == [80, 64, 80, 3, 27, 3]


def test_resnet_50_agrees_with_pytorch(tmp_path):
  _compare(ResNetConfig(), tmp_path / "epoch_20.pth", 64)


def test_both_containers_hold_the_same(tmp_path):
  network = _network(SMALL)
  new = _save(tmp_path / "new.pth", network)
  old = tmp_path / "old.pth"
  torch.save(
    {"net_recon": network.state_dict()}, old, _use_new_zipfile_serialization=False
  )
  a = deep3d.load(new, config=SMALL)
  torch.save({"net_recon": network.state_dict()}, new)
  for loaded in (deep3d.load(old, config=SMALL), deep3d.load(new, config=SMALL)):
    _params.check(deep3d.define(SMALL), loaded)
    assert jax.tree.structure(loaded) == jax.tree.structure(a)
  np.testing.assert_array_equal(
    deep3d.load(old, config=SMALL)["output"]["kernel"],
    deep3d.load(new, config=SMALL)["output"]["kernel"],
  )


def test_fresh_parameters_fit_the_definition():
  weights = _params.init(deep3d.define(SMALL), 0)
  assert _params.count(_params.init(deep3d.define(), 0)) == 24_008_065
  got = deep3d.predict(weights, jnp.zeros((1, 32, 32, 3)), config=SMALL)
  assert got.identity.shape == (1, 80)


class TestBadInput:
  def test_files(self, tmp_path):
    network = _network(SMALL)
    state = network.state_dict()
    path = tmp_path / "epoch_20.pth"
    name = "backbone.layer2.0.bn2.running_var"
    changes = {
      f"tensor '{name}' must have shape \\(8,\\), got nothing": None,
      f"tensor '{name}' must have shape \\(8,\\), got \\(9,\\)": torch.ones(9),
      f"tensor '{name}' has numbers that are not finite": torch.full((8,), torch.nan),
      "running_var' must not be negative": -torch.ones(8),
    }
    for message, value in changes.items():
      changed = {key: item for key, item in state.items() if key != name}
      torch.save(
        {"net_recon": changed if value is None else {**changed, name: value}}, path
      )
      with pytest.raises(ValueError, match=message):
        deep3d.load(path, config=SMALL)
    torch.save({"net_recon": state}, path)
    with pytest.raises(ValueError, match=r"epoch_20.pth does not hold .*got \(4, 3"):
      deep3d.load(path)
    path.write_bytes(path.read_bytes()[:-500])
    for bad in (path, tmp_path / "absent.pth"):
      with pytest.raises(ValueError, match=r"offer epoch_20.pth at https://github.com"):
        deep3d.load(bad, config=SMALL)

  def test_nothing_in_a_file_is_run(self, tmp_path, monkeypatch):
    class Exploit:
      def __reduce__(self):
        return os.system, ("touch ran",)

    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("x.pth", "w") as archive:
      archive.writestr("x/data.pkl", pickle.dumps({"net_recon": Exploit()}))
    with pytest.raises(ValueError, match=r"wants 'posix.system'"):
      deep3d.load("x.pth")
    assert not (tmp_path / "ran").exists()

  def test_images_and_coefficients(self):
    weights = _params.init(deep3d.define(SMALL), 0)
    with pytest.raises(ValueError, match=r"images must be \[n, h, w, 3\]"):
      deep3d.predict(weights, jnp.zeros((1, 32, 32, 1)), config=SMALL)
    with pytest.raises(ValueError, match="must end in 257"):
      deep3d.split(jnp.zeros((1, 256)))
    with pytest.raises(ValueError, match="another architecture"):
      deep3d.predict(weights, jnp.zeros((1, 32, 32, 3)))
    with pytest.raises(ValueError, match="must be positive"):
      ResNetConfig(depths=())
    with pytest.raises(ValueError, match="got nothing"):
      _resnet.from_torch({}, SMALL)


def test_pose_places_points_as_deep3d_does():
  rng = np.random.default_rng(0)
  values = rng.normal(size=(4, 257)).astype(np.float32)
  found = deep3d.split(jnp.asarray(values))
  origin, point = rng.normal(size=3), rng.normal(size=3)
  six = np.asarray(deep3d.pose(found, origin))
  for row, got in zip(values, six, strict=True):
    x, y, z = row[224:227].astype(np.float64)
    turn_x = [[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]]
    turn_y = [[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]]
    turn_z = [[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]]
    turn = np.array(turn_z) @ turn_y @ turn_x
    want = turn @ (point - origin) + row[254:257]
    angle = np.linalg.norm(got[:3])
    kx, ky, kz = got[:3] / angle
    cross = np.array([[0, -kz, ky], [kz, 0, -kx], [-ky, kx, 0]])
    ours = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    np.testing.assert_allclose(ours @ point + got[3:], want, atol=1e-5)


class TestAlignment:
  HEAD = np.array(
    [
      [-0.3, 0.1, 0.1],
      [0.3, 0.1, 0.1],
      [0, 0, 0.5],
      [-0.25, -0.4, 0.2],
      [0.25, -0.4, 0.2],
    ]
  )

  def test_an_orthographic_photo_is_scaled_and_centered(self):
    photo = np.array([300.0, 200.0]) + 40 * self.HEAD[:, :2] * (1, -1)
    matrix = deep3d.alignment(photo, self.HEAD)
    got = photo @ matrix[:, :2].T + matrix[:, 2]
    want = 111.5 + 102 * self.HEAD[:, :2] * (1, -1)
    np.testing.assert_allclose(got, want, atol=1e-9)

  def test_five_of_68(self):
    points = np.arange(136.0).reshape(68, 2)
    np.testing.assert_array_equal(
      deep3d.five_points(points)[:, 0], [75, 87, 60, 96, 108]
    )

  def test_bad_points(self):
    with pytest.raises(ValueError, match=r"must be \[5, 2\] and \[5, 3\]"):
      deep3d.alignment(np.zeros((5, 3)), self.HEAD)
    for points in (np.zeros((5, 2)), np.full((5, 2), 7.0)):
      with pytest.raises(ValueError, match="five points apart"):
        deep3d.alignment(points, self.HEAD)
