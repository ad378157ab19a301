"""Models as scikit-learn estimators: in pipelines, in grid searches, beside all that has ``fit`` and ``predict``.

Not imported by ``import chainrule``; it needs scikit-learn 1.6 or later (``pip install 'chainrule[sklearn]'``).

>>> from sklearn.datasets import load_iris
>>> from sklearn.model_selection import cross_val_score
>>> from sklearn.pipeline import make_pipeline
>>> from sklearn.preprocessing import StandardScaler
>>> model = make_pipeline(StandardScaler(), ClassifierModel(epochs=30, lr=0.01, random_state=0))
>>> bool(cross_val_score(model, *load_iris(return_X_y=True), cv=3).mean() > 0.9)
True
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from numbers import Integral
from typing import Any, Self

import numpy as np

from . import nn, optim
from .domain.errors import ArgumentError, ArgumentTypeError, MissingDependencyError, unknown
from .nn.registry import create, describe
from .random import fork_rng
from .train import EarlyStopping

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.class_weight import compute_sample_weight
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, column_or_1d, validate_data
except ImportError as error:
    raise MissingDependencyError(
        "[chainrule.estimators] needs scikit-learn 1.6 or later: pip install 'chainrule[sklearn]'"
    ) from error

ACTIVATIONS = {
    name.lower(): getattr(nn, name)
    for name in "ReLU LeakyReLU GELU SiLU ELU SELU Mish Softplus Tanh Sigmoid Identity".split()
}


class _Estimator(BaseEstimator):  # type: ignore[misc]
    """What the two have in common. The parameters are those of ClassifierModel."""

    def __init__(
        self,
        module: Any = None,
        *,
        hidden_layer_sizes: Sequence[int] = (64,),
        activation: str = "relu",
        loss: Any = "mse",
        optimizer: Any = "adam",
        lr: float = 3e-3,
        weight_decay: float = 0.0,
        batch_size: int = 32,
        epochs: int = 100,
        validation_fraction: float = 0.0,
        patience: int | None = None,
        callbacks: Any = None,
        dtype: str = "float64",
        device: Any = None,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: int | str = 0,
    ) -> None:
        self.module, self.hidden_layer_sizes, self.activation = module, hidden_layer_sizes, activation
        self.loss, self.optimizer, self.lr, self.weight_decay = loss, optimizer, lr, weight_decay
        self.batch_size, self.epochs = batch_size, epochs
        self.validation_fraction, self.patience, self.callbacks = validation_fraction, patience, callbacks
        self.dtype, self.device = dtype, device
        self.warm_start, self.random_state, self.verbose = warm_start, random_state, verbose

    def _train(self, X: Any, target: Any, outputs: int, weight: Any, epochs: int, fresh: bool) -> None:
        """Fit the module, a new one if ``fresh``, to targets as its loss takes them."""
        if fresh:
            self._random_state = check_random_state(self.random_state)
        draw = self._random_state
        with fork_rng(int(draw.randint(2**31 - 1))):
            if fresh:
                self.module_ = self._made(X.shape[1:], outputs).to(dtype=self.dtype, device=self.device)
                self.module_.compile(self.loss, self._optimizer(), metrics=self._metrics)
                self.n_iter_ = 0
            X = X.astype(np.dtype(self.module_.input_dtype(self.dtype)), copy=False)
            given = self.callbacks
            callbacks = copy.deepcopy(list(given) if isinstance(given, (list, tuple)) else [given] if given else [])
            if self.validation_fraction:
                order = draw.permutation(len(X))
                X, target = X[order], target[order]
                weight = None if weight is None else weight[order]
            if self.patience is not None:
                monitor = "val_loss" if self.validation_fraction else "loss"
                callbacks.append(EarlyStopping(monitor, patience=self.patience))
            self.history_ = self.module_.fit(
                X, target, epochs=epochs, batch_size=min(self.batch_size, len(X)), sample_weight=weight,
                validation_split=self.validation_fraction, callbacks=callbacks, verbose=self.verbose,
            )  # fmt: skip
        self.n_iter_ += len(self.history_.epoch)

    def _made(self, inputs: tuple[int, ...], outputs: int) -> Any:
        """A module with new values."""
        if self.module is None:
            if self.activation not in ACTIVATIONS:
                raise unknown(f"activation of {type(self).__name__}", self.activation, ACTIVATIONS)
            sizes: Any = self.hidden_layer_sizes
            hidden = [
                layer
                for size in ([sizes] if isinstance(sizes, Integral) else sizes)
                for layer in (nn.Linear(int(size)), ACTIVATIONS[self.activation]())
            ]
            before = [nn.Flatten()] if len(inputs) > 1 else []
            return nn.Sequential(*before, *hidden, nn.Linear(outputs))
        if isinstance(self.module, nn.Module):
            return create(describe(self.module))
        made = self.module(inputs[0], outputs) if callable(self.module) else None
        if not isinstance(made, nn.Module):
            raise ArgumentTypeError(
                f"[{type(self).__name__}] module is {self.module!r}, expected None, a Module, or a function of the numbers of "
                "features and of outputs that returns one"
            )
        return made

    def _optimizer(self) -> Any:
        """The optimizer of the module."""
        if callable(self.optimizer):
            return self.optimizer(self.module_.parameters())
        options = {"lr": self.lr} | ({"weight_decay": self.weight_decay} if self.weight_decay else {})
        return optim.get(self.optimizer, self.module_.parameters(), **options)

    @property
    def _metrics(self) -> list[str]:
        return []

    def _weight(self, sample_weight: Any, X: Any) -> Any:
        """Weights with the mean 1: then samples of weight 2 count as if they came twice."""
        if sample_weight is None:
            return None
        weight = _check_sample_weight(sample_weight, X, dtype=np.dtype(self.dtype), ensure_non_negative=True)
        return weight * (len(weight) / weight.sum())

    def _outputs(self, X: Any) -> Any:
        """What the module makes of data, as an array."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.dtype(self.dtype), allow_nd=True)
        X = X.astype(np.dtype(self.module_.input_dtype(self.dtype)), copy=False)
        return self.module_.predict(X).numpy()


class ClassifierModel(ClassifierMixin, _Estimator):  # type: ignore[misc]
    """A network as a scikit-learn classifier.

    ``module`` is a Module, of which each ``fit`` trains a new one made in the same way; or a function of the numbers of
    features and of classes that returns one, or its class; or None for an MLP with ``hidden_layer_sizes`` and
    ``activation``. It gives scores, a column for each class, or ends in a Softmax. ``optimizer`` is a name, with ``lr`` and
    ``weight_decay``, or a function of the parameters, ``optim.get("sgd", lr=0.1, momentum=0.9)``. ``validation_fraction``
    of the samples is held out. With ``patience`` training ends when ``val_loss`` (or ``loss``, if none is held out) has not
    improved for so many epochs, with the best weights. ``class_weight`` is "balanced" or a dict of labels and weights.
    ``callbacks`` are copied for each fit. Data is cast to ``dtype``, which the module gets: float64, as in scikit-learn, or
    "float32", which takes half the time. With ``random_state`` results repeat;
    the default generators are left as they were. ``warm_start`` goes on with the module there is.

    After fit: ``module_``, ``classes_``, ``history_``, ``n_iter_`` (epochs), ``n_features_in_``. Errors: scikit-learn's
    ValueError for bad data; ArgumentError, ArgumentTypeError.

    >>> X, y = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], ["no", "yes", "yes", "no"]
    >>> model = ClassifierModel(hidden_layer_sizes=(16,), activation="tanh", lr=0.05, random_state=0).fit(X, y)
    >>> model.predict(X).tolist(), model.predict_proba(X).shape, model.classes_.tolist()
    (['no', 'yes', 'yes', 'no'], (4, 2), ['no', 'yes'])
    """

    def __init__(
        self,
        module: Any = None,
        *,
        hidden_layer_sizes: Sequence[int] = (64,),
        activation: str = "relu",
        loss: Any = "cross_entropy",
        optimizer: Any = "adam",
        lr: float = 3e-3,
        weight_decay: float = 0.0,
        batch_size: int = 32,
        epochs: int = 100,
        validation_fraction: float = 0.0,
        patience: int | None = None,
        class_weight: Any = None,
        callbacks: Any = None,
        dtype: str = "float64",
        device: Any = None,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: int | str = 0,
    ) -> None:
        super().__init__(
            module, hidden_layer_sizes=hidden_layer_sizes, activation=activation, loss=loss, optimizer=optimizer, lr=lr,
            weight_decay=weight_decay, batch_size=batch_size, epochs=epochs, validation_fraction=validation_fraction,
            patience=patience, callbacks=callbacks, dtype=dtype, device=device, warm_start=warm_start,
            random_state=random_state, verbose=verbose,
        )  # fmt: skip
        self.class_weight = class_weight

    @property
    def _metrics(self) -> list[str]:
        return ["accuracy"]

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on ``X`` (n, features), or with more axes, and labels ``y`` (n,): numbers or texts."""
        return self._fit(
            X, y, None, sample_weight, self.epochs, fresh=not (self.warm_start and hasattr(self, "module_"))
        )

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """One epoch more. The first call has to name all ``classes``."""
        fresh = not hasattr(self, "module_")
        if fresh and classes is None:
            raise ArgumentError("[ClassifierModel] the first partial_fit needs classes, a list of all labels")
        return self._fit(X, y, classes, sample_weight, 1, fresh, adding=True)

    def _fit(
        self, X: Any, y: Any, classes: Any, sample_weight: Any, epochs: int, fresh: bool, adding: bool = False
    ) -> Self:
        X, y = validate_data(self, X, y, reset=fresh or not adding, dtype=np.dtype(self.dtype), allow_nd=True)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        if fresh:
            self.classes_ = np.unique(y if classes is None else classes)
        strangers = np.setdiff1d(y, self.classes_).tolist()
        if strangers:
            raise ArgumentError(
                f"[ClassifierModel] y has the label {strangers[0]!r}, which is not among the classes {self.classes_}"
            )
        if self.class_weight is not None:
            of_class = compute_sample_weight(self.class_weight, y)
            sample_weight = of_class if sample_weight is None else of_class * _check_sample_weight(sample_weight, X)
        target = np.searchsorted(self.classes_, y)
        self._train(X, target, len(self.classes_), self._weight(sample_weight, X), epochs, fresh)
        return self

    def predict_proba(self, X: Any) -> Any:
        """The probability of each of ``classes_``: (n, classes)."""
        scores = self._outputs(X)
        if ends_in_softmax(self.module_):
            return scores
        e = np.exp(scores - scores.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def predict(self, X: Any) -> Any:
        """The most probable label of each sample: (n,)."""
        best = self._outputs(X).argmax(axis=1)
        return self.classes_[best]


class RegressorModel(RegressorMixin, _Estimator):  # type: ignore[misc]
    """A network as a scikit-learn regressor, of one or of several targets. The parameters are those of ClassifierModel.

    Targets are as they come: scale them, as by ``TransformedTargetRegressor``, if they are far from 0 and 1. After fit:
    ``module_``, ``history_``, ``n_iter_`` (epochs), ``n_features_in_``, ``n_outputs_``.

    >>> X = np.linspace(-1, 1, 64).reshape(-1, 1)
    >>> model = RegressorModel(lr=0.01, random_state=0).fit(X, X.ravel() ** 2)
    >>> model.score(X, X.ravel() ** 2) > 0.95, model.predict(X[:3]).shape
    (True, (3,))
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on ``X`` (n, features), or with more axes, and targets ``y``: (n,), or (n, outputs)."""
        fresh = not (self.warm_start and hasattr(self, "module_"))
        return self._fit(X, y, sample_weight, self.epochs, fresh)

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """One epoch more."""
        return self._fit(X, y, sample_weight, 1, not hasattr(self, "module_"), adding=True)

    def _fit(self, X: Any, y: Any, sample_weight: Any, epochs: int, fresh: bool, adding: bool = False) -> Self:
        dtype = np.dtype(self.dtype)
        X, y = validate_data(
            self, X, y, reset=fresh or not adding, dtype=dtype, allow_nd=True, multi_output=True, y_numeric=True
        )
        y = np.asarray(y, dtype=dtype)
        outputs = 1 if y.ndim == 1 else y.shape[1]
        if fresh:
            self.n_outputs_, self._flat = outputs, y.ndim == 1
        elif outputs != self.n_outputs_:
            raise ArgumentError(
                f"[RegressorModel] y has {outputs} targets, but the model was made for {self.n_outputs_}"
            )
        self._train(X, y.reshape(len(y), outputs), outputs, self._weight(sample_weight, X), epochs, fresh)
        return self

    def predict(self, X: Any) -> Any:
        """The targets, float64: (n,), or (n, outputs) if it was fitted to such."""
        found = self._outputs(X).astype(np.float64)
        return found.ravel() if self._flat else found


def ends_in_softmax(module: Any) -> bool:
    """Whether a module gives probabilities itself."""
    while isinstance(module, nn.Sequential) and len(module):
        module = module[-1]
    return isinstance(module, nn.Softmax)


__all__ = ["ClassifierModel", "RegressorModel"]
