"""Writes `experiments/REPORT.md`: what of the paper reproduces, and what does not.

    python -m experiments.report

Every number is read from the JSON files of `results/`, and each section names the
command that makes its file. A section whose file is missing says so. The verdicts
follow from the numbers: training on, and running the commands again, changes them.
"""

import json
import math
import pathlib
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from affjax import files
from experiments.benchmarks import measuring
from experiments.paper import summary as paper
from experiments.paper.summary import PAPER

FOLDER = pathlib.Path(__file__).parent
RESULTS, REPORT = FOLDER / "results", FOLDER / "REPORT.md"

# Rows of our comparison that stand for a row of table 1.
SAME = {
  "plain": "AffUNet without affine convolution",
  "paper": "AffUNet",
}

Json = Any
Section = Callable[[], str]


class MissingError(FileNotFoundError):
  """A file of results does not exist yet."""


def read(name: str) -> Json:
  """Returns the content of a file of results.

  Raises:
    MissingError: It does not exist.
  """
  path = RESULTS / name
  if not path.exists():
    raise MissingError(f"`results/{name}` does not exist yet")
  return json.loads(path.read_text())


def number(value: float | None, digits: int = 3) -> str:
  """Returns a number with some significant digits; a dash for none."""
  if value is None or not math.isfinite(value):
    return "–"
  return f"{value:.{digits}g}"


def _row(result: Json, measure: str, part: str | None = None) -> Mapping[str, Any]:
  """Returns the row of an evaluation over all photos."""
  for row in result["rows"]:
    if row["measure"] == measure and row.get("part") == part and "stratum" not in row:
      return row
  raise KeyError(measure)


def architectures() -> str:
  """Affine convolution against its rivals, with few steps and with more."""
  results = [read("alignment.json")]
  if (RESULTS / "alignment_long.json").exists():
    results.insert(0, read("alignment_long.json"))
  verdicts, tables = zip(*map(_alignment, results), strict=True)
  settings = results[0]["settings"]
  theirs = "The paper has ratios of 0.761 (SIDE) and 0.372 (MAD)."
  return f"""
{textwrap.fill(" ".join(verdicts) + " " + theirs, 88)}

{(chr(10) * 2).join(tables)}

Synthetic photos of {settings["size"]}², {settings["held_out"]} of them held out; layers
as narrow as keeps the paper's ratio of receptive field to photo. The paper
trained on CelebA-HQ at 512² and measured on faces of the BFM; magnitudes cannot be
compared, ratios can. Fixed dilation (`plain_dilated`), free offsets (`deformable`) and
a fully connected bottleneck (`plain_global`) are the rivals that the paper did not try.
None of them aligns the photo with the map, and neither does the paper's predictor: its
samples lie farther from the true texels than those of plain layers
(docs/affine_convolution.md). What it buys is a wider view. `guided`, ours, is told
where texels lie. SIDE and MAD leave out where the face is and judge its relief: there
the networks without a guide are hardly better, or worse, than the mean head.

*To refute it*: `python -m experiments.alignment --steps 4000 --photos 6000`, or at
256². If the order of `plain` and `paper` turns round with more steps, the gain is one
of speed only."""


def _alignment(result: Json) -> tuple[str, str]:
  """Returns verdict and table of one comparison of architectures."""
  settings = result["settings"]
  rows = [row for row in result["rows"] if row["task"] == "position"]
  by_name = {row["architecture"]: row for row in rows}
  measured = "side" in by_name["paper"]["mean"]
  columns = ("distance", "side", "mad") if measured else ("distance",)
  titles = {
    "distance": "3D distance, % of eyes'",
    "side": "SIDE, 1e-2",
    "mad": "MAD, °",
  }
  header = ["", "seeds", *(titles[name] for name in columns), "paper: SIDE, MAD"]
  cells = [
    [
      name,
      str(len(row["seeds"])) if "parameters" in row else "",
      *(_spread(row, column) for column in columns),
      _paper_1(SAME.get(name, "")),
    ]
    for name, row in sorted(by_name.items(), key=lambda x: -x[1]["mean"]["distance"])
  ]
  paper, plain = by_name["paper"]["mean"], by_name["plain"]["mean"]
  ratios = ", ".join(
    f"{titles[name].split(',')[0]} {number(paper[name] / plain[name])}"
    for name in columns
  )
  worse = [titles[name].split(",")[0] for name in columns if paper[name] >= plain[name]]
  size = f"{settings['steps']} steps of {settings['batch']} on {settings['photos']}"
  seeds = len(by_name["paper"]["seeds"])
  verdict = (
    f"With {size} photos **{_direction(worse)}**; ratio of with to without: {ratios} "
    f"({seeds} {'seed' if seeds == 1 else 'seeds'})."
  )
  return verdict, f"{size} photos:\n\n{measuring.markdown(header, cells)}"


def _direction(worse: Sequence[str]) -> str:
  """Returns what errors that are no smaller with affine convolution say."""
  if not worse:
    return "the direction reproduces: all errors are smaller with affine convolution"
  names = " and ".join(worse)
  return f"it does not reproduce: {names} no smaller with affine convolution"


def _spread(row: Mapping[str, Any], name: str) -> str:
  mean, deviation = row["mean"].get(name), row["deviation"].get(name)
  spread = "" if deviation is None else f" ± {number(deviation, 2)}"
  return number(mean) + spread


def _paper_1(name: str) -> str:
  return ", ".join(map(str, PAPER[1].get(name, ())))


def shapes() -> str:
  """Shapes of shipped methods against 3D truth."""
  fit = read("evaluate_fit_embedded.json")
  networks = read("evaluate_networks_embedded.json")
  measures = (
    ("position, similarity", "dm"),
    ("distance, similarity", "mm"),
    ("SIDE, raw", "1e-2"),
    ("MAD, raw", "°"),
    ("scan (NoW-like)", "mm"),
    ("normals, visible face", "°"),
  )
  rows = []
  for name, unit in measures:
    ours, other = _row(networks, name), _row(fit, name)
    mean = _both([ours["baseline"], other["baseline"]])
    rows.append(
      [f"{name}, {unit}", mean, *(_with_interval(row) for row in (other, ours))]
    )
  ratio = (
    _row(networks, "position, similarity")["mean"]
    / (_row(fit, "position, similarity")["mean"])
  )
  return f"""
**{_shape_verdict(ratio, _row(fit, "position, similarity")["ratio"])}** N =
{_row(networks, "position, similarity")["n"]} held-out synthetic photos of the set
`{fit["set"]}` ({fit["sha256"][:8]}); 95 % intervals over photos.

{measuring.markdown(["", "mean head", "fit", "networks"], rows)}

The position error of the networks is {number(ratio)} of the fit's; the goal was 0.9.
The geometry network is limited by the number of painted photos
(`experiments/geometry/README.md`), not by steps. The paper's table 1 has 0.721 and
14.74° for AffUNet, on another set: the mean head, which the paper does not report,
already has {number(_row(fit, "SIDE, raw")["baseline"])} and
{number(_row(fit, "MAD, raw")["baseline"])}° here. A table without the mean head says
little.

*To refute it*: `affjax benchmark embedded`, then `affjax evaluate fit|networks|RUN --on
embedded`, or your own meshes."""


def _shape_verdict(to_fit: float, to_mean: float) -> str:
  """Returns what the ratios of errors say."""
  known = "better" if to_mean < 1 else "no better"
  adds = "improve on" if to_fit < 0.97 else "add nothing to"
  return f"The fit knows shapes {known} than the mean head; the networks {adds} it."


def _both(values: Sequence[float]) -> str:
  """Returns one number, or two where the methods failed on different photos."""
  texts = dict.fromkeys(number(value) for value in values)
  return " / ".join(texts)


def _with_interval(row: Mapping[str, Any]) -> str:
  low, high = row["interval"]
  return f"{number(row['mean'])} ({number(low)}–{number(high)})"


def textures() -> str:
  """Diffuse maps and renders against the truth."""
  fit = read("evaluate_fit_embedded.json")
  networks = read("evaluate_networks_embedded.json")
  measures = (
    "diffuse PSNR, visible",
    "diffuse PSNR, hidden",
    "render L1",
    "render PSNR",
  )
  rows = [
    [
      name,
      number(_row(fit, name)["baseline"]),
      *(_with_interval(_row(result, name)) for result in (fit, networks)),
    ]
    for name in measures
  ]
  gains = [
    _row(networks, name)["mean"] - _row(fit, name)["mean"] for name in measures[:2]
  ]
  return f"""
**The networks take the light out {"better" if min(gains) > 0 else "no better"} than the
fit**: {gains[0]:+.1f} dB on visible and {gains[1]:+.1f} dB on hidden texels (goal: +3
and +3).

{measuring.markdown(["", "mean colors", "fit", "networks"], rows)}

Detail of the photo passes at full resolution however small the training was, since the
diffuse network corrects the photo. On real skin patches remain that synthetic photos do
not have (`affjax/assets/MODEL_CARD.md`). Table 2 (cosine and recall of renders of real
photos, N unknown) has not been repeated: the paper's test photos and its recognition
network are not public.

*To refute it*: the commands above with photographs whose diffuse maps are known, such
as a light stage's."""


def tables() -> str:
  """Tables 1 to 3, as far as they have been trained."""
  result = read("paper_cpu.json")
  settings = result["settings"]
  parts = [
    f"{title}\n\n{paper.table(number, result['rows'])}"
    for number, title in paper.TITLES.items()
  ]
  steps = ", ".join(map(str, settings["steps"]))
  return f"""
Each row was trained here with {settings["photos"]} synthetic photos of
{settings["size"]}² ({steps} updates of {settings["batch"]} in the three stages) and
judged on the set `embedded`. Magnitudes cannot be compared with the paper's; order and
ratios can.

{(chr(10) * 2).join(parts)}

*To refute it*: `python -m experiments.paper --scale gpu`."""


def reference() -> str:
  """The independent PyTorch implementation."""
  result = read("compare_pytorch_64.json")
  names = ("outputs", "losses", "gradients", "updates", "run", "speed")
  rows = [
    [
      stage,
      *(
        f"{number(found[name]['value'], 2)}{'' if found[name]['met'] else ' (missed)'}"
        for name in names
      ),
    ]
    for stage, found in result["verdicts"].items()
  ]
  goals = [number(result["targets"].get(name)) for name in names]
  return f"""
**Both implementations are the same method** up to rounding, and chaos over many steps.
Largest differences, and how many times faster a step of ours is
({result["method"]["threads"]} thread, {result["machine"]["device"]}):

{measuring.markdown(["", *names], [["goal", *goals], *rows])}

Where the run of 20 steps is missed, a run of the same code with other rounding differs
as much (docs/pytorch.md).

*To refute it*: `python -m experiments.compare_pytorch`."""


def speed() -> str:
  """The affine convolution on a CPU."""
  result = read("bench_affine_conv_cpu.json")
  rows = [
    [t["what"], number(t["value"]), t["target"], "yes" if t["met"] else "no"]
    for t in result["targets"]
  ]
  return f"""
{measuring.markdown(["", "measured", "goal", "reached"], rows)}

{result["machine"]["threads"]} threads of an {result["machine"]["device"]}, float32.
Nothing in this report has been measured on a GPU.

*To refute it*: `python -m experiments.benchmarks.affine_conv`."""


def training() -> str:
  """Whether training survives, and the forms of the discriminator."""
  kills = read("kills.json")["tiny"]
  options = read("gan_options.json")
  forms = {
    name: form for name, form in options.items() if "last_third" in dict_of(form)
  }
  rows = [
    [
      name,
      number(form["last_third"]["adversarial_accuracy"]),
      number(form["last_third"]["held_out/image_l1"]),
    ]
    for name, form in forms.items()
  ]
  header = ["discriminator", "patches told right", "held-out image loss"]
  return f"""
A run killed {kills["kills"]} times at random moments ended as the uninterrupted one, to
the bit, {kills["identical_runs"]} times out of {kills["runs"]}. Stage 3 on a toy,
{options["steps"]} steps, one seed:

{measuring.markdown(header, rows)}

*To refute it*: `python -m experiments.training.kills`, `python -m
experiments.training.gan_options`."""


def dict_of(value: Json) -> Mapping[str, Any]:
  """Returns a value if it is an object, else an empty one."""
  return value if isinstance(value, dict) else {}


SECTIONS: dict[str, Section] = {
  "Affine convolution (table 1, figure 7)": architectures,
  "Shape": shapes,
  "Texture (table 2, figures 5 and 11)": textures,
  "Tables 1 to 3, small": tables,
  "The method, twice": reference,
  "Speed": speed,
  "Training": training,
}

HEAD = """
# What reproduces, and what does not
Made by `python -m experiments.report` from the files in `results/`. *High-Quality 3D
Face Reconstruction with Affine Convolutional Networks* (ACM MM 2022) has neither code
nor weights; all numbers here are of this implementation.
"""
TAIL = """
## Not done
- **Table 2** (identity of real people) and **table 3** (loss terms left out): no run of
  the size of the paper has been made. The shipped networks are trained for stages 1 and
  2 at 128² on synthetic faces; the adversarial stage at full size has not been run.
- **512² training**, and anything on a GPU.
- Rows of **DECA, 3DDFAV2, Deep3DFR, MeInGame, LAP, AvatarMe**: `affjax evaluate FOLDER`
  takes the meshes of the first four; bring their output.
"""


def report() -> str:
  """Returns the report."""
  parts = [HEAD.strip()]
  for title, section in SECTIONS.items():
    try:
      text = section().strip()
    except MissingError as error:
      text = f"Not measured: {error}."
    parts.append(f"## {title}\n{text}")
  return "\n\n".join([*parts, TAIL.strip()]) + "\n"


def main() -> None:
  """Writes the report."""
  files.write_file(REPORT, report())
  print(REPORT)


if __name__ == "__main__":
  main()
