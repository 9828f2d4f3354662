"""One check of the kernels on a GPU, as a process: `gpu_session.py` runs them.

  python -m experiments.gpu.checks rasterizer [--cpu]

With `--cpu` sizes are tiny and the CPU's kernels take the GPU's place. The last line is
"RESULT {json}"; exit status 1 if something is wrong.
"""

import argparse
import functools
import importlib.metadata
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from affjax.native import library
from affjax.ops import affine_conv, deformable_conv
from affjax.render import peel_with_derivatives, rasterize

CPU = jax.devices("cpu")[0]
RESULT = "RESULT "
# Relative to the reference's norm; bfloat16 rounds its inputs' samples and its results.
TOLERANCE = {"float32": 2e-5, "bfloat16": 2e-2}


def machine(cpu: bool) -> dict:
  """Returns the machine and the versions."""
  names = (
    "jax",
    "jaxlib",
    "flax",
    "torch",
    "torchvision",
    "grain",
    "diffrp-nvdiffrast",
  )
  found = {"python": platform.python_version(), "devices": str(jax.devices())}
  for name in names:
    try:
      found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      found[name] = "absent"
  for program in () if cpu else (["nvidia-smi"], ["nvcc", "--version"]):
    print(subprocess.run(program, capture_output=True, text=True).stdout, flush=True)
  kind = jax.devices()[0].platform
  _expect(kind == ("cpu" if cpu else "gpu"), f"the device is a {kind}")
  return found


def build(cpu: bool) -> dict:
  """Builds both libraries; seconds and how."""
  result = {}
  for name in ("affine_conv", "rasterizer"):
    for target in ("cpu",) if cpu else ("cpu", "cuda"):
      began = time.monotonic()
      status = library.status(name, target)
      seconds = round(time.monotonic() - began, 1)
      result[f"{name} {target}"] = [status.ready, status.reason, seconds]
  _expect(all(ready for ready, *_ in result.values()), f"a library is absent: {result}")
  return result


def rasterizer(cpu: bool) -> dict:
  """Pixels that differ between the GPU's kernel, the CPU's and portable XLA on both."""
  native = _native(cpu)
  batch, rounds = (4, 2) if cpu else (100, 10)
  names = ("cpp on cpu", "xla on cpu", "xla here", "again", "layers, cpp on cpu")
  seen, differ, errors = 0, dict.fromkeys(names, 0), []
  for seed in range(rounds):
    pos, tri = _scenes(np.random.default_rng(seed), seed, batch)
    size = (61, 83)
    got = _ids(pos, tri, size, native)
    seen += int(np.sum(got > 0))
    on_cpu = jax.device_put(pos, CPU)
    differ["cpp on cpu"] += int(np.sum(got != _ids(on_cpu, tri, size, "cpp")))
    differ["xla on cpu"] += int(np.sum(got != _ids(on_cpu, tri, size, "xla")))
    differ["xla here"] += int(np.sum(got != _ids(pos, tri, size, "xla")))
    differ["again"] += int(np.sum(got != _ids(pos, tri, size, native)))
    layers = np.asarray(_peel(pos, tri, size, native)[0])
    there = np.asarray(_peel(on_cpu, tri, size, "cpp")[0])
    differ["layers, cpp on cpu"] += int(np.sum(layers[..., 3] != there[..., 3]))
    if seed % 4 != 3:  # not corrupt
      errors.append(_error(layers[..., :3], there[..., :3]))
  pos, tri = _sphere(20 if cpu else 187, 1 if cpu else 8)
  size = (64, 64) if cpu else (512, 512)
  times = {name: _ms(_rasterize, pos, tri, size, name) for name in (native, "xla")}
  result = {"pixels covered": seen, "pixels that differ": differ}
  result["worst relative error of places"] = max(errors)
  result |= {f"ms, {len(tri)} triangles, {size[0]} px, batch {len(pos)}": times}
  # Portable XLA on a GPU may divide inexactly; there a near tie can fall differently.
  exact = {name: count for name, count in differ.items() if name != "xla here"}
  _expect(not any(exact.values()) and seen > 0, f"ids differ: {result}")
  _expect(max(errors) < 1e-3, f"places in triangles differ: {result}")
  return result


def affine(cpu: bool) -> dict:
  """Relative errors of the affine convolution, values and gradients."""
  errors = {}
  shape = (2, 16, 16, 8, 16) if cpu else (4, 64, 64, 64, 128)
  for dtype in ("float32", "bfloat16"):
    for stride, size in ((1, 3), (2, 3), (1, 2), (2, 5)):
      for form in ("theta", "prior", "offsets"):
        name = f"{form} {dtype} stride {stride} kernel {size}"
        errors[name] = _affine_error(shape, dtype, stride, size, form, _native(cpu))
  print(json.dumps(errors, indent=1))
  worst = {
    dtype: max(max(e.values()) for name, e in errors.items() if dtype in name)
    for dtype in TOLERANCE
  }
  # So that a NaN is wrong, too.
  right = all(worst[dtype] < bound for dtype, bound in TOLERANCE.items())
  _expect(right, f"relative errors beyond {TOLERANCE}: {errors}")
  return {"cases": len(errors), "worst relative error": worst}


def render(cpu: bool) -> dict:
  """The embedded head with gradients: this device against the CPU's portable path."""
  from affjax.heads import open_head
  from affjax.render import render_head
  from affjax.types import Camera

  template = open_head("embedded").template
  side, batch = (64, 1) if cpu else (512, 8)
  size = (side, side)
  texture = np.random.default_rng(0).random((1, *size, 3), np.float32)
  vertices = np.stack([template.vertices + np.float32(0.02 * b) for b in range(batch)])

  @jax.jit
  def loss(vertices, texture):
    picture, alpha = render_head(vertices, texture, template, Camera(), size)
    return jnp.mean(picture**2) + jnp.mean(alpha**2), (picture, alpha)

  both = jax.jit(jax.grad(loss, (0, 1), has_aux=True))
  here = both(vertices, texture)
  there = both(*(jax.device_put(v, CPU) for v in (vertices, texture)))
  pairs = zip(jax.tree.leaves(here), jax.tree.leaves(there), strict=True)
  errors = [_error(a, b) for a, b in pairs]
  times = {
    "forward": _ms(loss, vertices, texture),
    "forward and backward": _ms(both, vertices, texture),
  }
  _expect(max(errors) < 1e-2, f"the head differs from the CPU's: {errors}")
  return {"relative errors": errors, f"ms, {side} px, batch {batch}": times}


def small(cpu: bool) -> dict:
  """One small call of everything, for compute-sanitizer."""
  pos, tri = _scenes(np.random.default_rng(0), 0, 2)
  layers, _ = _peel(pos, tri, (33, 47), _native(cpu))
  covered = int(np.sum(np.asarray(layers[0, ..., 3]) > 0))
  errors = [
    _affine_error((1, 9, 7, 5, 6), dtype, 2, 3, form, _native(cpu))
    for dtype in ("float32", "bfloat16")
    for form in ("prior", "offsets")
  ]
  return {"pixels covered": covered, "errors": errors}


def nvdiffrast(cpu: bool) -> dict:
  """Ids and time of nvdiffrast's rasterizer, if the user has installed it."""
  from third_party.nvdiffrast_jax import library as adapter

  try:
    adapter.require()
  except ImportError as error:
    return {"absent": str(error)}
  pos, tri = _sphere(187, 8)
  result = {}
  for size in ((512, 512), (1024, 1024)):
    ours = _ids(pos, tri, size, "cuda")
    theirs = _ids(pos, tri, size, "nvdiffrast")
    share = float(np.mean(ours != theirs))
    times = {name: [] for name in ("cuda", "nvdiffrast")}
    for _ in range(5):
      for name in times:
        times[name].append(_ms(_rasterize, pos, tri, size, name))
    result[str(size)] = {"share of pixels that differ": share, "ms": times}
  worst = max(r["share of pixels that differ"] for r in result.values())
  # nvdiffrast snaps vertices to a sixteenth of a pixel.
  _expect(worst < 0.05, f"nvdiffrast sees something else: {result}")
  return result


def stage3(cpu: bool) -> dict:
  """Steps of stage 3 on one batch that stays on the device: images a second."""
  cases = (("bfloat16", 8), ("float32", 8), ("bfloat16", 1))
  found = {}
  for dtype, batch in (("float32", 2),) if cpu else cases:
    size, count = (32, 2) if cpu else (512, 10)
    found[f"{size} px, {dtype}, batch {batch}"] = _stage3(dtype, batch, size, count)
    # What follows may take more time than there is.
    print(f"{RESULT}{json.dumps(found)}", flush=True)
  return found


def _stage3(dtype: str, batch: int, size: int, count: int) -> dict:
  """Seconds of the compilation, and images a second, of a case."""
  from affjax.train import steps
  from experiments.benchmarks.compilation import parts

  learner, mesh, state, features, record = parts(
    "stage3", size=size, batch=batch, dtype=dtype
  )
  began = time.monotonic()
  update = steps.make_update(learner, mesh).lower(state, features, record).compile()
  compilation = time.monotonic() - began
  state, _ = update(state, features, record)
  jax.block_until_ready(state)
  began = time.monotonic()
  for _ in range(count):
    state, scalars = update(state, features, record)
  jax.block_until_ready(state)
  seconds = (time.monotonic() - began) / count
  bad = steps.first_bad(scalars)
  _expect(bad is None, f"{bad} is not finite")
  return {
    "compilation, s": round(compilation, 1),
    "ms a step": round(1e3 * seconds, 2),
    "images a second": round(batch / seconds, 2),
  }


def _native(cpu: bool) -> str:
  return "cpp" if cpu else "cuda"


def _ids(pos, tri, size, backend: str) -> np.ndarray:
  return np.asarray(_rasterize(pos, tri, size, backend)[..., 3], np.int32)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _rasterize(pos, tri, size, backend: str):
  return rasterize(pos, tri, size, backend=backend)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _peel(pos, tri, size, backend: str):
  """Three layers with derivatives: every kernel but that for silhouettes."""
  return peel_with_derivatives(pos, tri, size, layers=3, backend=backend)


def _scenes(random: np.random.Generator, kind: int, batch: int):
  """Images that share triangles: loose ones, on a grid, behind the eye, corrupt."""
  vertices, triangles = 90, 150
  pos = random.normal(size=(batch, vertices, 4)).astype(np.float32)
  if kind % 4 != 2:
    pos[..., 3] = np.abs(pos[..., 3]) + 0.5
  if kind % 4 == 1:
    pos[..., :2], pos[..., 3] = np.round(pos[..., :2] * 16) / 16, 1
  if kind % 4 == 3:
    pos[random.random(pos.shape) < 0.01] = random.choice([np.nan, np.inf, 1e38, 0])
  tri = random.integers(0, vertices, (triangles, 3)).astype(np.int32)
  # Half of them small: three corners close together.
  pos[:, 1 : vertices // 2] = pos[:, :1] + pos[:, 1 : vertices // 2] * np.float32(0.05)
  return pos, tri


def _sphere(rings: int, batch: int):
  """2 rings (rings + 1) triangles over a third of the picture."""
  theta, phi = np.meshgrid(
    np.linspace(0, np.pi, rings + 1),
    np.linspace(0, 2 * np.pi, rings + 1, endpoint=False),
    indexing="ij",
  )
  turned = phi[None] + 0.1 * np.arange(batch)[:, None, None] + 0.01
  ring = np.broadcast_to(np.sin(theta), turned.shape)
  x, z = 0.68 * ring * np.cos(turned), 0.5 * ring * np.sin(turned)
  y = np.broadcast_to(0.68 * np.cos(theta), turned.shape)
  pos = np.stack([x, y, z, np.ones_like(x)], -1).reshape(batch, -1, 4)
  row, column = np.meshgrid(np.arange(rings), np.arange(rings + 1), indexing="ij")
  a, b = (row * (rings + 1) + (column + i) % (rings + 1) for i in (0, 1))
  c, d = a + rings + 1, b + rings + 1
  tri = np.stack([a, b, c, b, d, c], -1).reshape(-1, 3)
  return pos.astype(np.float32), tri.astype(np.int32)


def _affine_error(shape, dtype: str, stride: int, size: int, form: str, native: str):
  """Relative errors of the value and of each gradient, against XLA in float32."""
  args, call = _affine_case(shape, dtype, stride, size, form)
  grad = jax.random.normal(jax.random.key(9), jax.eval_shape(call, *args).shape)

  def both(backend, args, grad):
    value, pull = jax.vjp(functools.partial(call, backend=backend), *args)
    return value, *pull(grad.astype(value.dtype))

  got = jax.jit(functools.partial(both, native))(args, grad)
  exact = jax.tree.map(lambda v: v.astype(jnp.float32), (args, grad))
  exact = jax.device_put(exact, CPU)
  want = jax.jit(functools.partial(both, "xla"))(*exact)
  names = ("value", "x", "coordinates", "kernel", "prior")
  return {n: _error(g, w) for n, g, w in zip(names, got, want, strict=False)}


def _affine_case(shape, dtype: str, stride: int, size: int, form: str):
  batch, height, width, channels, out = shape
  keys = jax.random.split(jax.random.key(size), 4)
  x = jax.random.normal(keys[0], (batch, height, width, channels), dtype)
  kernel = jax.random.normal(keys[1], (size, size, channels, out), dtype)
  grid = (batch, -(-height // stride), -(-width // stride))
  matrices = jnp.eye(2, 3) + 0.3 * jax.random.normal(keys[2], (*grid, 2, 3))
  if form == "offsets":
    offsets = jax.random.normal(keys[3], (*grid, size * size, 2))
    return (x, offsets, kernel), functools.partial(_deformable, stride)
  prior = jnp.eye(2, 3) + 0.3 * jax.random.normal(keys[3], (*grid, 2, 3))
  more = (prior,) if form == "prior" else ()
  return (x, matrices, kernel, *more), functools.partial(_affine, stride)


def _affine(stride: int, x, theta, kernel, prior=None, backend: str = "xla"):
  return affine_conv(x, theta, kernel, stride=stride, prior=prior, backend=backend)


def _deformable(stride: int, x, offsets, kernel, backend: str = "xla"):
  return deformable_conv(x, offsets, kernel, stride=stride, backend=backend)


def _error(got, want) -> float:
  got, want = (np.asarray(v, np.float64) for v in (got, want))
  size = float(np.linalg.norm(want))
  error = float(np.linalg.norm(got - want))
  return error / size if size else error


def _ms(call: Callable, *args) -> float:
  """Milliseconds of a call among many: median of rounds of calls without waiting."""
  args = [jax.device_put(a) if isinstance(a, np.ndarray) else a for a in args]
  jax.block_until_ready(call(*args))
  times = []
  for _ in range(7):
    began = time.perf_counter()
    results = [call(*args) for _ in range(10)]
    jax.block_until_ready(results)
    times.append((time.perf_counter() - began) * 100)
  return round(statistics.median(times), 4)


class _WrongError(Exception):
  pass


def _expect(right: bool, otherwise: str) -> None:
  if not right:
    raise _WrongError(otherwise)


def main() -> int:
  """Runs one check."""
  checks = (machine, build, rasterizer, affine, render, small, nvdiffrast, stage3)
  known = {check.__name__: check for check in checks}
  parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
  parser.add_argument("check", choices=known)
  parser.add_argument("--cpu", action="store_true")
  options = parser.parse_args()
  try:
    with jax.default_matmul_precision("float32"):
      result = known[options.check](options.cpu)
  except _WrongError as error:
    print(f"wrong: {error}")
    return 1
  print(f"{RESULT}{json.dumps(result)}")
  return 0


if __name__ == "__main__":
  sys.exit(main())
