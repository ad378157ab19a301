"""Where the files of a published model are, once they are there."""

from pathlib import Path

from chainrule.data.fetch import RemoteData, cache_folder, obtain


def fetched(data: RemoteData) -> Path:
    """The folder of the files of ``data``: fetched by the first call, verified by every call. Errors: DownloadError."""
    folder = cache_folder() / data.name
    for name, content in obtain(data, folder).items():
        if not (folder / name).exists():  # put there by hand, compressed
            (folder / name).write_bytes(content)
    return folder
