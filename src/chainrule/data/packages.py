"""Packages that carry data sets, fetched by the package clients of this machine. Nothing of them is installed or run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from ..domain.errors import DownloadError
from .archives import members
from .sources import RemoteFile, bar


@dataclass(frozen=True)
class Package:
    """A package of ``size`` bytes, with the files in ``folder`` of its archive; a file may also be the archive itself.

    Its client is given up after ``patience`` seconds. Kinds of packages say how they are fetched: ``label``, the command
    in short, and ``_archive``.
    """

    name: str
    version: str
    size: int
    folder: str
    patience: float = field(default=600.0, kw_only=True)

    @property
    def label(self) -> str:
        """The command that fetches it."""
        raise NotImplementedError

    def _archive(self, folder: Path) -> Path:
        """Fetch the package into ``folder``; the path of the archive that holds the files."""
        raise NotImplementedError

    def fetch(self, files: Sequence[RemoteFile], folder: Path, progress: bool) -> Iterator[tuple[RemoteFile, Path]]:
        """The files, from one archive."""
        with bar(f"{self.name} ({self.size / 1e6:.1f} MB)", None, progress):
            archive = self._archive(folder)
        yield from members(archive, self.folder, files, folder)

    def _run(self, command: Sequence[str], folder: Path, pattern: str, env: Mapping[str, str] | None = None) -> Path:
        """The one file like ``pattern`` that a command makes in ``folder``. Errors: DownloadError, with what it said."""
        try:
            result = subprocess.run(
                command,
                cwd=folder,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=self.patience,
            )
        except subprocess.TimeoutExpired:
            raise DownloadError(f"not done after {self.patience:g} s") from None
        except OSError as error:
            raise DownloadError(f"{command[0]} does not run: {error}") from error
        made = list(folder.glob(pattern))
        if result.returncode or len(made) != 1:
            lines = [line for line in result.stderr.splitlines() if line.strip()]
            errors = [line for line in lines if not line.startswith(("WARNING", "W:"))]
            raise DownloadError("; ".join((errors or lines or ["no archive came"])[:3]))
        return made[0]


@dataclass(frozen=True)
class NpmPackage(Package):
    """A package that the client ``npm`` can fetch."""

    folder: str = "package/data"

    @property
    def label(self) -> str:
        """The command that fetches it."""
        return f"npm pack {self.name}@{self.version}"

    def _archive(self, folder: Path) -> Path:
        npm = _client("npm")
        options = ["--ignore-scripts", "--loglevel=error", "--fetch-retries=0", f"--pack-destination={folder}"]
        return self._run([npm, "pack", f"{self.name}@{self.version}", *options], folder, "*.tgz")


@dataclass(frozen=True)
class PypiPackage(Package):
    """A Python package that ``pip`` can fetch: its wheel, or its source archive (``wheel=False``).

    For a source archive pip wants to run the build program that is in it, to learn its name and version. It is given
    a build program of ours, which states what we know: nothing of the package runs.
    """

    wheel: bool = True

    @property
    def label(self) -> str:
        """The command that fetches it."""
        return f"pip download {self.name}=={self.version}"

    def _archive(self, folder: Path) -> Path:
        options = [
            "--no-deps",
            "--no-input",
            "--retries=1",
            "--disable-pip-version-check",
            "--quiet",
            f"--dest={folder}",
        ]
        command = [*pip(), "download", *options]
        wanted = f"{self.name}=={self.version}"
        if self.wheel:
            return self._run([*command, "--only-binary=:all:", "--ignore-requires-python", wanted], folder, "*.whl")
        backend = folder / "backend" / "setuptools"
        backend.mkdir(parents=True)
        (backend / "__init__.py").touch()
        (backend / "build_meta.py").write_text(BACKEND.format(name=self.name, version=self.version), "utf-8")
        build = ["--no-binary=:all:", "--no-build-isolation", "--use-pep517"]
        return self._run([*command, *build, wanted], folder, "*.tar.gz", {"PYTHONPATH": str(backend.parent)})


BACKEND = """import os, sys
__legacy__ = sys.modules[__name__]
def prepare_metadata_for_build_wheel(folder, config_settings=None):
    info = os.path.join(folder, "{name}-{version}.dist-info")
    os.makedirs(info)
    with open(os.path.join(info, "METADATA"), "w") as file:
        file.write("Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
    return os.path.basename(info)
"""


def pip() -> list[str]:
    """The command of pip: that of this Python, or the first on the path."""
    return [sys.executable, "-m", "pip"] if find_spec("pip") else [_client("pip3", "pip")]


@dataclass(frozen=True)
class DebianPackage(Package):
    """A package that ``apt-get`` can fetch, in whatever version the system has: the files are what is verified."""

    @property
    def label(self) -> str:
        """The command that fetches it."""
        return f"apt-get download {self.name}"

    def _archive(self, folder: Path) -> Path:
        apt, dpkg = _client("apt-get"), _client("dpkg-deb")
        package = self._run([apt, "download", self.name], folder, "*.deb")
        return self._run(["sh", "-c", '"$0" --fsys-tarfile "$1" > files.tar', dpkg, str(package)], folder, "*.tar")


def _client(*names: str) -> str:
    """The path of the first of these programs. Errors: DownloadError."""
    for name in names:
        if found := shutil.which(name):
            return found
    raise DownloadError(f"{names[0]} is not installed")
