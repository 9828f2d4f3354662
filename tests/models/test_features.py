import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax.models import extract_features, load_features
from tests.reference import losses as twin


def _images(*shape):
  return np.random.default_rng(0).uniform(size=shape).astype(np.float32)


def _torchvision_state(blocks, up_to):
  """Random weights under torchvision's names, small ones so that nothing explodes."""
  rng, state, index, width, number = np.random.default_rng(1), {}, 0, 3, 0
  for count, wider in zip(blocks, (64, 128, 256, 512, 512), strict=True):
    for _ in range(count):
      number += 1
      if number <= up_to:
        shape = (wider, width, 3, 3)
        kernel = rng.normal(size=shape, scale=(2 / (9 * width)) ** 0.5)
        state[f"features.{index}.weight"] = kernel.astype(np.float32)
        state[f"features.{index}.bias"] = rng.normal(size=wider).astype(np.float32)
      index, width = index + 2, wider
    index += 1
  return state


def _save(path, state):
  header, place = {}, 0
  for name, array in state.items():
    header[name] = {
      "dtype": "F32",
      "shape": list(array.shape),
      "data_offsets": [place, place + array.nbytes],
    }
    place += array.nbytes
  text = json.dumps(header).encode()
  data = b"".join(array.tobytes() for array in state.values())
  path.write_bytes(len(text).to_bytes(8, "little") + text + data)
  return path


VGG16, VGG19 = (2, 2, 3, 3, 3), (2, 2, 4, 4, 4)


@pytest.fixture(scope="module")
def vgg19_file(tmp_path_factory):
  path = tmp_path_factory.mktemp("vgg") / "vgg19.safetensors"
  return _save(path, _torchvision_state(VGG19, 9))


def test_embedded_equals_the_twin():
  net = load_features()
  assert net.name.startswith("vgg16-hed-")
  assert net.layers == (1, 3, 5, 8)
  image = _images(17, 24, 3)
  found = extract_features(net, image[None])
  expected = twin.vgg_features(
    image,
    [np.asarray(k) for k in net.kernels],
    [np.asarray(b) for b in net.biases],
    np.asarray(net.mean),
    np.asarray(net.std),
    net.blocks,
    net.layers,
  )
  assert [f.shape for f in found] == [(1, *e.shape) for e in expected]
  for f, e in zip(found, expected, strict=True):
    np.testing.assert_allclose(f[0], e, rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("unchecked_shapes")
def test_small_images_work_and_smaller_ones_are_refused():
  net = load_features()
  assert extract_features(net, _images(1, 64, 64, 3))[-1].shape == (1, 8, 8, 512)
  assert extract_features(net, _images(1, 8, 8, 3))[-1].shape == (1, 1, 1, 512)
  with pytest.raises(ValueError, match=r"sides of at least 8 .*got \(1, 7, 64, 3\)"):
    extract_features(net, _images(1, 7, 64, 3))
  with pytest.raises(ValueError, match=r"\[n, h, w, 3\]"):
    extract_features(net, _images(64, 64, 3))


def test_fewer_layers_are_the_same_numbers_from_less_work():
  images = _images(1, 16, 16, 3)
  few, all_ = load_features(layers=(1, 3)), load_features()
  assert len(few.kernels) == 3
  for a, b in zip(
    extract_features(few, images), extract_features(all_, images), strict=False
  ):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_bfloat16_is_close_and_comes_back_in_float32():
  images = _images(1, 16, 16, 3)
  exact = extract_features(load_features(), images)
  rough = extract_features(load_features(dtype="bfloat16"), images)
  for a, b in zip(exact, rough, strict=True):
    assert b.dtype == jnp.float32
    assert np.abs(a - b).mean() < 0.03 * np.abs(a).mean()


def test_a_net_is_an_argument_of_a_jitted_function():
  net = load_features(layers=(1, 3))
  images = _images(2, 16, 16, 3)
  found = jax.jit(extract_features)(net, images)
  for a, b in zip(found, extract_features(net, images), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
  gradient = jax.jit(jax.grad(lambda x: sum(map(jnp.sum, extract_features(net, x)))))(
    images
  )
  assert np.isfinite(gradient).all()


def test_half_the_image_size_gives_features_of_the_same_order():
  """The embedded layers are scaled to a mean activation near one on photos."""
  smooth = jax.image.resize(_images(1, 8, 8, 3), (1, 64, 64, 3), "cubic")
  for layer in extract_features(load_features(), smooth):
    assert 0.2 < layer.mean() < 5


@pytest.mark.parametrize("layers", [(), (0,), (3, 1), (1, 1), (1, 9)])
def test_layers_are_checked(layers):
  with pytest.raises(ValueError, match="layers must"):
    load_features(layers=layers)


def test_dtype_and_path_are_checked(tmp_path):
  with pytest.raises(ValueError, match='dtype must be "float32" or "bfloat16"'):
    load_features(dtype="float16")
  with pytest.raises(ValueError, match=r"'embedded' or a .pth.*got 'vgg.onnx'"):
    load_features("vgg.onnx")
  with pytest.raises(FileNotFoundError):
    load_features(tmp_path / "none.safetensors")


def test_torchvision_vgg19_equals_the_twin(vgg19_file):
  net = load_features(vgg19_file, layers=(1, 3, 5, 9))
  assert net.name.startswith("vgg19-torchvision-")
  state = _torchvision_state(VGG19, 9)
  image = _images(16, 16, 3)
  expected = twin.vgg_features(
    image,
    [w.transpose(2, 3, 1, 0) for k, w in state.items() if k.endswith("weight")],
    [b for k, b in state.items() if k.endswith("bias")],
    [0.485, 0.456, 0.406],
    [0.229, 0.224, 0.225],
    VGG19,
    (1, 3, 5, 9),
  )
  for f, e in zip(extract_features(net, image[None]), expected, strict=True):
    np.testing.assert_allclose(f[0], e, rtol=1e-3, atol=1e-3)


def test_the_paper_s_layers_are_the_default_of_vgg19(vgg19_file):
  # The file ends at convolution 9; the paper's thirteenth is asked for and missed.
  with pytest.raises(ValueError, match=r"convolution 10 \(features.21\) must have"):
    load_features(vgg19_file)


def test_vgg16_of_torchvision_is_told_from_vgg19(tmp_path):
  path = _save(tmp_path / "x.safetensors", _torchvision_state(VGG16, 8))
  net = load_features(path, layers=(1, 3, 5, 8))
  assert net.name.startswith("vgg16-torchvision-")
  assert net.blocks == VGG16


def test_other_networks_are_refused(tmp_path):
  state = {"features.0.weight": np.zeros((64, 3, 11, 11), np.float32)}
  path = _save(tmp_path / "alexnet.safetensors", state)
  with pytest.raises(
    ValueError, match=r"not torchvision's VGG19.*got \(64, 3, 11, 11\)"
  ):
    load_features(path)


def test_equals_pytorch(tmp_path, vgg19_file):
  torch = pytest.importorskip("torch")
  state, layers, x = _torchvision_state(VGG19, 9), [], 0
  torch.save({k: torch.from_numpy(v) for k, v in state.items()}, tmp_path / "vgg19.pth")
  net = load_features(tmp_path / "vgg19.pth", layers=(1, 3, 5, 9))
  assert net.name == load_features(vgg19_file, layers=(1, 3, 5, 9)).name
  images = _images(2, 32, 24, 3)
  mean, std = (
    torch.tensor(v).reshape(1, 3, 1, 1)
    for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
  )
  x = (torch.from_numpy(images).permute(0, 3, 1, 2) - mean) / std
  for number, index in enumerate((0, 2, 5, 7, 10, 12, 14, 16, 19), start=1):
    if number in (3, 5, 9):
      x = torch.nn.functional.max_pool2d(x, 2)
    weight, bias = (
      torch.from_numpy(state[f"features.{index}.{part}"]) for part in ("weight", "bias")
    )
    x = torch.nn.functional.conv2d(x, weight, bias, padding=1).relu()
    if number in net.layers:
      layers.append(x.permute(0, 2, 3, 1).numpy())
  for f, e in zip(extract_features(net, images), layers, strict=True):
    np.testing.assert_allclose(f, e, rtol=1e-3, atol=1e-3)
