"""Transplants weights between affjax's networks and the modules of `networks`.

A `.safetensors` file holds them in PyTorch's names and layout: kernels `[O, C, K, K]`,
and "position.encoder.layer2.conv.predictor.weight" for the path
position/encoder/layer2/conv/predictor/kernel.
"""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from safetensors import numpy as numpy_file
from safetensors import torch as torch_file
from torch import Tensor

Params = dict[str, Any]
Path = str | os.PathLike[str]


def to_state(params: Mapping[str, Any]) -> dict[str, Tensor]:
  """Converts affjax's parameters, or gradients of them, to a state dict of PyTorch."""
  return {name: torch.from_numpy(value) for name, value in _flat(params).items()}


def to_params(state: Mapping[str, Tensor | np.ndarray]) -> Params:
  """Converts a state dict of PyTorch to affjax's parameters, arrays of NumPy."""
  params: Params = {}
  for name, value in state.items():
    array = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value)
    *path, last = name.split(".")
    node = params
    for part in path:
      node = node.setdefault(part, {})
    if last == "weight":
      last = "scale" if array.ndim == 1 else "kernel"
    node[last] = np.ascontiguousarray(_kernel(array))
  return params


def save(params: Mapping[str, Any], path: Path) -> None:
  """Writes affjax's parameters to a file in PyTorch's names and layout."""
  numpy_file.save_file(_flat(params), path)


def load(path: Path) -> Params:
  """Reads affjax's parameters from such a file, whoever wrote it."""
  return to_params(numpy_file.load_file(path))


def save_state(state: Mapping[str, Tensor], path: Path) -> None:
  """Writes a state dict of PyTorch to such a file."""
  torch_file.save_file({k: v.contiguous() for k, v in state.items()}, path)


def load_state(path: Path) -> dict[str, Tensor]:
  """Reads a state dict of PyTorch from such a file."""
  return torch_file.load_file(path)


def _flat(params: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
  state = {}
  for name, value in params.items():
    if isinstance(value, Mapping):
      state |= _flat(value, f"{prefix}{name}.")
    else:
      name = {"kernel": "weight", "scale": "weight"}.get(name, name)
      state[prefix + name] = np.array(_weight(np.asarray(value)), order="C")
  return state


def _weight(kernel: np.ndarray) -> np.ndarray:
  """`[K, K, C, O]` or `[C, O]` -> `[O, C, K, K]` or `[O, C]`."""
  if kernel.ndim == 4:
    return kernel.transpose(3, 2, 0, 1)
  return kernel.T


def _kernel(weight: np.ndarray) -> np.ndarray:
  """`[O, C, K, K]` or `[O, C]` -> `[K, K, C, O]` or `[C, O]`."""
  if weight.ndim == 4:
    return weight.transpose(2, 3, 1, 0)
  return weight.T
