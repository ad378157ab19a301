"""scikit-learn and SciPy compute with tensors by the array API, and give what they give for NumPy's arrays."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
    import numpy as np
    import scipy.special
    import scipy.stats
    import sklearn
    import sklearn.metrics
    import sklearn.preprocessing
    from sklearn.naive_bayes import GaussianNB

    import chainrule as cr

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


if __name__ == "__main__":
    print(json.dumps(computed()))
