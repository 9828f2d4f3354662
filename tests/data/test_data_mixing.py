import grain
import numpy as np
import orbax.checkpoint as ocp
import pytest

from affjax.data import FIELDS, MixedSource, training_batches
from affjax.data._mixing import Interleaving
from tests.data.fake_source import FakeSource


class _Tagged(FakeSource):
  """Records whose pose names their source and index."""

  def __init__(self, tag, count):
    self.tag, self.count = tag, count

  def __len__(self):
    return self.count

  def __getitem__(self, index):
    record = {name: np.zeros(1, np.float32) for name in FIELDS}
    return {
      **record,
      "pose": np.array([self.tag, index]),
      f"only_{self.tag}": np.ones(()),
    }

  def settings(self):
    return {"tag": self.tag}


def _mixed(counts=(40, 7, 3), weights=(0.6, 0.3, 0.1)):
  names = "abc"[: len(counts)]
  sources = {name: _Tagged(k, counts[k]) for k, name in enumerate(names)}
  return MixedSource(sources, dict(zip(names, weights, strict=True)))


def _poses(steps, batch_size=5, epochs=None, source=None, **options):
  iterator = training_batches(
    source or _mixed(), batch_size=batch_size, seed=3, epochs=epochs, **options
  )
  return [next(iterator)["pose"] for _ in range(steps)]


@pytest.mark.parametrize(
  "weights", [(1,), (0.9, 0.1), (1, 2, 3), (0.7, 0.2, 0.1, 1e-3)]
)
def test_shares_are_exact_at_every_moment(weights):
  order = Interleaving(weights, 10)
  counts = np.zeros(len(weights), int)
  for n in range(3000):
    source, place = order[n]
    assert place == counts[source]
    counts[source] += 1
    wanted = (n + 1) * np.array(weights) / sum(weights)
    assert np.abs(counts - wanted).max() < len(weights)
  np.testing.assert_array_equal(Interleaving((0.1, 0.2), 3)._weights, (1, 2))


def test_batches_keep_the_shares_and_shuffle_each_source():
  taken = np.concatenate(_poses(200))
  for tag, (count, share) in enumerate(((40, 0.6), (7, 0.3), (3, 0.1))):
    own = taken[taken[:, 0] == tag, 1]
    assert abs(len(own) - share * len(taken)) < 3
    for epoch in range(len(own) // count):
      seen = own[epoch * count : (epoch + 1) * count]
      assert sorted(seen) == list(range(count))
    if count > 3:
      assert not np.array_equal(own[:count], own[count : 2 * count])


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_any_number_of_processes_sees_the_same_batches(count):
  shares = [
    _poses(12, batch_size=12, process_index=i, process_count=count)
    for i in range(count)
  ]
  joined = [np.concatenate(parts) for parts in zip(*shares, strict=True)]
  np.testing.assert_array_equal(joined, _poses(12, batch_size=12))


def test_goes_on_from_its_state(tmp_path):
  make = lambda: training_batches(_mixed(), batch_size=4, seed=1)
  iterator = make()
  _ = [next(iterator) for _ in range(23)]
  with ocp.CheckpointManager(tmp_path / "state") as manager:
    save = grain.checkpoint.CheckpointSave(iterator)
    manager.save(23, args=ocp.args.Composite(data=save))
    manager.wait_until_finished()
    again = make()
    restore = grain.checkpoint.CheckpointRestore(again)
    manager.restore(23, args=ocp.args.Composite(data=restore))
  for _ in range(9):
    np.testing.assert_array_equal(next(iterator)["pose"], next(again)["pose"])


def test_records_have_the_fields_of_a_step_only():
  mixed = _mixed()
  assert len(mixed) == 50
  assert tuple(mixed[0]) == FIELDS
  tags = [int(mixed[i]["pose"][0]) for i in range(50)]
  assert [tags.count(k) for k in range(3)] == [30, 15, 5]
  with pytest.raises(IndexError):
    mixed[50]
  assert mixed.settings() != _mixed(weights=(0.6, 0.2, 0.2)).settings()


def test_impossible_mixtures_are_refused():
  for weights, message in (
    ((1, 0, 1), "weights must be positive"),
    ((1, -1, 1), "weights must be positive"),
    ((1, float("nan"), 1), "weights must be positive"),
  ):
    with pytest.raises(ValueError, match=message):
      _mixed(weights=weights)
  with pytest.raises(ValueError, match="source b of the mixture holds no records"):
    _mixed(counts=(3, 0, 2))
  with pytest.raises(ValueError, match="weights must be for a, got b"):
    MixedSource({"a": _Tagged(0, 2)}, {"b": 1.0})
  with pytest.raises(ValueError, match="some sources"):
    MixedSource({}, {})
