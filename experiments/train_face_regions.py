"""Trains the network of affjax/faces/regions.py and writes its asset.

  python experiments/train_face_regions.py --cache out/regions

Draws a pool of synthetic portraits into the cache (0.1 s each), lays things before them
on the fly and trains; nothing but the project's own synthetic source goes in. Half an
hour on two cores. Prints the file's hash, for `affjax/assets/store.py`.

The shipped weights saw 30 thousand photos of 1,500 portraits in four runs of batch 16,
each from the last (`--start`): 400 and 200 steps at rates 3e-3 and 2.5e-3 with stronger
spoiling, then 700 at 2.5e-3 (`--seed 2`) and 600 at 2e-3 (`--seed 3`).
"""

import argparse
import hashlib
import pathlib
import queue
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

import affjax.assets
from affjax.data.synthetic import snapshots
from affjax.data.synthetic.bare_skin import Portrait, Portraits
from affjax.faces import _region_network as network

TARGET = pathlib.Path(affjax.assets.__file__).parent / "regions.npz"
CHUNK = 250


def pool(cache: pathlib.Path, count: int) -> list[Portrait]:
  """The first portraits of the training split, drawn where the cache has none."""
  cache.mkdir(parents=True, exist_ok=True)
  source = Portraits(1_000_000, network.SIZE, "train", occluders=0.25)
  portraits = []
  for first in range(0, count, CHUNK):
    path = cache / f"train-{first:05d}.npz"
    if not path.exists():
      drawn = [source[i] for i in range(first, first + CHUNK)]
      fields = ("image", "bare", "landmarks")
      arrays = {name: np.stack([getattr(p, name) for p in drawn]) for name in fields}
      partial = path.with_suffix(".partial.npz")
      np.savez(partial, allow_pickle=False, **arrays)
      partial.replace(path)
    with np.load(path, allow_pickle=False) as file:
      rows = zip(file["image"], file["bare"], file["landmarks"], strict=True)
      portraits += [Portrait(*row) for row in rows]
  return portraits


def batches(portraits: list[Portrait], size: int, steps: int, seed: int):
  """Batches of photos and bare skin, made by a thread ahead of their use."""
  ready: queue.Queue = queue.Queue(maxsize=8)

  def fill():
    rng = np.random.default_rng(seed)
    for _ in range(steps):
      chosen = rng.integers(0, len(portraits), size)
      pairs = [snapshots.training_snapshot(rng, portraits[k]) for k in chosen]
      images, bare = (np.stack(part) for part in zip(*pairs, strict=True))
      ready.put((images, bare[..., None]))

  threading.Thread(target=fill, daemon=True).start()
  for _ in range(steps):
    yield ready.get()


def initial(seed: int) -> dict[str, jax.Array]:
  """He's initialisation; layers that are added to their input start small."""
  rng = np.random.default_rng(seed)
  weights = {}
  for name, shape in network.shapes().items():
    gain = 0.3 if name[-1] in "bc" or name == "out" else 1.0
    deviation = gain * np.sqrt(2 / np.prod(shape[:3]))
    weights[name] = jnp.asarray(rng.normal(0, deviation, shape), jnp.float32)
    weights[f"{name}/bias"] = jnp.zeros(shape[3])
  return weights


def loss(weights, images, bare):
  """Cross entropy, and one minus a soft intersection over union of each photo."""
  z = network.logits(weights, images)
  entropy = optax.sigmoid_binary_cross_entropy(z, bare).mean()
  p = jax.nn.sigmoid(z)
  both = (p * bare).sum((1, 2, 3))
  either = (p + bare - p * bare).sum((1, 2, 3))
  return entropy + 0.5 * (1 - (both + 20) / (either + 20)).mean()


def train(portraits, *, steps, size, rate, start, seed, saved: pathlib.Path):
  """Adam with a cosine schedule; gives a moving average of the weights.

  The average so far is in `saved` every 200 steps.
  """
  schedule = optax.warmup_cosine_decay_schedule(0, rate, min(100, steps // 4), steps)
  optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))

  @jax.jit
  def step(weights, average, state, images, bare):
    value, slope = jax.value_and_grad(loss)(weights, images, bare)
    updates, state = optimizer.update(slope, state, weights)
    weights = optax.apply_updates(weights, updates)
    average = jax.tree.map(lambda a, w: a + 0.02 * (w - a), average, weights)
    return weights, average, state, value

  weights = initial(seed) if start is None else start
  average, state, recent = weights, optimizer.init(weights), []
  begun = time.monotonic()
  for k, (images, bare) in enumerate(batches(portraits, size, steps, seed)):
    weights, average, state, value = step(weights, average, state, images, bare)
    recent.append(float(value))
    if k % 50 == 49:
      took = time.monotonic() - begun
      print(f"step {k + 1} loss {np.mean(recent[-50:]):.4f} {took:.0f} s", flush=True)
    if k % 200 == 199:
      save(average, saved)
  return average


def save(weights, path: pathlib.Path):
  """Float16, uncompressed, in one move."""
  arrays = {name: np.asarray(value, np.float16) for name, value in weights.items()}
  partial = path.with_suffix(".partial.npz")
  np.savez(partial, allow_pickle=False, **arrays)
  partial.replace(path)
  data = path.read_bytes()
  print(f"{path.name}: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")


def main() -> None:
  """Draws, trains, writes."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--cache", type=pathlib.Path, default="out/regions")
  parser.add_argument("--target", type=pathlib.Path, default=TARGET)
  parser.add_argument("--start", type=pathlib.Path, help="weights to go on from")
  parser.add_argument("--portraits", type=int, default=4000)
  parser.add_argument("--steps", type=int, default=1500)
  parser.add_argument("--batch", type=int, default=24)
  parser.add_argument("--rate", type=float, default=2e-3)
  parser.add_argument("--seed", type=int, default=0)
  options = parser.parse_args()
  start = None
  if options.start:
    with np.load(options.start, allow_pickle=False) as file:
      start = {name: jnp.asarray(file[name], jnp.float32) for name in file.files}
  weights = train(
    pool(options.cache, options.portraits),
    steps=options.steps,
    size=options.batch,
    rate=options.rate,
    start=start,
    seed=options.seed,
    saved=options.cache / "latest.npz",
  )
  save(weights, options.target)


if __name__ == "__main__":
  main()
