"""Losses: how wrong a prediction is, as one number to make small.

Each is a module, ``CrossEntropy()(scores, target)``, and a function, ``cross_entropy(scores, target)``; ``get`` finds the
module by name. A model that ends in Softmax or Sigmoid gives probabilities; losses of the scores before are exact where
those of probabilities overflow, so ``compile`` trains such a model on its scores.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..domain.errors import ArgumentTypeError, unknown
from ..ops.ctc import ctc
from ..ops.distance import contrastive, cosine_embedding, triplet_margin
from ..ops.distance import cosine_loss as cosine
from ..ops.loss import (
    bce,
    bce_with_logits,
    dice,
    focal,
    gaussian_nll,
    hinge,
    huber,
    kl_div,
    log_cosh,
    mae,
    mse,
    poisson_nll,
    smooth_l1,
    squared_hinge,
)
from ..ops.softmax import cross_entropy, nll
from .base import Elementwise, Loss
from .classification import (
    BCE,
    NLL,
    BCEWithLogits,
    CategoricalCrossEntropy,
    CrossEntropy,
    Dice,
    Focal,
    Hinge,
    SquaredHinge,
    categorical_cross_entropy,
)
from .embedding import Contrastive, Cosine, CosineEmbedding, TripletMargin
from .regression import MAE, MSE, SSE, GaussianNLL, Huber, KLDiv, LogCosh, PoissonNLL, SmoothL1, sse
from .sequence import CTC

__all__ = [
    "BCE",
    "CTC",
    "MAE",
    "MSE",
    "NLL",
    "SSE",
    "BCEWithLogits",
    "CategoricalCrossEntropy",
    "Contrastive",
    "Cosine",
    "CosineEmbedding",
    "CrossEntropy",
    "Dice",
    "Elementwise",
    "Focal",
    "GaussianNLL",
    "Hinge",
    "Huber",
    "KLDiv",
    "LogCosh",
    "Loss",
    "PoissonNLL",
    "SmoothL1",
    "SquaredHinge",
    "TripletMargin",
    "bce",
    "bce_with_logits",
    "categorical_cross_entropy",
    "contrastive",
    "cosine",
    "cosine_embedding",
    "cross_entropy",
    "ctc",
    "dice",
    "focal",
    "gaussian_nll",
    "get",
    "hinge",
    "huber",
    "kl_div",
    "log_cosh",
    "mae",
    "mse",
    "nll",
    "poisson_nll",
    "smooth_l1",
    "squared_hinge",
    "sse",
    "triplet_margin",
]

NAMES: dict[str, Callable[[], Loss]] = {
    "cross_entropy": CrossEntropy,
    "nll": NLL,
    "mse": MSE,
    "sse": SSE,
    "mae": MAE,
    "huber": Huber,
    "smooth_l1": SmoothL1,
    "log_cosh": LogCosh,
    "bce": BCE,
    "bce_with_logits": BCEWithLogits,
    "kl_div": KLDiv,
    "poisson_nll": PoissonNLL,
    "hinge": Hinge,
    "squared_hinge": SquaredHinge,
    "cosine": Cosine,
    "focal": Focal,
    "dice": Dice,
    "gaussian_nll": GaussianNLL,
    "cosine_embedding": CosineEmbedding,
    "contrastive": Contrastive,
    "triplet_margin": TripletMargin,
    "ctc": lambda: CTC(batch_first=True),
    # the names of Keras and KeyDNN
    "crossentropy": CrossEntropy,
    "categorical_cross_entropy": CrossEntropy,
    "sparse_categorical_cross_entropy": CrossEntropy,
    "cce": CrossEntropy,
    "categorical_crossentropy": CrossEntropy,
    "sparse_categorical_crossentropy": CrossEntropy,
    "mean_squared_error": MSE,
    "mean_absolute_error": MAE,
    "binary_crossentropy": BCE,
    "binary_cross_entropy": BCE,
    "binary_cross_entropy_with_logits": BCEWithLogits,
    "poisson": lambda: PoissonNLL(log_input=False),
    "logcosh": LogCosh,
    "l1": MAE,
}


def get(loss: Any) -> Any:
    """A loss by name; a loss, or any function of (prediction, target), as it is.

    Cross-entropy, under all its names, takes integer and one-hot targets and works on scores: a model ends in them, or
    in a Softmax that training leaves out. CTC has the batch first, as models in ``fit`` do. Errors: ArgumentError for an
    unknown name, with the nearest.

    >>> get("sparse_categorical_crossentropy"), get("sse")
    (CrossEntropy(), SSE(reduction='sum'))
    >>> get("crossentrpy")
    Traceback (most recent call last):
    chainrule.domain.errors.ArgumentError: unknown loss 'crossentrpy': did you mean 'crossentropy'? ...
    """
    if isinstance(loss, str):
        if loss not in NAMES:
            raise unknown("loss", loss, NAMES)
        return NAMES[loss]()
    if isinstance(loss, type) and issubclass(loss, Loss):
        return loss()
    if not callable(loss):
        raise ArgumentTypeError(f"a loss is a name or a function of (prediction, target), not {loss!r}")
    return loss
