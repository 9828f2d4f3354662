"""`affjax evaluate`."""

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from affjax.commands import _console, _parsing

if TYPE_CHECKING:
  from affjax import benchmark


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate(_parsing.Command):
  """Measures heads that are reconstructed from photos against 3D truth.

  Writes tables on the terminal, with the mean head, which knows nothing of a person,
  beside the method, 95 % bootstrap intervals over photos, and the photos that count;
  with --out also OUT/result.json.

  Exit status: 0 = every photo has a head, 1 = some have none, 2 = nothing was started.

  Example: affjax evaluate fit --on embedded --limit 60 -o out/fit

  Attributes:
    what: Judge this: mean (the mean head) or fit (`affjax fit`).
    on: Use this benchmark set: embedded, ict, or the folder of a set.
    limit: Take only the first so many samples; 0 takes all.
    out: Write the result into this folder.
  """

  what: Annotated[Positional[str], arg(metavar="WHAT")]
  on: Annotated[str, arg(metavar="SET")]
  limit: int = 0
  out: Annotated[pathlib.Path | None, arg(aliases=["-o"], metavar="FOLDER")] = None

  def __post_init__(self) -> None:
    if self.limit < 0:
      raise ValueError(f"limit must not be negative, got {self.limit}")

  def run(self) -> None:
    """Runs the command."""
    from affjax import benchmark, files

    contestant = benchmark.contestant(self.what)
    judged = self._set()
    with _console.counting_progress("photos") as step:
      judgment = benchmark.judge(contestant, judged, progress=step)
    title = f"{self.what} on {judged.name}: {len(judged)} photos, {contestant.about}"
    _console.OUT.print(_console.escaped(title + "\n"))
    _console.OUT.print(_console.escaped(benchmark.as_text(judgment, self.what)))
    if self.out is not None:
      self.out.mkdir(parents=True, exist_ok=True)
      about = {"what": self.what, "set": judged.name, "sha256": judged.sha256}
      files.write_json(self.out / "result.json", about | benchmark.as_json(judgment))
    if judgment.problems:
      raise _console.Exit(1)

  def _set(self) -> "benchmark.BenchmarkSet":
    from affjax import benchmark

    folder = pathlib.Path(self.on)
    if self.on in benchmark.SETS:
      folder = benchmark.folder_of(benchmark.recipe(self.on))
      if not folder.is_dir():
        limit = f" --limit {self.limit}" if self.limit else ""
        command = f"affjax benchmark {self.on}{limit}"
        raise ValueError(f"benchmark set {self.on!r} is not made yet: {command}")
    return benchmark.read_set(folder, limit=self.limit)
