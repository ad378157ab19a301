"""Training: ``compile``, ``fit``, ``evaluate``, ``predict`` and ``summary`` are methods of every Module.

>>> import numpy as np
>>> from chainrule import nn
>>> x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
>>> y = np.array([0, 1, 1, 0])
>>> model = nn.Sequential(nn.Linear(16), nn.Tanh(), nn.Linear(2))
>>> model.compile(loss="cross_entropy", optimizer="adam", metrics=["accuracy"]).compiled.optimizer.lr = 0.05
>>> history = model.fit(x, y, epochs=200, batch_size=4, verbose=0)
>>> history["accuracy"][-1], model.predict(x).argmax(axis=1).tolist()
(1.0, [0, 1, 1, 0])
"""

from __future__ import annotations

from ..nn import Module
from .averages import AverageWeights
from .callbacks import Callback, CallbackList, EarlyStopping
from .checkpoints import ModelCheckpoint
from .compiled import compile
from .guards import LambdaCallback, TerminateOnNaN, Timer
from .history import History
from .loggers import CSVLogger, JSONLLogger, TensorBoard
from .loop import evaluate, fit, predict, train_on_batch
from .progress import ProgressBar
from .rates import LearningRateMonitor, LRScheduler, ReduceLROnPlateau, Trial, lr_find
from .resume import Checkpoint
from .scaling import LossScaler
from .step import test_step, train_step
from .summary import summary

METHODS = (compile, fit, train_on_batch, train_step, test_step, evaluate, predict, summary, lr_find)
for _method in METHODS:
    setattr(Module, _method.__name__, _method)

__all__ = [
    "AverageWeights",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "Checkpoint",
    "EarlyStopping",
    "History",
    "JSONLLogger",
    "LRScheduler",
    "LambdaCallback",
    "LearningRateMonitor",
    "LossScaler",
    "ModelCheckpoint",
    "ProgressBar",
    "ReduceLROnPlateau",
    "TensorBoard",
    "TerminateOnNaN",
    "Timer",
    "Trial",
    "lr_find",
]
