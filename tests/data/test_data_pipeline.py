import grain
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from affjax.data import _mirroring, steps_per_epoch, training_batches
from affjax.geometry.mirror import mirror_vertices
from tests.data.fake_source import FakeSource

pytestmark = pytest.mark.smoke  # on a newer jax as well, see `make smoke`


class _Numbers(FakeSource):
  def __init__(self, count):
    self.count = count

  def __len__(self):
    return self.count

  def __getitem__(self, index):
    return {"number": np.asarray(index, np.int32)}


def _numbers(iterator, steps=None):
  taken = []
  for k, record in enumerate(iterator):
    if steps is not None and k >= steps:
      break
    taken.append(record["number"].tolist())
  return taken


def test_an_epoch_sees_every_record_once_and_the_next_in_another_order():
  batches = _numbers(training_batches(_Numbers(12), batch_size=4, seed=1, epochs=2))
  first, second = np.ravel(batches[:3]).tolist(), np.ravel(batches[3:]).tolist()
  assert sorted(first) == sorted(second) == list(range(12))
  assert first != second


def test_the_order_is_the_seed_s():
  run = lambda seed, threads: _numbers(
    training_batches(_Numbers(20), batch_size=4, seed=seed, epochs=1, threads=threads)
  )
  assert run(3, 1) == run(3, 4)
  assert run(3, 1) != run(4, 1)


def test_processes_share_each_epoch():
  shares = [
    _numbers(
      training_batches(
        _Numbers(11), batch_size=4, seed=5, epochs=2, process_index=i, process_count=2
      )
    )
    for i in (0, 1)
  ]
  assert all(len(batch) == 2 for share in shares for batch in share)
  for epoch in (slice(0, 2), slice(2, 4)):
    seen = [n for share in shares for batch in share[epoch] for n in batch]
    assert len(seen) == len(set(seen)) == 8


def test_resumes_from_a_checkpoint(tmp_path):
  make = lambda: training_batches(_Numbers(10), batch_size=2, seed=2)
  iterator = make()
  _ = [next(iterator) for _ in range(7)]
  with ocp.CheckpointManager(tmp_path / "state") as manager:
    save = grain.checkpoint.CheckpointSave(iterator)
    manager.save(7, args=ocp.args.Composite(data=save))
    manager.wait_until_finished()
    expected = [next(iterator)["number"].tolist() for _ in range(5)]
    again = make()
    restore = grain.checkpoint.CheckpointRestore(again)
    manager.restore(7, args=ocp.args.Composite(data=restore))
  assert [next(again)["number"].tolist() for _ in range(5)] == expected


@pytest.mark.parametrize(
  ("count", "batch", "message"),
  [(3, 4, "at most the 3 samples"), (3, 0, "must be positive")],
)
def test_impossible_batches_are_refused(count, batch, message):
  with pytest.raises(ValueError, match=message):
    training_batches(_Numbers(count), batch_size=batch, seed=0)


def test_a_batch_must_divide_by_the_processes():
  with pytest.raises(ValueError, match="divide by the 2 processes, got 3"):
    training_batches(
      _Numbers(9), batch_size=3, seed=0, process_index=0, process_count=2
    )


def test_steps_per_epoch_drops_the_rest():
  assert steps_per_epoch(11, 4) == 2


def test_mirrored_vertices_are_twins(head):
  twin = mirror_vertices(head.template)
  np.testing.assert_array_equal(twin[twin], np.arange(len(twin)))
  flipped = head.template.vertices[twin] * [-1, 1, 1]
  assert np.abs(flipped - head.template.vertices).max() < 0.02


def test_a_mirrored_record_is_the_mirrored_scene(head):
  rng = np.random.default_rng(0)
  record = {
    "image": rng.integers(0, 256, (8, 8, 3), np.uint8),
    "visible": rng.integers(0, 256, (8, 8, 1), np.uint8),
    "vertices": head.template.vertices,
    "pose": rng.standard_normal(6).astype(np.float32),
    "diffuse": rng.integers(0, 256, (8, 8, 3), np.uint8),
    "light": rng.random((2, 2, 1), np.float32),
    "has_pose": np.float32(1),
  }
  twin = mirror_vertices(head.template)
  mirrored = _mirroring.mirror_record(record, head.template)
  np.testing.assert_array_equal(mirrored["image"], record["image"][:, ::-1])
  posed = _posed(record)[twin] * [-1, 1, 1]
  np.testing.assert_allclose(_posed(mirrored), posed, atol=1e-5)
  again = _mirroring.mirror_record(mirrored, head.template)
  for name, value in record.items():
    np.testing.assert_array_equal(again[name], value)


def _posed(record):
  from affjax.geometry import camera

  return np.asarray(
    camera.head_to_world(jnp.asarray(record["vertices"]), jnp.asarray(record["pose"]))
  )


def test_half_of_the_records_are_mirrored(head):
  class Heads(_Numbers):
    def __getitem__(self, index):
      return {
        "image": np.tile(np.arange(4, dtype=np.uint8)[None, :, None], (4, 1, 3)),
        "vertices": head.template.vertices,
        "pose": np.zeros(6, np.float32),
      }

  batches = training_batches(
    Heads(64), batch_size=64, seed=0, epochs=1, mirror=head.template
  )
  first = next(batches)["image"][:, 0, 0, 0]
  assert 20 < (first == 3).sum() < 44
