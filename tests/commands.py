"""The command line, started by tests as a user starts it."""

import json
import sys

import pytest

from chainrule.apps.cli import main


class Done:
    """What a command came to."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def json(self):
        assert self.code == 0, self.err
        return json.loads(self.out)


@pytest.fixture
def command_line(monkeypatch, capsys, tmp_path):
    """Start a command in a folder of its own, in this process: ``command_line("train", "iris")``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["chainrule", *map(str, args)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        read = capsys.readouterr()
        assert "Traceback" not in read.err
        return Done(code, read.out, read.err)

    return run
