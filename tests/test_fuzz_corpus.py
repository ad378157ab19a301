"""The corpus of the fuzz targets: good files are read, and what fuzzing once broke a reader with is refused."""

import pytest
from fuzz.targets import CORPUS, TARGETS, trial

FOUND = {  # what fuzzing found, by name; every other file is good
    "cppapi/huge_layer.json": "a TypeError of a kernel",
    "cppapi/unequal_rows.json": "a ValueError of NumPy",
    "folder/long_name.json": "an OSError, for a name of a file",
    "h5/heap_without_end.h5": "HDF5 read a heap for ever",
    "h5/long_text.h5": "HDF5 took two gigabytes for a text that is not there",
    "h5/long_text_again.h5": "HDF5 took two gigabytes for a text whose name has no end",
    "keras_h5/no_text.h5": "HDF5 broke down",
    "npy/long_size.npy": "an expression that took exponentially long",
    "tar/cut_header.tar.gz": "a TypeError of tarfile",
    "zip/encrypted.zip": "a NotImplementedError of zipfile",
}
FILES = sorted(path for path in CORPUS.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_every_file_is_read_or_refused(path, tmp_path):
    read = trial(TARGETS[path.parent.name], path.read_bytes(), tmp_path)
    assert read == (f"{path.parent.name}/{path.name}" not in FOUND)


def test_every_target_has_a_corpus():
    assert {path.parent.name for path in FILES} == {*TARGETS}
    assert {*FOUND} <= {f"{path.parent.name}/{path.name}" for path in FILES}
