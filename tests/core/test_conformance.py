"""The implementations are what the contracts say: shown to the type checker (``make lint``) and at run time."""

from __future__ import annotations

import numpy as np

import chainrule as cr
from chainrule import backends, nn, optim, train
from chainrule.data import ArrayDataset
from chainrule.domain.backend import PRIMITIVES, Backend
from chainrule.domain.callback import ICallback
from chainrule.domain.data import IDataset
from chainrule.domain.module import IModule
from chainrule.domain.optimizer import IOptimizer
from chainrule.domain.parameter import IParameter
from chainrule.domain.tensor import ITensor

layer = nn.Linear(2, 1)
tensor: ITensor = cr.tensor([1.0])
parameter: IParameter = next(iter(layer.parameters()))
module: IModule = layer
optimizer: IOptimizer = optim.SGD(layer.parameters(), lr=0.1)
dataset: IDataset = ArrayDataset(np.zeros((2, 2), np.float32))
callback: ICallback = train.EarlyStopping()


def test_at_run_time() -> None:
    for thing, contract in (
        (tensor, ITensor), (parameter, IParameter), (module, IModule), (optimizer, IOptimizer), (dataset, IDataset),
        (callback, ICallback),
    ):  # fmt: skip
        assert isinstance(thing, contract)
    assert len([name for name in vars(ITensor) if not name.startswith("_")]) <= 12


def test_backends() -> None:
    for name in ("numpy", "cpu"):
        backend: Backend = backends.named(name)
        assert set(backend.kernels) >= PRIMITIVES and backend.device == "cpu" and backend.name == name
        for member in ("array_type", "floating", "reference", "declines", "asarray", "numpy", "overlap"):
            assert hasattr(backend, member)
    host: Backend = backends.Host("none", {}, {}, {})
    assert repr(host) == "none"
