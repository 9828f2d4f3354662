"""Trains the network of `affjax.faces.visible_skin` and writes its asset.

  python -m experiments.regions.train --cache out/regions

The script draws a pool of synthetic portraits into the cache (0.1 s each), lays things
before them on the fly and trains; only the project's own synthetic source is used. It
trains in PyTorch, whose bfloat16 convolutions are five times as fast on CPUs as JAX's,
and checks the result against the network in JAX. It prints the file's hash, for
`affjax/assets/store.py`.

The shipped weights were first trained on 30 thousand photos with half the features, in
JAX; then widened (`--start`) and trained for the first 1000 of 3000 steps (`--seed 10`,
without paint, each portrait once), and from there for the first 1500 of 1800 steps
(`--seed 11 --rate 1.5e-3`, as it is here). Each step takes 16 new photos and 16 again:
80 thousand photos, of which 40 thousand are new. This takes an hour on a third of two
cores.
"""

import argparse
import hashlib
import math
import pathlib
import time
from collections.abc import Iterator, Mapping

import jax
import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

import affjax.assets
from affjax import files
from affjax.faces import _region_network as network
from experiments.regions import snapshots
from experiments.regions.bare_skin import Portrait, Portraits

TARGET = pathlib.Path(affjax.assets.__file__).parent / "regions.npz"
CHUNK = 250
# Index from which on more portraits have an occluder: hands and masks are rare.
MORE_FROM = 1750

Weights = dict[str, torch.Tensor]


def pool(cache: pathlib.Path, count: int) -> list[Portrait]:
  """Returns the first portraits of the training split, drawn into the cache once."""
  cache.mkdir(parents=True, exist_ok=True)
  portraits = []
  for first in range(0, count, CHUNK):
    path = cache / f"train-{first:05d}.npz"
    if not path.exists():
      chance = 0.6 if first >= MORE_FROM else 0.25
      source = Portraits(1_000_000, network.SIZE, "train", occluders=chance)
      drawn = [source[i] for i in range(first, first + CHUNK)]
      fields = ("image", "bare", "landmarks", "pose")
      arrays = {name: np.stack([getattr(p, name) for p in drawn]) for name in fields}
      write_npz(path, arrays)
    with np.load(path, allow_pickle=False) as file:
      rows = zip(*(file[name] for name in file.files), strict=True)
      portraits += [Portrait(*row) for row in rows]
  return portraits


def hidden(portrait: Portrait) -> float:
  """Returns the share of the face, from brows to lips, where no skin shows."""
  inner = portrait.landmarks[17:]
  left, top = np.clip(inner.min(0).astype(int), 0, network.SIZE - 1)
  right, bottom = np.clip(inner.max(0).astype(int) + 1, 1, network.SIZE)
  return 1 - float(portrait.bare[top:bottom, left:right].mean()) / 255


class Snapshots(Dataset):
  """Photos with their bare skin; an index always gives the same one."""

  def __init__(self, portraits: list[Portrait], count: int, seed: int):
    self.portraits, self.count, self.seed = portraits, count, seed

  def __len__(self) -> int:
    return self.count

  def __getitem__(self, index: int):
    rng = np.random.default_rng([self.seed, index])
    one, other = (self.portraits[k] for k in rng.integers(0, len(self.portraits), 2))
    image, bare = snapshots.training_snapshot(rng, one, other)
    return np.asarray(image, np.float32), np.asarray(bare[..., None], np.float32)


def twice(loader: DataLoader) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
  """Yields each batch with the last one, mirrored and tinted: new photos cost most."""
  draw = torch.Generator().manual_seed(0)
  last = None
  for images, bare in loader:
    last = last or (images, bare)
    gain = torch.exp(0.1 * torch.randn((len(last[0]), 1, 1, 3), generator=draw))
    again = (last[0].flip(2) * gain).clamp(0, 1)
    yield torch.cat([images, again]), torch.cat([bare, last[1].flip(2)])
    last = images, bare


def initial(seed: int) -> dict[str, np.ndarray]:
  """Draws weights after He et al.; layers that add to their input start small."""
  rng = np.random.default_rng(seed)
  weights = {}
  for name, shape in network.shapes().items():
    gain = 0.3 if name[-1] in "bc" or name == "out" else 1.0
    deviation = gain * np.sqrt(2 / np.prod(shape[:3]))
    weights[name] = rng.normal(0, deviation, shape).astype(np.float32)
    weights[f"{name}/bias"] = np.zeros(shape[3], np.float32)
  return weights


def widened(
  weights: dict[str, np.ndarray], start: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """Returns weights that compute what those of a narrower network do.

  Args:
    weights: Weights of the wide network; new features start with them, but do not act
      on the old ones.
    start: Weights of the narrow network.
  """
  for name, old in start.items():
    new = weights[name]
    kept = tuple(slice(0, n) for n in old.shape)
    if old.ndim == 4:
      new[..., : old.shape[3]] = 0
    new[kept] = old
  return weights


def to_torch(weights: dict[str, np.ndarray]) -> Weights:
  """Returns kernels as PyTorch takes them: `[O, C, K, K]`."""
  out = {}
  for name, value in weights.items():
    tensor = torch.tensor(np.asarray(value, np.float32))
    out[name] = tensor.permute(3, 2, 0, 1).contiguous() if tensor.ndim == 4 else tensor
  return out


def to_numpy(weights: Weights) -> dict[str, np.ndarray]:
  """Inverts `to_torch`, in float16."""
  out = {}
  for name, value in weights.items():
    value = value.detach().float()
    value = value.permute(2, 3, 1, 0) if value.ndim == 4 else value
    out[name] = np.ascontiguousarray(value.numpy(), np.float16)
  return out


def logits(weights: Weights, images: torch.Tensor) -> torch.Tensor:
  """Computes `_region_network.logits` of images `[N, S, S, 3]`: `[N, S, S, 1]`."""

  def convolved(name, x, stride=1):
    kernel, bias = weights[name], weights[f"{name}/bias"]
    return functional.conv2d(x, kernel, bias, stride=stride, padding=1)

  layer = lambda name, x, stride=1: functional.relu(convolved(name, x, stride))
  double = lambda x: functional.interpolate(x, scale_factor=2, mode="nearest")
  x1 = layer("down1", _blocks(images))
  x2 = layer("down2", x1, 2)
  x2 = x2 + layer("down2b", x2)
  x3 = layer("down3", x2, 2)
  x3 = x3 + layer("down3b", x3)
  x4 = layer("down4", x3, 2)
  x4 = x4 + layer("down4b", x4)
  x4 = x4 + layer("down4c", x4)
  x3 = x3 + double(layer("up3", x4))
  x3 = x3 + layer("up3b", x3)
  x2 = x2 + double(layer("up2", x3))
  x2 = x2 + layer("up2b", x2)
  x1 = x1 + double(layer("up1", x2))
  x1 = x1 + layer("up1b", x1)
  out = convolved("out", x1).float()
  return functional.pixel_shuffle(out, 2).permute(0, 2, 3, 1)


def _blocks(images: torch.Tensor) -> torch.Tensor:
  n, s, _, c = images.shape
  h = s // 2
  x = images.reshape(n, h, 2, h, 2, c).permute(0, 2, 4, 5, 1, 3)
  line = (torch.arange(h) + 0.5) * (2 / h) - 1
  row, column = torch.meshgrid(line, line, indexing="ij")
  place = torch.stack([column, row, column**2 + row**2])
  x = torch.cat([2 * x.reshape(n, 4 * c, h, h) - 1, place.expand(n, 3, h, h)], 1)
  return x.contiguous(memory_format=torch.channels_last)


def loss(weights: Weights, images: torch.Tensor, bare: torch.Tensor) -> torch.Tensor:
  """Returns cross entropy plus half of one minus each photo's soft IoU."""
  with torch.autocast("cpu", dtype=torch.bfloat16):
    z = logits(weights, images)
  entropy = functional.binary_cross_entropy_with_logits(z, bare)
  p = torch.sigmoid(z)
  both = (p * bare).sum((1, 2, 3))
  either = (p + bare - p * bare).sum((1, 2, 3))
  return entropy + 0.5 * (1 - (both + 20) / (either + 20)).mean()


def train(
  loader: DataLoader, weights: Weights, *, steps: int, rate: float, saved: pathlib.Path
) -> Weights:
  """Trains with Adam along a cosine to zero; returns a moving average of the weights.

  The average so far is written to `saved` every 500 steps.
  """
  for value in weights.values():
    value.requires_grad_()
  parameters = list(weights.values())
  optimizer = torch.optim.Adam(parameters, rate)
  average = {name: value.detach().clone() for name, value in weights.items()}
  begun, recent = time.monotonic(), []
  for k, (images, bare) in enumerate(twice(loader)):
    warm = min(1.0, (k + 1) / 100)
    for group in optimizer.param_groups:
      group["lr"] = rate * warm * 0.5 * (1 + math.cos(math.pi * k / steps))
    value = loss(weights, images, bare)
    optimizer.zero_grad()
    value.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    share = max(0.004, 1 / (k + 1))
    with torch.no_grad():
      for name, mean in average.items():
        mean.lerp_(weights[name], share)
    recent.append(value.item())
    if k % 100 == 99:
      took = time.monotonic() - begun
      print(f"step {k + 1} loss {np.mean(recent[-100:]):.4f} {took:.0f} s", flush=True)
    if k % 500 == 499:
      save(average, saved)
  return average


def check(weights: Weights) -> None:
  """Raises a `RuntimeError` if this network and the one in JAX differ."""
  images = np.random.default_rng(0).random((2, network.SIZE, network.SIZE, 3))
  images = images.astype(np.float32)
  ours = logits(weights, torch.tensor(images)).detach().numpy()
  theirs = np.asarray(
    jax.jit(network.logits)(
      {name: value.astype(np.float32) for name, value in to_numpy(weights).items()},
      images,
    )
  )
  away = np.abs(ours - theirs).max()
  if away > 0.02 * (1 + np.abs(theirs).max()):
    raise RuntimeError(f"PyTorch's and JAX's networks differ by {away}")


def write_npz(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes arrays uncompressed."""
  with files.written_file(path) as partial, partial.open("wb") as file:
    np.savez(file, allow_pickle=False, **arrays)


def save(weights: Weights, path: pathlib.Path) -> None:
  """Writes weights as float16, uncompressed."""
  write_npz(path, to_numpy(weights))
  data = path.read_bytes()
  print(f"{path.name}: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")


def main() -> None:
  """Draws portraits, trains, checks and writes the weights."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--cache", type=pathlib.Path, default="out/regions")
  parser.add_argument("--target", type=pathlib.Path, default=TARGET)
  parser.add_argument(
    "--start", type=pathlib.Path, help="weights to go on from, or of fewer features"
  )
  parser.add_argument("--portraits", type=int, default=5500)
  parser.add_argument("--steps", type=int, default=3000)
  parser.add_argument("--batch", type=int, default=32, help="even")
  parser.add_argument("--rate", type=float, default=2e-3)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--threads", type=int, default=1)
  options = parser.parse_args()
  torch.set_num_threads(options.threads)
  start = initial(options.seed)
  if options.start:
    with np.load(options.start, allow_pickle=False) as file:
      start = widened(start, file)
  fresh = options.batch // 2
  portraits = pool(options.cache, options.portraits)
  # Hands and cloth masks are the hardest: faces behind them come three times.
  portraits += [p for p in portraits if hidden(p) > 0.25] * 2
  photos = Snapshots(portraits, options.steps * fresh, options.seed)
  weights = train(
    DataLoader(photos, fresh, num_workers=1, prefetch_factor=8),
    to_torch(start),
    steps=options.steps,
    rate=options.rate,
    saved=options.cache / f"latest-{options.seed}.npz",
  )
  check(weights)
  save(weights, options.target)


if __name__ == "__main__":
  main()
