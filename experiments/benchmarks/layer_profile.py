"""Profiles a layer: the prediction of its matrices, and the convolution with them."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from affjax.nn import AffineConv, Conv
from experiments.benchmarks import affine_conv_variants as variants
from experiments.benchmarks import measuring
from experiments.benchmarks.affine_conv_variants import DIRECTIONS, Case


def table(cases: Sequence[Case], options) -> str:
  """Milliseconds of the parts and of the whole layer, as Markdown.

  "predictor" is the convolution to six channels, "affine convolution" the op with
  matrices given, "layer" both with the bias; "plain layer" is what they stand in for.
  Gradients are those of the parameters and of x.
  """
  header = ["", *(f"{case}, {way}" for way in DIRECTIONS for case in cases)]
  columns = [_times(case, way, options) for way in DIRECTIONS for case in cases]
  rows = [
    [part, *(f"{1e3 * column[part].median:.3g} ms" for column in columns)]
    for part in columns[0]
  ]
  shares = [c["predictor"].median / c["layer"].median for c in columns]
  rows.append(["predictor's share of the layer", *(f"{s:.0%}" for s in shares)])
  return measuring.markdown(header, rows)


def _times(case: Case, direction: str, options) -> dict[str, measuring.Timing]:
  layer, plain = (
    kind(
      case.channels,
      case.features,
      kernel_size=variants.KERNEL,
      stride=variants.STRIDE,
      dtype=case.dtype,
      rngs=nnx.Rngs(0),
    )
    for kind in (AffineConv, Conv)
  )
  data = variants.arrays(case)
  # The mean of the matrices that the op is timed with.
  assert isinstance(layer, AffineConv)
  layer.predictor.bias[...] = jnp.asarray(data.theta.mean((0, 1, 2)).reshape(-1))
  x = jnp.asarray(data.x, case.dtype)
  parts = {
    "plain layer": _module(plain, x, direction, options),
    "predictor": _module(layer.predictor, x, direction, options),
    "affine convolution": variants.make(
      variants.ours(options.device), case, direction, options.device
    ),
    "layer": _module(layer, x, direction, options),
  }
  return measuring.interleaved(parts, rounds=options.rounds)


def _module(module: nnx.Module, x, direction: str, options) -> measuring.Variant:
  graph, state = nnx.split(module, nnx.Param)
  params = nnx.to_pure_dict(state)
  call = lambda x, params: nnx.merge(graph, params)(x)
  run: Callable = call if direction == "forward" else _both(call)
  repeats = variants.GPU_REPEATS if options.device == "gpu" else 1
  run = variants.repeated(run, repeats) if repeats > 1 else run
  compiled = jax.jit(run).lower(x, params).compile()
  return measuring.Variant(lambda: jax.block_until_ready(compiled(x, params)), repeats)


def _both(call: Callable) -> Callable:
  def run(x, params):
    out, pull = jax.vjp(call, x, params)
    return out, pull(jnp.ones_like(out))

  return run
