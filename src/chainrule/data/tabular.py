"""Small tables, from the copies that scikit-learn carries."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ..domain.errors import MissingDependencyError
from .arrays import Samples, float_type


def load_iris(*, dtype: DTypeLike = "float32") -> Samples:
    """Irises: ``(x, y)``, the lengths and widths of sepals and petals in cm, ``dtype`` (150, 4), and the species, int64
    (150,): 0 setosa, 1 versicolor, 2 virginica.

    Terms: R. A. Fisher, 1936; UCI Machine Learning Repository, CC BY 4.0. Errors: MissingDependencyError without
    scikit-learn.

    >>> x, y = load_iris()
    >>> x.shape, np.bincount(y), x[0]
    ((150, 4), array([50, 50, 50]), array([5.1, 3.5, 1.4, 0.2], dtype=float32))
    """
    return _samples("load_iris", dtype, np.int64)


def load_wine(*, dtype: DTypeLike = "float32") -> Samples:
    """Wines: ``(x, y)``, 13 chemical measurements in their own units, ``dtype`` (178, 13), and the grower, int64 (178,)
    from 0 to 2.

    Terms: S. Aeberhard and M. Forina, 1991; UCI Machine Learning Repository, CC BY 4.0. Errors: MissingDependencyError
    without scikit-learn.

    >>> x, y = load_wine()
    >>> x.shape, np.bincount(y)
    ((178, 13), array([59, 71, 48]))
    """
    return _samples("load_wine", dtype, np.int64)


def load_breast_cancer(*, dtype: DTypeLike = "float32") -> Samples:
    """Breast tumours of Wisconsin: ``(x, y)``, 30 measurements of cell nuclei, ``dtype`` (569, 30), and the diagnosis,
    int64 (569,): 0 malignant, 1 benign.

    Terms: W. Wolberg, O. Mangasarian, N. Street and W. Street, 1995; UCI Machine Learning Repository, CC BY 4.0.
    Errors: MissingDependencyError without scikit-learn.

    >>> x, y = load_breast_cancer()
    >>> x.shape, np.bincount(y)
    ((569, 30), array([212, 357]))
    """
    return _samples("load_breast_cancer", dtype, np.int64)


def load_diabetes(*, scaled: bool = True, dtype: DTypeLike = "float32") -> Samples:
    """Diabetes: ``(x, y)``, 10 measurements of 442 patients, ``dtype`` (442, 10), and how far the disease went in a year,
    ``dtype`` (442,) from 25 to 346: for regression.

    Columns: age, sex, body mass index, blood pressure, six blood values; each has mean 0 and sum of squares 1, or with
    ``scaled=False`` its own units. Terms: none are stated; published by B. Efron, T. Hastie, I. Johnstone and
    R. Tibshirani, "Least Angle Regression", 2004. Errors: MissingDependencyError without scikit-learn.

    >>> x, y = load_diabetes()
    >>> x.shape, y.shape, y[:3].tolist()
    ((442, 10), (442,), [151.0, 75.0, 141.0])
    """
    return _samples("load_diabetes", dtype, float_type(dtype), scaled=scaled)


def _samples(name: str, dtype: DTypeLike, target: Any, **options: Any) -> Samples:
    """What scikit-learn's function of that name gives, in these dtypes."""
    kind = float_type(dtype)
    try:
        from sklearn import datasets
    except ImportError:
        raise MissingDependencyError(
            f"[{name}] needs scikit-learn, which carries the data: pip install 'chainrule[sklearn]'"
        ) from None
    x, y = getattr(datasets, name)(return_X_y=True, **options)
    return Samples(x.astype(kind), y.astype(target))
