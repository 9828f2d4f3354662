"""Animations of heads in GLB files: morph weights, eyes that turn, the head's pose."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from affjax.export import _expression
from affjax.export._gltf_file import Chunks, file_bytes, parsed
from affjax.export._performance import Performance


def target_names(content: bytes) -> tuple[str, ...]:
  """Returns the names of the morph targets of a `.glb` file.

  Raises:
    ValueError: It is no `.glb` file, or has no named morph targets.
  """
  return _names(_mesh_with_targets(parsed(content)[0])[1])


def animated_glb(
  content: bytes, performance: Performance, *, name: str = "performance"
) -> bytes:
  """Returns a `.glb` file with an animation added.

  Weights are limited to 0 to 1. Units without a morph target are left out, morph
  targets without a unit are at 0. Nodes that say in `extras.turns` how gaze units
  rotate them are rotated.

  Args:
    content: A `.glb` file with named morph targets, as `glb_bytes` writes it.
    performance: Weights over time.
    name: Name of the animation.

  Raises:
    ValueError: The content is no such file, or its targets have none of the names.
  """
  document, data = parsed(content)
  node, mesh = _mesh_with_targets(document)
  names = _names(mesh)
  weights = _weights(performance, names)
  chunks = Chunks(document, data)
  tracks = {(node, "weights"): weights.reshape(-1)}
  if performance.head_deg is not None:
    yaw, pitch, roll = performance.head_deg.T
    angles = np.stack([roll, yaw, pitch], -1)
    turned = Rotation.from_euler("ZYX", angles, degrees=True)
    tracks[node, "rotation"] = _steady(turned.as_quat())
  if performance.head_mm is not None:
    tracks[node, "translation"] = performance.head_mm / 1000
  for index, turns in _turning_nodes(document).items():
    turned = _expression.quaternions(turns, names, weights)
    tracks[index, "rotation"] = _steady(turned)
  times = chunks.add_track(performance.times, bounds=True)
  document.setdefault("animations", []).append(_animation(name, times, tracks, chunks))
  document["buffers"][0]["byteLength"] = len(chunks.data)
  return file_bytes(document, bytes(chunks.data))


def _animation(
  name: str,
  times: int,
  tracks: Mapping[tuple[int, str], np.ndarray],
  chunks: Chunks,
) -> dict[str, Any]:
  """Returns an animation of nodes' properties, whose frames share their times."""
  samplers = [
    {"input": times, "interpolation": "LINEAR", "output": chunks.add_track(values)}
    for values in tracks.values()
  ]
  channels = [
    {"sampler": k, "target": {"node": node, "path": path}}
    for k, (node, path) in enumerate(tracks)
  ]
  return {"name": name, "channels": channels, "samplers": samplers}


def _mesh_with_targets(document: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]]:
  """Returns the node with the most named morph targets, and its mesh."""
  found = []
  try:
    for index, node in enumerate(document.get("nodes", [])):
      if "mesh" in node:
        mesh = document["meshes"][node["mesh"]]
        found.append((len(_names(mesh)), -index, mesh))
  except (AttributeError, IndexError, KeyError, TypeError):
    raise ValueError("a .glb file whose nodes or meshes are damaged") from None
  count, index, mesh = max(found, default=(0, 0, {}), key=lambda row: row[:2])
  if not count:
    raise ValueError("the .glb file has no morph targets with names")
  return -index, mesh


def _names(mesh: Mapping[str, Any]) -> tuple[str, ...]:
  """Returns the names of a mesh's morph targets; none where they do not fit."""
  names = mesh.get("extras", {}).get("targetNames", [])
  targets = mesh["primitives"][0].get("targets", [])
  return tuple(map(str, names)) if len(names) == len(targets) else ()


def _weights(
  performance: Performance, names: tuple[str, ...]
) -> Float[np.ndarray, "f t"]:
  """Returns the weight of each morph target in each frame."""
  weights = np.zeros((len(performance.times), len(names)))
  known = [name for name in performance.names if name in names]
  if performance.names and not known:
    raise ValueError(
      f"the .glb file has none of the morph targets {', '.join(performance.names[:5])}"
      f"; it has {', '.join(names[:5])} and others"
    )
  for name in known:
    column = performance.weights[:, performance.names.index(name)]
    weights[:, names.index(name)] = np.clip(column, 0, 1)
  return weights


def _turning_nodes(
  document: Mapping[str, Any],
) -> dict[int, dict[str, Float[np.ndarray, " 3"]]]:
  """Returns the rotation by each gaze unit of the nodes that state it."""
  found: dict[int, dict[str, Float[np.ndarray, " 3"]]] = {}
  for index, node in enumerate(document["nodes"]):
    try:
      turns = node.get("extras", {}).get("turns", {})
      axes = {str(k): np.array(v, np.float64).reshape(3) for k, v in turns.items()}
    except (AttributeError, OverflowError, TypeError, ValueError):
      raise ValueError(f"extras.turns of node {index} are no rotations") from None
    if not all(np.isfinite(axis).all() for axis in axes.values()):
      raise ValueError(f"extras.turns of node {index} must be finite")
    if axes:
      found[index] = axes
  return found


def _steady(quaternions: Float[np.ndarray, "f 4"]) -> Float[np.ndarray, "f 4"]:
  """Returns rotations whose signs do not jump, so that viewers turn the short way."""
  jumps = (quaternions[1:] * quaternions[:-1]).sum(1) < 0
  signs = np.cumprod(np.where(jumps, -1, 1))
  return quaternions * np.concatenate([[1], signs])[:, None]
