r"""Predicts the time of a training step from one device to 1,024.

    AFFJAX_NATIVE=0 python -m experiments.training.scaling_model

Counts the arithmetic of a stage-3 step of the paper's networks at 512² from its traced
program (nothing is compiled or run; a minute): floating-point operations and bytes of
all convolutions and matrix products, forward and backward, and the sizes of weights and
gradients. From these and the figures of `MACHINES`, it predicts a step of n devices as

    max(operations / (share * peak), bytes / memory speed) + all-reduce + overhead

where the all-reduce is the ring of each host, then that of the hosts, then the host's
again: 2 (g - 1) / g G / L + 2 (h - 1) / h (G / g) / N seconds for gradients of G bytes,
g devices a host with links of L bytes a second, and h hosts with N bytes a second for
each device; and a latency for each of its messages. None of it is hidden behind the
backward pass, which is the worst case. Normalization, sampling, the rasterizer,
stragglers and disks are not in the model. No machine here has several accelerators:
these are predictions, nothing is measured. Writes `results/scaling_model.json`.
"""

import argparse
import dataclasses
import json
import math
import pathlib
from typing import Any

import jax
import numpy as np

from affjax import build
from affjax.models import load_features
from affjax.train import sharding, states, steps
from experiments.benchmarks import measuring

RESULT = pathlib.Path(__file__).parents[1] / "results" / "scaling_model.json"
DEVICES = tuple(2**k for k in range(11))


@dataclasses.dataclass(frozen=True)
class Machine:
  """Hosts with accelerators; the makers' figures, except the two assumptions.

  Attributes:
    peak: Operations a second of a device, bfloat16 matrix products.
    memory: Bytes a second from and to a device's memory.
    link: Bytes a second from a device to the others of its host.
    network: Bytes a second from a device to those of other hosts.
    per_host: Number of devices of a host.
    share: Assumed share of `peak` that convolutions reach.
    latency: Assumed seconds of a message.
    overhead: Assumed seconds of a step beside arithmetic and messages.
  """

  peak: float
  memory: float
  link: float
  network: float
  per_host: int
  share: float = 0.3
  latency: float = 1e-5
  overhead: float = 2e-3


MACHINES = {
  "H100 SXM, 8 a host, 400 Gb/s each": Machine(989e12, 3.35e12, 450e9, 50e9, 8),
  "A100 SXM, 8 a host, 200 Gb/s each": Machine(312e12, 2.0e12, 300e9, 25e9, 8),
  "A100 SXM, 8 a host, 100 Gb/s together": Machine(312e12, 2.0e12, 300e9, 1.6e9, 8),
}


@dataclasses.dataclass
class Work:
  """The arithmetic of a program.

  Attributes:
    operations: Multiplications and additions of convolutions and matrix products.
    traffic: Bytes of their arguments and results.
  """

  operations: float = 0.0
  traffic: float = 0.0


def work_of(jaxpr: Any, times: float = 1.0, total: Work | None = None) -> Work:
  """Returns the arithmetic of a traced program and of all programs inside it.

  Args:
    jaxpr: The program.
    times: How often it runs.
    total: What to add to.
  """
  total = Work() if total is None else total
  for equation in jaxpr.eqns:
    name = equation.primitive.name
    if name in ("dot_general", "conv_general_dilated"):
      arrays = [v.aval for v in (*equation.invars, *equation.outvars)]
      sizes = [math.prod(a.shape) for a in arrays]
      total.operations += times * 2 * sizes[2] * _summed(equation, arrays)
      total.traffic += times * sum(
        size * a.dtype.itemsize for size, a in zip(sizes, arrays, strict=True)
      )
    inner = times * equation.params.get("length", 1) if name == "scan" else times
    for value in equation.params.values():
      for sub in value if isinstance(value, tuple | list) else (value,):
        sub = getattr(sub, "jaxpr", sub)
        if hasattr(sub, "eqns"):
          work_of(sub, inner, total)
  return total


def _summed(equation: Any, arrays: list[Any]) -> float:
  """Returns the number of products that are added up in each element of the result."""
  left, right, _ = arrays
  if equation.primitive.name == "dot_general":
    ((axes, _), _) = equation.params["dimension_numbers"]
    return math.prod(left.shape[axis] for axis in axes)
  spec = equation.params["dimension_numbers"].rhs_spec
  inside = math.prod(right.shape[axis] for axis in spec[1:])
  # Zeros between the elements of a dilated input are not multiplied.
  return inside / math.prod(equation.params["lhs_dilation"])


def counted(config: Any) -> dict[str, float]:
  """Returns the arithmetic and the sizes of a step with one photo."""
  learner = build.learner(config, 1000)
  networks = learner.reconstructor
  options = build.read_config(config)
  discriminator = options.model.discriminator
  state = jax.eval_shape(
    lambda: states.create(
      learner.stage,
      networks.init(0),
      learner.optimizer,
      discriminator=discriminator.init(0),
      discriminator_optimizer=learner.discriminator.optimizer,
    )
  )
  size, points = options.model.size, len(networks.template.vertices)
  shape = lambda *dims, dtype="uint8": jax.ShapeDtypeStruct((1, *dims), dtype)
  record = {
    "image": shape(size, size, 3),
    "visible": shape(size, size, 1),
    "vertices": shape(points, 3, dtype="float32"),
    "pose": shape(6, dtype="float32"),
    "diffuse": shape(size, size, 3),
    "has_pose": shape(dtype="float32"),
    "has_diffuse": shape(dtype="float32"),
  }
  features = load_features(options.features.weights)
  mesh = sharding.make_mesh(sharding.MeshShape(1))
  update = steps.make_update(learner, mesh)
  work = work_of(jax.make_jaxpr(update)(state, features, record).jaxpr)
  weights = _bytes((state.params, state.discriminator))
  return {
    "operations_per_photo": work.operations,
    "traffic_bytes_per_photo": work.traffic,
    "gradient_bytes": weights,
    "state_bytes": _bytes(state),
    "record_bytes_per_photo": _bytes(record),
  }


def _bytes(tree: Any) -> int:
  return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def step_seconds(
  work: dict[str, float], machine: Machine, devices: int, photos: float
) -> dict[str, float]:
  """Returns the parts of the time of a step.

  Args:
    work: Result of `counted`.
    machine: The machine.
    devices: Number of devices.
    photos: Number of photos of each device.
  """
  # bfloat16 halves the bytes that were counted for float32.
  operations = photos * work["operations_per_photo"] / (machine.share * machine.peak)
  traffic = photos * work["traffic_bytes_per_photo"] / 2 / machine.memory
  gradient = work["gradient_bytes"]
  local = min(devices, machine.per_host)
  hosts = math.ceil(devices / machine.per_host)
  messages = 2 * (local - 1) + 2 * math.ceil(math.log2(hosts))
  return {
    "compute": max(operations, traffic),
    "all_reduce_in_host": 2 * (local - 1) / local * gradient / machine.link,
    "all_reduce_of_hosts": 2 * (hosts - 1) / hosts * gradient / local / machine.network,
    "latency": messages * machine.latency,
    "overhead": machine.overhead,
  }


def predicted(work: dict[str, float], machine: Machine, batch: int) -> list[dict]:
  """Returns weak scaling, `batch` photos a device, with the parts of each step."""
  rows, alone = [], sum(step_seconds(work, machine, 1, batch).values())
  for devices in DEVICES:
    parts = step_seconds(work, machine, devices, batch)
    total = sum(parts.values())
    speed = devices * batch / total
    host = min(devices, machine.per_host) * batch / total
    rows.append(
      {
        "devices": devices,
        "step_ms": round(1e3 * total, 3),
        "photos_per_second": round(speed, 1),
        "efficiency": round(alone / total, 4),
        "input_MB_per_second_and_host": round(
          host * work["record_bytes_per_photo"] / 1e6, 1
        ),
        **{f"{name}_ms": round(1e3 * value, 4) for name, value in parts.items()},
      }
    )
  return rows


def main() -> None:
  """Counts, predicts and writes."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
  options = parser.parse_args()
  config = build.get_config("stage3")
  work = counted(config)
  result = {
    "what": "predictions of experiments/training/scaling_model.py, nothing measured",
    "config": "stage3 (512², paper), bfloat16 assumed for speed, float32 gradients",
    "counted": work,
    "machines": {k: dataclasses.asdict(m) for k, m in MACHINES.items()},
    "predicted": {
      f"{name}, {batch} photos a device": predicted(work, machine, batch)
      for name, machine in MACHINES.items()
      for batch in options.batch
    },
  }
  measuring.write_json(RESULT, result)
  for name, rows in result["predicted"].items():
    shown = {row["devices"]: row["efficiency"] for row in rows}
    print(name, json.dumps(shown))
  assert np.isfinite(work["operations_per_photo"])


if __name__ == "__main__":
  main()
