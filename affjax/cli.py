"""The command line: `affjax reconstruct`, `fit`, `prepare` and `doctor`.

Errors are one line on stderr. Exit codes: 0 all done, 1 some photos gave nothing, 2
nothing could be started, 130 interrupted. AFFJAX_DEBUG=1 shows tracebacks.
"""

import contextlib
import dataclasses
import os
import pathlib
import sys
import time
from collections.abc import Iterator
from typing import Annotated

import typer
from rich import console, markup, progress, table

import affjax

# JAX and all that needs it are imported inside the commands: `--help`, `--version` and
# wrong arguments answer at once.

app = typer.Typer(
  help="3D heads from photographs.",
  add_completion=False,
  no_args_is_help=True,
  pretty_exceptions_enable=False,
  rich_markup_mode=None,
)
_OUT = console.Console(highlight=False, soft_wrap=True)
_ERR = console.Console(stderr=True, highlight=False, soft_wrap=True)


def main() -> None:
  """Entry point of the `affjax` command."""
  app(prog_name="affjax")


def _version(wanted: bool) -> None:
  if wanted:
    _OUT.print(f"affjax {affjax.__version__}")
    raise typer.Exit


@app.callback()
def _common(
  version: Annotated[
    bool,
    typer.Option("--version", callback=_version, is_eager=True, help="Print it."),
  ] = False,
) -> None:
  del version


@app.command()
def reconstruct(
  photos: Annotated[
    list[pathlib.Path], typer.Argument(help="Photos, or folders of photos.")
  ],
  out: Annotated[
    pathlib.Path, typer.Option("-o", "--out", help="Folder to write into.")
  ],
  weights: Annotated[
    pathlib.Path | None,
    typer.Option(help="A training workdir. Default: what `make demo` left."),
  ] = None,
  pose: Annotated[
    str,
    typer.Option(help="Where the pose comes from: landmarks or network."),
  ] = "landmarks",
  keep_eyes_and_mouth: Annotated[
    bool,
    typer.Option(
      "--keep-eyes-and-mouth",
      help="Overlays leave the photo its own eyes and mouth interior.",
    ),
  ] = False,
  overwrite: Annotated[
    bool, typer.Option("--overwrite", help="Replace results of the same name.")
  ] = False,
) -> None:
  """Turns every face of the photos into a textured 3D head."""
  with _one_line_errors():
    from affjax.export import prepared_folder

    with prepared_folder(out, overwrite=overwrite):
      from affjax import reconstruct as chain

      inputs = chain.gather(photos)
      if pose not in chain.POSES:
        raise ValueError(
          f"--pose must be one of {', '.join(chain.POSES)}, got {pose!r}"
        )
      run = chain.load_run(weights)
      with _photo_progress(len(inputs.photos)) as step:
        report = chain.reconstruct(
          inputs,
          out,
          run=run,
          pose=pose,
          keep_original=keep_eyes_and_mouth,
          overwrite=overwrite,
          progress=step,
        )
    _tell(report, inputs.ignored)


@app.command()
def fit(
  photos: Annotated[
    list[pathlib.Path], typer.Argument(help="Photos, or folders of photos.")
  ],
  out: Annotated[
    pathlib.Path, typer.Option("-o", "--out", help="Folder to write into.")
  ],
  model: Annotated[
    str,
    typer.Option(
      help="embedded, ICT-FaceKit's folder, or a file of BFM, FLAME, Surrey."
    ),
  ] = "embedded",
  map_size: Annotated[int, typer.Option(help="Width of the maps.")] = 512,
  photometric: Annotated[
    bool,
    typer.Option(
      "--photometric/--no-photometric", help="Read diffuse and light off the photo."
    ),
  ] = True,
  keep_eyes_and_mouth: Annotated[
    bool,
    typer.Option(
      "--keep-eyes-and-mouth",
      help="Overlays leave the photo its own eyes and mouth interior.",
    ),
  ] = False,
  overwrite: Annotated[
    bool, typer.Option("--overwrite", help="Replace results of the same name.")
  ] = False,
) -> None:
  """Fits a morphable head to every face of the photos; no training needed."""
  with _one_line_errors():
    from affjax.export import prepared_folder

    with prepared_folder(out, overwrite=overwrite):
      from affjax import fitting, reconstruct
      from affjax.heads import open_head

      inputs = reconstruct.gather(photos)
      loaded = open_head(model)
      with _photo_progress(len(inputs.photos)) as step:
        report = fitting.fit_photos(
          inputs,
          out,
          model=loaded,
          map_size=map_size,
          colors=photometric,
          keep_original=keep_eyes_and_mouth,
          overwrite=overwrite,
          progress=step,
        )
    _tell(report, inputs.ignored)


_INPUT = (
  "Photos: a folder, a zip or tar archive (CelebA-HQ's data512x512.tar), an installed "
  "TFDS data set (its folder, or tfds:NAME); or synthetic:COUNT."
)


@app.command()
def prepare(
  source: Annotated[str, typer.Argument(metavar="INPUT", help=_INPUT)],
  out: Annotated[pathlib.Path, typer.Option("-o", "--out", help="Folder to write.")],
  name: Annotated[str, typer.Option(help="Of the data set: OUT/NAME/1.0.0.")] = "faces",
  provider: Annotated[
    str, typer.Option(help="Of the geometry: fit, deep3d, precomputed, synthetic.")
  ] = "fit",
  template: Annotated[
    str, typer.Option(help="Whose vertices: embedded, or deep3d's own (the BFM's).")
  ] = "embedded",
  size: Annotated[int, typer.Option(help="Width of the aligned photos, px.")] = 512,
  licence: Annotated[str, typer.Option(help="Of the photos.")] = "unknown",
  splits: Annotated[
    str, typer.Option(help="Shares of train, validation, test.")
  ] = "0.96,0.02,0.02",
  person: Annotated[
    str, typer.Option(help="Regular expression: the person in a photo's name.")
  ] = "",
  limit: Annotated[int, typer.Option(help="Only so many photos; 0 = all.")] = 0,
  smallest_face: Annotated[float, typer.Option(help="Its width, photo px.")] = 32.0,
  least_quality: Annotated[float, typer.Option(help="0 keeps all, 1 none.")] = 0.0,
  largest_only: Annotated[
    bool, typer.Option("--largest-only", help="One face a photo.")
  ] = False,
  geometry: Annotated[
    pathlib.Path | None, typer.Option(help="For precomputed: folder of results.")
  ] = None,
  model: Annotated[
    pathlib.Path | None, typer.Option(help="For deep3d: BFM_model_front.mat.")
  ] = None,
  weights: Annotated[
    pathlib.Path | None, typer.Option(help="For deep3d: epoch_20.pth.")
  ] = None,
  seed: Annotated[int, typer.Option(help="Of synthetic photos.")] = 0,
  workers: Annotated[int, typer.Option(help="Processes; 0 = one a core.")] = 0,
  runner: Annotated[
    str, typer.Option(help="Of Apache Beam, e.g. DirectRunner, for many machines.")
  ] = "",
  beam: Annotated[list[str] | None, typer.Option(help="Option of the runner.")] = None,
  restart: Annotated[
    bool, typer.Option("--restart", help="Throw an unfinished preparation away.")
  ] = False,
  overwrite: Annotated[
    bool, typer.Option("--overwrite", help="Replace a data set of this name.")
  ] = False,
) -> None:
  """Turns photos into a data set to train on. Killed, it goes on where it was."""
  given = dict(locals())
  with _one_line_errors("interrupted; run the command again to go on"):
    from affjax import data

    given["beam"] = tuple(beam or ())
    options, run = (
      kind(**{field.name: given[field.name] for field in dataclasses.fields(kind)})
      for kind in (data.PrepareOptions, data.PrepareRun)
    )
    with _prepare_progress() as step:
      report = data.prepare(source, out, options, run, progress=step)
    for line in report.lines():
      _OUT.print(_shown(line))


@app.command()
def doctor() -> None:
  """Says what is installed, which devices there are, and whether all is whole."""
  with _one_line_errors():
    sheet = table.Table("", "what", "found", box=None, pad_edge=False)
    checks = list(_checks())
    for name, found, good in checks:
      sign = "[green]ok[/]" if good else "[bold red]bad[/]"
      sheet.add_row(sign, name, _shown(found))
    _OUT.print(sheet)
    if not all(good for _, _, good in checks):
      raise typer.Exit(1)


def _checks() -> Iterator[tuple[str, str, bool]]:
  """Name, finding and verdict of each thing to look at."""
  from importlib import metadata

  import jax

  from affjax.assets import store
  from affjax.reconstruct import DEFAULT_RUN

  yield "affjax", affjax.__version__, True
  yield "python", sys.version.split()[0], sys.version_info >= (3, 11)
  for name in ("jax", "jaxlib", "flax", "numpy", "trimesh"):
    try:
      yield name, metadata.version(name), True
    except metadata.PackageNotFoundError:
      yield name, "not installed", name == "trimesh"
  try:
    devices = ", ".join(f"{d.platform} {d.device_kind}" for d in jax.devices())
    yield "devices", devices, True
    yield from _kernels()
  except RuntimeError as error:
    yield "devices", " ".join(str(error).split())[:200], False
  for name in store.names():
    try:
      store.read_asset(name)
      yield f"asset {name}", "whole", True
    except ValueError as error:
      yield f"asset {name}", str(error), False
  found = "present" if DEFAULT_RUN.is_dir() else "none; `make demo` trains some"
  yield f"weights {DEFAULT_RUN}", found, True


def _kernels() -> Iterator[tuple[str, str, bool]]:
  """Which backend each operation with kernels takes on each platform, and why."""
  from affjax.native import dispatch, library

  for name in library.names():
    for platform in dispatch.present_platforms():
      status = library.status(name, platform)
      backend = {"cpu": "cpp", "cuda": "cuda"}[platform] if status.ready else "xla"
      yield f"{name} on {platform}", f"{backend}: {status.reason}", True


def _tell(report, ignored: int) -> None:
  """The last lines; exits with 1 if a photo gave nothing."""
  for path, reason in report.problems.items():
    _error(f"{path}: {reason}")
  if ignored:
    _ERR.print(f"note: {ignored} entries of the folders are not called like photos")
  if report.page is not None:
    heads, photos = _count(report.heads, "head"), _count(report.photos, "photo")
    _OUT.print(f"{heads} from {photos}: {_shown(str(report.page))}")
  if report.problems or report.page is None:
    raise typer.Exit(1)


@contextlib.contextmanager
def _photo_progress(total: int) -> Iterator:
  """A bar on a terminal, a line a photo elsewhere."""
  columns = (
    progress.TextColumn("{task.description}"),
    progress.BarColumn(),
    progress.MofNCompleteColumn(),
    progress.TimeRemainingColumn(),
  )
  with progress.Progress(
    *columns, console=_ERR, transient=True, disable=not _ERR.is_terminal
  ) as bar:
    task = bar.add_task("photos", total=total)

    def step(path: pathlib.Path, faces: int) -> None:
      bar.advance(task)
      if faces and not _ERR.is_terminal:
        _ERR.print(_shown(f"{path}: {_count(faces, 'face')}"))

    yield step


@contextlib.contextmanager
def _prepare_progress() -> Iterator:
  """A bar on a terminal, a line now and then elsewhere."""
  columns = (
    progress.TextColumn("{task.description}"),
    progress.BarColumn(),
    progress.MofNCompleteColumn(),
    progress.TimeRemainingColumn(),
  )
  live = _ERR.is_terminal
  with progress.Progress(
    *columns, console=_ERR, transient=True, disable=not live
  ) as bar:
    task = bar.add_task("photos", total=None)
    started: list[tuple[float, int]] = []

    def step(tally, total: int) -> None:
      started.append((time.monotonic(), tally.photos))
      (since, before), (now, photos) = started[0], started[-1]
      del started[1:]
      rate = f", {(photos - before) / (now - since):.1f}/s" if photos > before else ""
      skipped = sum(tally.skipped.values())
      about = f"photos{rate}, {tally.kept} kept, {skipped} skipped"
      bar.update(task, completed=photos, total=total, description=about)
      if not live:
        _ERR.print(f"{photos} of {total} {about}")

    yield step


@contextlib.contextmanager
def _one_line_errors(
  interrupted: str = "interrupted; finished photos stay",
) -> Iterator[None]:
  """Turns exceptions into one line and exit code 2."""
  try:
    yield
  except typer.Exit:
    raise
  except KeyboardInterrupt:
    _error(interrupted)
    raise typer.Exit(130) from None
  except Exception as error:
    if os.environ.get("AFFJAX_DEBUG"):
      raise
    message = " ".join(str(error).split())
    if not isinstance(error, (ValueError, OSError)) or not message:
      message = f"unexpected {type(error).__name__}: {message[:300]}"
    _error(message)
    raise typer.Exit(2) from None


def _error(message: str) -> None:
  """One line on stderr."""
  _ERR.print(f"[bold red]error:[/] {_shown(message)}")


def _shown(text: str) -> str:
  """Text as rich may print it: no markup, no bytes that are not UTF-8."""
  return markup.escape(text.encode("utf-8", "replace").decode("utf-8"))


def _count(number: int, noun: str) -> str:
  """ "1 head", "2 heads"."""
  return f"{number} {noun}" + ("" if number == 1 else "s")


if __name__ == "__main__":
  sys.exit(main())
