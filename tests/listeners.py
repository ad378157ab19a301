"""Listeners that tests share."""


class Heard:
    """The names of all kernels; with ``forbids_reading`` values may not be read, as under a recorder."""

    def __init__(self, forbids_reading=False):
        self.forbids_reading, self.names = forbids_reading, []

    def launched(self, backend, name, inputs, params, outputs):
        self.names.append(name)
