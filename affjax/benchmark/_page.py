"""The page of a judgment: pictures of the best, median and worst photo, and tables."""

import html
import importlib.resources
import pathlib
import string
from collections.abc import Sequence

import numpy as np

import affjax
from affjax import files
from affjax.benchmark import _pictures, _tables
from affjax.benchmark._contestants import Contestant
from affjax.benchmark._judging import Judgment, Samples
from affjax.eval import MEASURES, Cases
from affjax.export import OutputError, is_page, jpeg_bytes

# The first of these measures that a judgment has ranks the photos.
_RANKING = ("position, similarity", "scan (NoW-like)", "landmarks, inner")


def write_page(
  out: pathlib.Path,
  judgment: Judgment,
  contestant: Contestant,
  samples: Samples,
  *,
  what: str,
) -> pathlib.Path | None:
  """Writes `OUT/index.html` and `OUT/pictures/`; returns the page, None without heads.

  Args:
    out: An existing folder.
    judgment: The values.
    contestant: The method; the heads that are shown are reconstructed once more.
    samples: The photos.
    what: Name of the method in the tables.

  Raises:
    OutputError: `OUT/index.html` is not a page of affjax.
  """
  index = out / "index.html"
  if index.exists() and not is_page(index.read_text("utf-8", "replace")):
    raise OutputError(f"{str(index)!r} is not a page of affjax; not replaced")
  by = next((name for name in _RANKING if name in judgment.values), None)
  if by is None:
    return None
  ranks = _ranked(judgment.values[by][""])
  (out / "pictures").mkdir(exist_ok=True)
  sections = [
    _section(out, rank, k, by, judgment, contestant, samples)
    for rank, k in ranks.items()
  ]
  page = string.Template(
    (importlib.resources.files("affjax.benchmark") / "report.html").read_text("utf-8")
  ).substitute(
    title=html.escape(f"{what} on {samples.name}"),
    about=html.escape(
      f"{judgment.about}; {len(samples)} photos, SHA-256 {samples.sha256[:12]}"
    ),
    by=html.escape(by),
    cases="\n".join(sections),
    tables="\n".join(_table(*block) for block in _tables.blocks(judgment, what)),
    notes="".join(f"<p>{html.escape(note)}</p>" for note in _tables.notes(judgment)),
    ramp=", ".join(_css(color) for color in _pictures.RAMP),
    footer=f"Made by affjax {affjax.__version__}.",
  )
  files.write_file(index, page.encode("utf-8", "replace"))
  return index


def _ranked(values: np.ndarray) -> dict[str, int]:
  """Returns the numbers of the best, median and worst photo, each photo once."""
  order = [int(k) for k in np.argsort(values) if np.isfinite(values[k])]
  places = {"best": 0, "median": len(order) // 2, "worst": len(order) - 1}
  ranks: dict[str, int] = {}
  for name, place in places.items():
    if order and order[place] not in ranks.values():
      ranks[name] = order[place]
  return ranks


def _section(
  out: pathlib.Path,
  rank: str,
  number: int,
  by: str,
  judgment: Judgment,
  contestant: Contestant,
  samples: Samples,
) -> str:
  photos = samples.load([number])
  answer = contestant.heads_in(photos)
  if answer.heads is None:
    return ""
  pictures = _pictures.of_case(Cases(photos, answer.heads), 0)
  figures = []
  for k, (caption, picture) in enumerate(pictures.items()):
    path = out / "pictures" / f"{rank}_{k}.jpg"
    files.write_file(path, jpeg_bytes(picture))
    ramp = '<div class="ramp"></div>' if caption.startswith("distance") else ""
    figures.append(
      f'<figure><img alt="{html.escape(caption)}" src="pictures/{path.name}">{ramp}'
      f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )
  unit = next(measure.unit for measure in MEASURES if measure.name == by)
  own, mean = (float(v[by][""][number]) for v in (judgment.values, judgment.baseline))
  value = f"{own:.4g} {unit}"
  if np.isfinite(mean):
    value += f", mean head {mean:.4g}"
  return (
    f"<section><h3>{rank.capitalize()}: {html.escape(photos.names[0])}"
    f'<small>{html.escape(value)}</small></h3><div class="row">{"".join(figures)}</div>'
    "</section>"
  )


def _table(title: str, rows: Sequence[Sequence[str]]) -> str:
  cells = lambda row, tag: "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in row)
  body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows[1:])
  table = f"<table><tr>{cells(rows[0], 'th')}</tr>{body}</table>"
  if not title:
    return f'<div class="table">{table}</div>'
  return f"<details><summary>{html.escape(title)}</summary>{table}</details>"


def _css(color: np.ndarray) -> str:
  return f"rgb({', '.join(str(round(255 * x)) for x in color)})"
