"""Benchmark sets on disk: made once, hashed, and read in part or whole.

`FOLDER/set.json` names the recipe and the hash of every finished sample; sample k is
`photos/00000k.jpg` and `truth/00000k.npz`. The photos are plain files so that any other
tool can be run on them.
"""

import dataclasses
import functools
import hashlib
import json
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from affjax import files, pool
from affjax.benchmark import _recipes, _samples
from affjax.benchmark._recipes import Recipe
from affjax.benchmark._samples import Encoded, SampleError
from affjax.eval import Truths
from affjax.heads import open_head
from affjax.native import library
from affjax.types import Camera

INDEX = "set.json"
# Number of samples after which the index is written.
_EVERY = 8
_FORMAT = 1


class SetError(ValueError):
  """A benchmark set is missing, incomplete, damaged, or of another version."""


def folder_of(recipe: Recipe) -> pathlib.Path:
  """Returns the folder of a set in the user's cache."""
  return library.cache_dir() / "benchmarks" / f"{recipe.name}-{recipe.digest}"


def make_set(
  recipe: Recipe,
  folder: pathlib.Path | None = None,
  *,
  limit: int = 0,
  workers: int = 1,
  ict: pathlib.Path | None = None,
  overwrite: bool = False,
  progress: Callable[[int, int], None] = lambda done, total: None,
) -> "BenchmarkSet":
  """Makes the samples of a set that are missing, in parallel, and returns the set.

  A run that was killed is continued by the next one.

  Args:
    recipe: Recipe of this version of affjax.
    folder: Folder of the set; default: `folder_of(recipe)`.
    limit: Number of samples to have at the end, the first ones; 0 = all.
    workers: Number of processes.
    ict: Folder of ICT-FaceKit, for the set "ict".
    overwrite: Whether a set of another recipe in the folder is deleted.
    progress: Function that is called after each sample with the number of finished
      samples and that of wanted ones.

  Raises:
    SetError: The folder holds something else.
    ValueError: The recipe cannot be painted.
  """
  folder = folder_of(recipe) if folder is None else folder
  wanted = min(limit or recipe.count, recipe.count)
  hashes = _begun(folder, recipe, overwrite)
  missing = [k for k in range(wanted) if _stem(k) not in hashes]
  if missing:
    make = functools.partial(_painter, recipe, ict)
    _paint(folder, recipe, hashes, pool.run(make, missing, workers=workers), progress)
  return read_set(folder, limit=wanted)


def _paint(
  folder: pathlib.Path,
  recipe: Recipe,
  hashes: dict[str, str],
  painted: Iterator[tuple[int, Encoded]],
  progress: Callable[[int, int], None],
) -> None:
  """Writes samples as they are painted, and at the end their hashes in any case."""
  try:
    for index, sample in painted:
      stem = _stem(index)
      files.write_file(folder / "truth" / f"{stem}.npz", sample.truth)
      files.write_file(folder / "photos" / f"{stem}.jpg", sample.photo)
      hashes[stem] = sample.sha256
      progress(len(hashes), recipe.count)
      if len(hashes) % _EVERY == 0:
        _write_index(folder, recipe, hashes)
  finally:
    _write_index(folder, recipe, hashes)


def _painter(
  recipe: Recipe, ict: pathlib.Path | None
) -> Callable[[int], tuple[int, Encoded]]:
  paint = _recipes.painter(recipe, ict)
  return lambda index: (index, paint(index))


def _begun(folder: pathlib.Path, recipe: Recipe, overwrite: bool) -> dict[str, str]:
  """Returns the hashes of finished samples in a folder, which is made where missing."""
  if folder.is_dir() and any(folder.iterdir()):
    found = _index(folder)
    if found["recipe"] == dataclasses.asdict(recipe):
      return dict(found["samples"])
    if not overwrite:
      raise SetError(
        f"{str(folder)!r} holds a set that was made from another head or version; "
        "choose another --folder or add --overwrite"
      )
    shutil.rmtree(folder)
  for part in ("photos", "truth"):
    (folder / part).mkdir(parents=True, exist_ok=True)
  _write_index(folder, recipe, {})
  return {}


def _write_index(
  folder: pathlib.Path, recipe: Recipe, hashes: Mapping[str, str]
) -> None:
  samples = dict(sorted(hashes.items()))
  content = {
    "format": _FORMAT,
    "recipe": dataclasses.asdict(recipe),
    "samples": samples,
    "sha256": _total(samples),
  }
  files.write_json(folder / INDEX, content)


def _total(samples: Mapping[str, str]) -> str:
  text = "".join(f"{name} {value}\n" for name, value in sorted(samples.items()))
  return hashlib.sha256(text.encode()).hexdigest()


def _index(folder: pathlib.Path) -> dict[str, Any]:
  """Returns the content of `set.json`, checked."""
  try:
    found = json.loads((folder / INDEX).read_text("utf-8"))
    good = (
      found["format"] == _FORMAT
      and isinstance(found["recipe"], dict)
      and found["sha256"] == _total(found["samples"])
    )
  except FileNotFoundError:
    raise SetError(
      f"{str(folder)!r} holds no benchmark set ({INDEX} is missing)"
    ) from None
  except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
    raise SetError(f"{str(folder / INDEX)!r} cannot be read: {error}") from error
  if not good:
    raise SetError(
      f"{str(folder / INDEX)!r} does not match its hash or has another format; make "
      "the set again with --overwrite"
    )
  return found


def read_set(folder: pathlib.Path, *, limit: int = 0) -> "BenchmarkSet":
  """Returns the first samples of a set.

  Args:
    folder: Folder of the set.
    limit: Number of samples; 0 = all of the recipe.

  Raises:
    SetError: There is no set, it is of another version, or samples are missing.
  """
  found = _index(folder)
  try:
    made = Recipe(**found["recipe"])
  except TypeError as error:
    raise SetError(f"{str(folder / INDEX)!r} has another recipe: {error}") from error
  current = _recipes.recipe(made.name)
  if (made.head, made.source) != (current.head, current.source):
    raise SetError(
      f"benchmark set {made.name!r} in {str(folder)!r} was made from another head or "
      f"version; make it again: affjax benchmark {made.name}"
    )
  wanted = min(limit or made.count, made.count)
  have = [k for k in range(wanted) if _stem(k) in found["samples"]]
  if len(have) < wanted:
    raise SetError(
      f"benchmark set {made.name!r} holds {len(have)} of the {wanted} samples: make "
      f"the others by `affjax benchmark {made.name} --limit {wanted}`, or evaluate "
      f"fewer with --limit"
    )
  hashes = [found["samples"][_stem(k)] for k in range(wanted)]
  return BenchmarkSet(folder, made, hashes)


@dataclasses.dataclass(frozen=True, eq=False)
class BenchmarkSet:
  """The first samples of a set.

  Attributes:
    folder: Folder of the set.
    recipe: Settings that the samples were made by.
    hashes: SHA-256 of each sample.
  """

  folder: pathlib.Path
  recipe: Recipe
  hashes: Sequence[str]

  def __len__(self) -> int:
    return len(self.hashes)

  @property
  def name(self) -> str:
    """Name of the set."""
    return self.recipe.name

  @property
  def sha256(self) -> str:
    """Hash of all its samples."""
    return _total({_stem(k): value for k, value in enumerate(self.hashes)})

  def photo_path(self, index: int) -> pathlib.Path:
    """Returns the file of a photo."""
    return self.folder / "photos" / f"{_stem(index)}.jpg"

  @property
  def names(self) -> Sequence[str]:
    """Name of each photo, without suffix."""
    return [_stem(k) for k in range(len(self))]

  @property
  def problems(self) -> Mapping[str, str]:
    """Photos that cannot be judged: a damaged sample is an error instead."""
    return {}

  def load(self, indices: Sequence[int]) -> Truths:
    """Returns photos with their truth.

    Raises:
      SetError: A sample is missing or its hash differs; the message names it.
    """
    samples = [self._sample(index) for index in indices]
    stack = lambda name: np.stack([getattr(sample, name) for sample in samples])
    return Truths(
      names=tuple(_stem(index) for index in indices),
      template=open_head("embedded").template,
      camera=Camera(),
      photos=stack("photo"),
      visible=stack("visible") > 127,
      vertices=stack("vertices"),
      pose=stack("pose"),
      diffuse=stack("diffuse").astype(np.float32) / 255,
      light=stack("light"),
      light_color=stack("light_color"),
      expression_mm=stack("expression_mm").astype(np.float32),
      scans=tuple(sample.scan for sample in samples),
    )

  def _sample(self, index: int) -> _samples.Sample:
    truth = self.folder / "truth" / f"{_stem(index)}.npz"
    where = f"sample {_stem(index)} of benchmark set {self.name!r}"
    try:
      content = Encoded(self.photo_path(index).read_bytes(), truth.read_bytes())
    except OSError as error:
      raise SetError(f"{where} cannot be read: {error}") from error
    if content.sha256 != self.hashes[index]:
      raise SetError(
        f"{where} differs from its hash; delete {str(self.folder)!r} and make the set "
        "again"
      )
    try:
      return _samples.decode(content)
    except SampleError as error:
      raise SetError(f"{where} {error}") from error


def _stem(index: int) -> str:
  return f"{index:06d}"
