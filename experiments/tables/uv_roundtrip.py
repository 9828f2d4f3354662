"""Measures mesh → position map → mesh, for three templates and both readings.

    python -m experiments.tables.uv_roundtrip [--heads 16] [--sizes 256 512]

Two minutes on two cores. Random heads with expressions of the embedded model, brought
to MeInGame's template and to ICT's by `affjax.heads.retargeting`; ICT's own people as
well. Errors in mm: the target at 512² is 0.01 in the median and 0.3 at the 99.9th
percentile, seams included, for the reading "exact". `noise` is what independent noise
of 1 on each texel becomes on a vertex. `holes` counts reads of the surface at random
places that touch a texel outside the table's support. Writes
`experiments/results/uv_roundtrip.json`.
"""

import argparse
import json
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
from scipy import sparse

from affjax.geometry import uv
from affjax.heads import MorphableModel, Retargeter, open_head, sample_identity
from affjax.types import Template
from experiments.tables import heads_at_hand

OUTPUT = pathlib.Path(__file__).parents[1] / "results" / "uv_roundtrip.json"
_PLACES = 100_000


def main() -> None:
  """Measures and writes."""
  parser = argparse.ArgumentParser(description="Round trip mesh -> map -> mesh.")
  parser.add_argument("--heads", type=int, default=16)
  parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
  parser.add_argument("--output", type=pathlib.Path, default=OUTPUT)
  arguments = parser.parse_args()
  result = {
    f"{name} {size} {reading}": measured(template, heads, size, reading)
    for name, (template, heads) in cases(arguments.heads).items()
    for size in arguments.sizes
    for reading in uv.READINGS
  }
  what = {"heads": arguments.heads, "unit": "mm", "results": result}
  arguments.output.write_text(json.dumps(what, indent=1) + "\n")
  for name, row in result.items():
    print(name, row)


def cases(count: int) -> dict[str, tuple[Template, jax.Array]]:
  """Templates and heads over each."""
  model = open_head("embedded")
  heads = _people(model, count)
  found = {
    name: (template, Retargeter(model.template, template)(heads))
    for name, template in heads_at_hand.templates().items()
  }
  if "ict" in found:
    own = heads_at_hand.ict()
    found["ict's people"] = own.template, _people(own, count)
  return found


def _people(model: MorphableModel, count: int) -> jax.Array:
  rng = np.random.default_rng(0)
  identity = sample_identity(rng, model, count)
  expression = rng.uniform(0, 0.25, (count, len(model.expression_names)))
  return model.vertices(jnp.asarray(identity), jnp.asarray(expression, jnp.float32))


def measured(
  template: Template, heads: jax.Array, size: int, reading: str
) -> dict[str, float]:
  """Errors of heads, mm, and what the reading costs."""
  start = time.perf_counter()
  table = uv.uv_table(template, size, reading)
  seconds = time.perf_counter() - start
  back = uv.vertices_from_map(uv.map_from_vertices(heads, table), table)
  error = 100 * np.linalg.norm(np.asarray(back - heads), axis=-1)
  index, shared = np.unique(table.uv_vertex, return_counts=True)
  seam = error[:, index[shared > 1]]
  row = {"median": np.median(error), "p99.9": np.percentile(error, 99.9)}
  row |= {"max": error.max(), "seam_median": np.median(seam)}
  row |= {"seam_p99.9": np.percentile(seam, 99.9), "seam_max": seam.max()}
  noise = amplification(table)
  row |= {"noise_median": np.median(noise), "noise_p99": np.percentile(noise, 99)}
  row |= {"noise_max": noise.max(), "table_s": seconds, "holes": holes(template, table)}
  return {key: float(f"{value:.4g}") for key, value in row.items()}


def amplification(table: uv.UVTable) -> np.ndarray:
  """`[V]`, the root of the sum of squared weights that a vertex is read with."""
  taps = table.read_texels.shape[1]
  place = np.repeat(table.uv_vertex, taps), table.read_texels.ravel()
  weights = sparse.coo_matrix(
    (table.read_weights.ravel(), place), shape=(table.vertex_count, table.size**2)
  ).tocsr()
  return np.sqrt(np.asarray(weights.multiply(weights).sum(1)).ravel())


def holes(template: Template, table: uv.UVTable) -> int:
  """Bilinear reads at random places of the surface that touch an empty texel."""
  rng = np.random.default_rng(0)
  triangle = rng.integers(0, len(template.faces), _PLACES)
  weights = rng.dirichlet(np.ones(3), _PLACES)
  uvs = np.einsum("pk,pkx->px", weights, template.uvs[template.faces_uv[triangle]])
  base = np.floor(uv.uv_to_texel(uvs, table.size)).astype(int)
  around = base[:, None] + np.array([(0, 0), (1, 0), (0, 1), (1, 1)])
  column, row = np.moveaxis(np.clip(around, 0, table.size - 1), -1, 0)
  return int((~table.support[row, column]).any(1).sum())


if __name__ == "__main__":
  main()
