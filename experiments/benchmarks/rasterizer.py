"""Times the rasterizer as triangles, pixels and images grow, and a whole head.

  python -m experiments.benchmarks.rasterizer [--quick] [--device cpu|gpu]
    [--out FOLDER]

A ball of 1,000 to 1,000,000 triangles that covers 36 % of pictures of 64² to 4096², in
batches of 1 to 64. "search": the triangle of each pixel alone; "forward": `rasterize`;
"forward+backward": with the gradient of its weights in the vertices. All backends take
turns in one process, see `measuring.py`. "head": `render_head` (rasterize, interpolate,
texture, antialias) of the embedded head, and of the same with each triangle in four.
Peers: nvdiffrast where it and a GPU are. Two more in processes of their own, by
interpreters that have them, on small pictures, ours with the same in turn: `--pytorch3d
PYTHON` for PyTorch3D's CPU kernel, which tries every triangle at every pixel (`pip
install torch==2.11.0 easypytorch3d`); `--jaxrenderer PYTHON` for jaxrenderer's depth
shader, which does so in XLA (`pip install jaxrenderer==0.3.2 jax==0.4.13 jaxlib==0.4.13
jaxtyping==0.2.23 "scipy<1.12"` for Python 3.11: with JAX 0.4.20 or later its import
fails, `Unrecognized config option: jax_array`).

Prints tables and writes `results/bench_rasterizer_DEVICE.json` and
`figures/bench_rasterizer_DEVICE.png` to `experiments` or to `--out`. `--targets` is for
the cases of the project's targets and the heads alone and writes
`bench_rasterizer_targets_DEVICE.json`, no plot (three minutes on two CPU cores; all of
it takes six); `--quick` is
a trial that writes only where `--out` says.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, PartitionSpec

from affjax import render
from affjax.heads import open_head
from affjax.render import _native, _xla, render_head
from affjax.types import Camera
from experiments.benchmarks import measuring
from experiments.benchmarks import rasterizer_meshes as meshes

HERE = pathlib.Path(__file__).parent
EXPERIMENTS = HERE.parent
KINDS = ("search", "forward", "forward+backward")
# The portable search is left out where it would take longer than this many
# triangle-images, or pixels.
PORTABLE_TRIANGLES, PORTABLE_PIXELS = 300_000, 2**21


class Case(NamedTuple):
  """A case: a mesh and an image size, which are the axes of the plot."""

  triangles: int
  resolution: int
  batch: int

  def __str__(self) -> str:
    return f"{self.triangles:,} × {self.batch} at {self.resolution}²"


TARGET, TARGET_BATCH = Case(70_312, 512, 1), Case(70_312, 512, 8)
TARGET_MANY = Case(1_000_000, 512, 1)


def cases(options) -> dict[str, list[Case]]:
  """The cases of each axis."""
  if options.quick:
    return {"triangles": [Case(n, 64, 1) for n in (100, 1000)]}
  if options.targets:
    return {"triangles": [TARGET, TARGET_MANY], "batch": [TARGET_BATCH]}
  return {
    "triangles": [Case(n, 512, 1) for n in (1000, 10_000, 70_312, 200_000, 1_000_000)],
    "resolution": [Case(70_312, n, 1) for n in (64, 128, 256, 512, 1024, 2048, 4096)],
    "batch": [Case(10_000, 256, n) for n in (1, 4, 16, 64)] + [TARGET_BATCH],
  }


def in_order(axes: Mapping[str, Sequence[Case]]) -> list[Case]:
  """Each case once, those of the targets first."""
  everything = [case for chosen in axes.values() for case in chosen]
  first = [c for c in (TARGET, TARGET_BATCH, TARGET_MANY) if c in everything]
  return list(dict.fromkeys([*first, *everything]))


def backends(device: str) -> tuple[str, ...]:
  """Those of `rasterize` that run here, our kernel first."""
  if device == "cpu":
    return ("cpp", "xla")
  found = ("cuda", "xla")
  try:
    case = meshes.ball(100)
    render.rasterize(jnp.asarray(case[0]), case[1], (8, 8), backend="nvdiffrast")
  except (ImportError, RuntimeError, ValueError, OSError) as error:
    print(f"no nvdiffrast: {error}")
    return found
  return (*found, "nvdiffrast")


def program(kind: str, case: Case, backend: str) -> Callable[[], Any]:
  """A compiled call that waits for its result."""
  pos, tri = meshes.ball(case.triangles)
  pos = jnp.asarray(np.repeat(pos, case.batch, 0))
  size = (case.resolution, case.resolution)
  raster = lambda p: render.rasterize(p, tri, size, backend=backend)
  if kind == "search":
    run = searches(backend, jnp.asarray(tri, jnp.int32), size) or raster
  elif kind == "forward":
    run = raster
  else:
    shape = (case.batch, *size, 2)
    probe = jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.float32)
    run = jax.grad(lambda p: jnp.vdot(raster(p)[..., :2], probe))
  return _waiting(jax.jit(run), pos)


def searches(backend: str, tri: jax.Array, size: tuple[int, int]) -> Callable | None:
  """The search for ids alone; none of nvdiffrast's."""
  if backend == "xla":
    return lambda p: _xla.triangle_ids(p, tri, size)
  if backend in _native.PLATFORMS:
    return lambda p: _native.triangle_ids(p, tri, size, backend=backend)
  return None


def _waiting(run: Callable, *args) -> Callable[[], Any]:
  return lambda: jax.block_until_ready(run(*args))


def timed(kind: str, case: Case, options) -> dict[str, Any]:
  """All backends in turns."""
  table = {}
  for backend in options.backends:
    large = (
      case.triangles * case.batch > PORTABLE_TRIANGLES
      or case.resolution**2 * case.batch > PORTABLE_PIXELS
    )
    if backend == "xla" and large and case != TARGET_BATCH:
      continue
    table[backend] = measuring.Variant(program(kind, case, backend))
  times = measuring.interleaved(table, rounds=options.rounds, slow=("xla",))
  rows = {name: dataclasses.asdict(time) for name, time in times.items()}
  print(f"{kind}, {case}: {_cells(rows)}", flush=True)
  return {"kind": kind, "case": case._asdict(), "backends": rows}


def _cells(rows: Mapping[str, Any]) -> str:
  return ", ".join(f"{n} {1e3 * row['median']:.4g} ms" for n, row in rows.items())


# The head.


def heads(options) -> list[dict[str, Any]]:
  """Times of `render_head`, forward, and with gradients in vertices and texture."""
  template = open_head("embedded").template
  texture = np.random.default_rng(0).uniform(size=(1, 256, 256, 3)).astype(np.float32)
  found = []
  size = (64, 64) if options.quick else (512, 512)
  for chosen in (template,) if options.quick else (template, meshes.finer(template)):
    vertices = jnp.asarray(chosen.vertices)[None]
    probe = np.random.default_rng(1).normal(size=(1, *size, 4)).astype(np.float32)

    def picture(vertices, texture, chosen=chosen):
      layers = render_head(vertices, texture, chosen, Camera(), size)
      return jnp.concatenate(layers, -1)

    def loss(vertices, texture, picture=picture, probe=probe):
      return jnp.vdot(picture(vertices, texture), probe)

    runs = {"forward": picture, "forward+backward": jax.value_and_grad(loss, (0, 1))}
    table = {
      name: measuring.Variant(_waiting(jax.jit(run), vertices, jnp.asarray(texture)))
      for name, run in runs.items()
    }
    times = measuring.interleaved(table, rounds=options.rounds)
    rows = {name: dataclasses.asdict(time) for name, time in times.items()}
    print(f"render_head, {len(chosen.faces):,} triangles: {_cells(rows)}", flush=True)
    found.append({"triangles": len(chosen.faces), "size": size, "times": rows})
  return found


# Peers, devices, targets.


def peer(script: str, python: str, options) -> list[dict[str, Any]]:
  """Seconds that another rasterizer takes for a picture of few pixels, and ours."""
  found = []
  for triangles, resolution in ((1000, 64), (10_000, 64), (10_000, 128)):
    case = Case(triangles, resolution, 1)
    pos, tri = meshes.ball(triangles)
    ours = measuring.Variant(program("forward", case, options.backends[0]))
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder) / "mesh.npz"
      np.savez(path, points=pos[0, :, :3], tri=tri)
      command = [python, HERE / script, path, str(resolution), str(options.threads)]
      done = subprocess.run(command, capture_output=True, text=True, env=_plain())
    if done.returncode:
      print(f"{script}: {done.stderr[-500:]}")
      return found
    seconds = json.loads(done.stdout.splitlines()[-1])
    times = measuring.interleaved({"ours": ours}, rounds=options.rounds)
    print(
      f"{script}, {case}: {seconds:.3g} s, ours {1e3 * times['ours'].median:.3g} ms",
      flush=True,
    )
    row = {"case": case._asdict(), "median": seconds}
    found.append(row | {"ours": times["ours"].median})
  return found


def _plain() -> dict[str, str]:
  """The environment of another interpreter."""
  return {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}


def collectives() -> list[str]:
  """Communication in a raster and its gradient on four devices; in a fresh process."""
  jax.config.update("jax_platforms", "cpu")
  jax.config.update("jax_num_cpu_devices", 4)
  pos, tri = meshes.ball(100)
  mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
  rows = PartitionSpec("data")
  loss = lambda p: render.rasterize(p, tri, (32, 32))[..., :2].sum()
  run = jax.shard_map(
    jax.value_and_grad(lambda p: loss(p)),
    mesh=mesh,
    in_specs=rows,
    out_specs=(PartitionSpec(), rows),
    check_vma=False,  # the sum over devices is left out on purpose
  )
  text = jax.jit(run).lower(np.repeat(pos, 4, 0)).compile().as_text() or ""
  names = ("all-reduce", "all-gather", "all-to-all", "collective-permute")
  return [name for name in names if name in text]


def targets(
  results: Sequence[Mapping[str, Any]], record: Mapping[str, Any]
) -> list[dict[str, Any]]:
  """Returns the project's targets for two CPU cores."""
  found = {
    (Case(**r["case"]), r["kind"], backend): row["median"]
    for r in results
    for backend, row in r["backends"].items()
  }

  def ms(case: Case, backend: str, kind: str) -> float:
    return 1e3 * found.get((case, kind, backend), float("nan"))

  def faster(kind: str) -> float:
    return ms(TARGET, "xla", kind) / ms(TARGET, "cpp", kind)

  rows = [
    (f"{kind}, {case}, ms", ms(case, "cpp", kind), "<=", goal)
    for case, goal in ((TARGET, 8), (TARGET_BATCH, 45), (TARGET_MANY, 60))
    for kind in ("search", "forward")
  ]
  rows += [
    (f"{kind}, {TARGET}: portable / C++", faster(kind), ">=", 10)
    for kind in ("search", "forward")
  ]
  for chosen in record["heads"]:
    for kind, goal in (("forward", 60), ("forward+backward", 200)):
      name = f"render_head, {chosen['triangles']:,} triangles, {kind}, ms"
      rows.append((name, 1e3 * chosen["times"][kind]["median"], "<=", goal))
  met = lambda value, sign, goal: value >= goal if sign == ">=" else value <= goal
  return [
    {
      "what": what,
      "value": value,
      "target": f"{sign} {goal}",
      "met": met(value, sign, goal) if value == value else None,
    }
    for what, value, sign, goal in rows
  ]


def plot(
  results: Mapping[str, Sequence[Mapping[str, Any]]], path: pathlib.Path
) -> None:
  """Time against each axis, both logarithmic, and a line of linear growth."""
  pyplot = measuring.pyplot()
  if pyplot is None:
    return
  figure, axes = pyplot.subplots(1, 3, figsize=(12, 4), layout="constrained")
  work = {
    "triangles": lambda c: c["triangles"],
    "resolution": lambda c: c["resolution"] ** 2,
    "batch": lambda c: c["batch"],
  }
  labels = ("triangles (512²)", "pixels (70,312 triangles)", "images (10,000, 256²)")
  for ax, (axis, amount), label in zip(axes, work.items(), labels, strict=True):
    chosen = [r for r in results.get(axis, ()) if r["case"] != TARGET_BATCH._asdict()]
    series = {(k, b) for r in chosen for k in (r["kind"],) for b in r["backends"]}
    for kind, backend in sorted(series):
      rows = [r for r in chosen if r["kind"] == kind and backend in r["backends"]]
      x = [amount(r["case"]) for r in rows]
      y = [1e3 * r["backends"][backend]["median"] for r in rows]
      style = dict(zip(KINDS, (":", "-", "--"), strict=True))[kind]
      color = {"xla": "tab:orange", "nvdiffrast": "tab:green"}.get(backend, "tab:blue")
      ax.loglog(x, y, style, color=color, marker="o", label=f"{backend}, {kind}")
    if chosen:
      low, high = (f(amount(r["case"]) for r in chosen) for f in (min, max))
      ax.loglog([low, high], [1, high / low], color="0.8", zorder=0, label="linear")
    ax.set_xlabel(label)
    ax.set_ylabel("ms")
    ax.grid(alpha=0.3)
  axes[0].legend(fontsize=7)
  path.parent.mkdir(parents=True, exist_ok=True)
  figure.savefig(path, dpi=110)


def main() -> None:
  parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
  parser.add_argument("--quick", action="store_true", help="tiny shapes, few rounds")
  parser.add_argument("--targets", action="store_true", help="the targets' cases only")
  parser.add_argument("--device", choices=("cpu", "gpu"))
  parser.add_argument("--out", type=pathlib.Path, help="folder for the results")
  parser.add_argument("--threads", type=int, default=2)
  parser.add_argument("--rounds", type=int)
  parser.add_argument("--pytorch3d", help="a Python interpreter with PyTorch3D")
  parser.add_argument("--jaxrenderer", help="a Python interpreter with jaxrenderer")
  parser.add_argument("--collectives", action="store_true", help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.collectives:
    print(json.dumps(collectives()))
    return
  device = measuring.start(options.device, options.threads)
  options.rounds = options.rounds or (2 if options.quick else 7)
  options.backends = backends(device)
  machine = measuring.machine(device, options.threads)
  out = options.out or (None if options.quick else EXPERIMENTS)
  name = f"bench_rasterizer_{'targets_' * options.targets}{device}"
  result: dict[str, Any] = {"machine": machine, "heads": heads(options)}
  found: dict[Case, list[dict[str, Any]]] = {}
  for case in in_order(cases(options)):
    found[case] = [timed(kind, case, options) for kind in KINDS]
    result["axes"] = {
      axis: [row for case in chosen for row in found.get(case, ())]
      for axis, chosen in cases(options).items()
    }
    if device == "cpu":
      result["targets"] = targets([r for rows in found.values() for r in rows], result)
    if out:  # so that an interrupted run leaves its results
      measuring.write_json(out / "results" / f"{name}.json", result)
  for row in result.get("targets", ()):
    print(f"{row['what']}: {row['value']:.4g} ({row['target']}): {row['met']}")
  result["communication"] = measuring.children(__file__, [["--collectives"]])[0]
  print(f"communication between devices: {result['communication'] or 'none'}")
  for called in ("pytorch3d", "jaxrenderer"):
    if python := getattr(options, called):
      result[called] = peer(f"{called}_seconds.py", python, options)
  if out:
    measuring.write_json(out / "results" / f"{name}.json", result)
    if not options.targets:
      plot(result["axes"], out / "figures" / f"{name}.png")


if __name__ == "__main__":
  main()
