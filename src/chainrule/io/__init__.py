"""Files: models, weights, and the formats of others. Everything is written by one atomic writer.

>>> import chainrule as cr
>>> from tempfile import TemporaryDirectory
>>> model = cr.nn.Sequential(cr.nn.Linear(2, 1))
>>> with TemporaryDirectory() as folder:
...     model.save(f"{folder}/model.safetensors")
...     load(f"{folder}/model.safetensors")
Sequential(
  (0): Linear(in_features=2, out_features=1)
)
"""

from ..nn import Module
from .atomic import atomic_write
from .checkpoint import load, load_optimizer, save
from .keydnn import load_json, save_json
from .loading import load_weights as _load_weights
from .loading import save_weights as _save_weights
from .migrations import migration
from .training import load_training, save_training
from .weights import load_metadata, load_weights, save_weights

METHODS = (save, save_json, _load_weights, _save_weights)
for _method in METHODS:
    setattr(Module, _method.__name__, _method)

__all__ = [
    "atomic_write",
    "load",
    "load_json",
    "load_metadata",
    "load_optimizer",
    "load_training",
    "load_weights",
    "migration",
    "save",
    "save_json",
    "save_training",
    "save_weights",
]
