"""Updates of affjax beside those of PyTorch, on the same batches."""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax
import torch

from affjax.train import sharding, states, steps
from experiments.pytorch_reference import weights
from experiments.pytorch_reference.batch import to_batch
from experiments.pytorch_reference.comparison import Case, Record, relative
from experiments.pytorch_reference.stages import Trainer


class Affjax:
  """affjax's side of the updates: a compiled step and its state.

  Args:
    case: The stage.
    record: A batch, for its shapes.
    clock: What tells the time of compilation.

  Attributes:
    state: The state after the last update, on the device.
    compile_s: Seconds that compilation took, or reading a program that JAX has kept.
  """

  def __init__(
    self,
    case: Case,
    record: Record,
    clock: Callable[[], float] = time.perf_counter,
  ):
    self._mesh = sharding.make_mesh(sharding.MeshShape(1))
    self._features = case.features
    self.state = sharding.put_state(case.state(), self._mesh)
    update = steps.make_update(case.learner, self._mesh)
    start = clock()
    lowered = update.lower(self.state, self._features, self.placed(record))
    self._update = lowered.compile()
    self.compile_s = clock() - start

  def fresh(self, case: Case) -> "Affjax":
    """Returns itself with the state from which the case starts."""
    self.state = sharding.put_state(case.state(), self._mesh)
    return self

  def placed(self, record: Record) -> dict[str, jax.Array]:
    """Returns a batch on the device."""
    return sharding.put_batch(record, self._mesh)

  def step(self, record: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Makes one update and returns its losses and the norms of its gradients."""
    self.state, scalars = self._update(self.state, self._features, record)
    return jax.block_until_ready(scalars)


class PyTorch:
  """PyTorch's side of the updates."""

  def __init__(self, trainer: Trainer):
    self.trainer = trainer

  def step(self, record: Record) -> dict[str, torch.Tensor]:
    """Makes one update and returns its losses and the norms of its gradients."""
    return self.trainer.step(to_batch(record, self.trainer.model.head))

  def follow(self, state: states.TrainState) -> None:
    """Takes affjax's weights and the moments of its optimizers."""
    trainer = self.trainer
    trainer.count = int(state.step)
    sides = [(trainer.model, trainer.optimizer, state.params, state.optimizer)]
    if trainer.discriminator is not None:
      other = trainer.discriminator, trainer.other_optimizer
      sides.append((*other, state.discriminator, state.discriminator_optimizer))
    for module, optimizer, params, moments in sides:
      module.load_state_dict(weights.to_state(params))
      first, second = (
        weights.to_state(optax.tree.get(moments, name)) for name in ("mu", "nu")
      )
      for name, parameter in module.named_parameters():
        if name in first:
          optimizer.state[parameter] = {
            "step": torch.tensor(float(state.step)),
            "exp_avg": first[name],
            "exp_avg_sq": second[name],
          }


History = list[dict[str, tuple[float, float]]]


def from_one_start(
  ours: Affjax, theirs: PyTorch, records: Sequence[Record], count: int
) -> tuple[History, dict[str, float]]:
  """Compares updates that both sides make one after the other from the same start.

  Returns:
    The losses at each update, and for each network how far the weights are apart after
    the last: the norm of the difference by the norm of the weights.
  """
  history = []
  for record in itertools.islice(itertools.cycle(records), count):
    mine, other = ours.step(ours.placed(record)), theirs.step(record)
    history.append(_pairs(mine, other))
  squares = _squares(theirs, weights.to_state(ours.state.params))
  return history, _ratios([squares])


def from_common_states(
  ours: Affjax, theirs: PyTorch, records: Sequence[Record], count: int
) -> tuple[History, dict[str, float]]:
  """Compares updates each of which both sides make from affjax's state.

  Returns:
    The losses, and for each network how far the change of its weights by PyTorch is
    from that by affjax: the norm of the difference by the norm of the change, over all
    updates together.
  """
  history, squares = [], []
  for record in itertools.islice(itertools.cycle(records), count):
    theirs.follow(ours.state)
    before = weights.to_state(ours.state.params)
    mine, other = ours.step(ours.placed(record)), theirs.step(record)
    history.append(_pairs(mine, other))
    squares.append(_squares(theirs, weights.to_state(ours.state.params), before))
  return history, _ratios(squares)


def _squares(
  theirs: PyTorch,
  wanted: Mapping[str, torch.Tensor],
  before: Mapping[str, torch.Tensor] | None = None,
) -> dict[str, np.ndarray]:
  """Returns the squared norms of difference and weights, or change, of networks."""
  found = {name: np.zeros(2) for name in theirs.trainer.stage.trains}
  for name, value in theirs.trainer.model.named_parameters():
    if (network := name.partition(".")[0]) in found:
      size = wanted[name] - before[name] if before else wanted[name]
      pair = (value.detach() - wanted[name], size)
      found[network] += [float(x.double().square().sum()) for x in pair]
  return found


def _ratios(squares: Sequence[Mapping[str, np.ndarray]]) -> dict[str, float]:
  sums = {name: np.sum([at[name] for at in squares], 0) for name in squares[0]}
  return {name: float(np.sqrt(a / b)) for name, (a, b) in sums.items()}


def by_precision(case: Case, records: Sequence[Record], count: int) -> History:
  """Returns the losses of PyTorch in single and in double precision.

  They tell how fast updates of the same definition part from each other by rounding.
  """
  single, double = (
    PyTorch(case.trainer(dtype=dtype)) for dtype in (torch.float32, torch.float64)
  )
  return [
    _pairs(single.step(record), double.step(record))
    for record in itertools.islice(itertools.cycle(records), count)
  ]


def _pairs(
  mine: Mapping[str, Any], other: Mapping[str, Any]
) -> dict[str, tuple[float, float]]:
  return {name: (float(mine[name]), float(value)) for name, value in other.items()}


def deviations(history: Sequence[Mapping[str, Sequence[float]]]) -> dict[str, float]:
  """Returns the largest relative difference of each loss over the updates."""
  names = [name for name in history[0] if not name.startswith(steps.GRADIENT)]
  return {name: max(relative(*at[name]) for at in history) for name in names}
