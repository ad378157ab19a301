"""The array API with peers: the strict arrays of the standard itself, and libraries that compute with any array."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.test_array_api import ROWS, XP, flat, found, given

import chainrule as cr

METRICS = """accuracy_score mean_squared_error mean_absolute_error r2_score zero_one_loss f1_score root_mean_squared_error
    explained_variance_score confusion_matrix max_error mean_pinball_loss median_absolute_error mean_tweedie_deviance
    mean_absolute_percentage_error hamming_loss""".split()
LABELS = ("accuracy_score", "zero_one_loss", "f1_score", "confusion_matrix", "hamming_loss")
KERNELS = """cosine_similarity euclidean_distances rbf_kernel linear_kernel polynomial_kernel sigmoid_kernel manhattan_distances
    additive_chi2_kernel""".split()
SCALERS = "MinMaxScaler MaxAbsScaler StandardScaler Normalizer Binarizer PolynomialFeatures".split()
STATISTICS = "zscore gmean hmean skew kurtosis moment sem variation tmean pmean iqr entropy gzscore".split()
SPECIAL = "logsumexp softmax log_softmax erf expit logit gammaln ndtr xlogy entr rel_entr".split()


def computed():
    """Every function by name: how far what it gives for tensors is from what it gives for arrays, and what that is."""
    import scipy.special
    import scipy.stats
    import sklearn
    import sklearn.metrics
    import sklearn.preprocessing
    from sklearn.naive_bayes import GaussianNB

    random = np.random.default_rng(0)
    x, labels, share = random.normal(size=(30, 4)), random.integers(0, 3, 30), random.random((30, 4))
    guessed = np.where(random.random(30) < 0.7, labels, (labels + 1) % 3)
    rows = {}

    def row(name, function, *arrays, **options):
        found = function(*(cr.tensor(a) for a in arrays), **options)
        wanted = np.asarray(function(*arrays, **options), np.float64)
        distance = np.abs(np.asarray(found, np.float64) - wanted).max() / max(1.0, np.abs(wanted).max())
        rows[name] = float(distance), type(found).__name__

    with sklearn.config_context(array_api_dispatch=True):
        for name in METRICS:
            options = {"average": "macro"} if name == "f1_score" else {}
            given = (labels, guessed) if name in LABELS else (share[:, 0], share[:, 1])
            row(name, getattr(sklearn.metrics, name), *given, **options)
        for name in KERNELS:
            row(name, getattr(sklearn.metrics.pairwise, name), share, share[:5])
        for name in SCALERS:
            row(name, getattr(sklearn.preprocessing, name)().fit_transform, x)
        row("GaussianNB", lambda a, b: GaussianNB().fit(a, b).predict_proba(a), x, labels)
    for name in STATISTICS:
        row(name, getattr(scipy.stats, name), share + 1, axis=0, **({"p": 2} if name == "pmean" else {}))
    for name in SPECIAL:
        options = {"axis": 1} if "soft" in name or "sum" in name else {}
        row(name, getattr(scipy.special, name), *[share] * (2 if name in ("xlogy", "rel_entr") else 1), **options)
    return rows


def test_scikit_learn_and_scipy(record_property):
    pytest.importorskip("sklearn")
    home = Path(__file__).parent.parent.parent
    paths = os.pathsep.join([str(home / "src"), *sys.path])
    environment = {**os.environ, "SCIPY_ARRAY_API": "1", "PYTHONPATH": paths, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = json.loads(done.stdout)
    assert {*METRICS, *KERNELS, *SCALERS, *STATISTICS, *SPECIAL} < {*rows}
    far = {name: found for name, found in rows.items() if found[0] > 1e-7}
    assert not far
    kinds = {name for name, found in rows.items() if found[1] == "Tensor"}
    assert {*KERNELS, *SCALERS, *STATISTICS, *SPECIAL, "GaussianNB", "confusion_matrix"} <= kinds
    record_property("functions of scikit-learn and SciPy", len(rows))
    record_property("largest deviation", max(found[0] for found in rows.values()))


KINDS = "bool int8 int16 int32 int64 uint8 float32 float64".split()
BEYOND = {  # what is more here than the standard asks for
    "vecdot": "axis must be negative",
    "signbit": "Only real floating-point dtypes",  # of integers
    "sum": "Only numeric dtypes",  # of bools
}


def strict(value):
    """NumPy's arrays and names of dtypes as the strict implementation has them, in tuples too."""
    import array_api_strict as space

    if isinstance(value, np.ndarray):
        return space.asarray(np.ascontiguousarray(value))
    if isinstance(value, tuple):
        return tuple(map(strict, value))
    return getattr(space, value) if isinstance(value, str) and value in KINDS else value


def test_the_strict_arrays(record_property):
    """Dtypes, shapes and values of every declared function are those of array-api-strict, which does nothing else."""
    space = pytest.importorskip("array_api_strict")
    space.set_array_api_strict_flags(api_version="2024.12")  # what came after 2023.12 is declared, too
    compared = set()
    for name, args, kwargs in ROWS:
        try:
            options = {key: strict(value) for key, value in kwargs.items()}
            with np.errstate(all="ignore"):
                wanted = flat(found(space, name)(*map(strict, args), **options))
        except (TypeError, ValueError) as error:
            assert BEYOND[name] in str(error)  # noqa: PT017
            continue
        got = flat(found(XP, name)(*map(given, args), **{key: given(value) for key, value in kwargs.items()}))
        for y, one in zip(got, wanted, strict=True):
            array, kind = np.from_dlpack(one), str(one.dtype).rpartition(".")[2]
            if kind == "uint64":  # of sums of uint8: there is no such dtype here
                array, kind = array.astype(np.int64), "int64"
            assert (y.dtype, y.shape) == (kind, array.shape), name
            array = np.sort(array) if name == "unique_values" else array  # in any order, says the standard
            np.testing.assert_allclose(y.numpy(), array, 1e-6 if kind == "float32" else 1e-12, 1e-30, err_msg=name)
        compared.add(name)
    assert {name for name, *_ in ROWS} == compared
    record_property("functions compared with array-api-strict", len(compared))


def test_dtypes_are_promoted_as_the_standard_says():
    space = pytest.importorskip("array_api_strict")
    for one in KINDS:
        for other in KINDS:
            a, b = (getattr(space, kind) for kind in (one, other))
            try:
                wanted = str(space.result_type(a, b)).rpartition(".")[2]
            except TypeError:
                continue  # the standard leaves these open
            assert str(XP.result_type(getattr(XP, one), getattr(XP, other))) == wanted
            assert (XP.ones(2, dtype=one) * XP.ones(2, dtype=other)).dtype == wanted or "bool" in (one, other)
        for kind in ("bool", "signed integer", "unsigned integer", "integral", "real floating", "numeric"):
            assert XP.isdtype(getattr(XP, one), kind) == space.isdtype(getattr(space, one), kind)


D, N = np.array([3.0, 1.0, 3.0, 2.0, 1.0, 3.0]), np.arange(6)
M = np.random.default_rng(0).normal(size=(3, 4))
MORE = [
    ("angle", (M,), {}), ("argpartition", (D, 2), {}), ("atleast_nd", (D,), {"ndim": 3}), ("cov", (M,), {}),
    ("create_diagonal", (D,), {"offset": -1}), ("deg2rad", (M,), {}), ("isclose", (M, M + 1e-9), {}), ("isin", (D, D[:2]), {}),
    ("kron", (M, M[:2]), {}), ("nan_to_num", (np.array([np.nan, 1.0, np.inf]),), {}), ("nanmax", (M,), {"axis": 0}),
    ("nanmean", (M,), {}), ("nansum", (M,), {"axis": 1}), ("nunique", (D,), {}), ("one_hot", (N, 6), {"dtype": "float64"}),
    ("pad", (M, 2), {"constant_values": 3.0}), ("partition", (D, 2), {}), ("setdiff1d", (D, D[1:2]), {}), ("sinc", (M,), {}),
    ("union1d", (D, D + 1), {}),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_functions_for_any_array():
    """array-api-extra has functions that are written with those of the standard alone."""
    extra = pytest.importorskip("array_api_extra")
    for name, args, kwargs in MORE:
        kinds = {**kwargs, **({"dtype": XP.float64} if "dtype" in kwargs else {})}
        wanted, got = getattr(extra, name)(*args, **kwargs), getattr(extra, name)(*map(given, args), **kinds)
        assert isinstance(got, cr.Tensor) and got.dtype == np.asarray(wanted).dtype.name, name
        np.testing.assert_allclose(got.numpy(), wanted, 1e-12, 1e-15, err_msg=name)
    x, y = cr.tensor(M), M.copy()
    for one in (x, y):
        changed = extra.at(one)[one > 0].add(1.0, copy=True)
        changed = extra.at(changed, 0).multiply(2.0, copy=True)
        one[...] = extra.apply_where(changed > 1, changed, lambda v: v * 2, lambda v: -v)
    np.testing.assert_allclose(x.numpy(), y, 1e-15)
    compat = pytest.importorskip("array_api_compat")
    assert compat.is_array_api_obj(x) and compat.array_namespace(x, x) is XP and compat.size(x) == 12
    assert compat.device(x) == x.device and compat.to_device(x, "cpu") is x


if __name__ == "__main__":
    print(json.dumps(computed()))
