"""Every reader of files, every byte: a file that was cut short anywhere is refused with an error of ours, or still whole."""

from __future__ import annotations

import pytest
from fuzz.targets import CORPUS, TARGETS, trial
from tests.test_fuzz_corpus import FOUND

LARGEST = 12_000  # bytes of a file that is cut at every byte; of the smallest of a reader at some
AT_LEAST = 400  # lengths that are tried


@pytest.mark.parametrize("name", TARGETS)
def test_cut_anywhere(name, tmp_path, record_property):
    good = [path for path in (CORPUS / name).iterdir() if f"{name}/{path.name}" not in FOUND]
    files = sorted((path.read_bytes() for path in good), key=len)
    tried = refused = 0
    for data in [one for one in files if len(one) <= LARGEST] or files[:1]:
        for length in range(0, len(data), 1 if len(data) <= LARGEST else len(data) // AT_LEAST):
            refused += not trial(TARGETS[name], data[:length], tmp_path)
            tried += 1
    record_property("lengths", tried)
    record_property("refused", refused)
    assert tried > 20 and refused
