"""Tests of the inputs of `affjax prepare`: folders, archives, TFDS data sets."""

import io
import os
import struct
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from affjax.data._preparation import archives, inputs, opening
from affjax.data._preparation.archives import TarInput, ZipInput
from affjax.data._preparation.datasets import TfdsInput
from affjax.data._preparation.inputs import FolderInput, InputError
from affjax.data._preparation.options import PrepareOptions


def _photo(shade=90, kind="PNG", mode="RGB", size=(40, 40)):
  stream = io.BytesIO()
  Image.new("RGB", size, (shade, 20, 30)).convert(mode).save(stream, kind)
  return stream.getvalue()


def _tar(path, members, mode="w"):
  """Writes a tar of names and contents; a `TarInfo` may replace a content."""
  with tarfile.open(path, mode) as archive:
    for name, content in members:
      info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
      data = b"" if info is content else content
      info.size = len(data)
      archive.addfile(info, io.BytesIO(data))
  return path


def _special(name, kind, target=""):
  info = tarfile.TarInfo(name)
  info.type, info.linkname = kind, target
  return name, info


def test_folder_is_read_recursively_in_order_of_names(tmp_path):
  (tmp_path / "b").mkdir()
  (tmp_path / "b" / "x.PNG").write_bytes(_photo(1))
  (tmp_path / "a.jpg").write_bytes(_photo(2, "JPEG"))
  (tmp_path / "notes.txt").write_text("no photo")
  (tmp_path / "loop").symlink_to(tmp_path)
  os.mkfifo(tmp_path / "pipe.png")
  (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
  source = FolderInput(tmp_path)
  listing = source.listing()
  assert [e.name for e in listing.entries] == ["a.jpg", "b/x.PNG"]
  assert listing.ignored == 1
  assert "link to a folder" in listing.refused["loop"]
  assert listing.refused["pipe.png"] == "not a regular file"
  assert "No such file" in listing.refused["gone.png"]
  assert source.read(listing.entries[1])[0, 0].tolist() == [1, 20, 30]


def test_digest_follows_what_is_there(tmp_path):
  (tmp_path / "a.png").write_bytes(_photo(1))
  before = FolderInput(tmp_path).listing().digest()
  assert FolderInput(tmp_path).listing().digest() == before
  (tmp_path / "b.png").write_bytes(_photo(2))
  assert FolderInput(tmp_path).listing().digest() != before


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_tar_is_read_in_any_order(tmp_path, mode):
  members = [(f"./d/{k}.png", _photo(k)) for k in range(5)]
  source = TarInput(_tar(tmp_path / "photos.tar", members, mode))
  entries = source.listing().entries
  assert [e.name for e in entries] == [f"d/{k}.png" for k in range(5)]
  for k in (3, 0, 4):
    assert source.read(entries[k])[0, 0, 0] == k


def test_hostile_tar_members_are_refused_and_named(tmp_path):
  path = _tar(
    tmp_path / "evil.tar",
    [
      ("../up.png", _photo()),
      ("/etc/passwd.png", _photo()),
      ("a/../../b.png", _photo()),
      ("c:\\x.png", _photo()),
      _special("link.png", tarfile.SYMTYPE, "/etc/passwd"),
      _special("hard.png", tarfile.LNKTYPE, "good.png"),
      _special("device.png", tarfile.CHRTYPE),
      _special("fifo.png", tarfile.FIFOTYPE),
      ("notes.txt", b"x"),
      ("good.png", _photo(7)),
      ("good.png", _photo(8)),
    ],
  )
  listing = TarInput(path).listing()
  assert [e.name for e in listing.entries] == ["good.png"]
  assert listing.ignored == 1
  climbing = [n for n, why in listing.refused.items() if "climbs" in why]
  assert climbing == ["../up.png", "/etc/passwd.png", "a/../../b.png", "c:\\x.png"]
  assert listing.refused["link.png"] == listing.refused["hard.png"] == "a link"
  assert listing.refused["device.png"] == listing.refused["fifo.png"] == "a device"
  assert "second" in listing.refused["good.png (again)"]
  assert not (tmp_path.parent / "up.png").exists()


def test_hostile_zip_members_are_refused_and_named(tmp_path):
  path = tmp_path / "evil.zip"
  with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
    archive.writestr("../up.png", _photo())
    archive.writestr("bomb.png", bytes(8 << 20))
    link = zipfile.ZipInfo("link.png")
    link.external_attr = 0o120777 << 16
    archive.writestr(link, "/etc/passwd")
    archive.writestr("folder/", "")
    archive.writestr("good.png", _photo(7))
  source = ZipInput(path)
  listing = source.listing()
  assert [e.name for e in listing.entries] == ["good.png"]
  assert "climbs" in listing.refused["../up.png"]
  assert listing.refused["link.png"] == "a link or device"
  assert "bomb" in listing.refused["bomb.png"]
  assert source.read(listing.entries[0])[0, 0, 0] == 7


def test_tar_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(archives, "_MOST_UNPACKED", 1 << 20)
  path = _tar(tmp_path / "bomb.tar.gz", [("a.png", bytes(4 << 20))] * 2, "w:gz")
  with pytest.raises(InputError, match="unpacks to more than"):
    TarInput(path).listing()


def test_damaged_archives_are_named(tmp_path):
  whole = _tar(tmp_path / "a.tar", [(f"{k}.png", _photo(k)) for k in range(9)])
  cut = tmp_path / "cut.tar"
  cut.write_bytes(whole.read_bytes()[: 8 * 1024 + 700])
  with pytest.raises(InputError, match=r"cut\.tar' is damaged"):
    TarInput(cut).listing()
  text = tmp_path / "text.zip"
  text.write_text("not an archive")
  with pytest.raises(InputError, match="must be a folder, a zip or tar archive"):
    opening.open_input(str(text), PrepareOptions())
  with pytest.raises(InputError, match="no such folder"):
    opening.open_input(str(tmp_path / "none"), PrepareOptions())


def test_changed_zip_member_is_no_photo(tmp_path):
  path = tmp_path / "a.zip"
  with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
    archive.writestr("a.png", _photo())
  data = bytearray(path.read_bytes())
  data[60] ^= 255
  path.write_bytes(data)
  source = ZipInput(path)
  with pytest.raises(ValueError, match="damaged member"):
    source.read(source.listing().entries[0])


def test_huge_file_is_refused_before_it_is_read(tmp_path, monkeypatch):
  monkeypatch.setattr(inputs, "MOST_BYTES", 100)
  (tmp_path / "a.png").write_bytes(bytes(101))
  assert "too large" in FolderInput(tmp_path).listing().refused["a.png"]


def _write_tfds(folder, suffix):
  """Writes a data set of three photos as TFDS installs it."""
  import tensorflow_datasets as tfds
  from array_record.python import array_record_module
  from etils import epath
  from tensorflow_datasets.core import dataset_info, file_adapters, naming, splits

  place = folder / "little_faces" / "1.0.0"
  place.mkdir(parents=True)
  features = tfds.features.FeaturesDict(
    {
      "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
      "image/filename": tfds.features.Text(),
    }
  )
  records = []
  for k in range(3):
    fields = {"image": io.BytesIO(_photo(k)), "image/filename": f"{k}.png"}
    records.append(features.serialize_example(features.encode_example(fields)))
  shard = place / f"little_faces-train.{suffix}-00000-of-00001"
  if suffix == "tfrecord":
    frames = [struct.pack("<QI", len(r), 0) + r + bytes(4) for r in records]
    shard.write_bytes(b"".join(frames))
  else:
    writer = array_record_module.ArrayRecordWriter(str(shard), "group_size:1")
    for content in records:
      writer.write(content)
    writer.close()
  info = dataset_info.DatasetInfo(
    builder=dataset_info.DatasetIdentity(
      name="little_faces", version="1.0.0", data_dir=str(place), module_name=""
    ),
    features=features,
  )
  info.set_file_format(file_adapters.FileFormat(suffix))
  template = naming.ShardedFileTemplate(
    dataset_name="little_faces", data_dir=epath.Path(place), filetype_suffix=suffix
  )
  whole = splits.SplitInfo(
    name="train", shard_lengths=[3], num_bytes=1, filename_template=template
  )
  info.set_splits(splits.SplitDict([whole]))
  info.write_to_directory(place)
  return place, shard


@pytest.mark.parametrize("suffix", ["tfrecord", "array_record"])
def test_installed_data_set_is_read_without_tensorflow(tmp_path, suffix):
  place, _ = _write_tfds(tmp_path, suffix)
  source = opening.open_input(str(place), PrepareOptions())
  assert isinstance(source, TfdsInput)
  entries = source.listing().entries
  assert [e.name for e in entries] == [f"train/{k:07d}" for k in range(3)]
  assert [int(source.read(e)[0, 0, 0]) for e in entries] == [0, 1, 2]
  assert source.read(entries[1]).dtype == np.uint8


def test_damaged_tfrecords_are_named(tmp_path):
  place, shard = _write_tfds(tmp_path, "tfrecord")
  shard.write_bytes(shard.read_bytes()[:-5])
  with pytest.raises(InputError, match="cut short or damaged"):
    TfdsInput(place).listing()


def test_installed_data_set_is_found_by_its_name(tmp_path):
  import tensorflow_datasets as tfds
  from tensorflow_datasets.core.utils import file_utils

  _write_tfds(tmp_path, "tfrecord")
  tfds.core.add_data_dir(str(tmp_path))
  try:
    source = opening.open_input("tfds:little_faces", PrepareOptions())
    assert len(source.listing().entries) == 3
  finally:
    file_utils.clear_registered_data_dirs()


@pytest.mark.parametrize("name", ["celeb_a_hq/512", "no_such_faces"])
def test_data_set_that_is_not_installed_is_one_line(name):
  with pytest.raises(InputError, match=r"cannot be read|installed") as caught:
    opening.open_input(f"tfds:{name}", PrepareOptions()).listing()
  assert "\n" not in str(caught.value)


def test_celeba_hq_as_tfds_wants_it(tmp_path):
  """`data512x512.tar` holds a folder of PNGs in any order."""
  names = [f"data512x512/{k:05d}.png" for k in (2, 0, 1)]
  members = [(name, _photo(k, size=(512, 512))) for k, name in enumerate(names)]
  path = _tar(tmp_path / "data512x512.tar", members)
  source = opening.open_input(str(path), PrepareOptions())
  entries = source.listing().entries
  assert [e.name for e in entries] == sorted(names)
  shades = [int(source.read(e)[0, 0, 0]) for e in entries]
  assert shades == [1, 2, 0]


def test_diffuse_maps_are_found_in_both_layouts():
  names = [
    "a/x.jpg",
    "a/x_diffuse.png",
    "b_diffuse.png",
    "diffuse/y.png",
    "photos/y.jpg",
  ]
  entries = [inputs.Entry(name, None, str(k)) for k, name in enumerate(names)]
  paired = inputs.with_maps(entries)
  found = {e.name: e.diffuse.name if e.diffuse else None for e in paired}
  assert found == {
    "a/x.jpg": "a/x_diffuse.png",
    "b_diffuse.png": None,
    "photos/y.jpg": "diffuse/y.png",
  }
  changed = [*entries[:1], inputs.Entry("a/x_diffuse.png", None, "new"), *entries[2:]]
  digest = lambda some: inputs.Listing(inputs.with_maps(some), {}, 0).digest()
  assert digest(changed) != digest(entries)
