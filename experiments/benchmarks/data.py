"""Measures the speed of training data: decoding, pipeline, augmentation, mixtures.

    python -m experiments.benchmarks.data

Makes a prepared data set of photo-like pictures at 512² in a temporary folder, or reads
one of `affjax prepare` from `--path`. Everything runs in one process on `--threads`
cores. "Per core" is samples per second of processor time of all threads together, which
other programs on the machine affect least; the turn of a pipeline ends when its threads
have refilled their buffers. Memory is the resident memory after each of several epochs
of the pipeline with every augmentation.

Writes experiments/results/data_cpu.json.
"""

import argparse
import gc
import pathlib
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from affjax.data import (
  MixedSource,
  PreparedSource,
  Ranges,
  Record,
  RecordSource,
  SyntheticFaces,
  _record,
  _shards,
  steps_per_epoch,
  to_batch,
  training_batches,
)
from affjax.geometry import uv
from affjax.heads import open_head
from affjax.types import Template
from experiments.benchmarks import measuring

RESULTS = pathlib.Path(__file__).parents[1] / "results"
ALL = Ranges(
  brightness=0.2,
  contrast=0.2,
  saturation=0.3,
  hue_deg=8,
  gamma=0.2,
  grey=0.05,
  blur=0.3,
  noise=0.03,
  jpeg=0.3,
)
PIPELINES = {
  "pipeline": (False, None),
  "pipeline, mirrored": (True, None),
  "pipeline, colours": (False, Ranges(brightness=0.2, contrast=0.2, saturation=0.3)),
  "pipeline, blur and noise": (False, Ranges(blur=0.3, noise=0.03)),
  "pipeline, JPEG of every photo": (False, Ranges(jpeg=1.0)),
  "pipeline, everything": (True, ALL),
}


def write_faces(
  root: pathlib.Path, template: Template, count: int, size: int
) -> pathlib.Path:
  """Writes a data set of pictures that compress like photos: about 90 kB at 512²."""
  folder = _shards.data_folder(root, "bench")
  rng = np.random.default_rng(0)
  y, x = np.mgrid[:size, :size] / size - 0.5

  def one(index: int) -> bytes:
    rough = rng.integers(0, 256, (size // 2, size // 2, 3), np.uint8)
    picture = Image.fromarray(rough).filter(ImageFilter.GaussianBlur(1.1))
    picture = picture.resize((size, size), Image.Resampling.BICUBIC)
    inside = (y / 0.4) ** 2 + (x / rng.uniform(0.25, 0.35)) ** 2 < 1
    inside &= ~((abs(y - rng.uniform(-0.2, 0.2)) < 0.03) & (abs(x) < 0.2))
    return _record.encode(
      {
        "image": np.asarray(picture),
        "visible": (inside[..., None] * 255).astype(np.uint8),
        "diffuse": np.zeros((1, 1, 3), np.uint8),
        "vertices": template.vertices,
        "pose": np.zeros(6),
        "landmarks": np.zeros((68, 2)),
        "has_pose": 1.0,
        "has_diffuse": 0.0,
        "quality": 1.0,
        "crop": np.zeros((2, 3)),
        "source": f"{index}.jpg#face 0",
        "licence": "CC0",
      }
    )

  name = _shards.shard_name("bench", "train", 0, 1)
  written = _shards.write_shard(folder / name, (one(k) for k in range(count)))
  facts = _shards.DatasetFacts(
    template.name, len(template.vertices), size, size, "bench", "0"
  )
  _shards.write_info(folder, {"train": [written]}, facts)
  return folder


def batches(
  source: RecordSource,
  template: Template,
  options: argparse.Namespace,
  how: str,
  epochs: int | None = None,
) -> Iterator[Record]:
  """Returns an iterator over the pipeline of a name."""
  mirrored, augment = PIPELINES[how]
  return training_batches(
    source,
    batch_size=options.batch,
    seed=0,
    epochs=epochs,
    mirror=template if mirrored else None,
    augment=augment,
    threads=options.threads,
  )


def settle() -> None:
  """Waits until all threads of this process are idle."""
  quiet = 0
  while quiet < 3:
    before = time.process_time()
    time.sleep(0.01)
    quiet = quiet + 1 if time.process_time() - before < 1e-3 else 0


def timed(variants: dict[str, measuring.Variant], rounds: int) -> dict[str, Any]:
  """Returns wall and processor time per sample of variants that take turns."""
  spent = {name: [] for name in variants}
  for turn in range(rounds + 1):
    for name, variant in variants.items():
      settle()
      start, used = time.perf_counter(), time.process_time()
      variant.run()
      wall = time.perf_counter() - start
      settle()
      used = time.process_time() - used
      if turn:
        spent[name].append((used / variant.repeats, wall / variant.repeats))
  found = {}
  for name, times in spent.items():
    used = measuring.timing([cpu for cpu, _ in times])
    wall = measuring.timing([wall for _, wall in times])
    found[name] = {
      "cpu_ms_per_sample": used.median * 1e3,
      "least_cpu_ms": used.least * 1e3,
      "wall_ms_per_sample": wall.median * 1e3,
      "samples_per_second_per_core": 1 / used.median,
      "at_best": 1 / used.least,
    }
  return found


def taking(iterator: Iterator, count: int) -> measuring.Variant:
  """Returns the variant that takes the next batches."""

  def run() -> None:
    for _ in range(count):
      next(iterator)

  return measuring.Variant(run, count)


def memory_mib() -> float:
  """Returns the resident memory."""
  gc.collect()
  for line in pathlib.Path("/proc/self/status").read_text().splitlines():
    if line.startswith("VmRSS:"):
      return int(line.split()[1]) / 1024
  return float("nan")


def speeds(
  sources: dict[str, RecordSource], template: Template, options: argparse.Namespace
) -> dict[str, Any]:
  """Returns the times and rates of every variant."""
  faces = sources["prepared"]
  assert isinstance(faces, PreparedSource)
  data = [faces._reader(0).read([k])[0] for k in range(min(16, len(faces)))]

  def decode(field: str | None):
    fields = _record.FIELDS if field is None else (field,)
    return lambda: [_record.decode(item, fields=fields) for item in data]

  variants = {
    "decode": measuring.Variant(decode(None), len(data)),
    "decode, photo alone": measuring.Variant(decode("image"), len(data)),
    "decode, mask alone": measuring.Variant(decode("visible"), len(data)),
    "read and decode": measuring.Variant(
      lambda: [faces[k] for k in range(len(data))], len(data)
    ),
  }
  for how in PIPELINES:
    iterator = batches(faces, template, options, how)
    taken = taking(iterator, options.batches)
    variants[how] = measuring.Variant(taken.run, taken.repeats * options.batch)
  if "mixed" in sources:
    iterator = batches(sources["mixed"], template, options, "pipeline")
    taken = taking(iterator, options.batches)
    name = "pipeline, nine photos to one cached synthetic head"
    variants[name] = measuring.Variant(taken.run, taken.repeats * options.batch)
  if options.synthetic:
    heads = iter(range(1, 10**4))
    one = lambda: sources["synthetic"][next(heads)]
    variants["synthetic, painted"] = measuring.Variant(one)
  return timed(variants, options.rounds)


def memory(
  source: RecordSource, template: Template, options: argparse.Namespace
) -> list[float]:
  """Returns MiB after each epoch; the first epoch fills the buffers."""
  iterator = batches(source, template, options, "pipeline, everything")
  steps = steps_per_epoch(len(source), options.batch)
  found = []
  for _ in range(options.epochs):
    for _ in range(steps):
      next(iterator)
    found.append(memory_mib())
  return found


def on_device(
  source: RecordSource, template: Template, options: argparse.Namespace
) -> dict[str, float]:
  """Returns ms per batch of `to_batch`, without and with augmentation."""
  import jax

  table = uv.uv_table(template, options.size)
  make = jax.jit(lambda r: to_batch(r, table))
  found = {}
  for how in ("pipeline", "pipeline, everything"):
    batch = jax.device_put(next(batches(source, template, options, how)))
    run = lambda batch=batch: jax.block_until_ready(make(batch))
    name = "to_batch" if how == "pipeline" else "to_batch, everything"
    timing = measuring.interleaved(
      {name: measuring.Variant(run)}, rounds=5, most_s=20.0
    )
    found[name] = timing[name].median * 1e3
  return found


def main() -> int:
  """Measures, prints and writes the figures."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--path", type=pathlib.Path, help="prepared data set")
  parser.add_argument("--size", type=int, default=512)
  parser.add_argument("--count", type=int, default=256)
  parser.add_argument("--batch", type=int, default=8)
  parser.add_argument("--batches", type=int, default=8)
  parser.add_argument("--rounds", type=int, default=7)
  parser.add_argument("--epochs", type=int, default=6)
  parser.add_argument("--threads", type=int, default=2)
  parser.add_argument(
    "--synthetic", action=argparse.BooleanOptionalAction, default=True
  )
  parser.add_argument("--out", type=pathlib.Path, default=RESULTS / "data_cpu.json")
  options = parser.parse_args()
  device = measuring.start("cpu", options.threads)
  machine = measuring.machine(device, options.threads)
  head = open_head("embedded")
  with tempfile.TemporaryDirectory() as folder:
    root = pathlib.Path(folder)
    path = options.path or write_faces(root, head.template, options.count, options.size)
    size = options.size
    faces = PreparedSource(path, "train", head.template, size=size, map_size=size)
    sources: dict[str, RecordSource] = {"prepared": faces}
    if options.synthetic:
      painted = SyntheticFaces(head, 10**4, size)
      sources["synthetic"], kept = painted, RepeatedHeads(painted)
      weights = {"photos": 0.9, "heads": 0.1}
      sources["mixed"] = MixedSource({"photos": faces, "heads": kept}, weights)
    result = {
      "machine": machine,
      "settings": {k: str(v) for k, v in vars(options).items()},
      "bytes_per_record": sum(p.stat().st_size for p in faces._paths) / len(faces),
      "memory_mib_after_epochs": memory(faces, head.template, options),
      "speed": speeds(sources, head.template, options),
      "device_ms_per_batch": on_device(faces, head.template, options),
    }
  rows = [
    [name, f"{v['cpu_ms_per_sample']:.2f}", f"{v['samples_per_second_per_core']:.0f}"]
    for name, v in result["speed"].items()
  ]
  header = [
    "512² samples" if size == 512 else f"{size}²",
    "ms of a core",
    "per second and core",
  ]
  print(measuring.markdown(header, rows))
  print("MiB after each epoch:", [round(m) for m in result["memory_mib_after_epochs"]])
  print("on the device, ms a batch:", result["device_ms_per_batch"])
  measuring.write_json(options.out, result)
  return 0


class RepeatedHeads:
  """Two painted heads in memory, which are read as fast as from a cache."""

  def __init__(self, source: SyntheticFaces):
    self.facts = source.facts
    self._records = [source[0], source[1]]

  def __len__(self) -> int:
    return 100

  def __getitem__(self, index: int) -> Record:
    return {k: np.array(v) for k, v in self._records[index % 2].items()}

  def settings(self) -> dict[str, Any]:
    """Returns no settings: nothing caches this source."""
    return {}


if __name__ == "__main__":
  sys.exit(main())
