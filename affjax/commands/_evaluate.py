"""`affjax evaluate`."""

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from affjax.commands import _console, _parsing, _weights

if TYPE_CHECKING:
  from affjax import benchmark


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate(_parsing.Command):
  """Measures reconstructed heads against 3D truth.

  Writes tables on the terminal, with the mean head, which knows nothing of a person,
  beside the method, 95 % bootstrap intervals over photos, and the photos that count;
  with --out also OUT/result.json and the page OUT/index.html, which shows the best, the
  median and the worst photo. docs/evaluation.md explains the measures.

  Exit status: 0 = every photo has a head, 1 = some have none, 2 = nothing was started.

  Example: affjax evaluate fit --on embedded --limit 60 -o out/fit

  Attributes:
    what: Judge this: mean (the mean head), fit (`affjax fit`), landmarks (`affjax
      fit --method landmarks`), networks (`affjax reconstruct`), the workdir of
      trained networks, or a folder of meshes by another tool.
    on: Use this benchmark set: embedded, ict, the folder of a set, or a folder of
      photos, on which only measures that need no 3D truth are taken.
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
    from affjax import benchmark

    samples = self._samples()
    contestant = self._contestant(samples)
    with _console.counting_progress("photos") as step:
      judgment = benchmark.judge(contestant, samples, progress=step)
    title = f"{self.what} on {samples.name}: {len(samples)} photos, {judgment.about}"
    _console.OUT.print(_console.escaped(title + "\n"))
    _console.OUT.print(_console.escaped(benchmark.as_text(judgment, self._name)))
    if self.out is not None:
      self._write(self.out, judgment, contestant, samples)
    if judgment.problems:
      raise _console.Exit(1)

  @property
  def _name(self) -> str:
    """Name of the method in the tables."""
    return pathlib.Path(self.what).name or self.what

  def _write(
    self,
    out: pathlib.Path,
    judgment: "benchmark.Judgment",
    contestant: "benchmark.Contestant",
    samples: "benchmark.Samples",
  ) -> None:
    from affjax import benchmark, files

    out.mkdir(parents=True, exist_ok=True)
    about = {"what": self._name, "set": samples.name, "sha256": samples.sha256}
    files.write_json(out / "result.json", about | benchmark.as_json(judgment))
    page = benchmark.write_page(out, judgment, contestant, samples, what=self._name)
    if page is not None:
      _console.OUT.print(_console.escaped(f"\n{page}"))

  def _contestant(self, samples: "benchmark.Samples") -> "benchmark.Contestant":
    from affjax import benchmark
    from affjax.train import workdir

    if self.what == "networks":
      return _networks(_weights.EMBEDDED)
    folder = pathlib.Path(self.what)
    if self.what in benchmark.CONTESTANTS or not folder.is_dir():
      return benchmark.contestant(self.what)
    if workdir.latest_stage(folder) is not None:
      return _networks(folder)
    return benchmark.tool_folder(folder, samples.names)

  def _samples(self) -> "benchmark.Samples":
    from affjax import benchmark

    folder = pathlib.Path(self.on)
    if self.on in benchmark.SETS:
      folder = benchmark.folder_of(benchmark.recipe(self.on))
      if not folder.is_dir():
        limit = f" --limit {self.limit}" if self.limit else ""
        command = f"affjax benchmark {self.on}{limit}"
        raise ValueError(f"benchmark set {self.on!r} is not made yet: {command}")
    if folder.is_dir() and not (folder / benchmark.INDEX).exists():
      return benchmark.photo_folder(folder, limit=self.limit)
    return benchmark.read_set(folder, limit=self.limit)


def _networks(weights: pathlib.Path) -> "benchmark.Contestant":
  """Returns the method that trained networks are."""
  from affjax import benchmark, photos

  return benchmark.Reconstructed(
    photos.NetworkReconstructor(_weights.load_run(weights))
  )
