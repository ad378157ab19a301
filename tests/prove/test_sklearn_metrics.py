"""Metrics equal scikit-learn's. Runs where it is installed (``pip install .[sklearn]``)."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import metrics

sk = pytest.importorskip("sklearn.metrics")
RNG = np.random.default_rng(0)
N = 200
SCORES, CLASSES = RNG.standard_normal((N, 5)).round(2), RNG.integers(0, 5, N)
SAID = SCORES.argmax(axis=1)
P, YES = RNG.random(N).round(2), RNG.integers(0, 2, N)
SHARES = np.exp(SCORES) / np.exp(SCORES).sum(axis=1, keepdims=True)
X, Y = RNG.standard_normal((N, 3)), RNG.standard_normal((N, 3))
ALL = np.arange(5)


def result(metric, output, target):
    for part in np.array_split(np.arange(N), 7):
        metric.update(cr.tensor(output[part]), cr.tensor(target[part]))
    return metric.result()


@pytest.mark.parametrize("average", ["micro", "macro", "weighted", "none"])
@pytest.mark.parametrize(
    ("metric", "peer"),
    [
        (metrics.Precision, sk.precision_score),
        (metrics.Recall, sk.recall_score),
        (metrics.F1, sk.f1_score),
        (lambda average: metrics.FBeta(0.5, average), lambda t, s, **k: sk.fbeta_score(t, s, beta=0.5, **k)),
        (metrics.IoU, sk.jaccard_score),
    ],
)
def test_of_each_class(metric, peer, average):
    wanted = peer(CLASSES, SAID, average=None if average == "none" else average)
    np.testing.assert_allclose(result(metric(average), SCORES, CLASSES), wanted, rtol=1e-12)
    if average == "none":
        found = result(metric("auto"), P, YES)
        assert found == pytest.approx(peer(YES, (P > 0.5).astype(int), average="binary"), rel=1e-12)


@pytest.mark.parametrize(
    ("metric", "output", "target", "wanted"),
    [
        (metrics.Accuracy(), SCORES, CLASSES, sk.accuracy_score(CLASSES, SAID)),
        (metrics.BinaryAccuracy(), P, YES, sk.accuracy_score(YES, P > 0.5)),
        (metrics.TopK(2), SCORES + np.arange(5) * 1e-6, CLASSES,
         sk.top_k_accuracy_score(CLASSES, SCORES + np.arange(5) * 1e-6, k=2)),
        (metrics.MatthewsCorrCoef(), SCORES, CLASSES, sk.matthews_corrcoef(CLASSES, SAID)),
        (metrics.MatthewsCorrCoef(), P, YES, sk.matthews_corrcoef(YES, P > 0.5)),
        *[(metrics.CohenKappa(w), SCORES, CLASSES, sk.cohen_kappa_score(CLASSES, SAID, weights=w))
          for w in (None, "linear", "quadratic")],
        (metrics.LogLoss(), SHARES, CLASSES, sk.log_loss(CLASSES, SHARES)),
        (metrics.LogLoss(), P, YES, sk.log_loss(YES, P)),
        (metrics.ROCAUC(), P, YES, sk.roc_auc_score(YES, P)),
        (metrics.ROCAUC(), SHARES, CLASSES, sk.roc_auc_score(CLASSES, SHARES, multi_class="ovr")),
        (metrics.PRAUC(), P, YES, sk.average_precision_score(YES, P)),
        (metrics.PRAUC(), SHARES, CLASSES, sk.average_precision_score(np.eye(5)[CLASSES], SHARES)),
        (metrics.MAE(), X, Y, sk.mean_absolute_error(Y, X)),
        (metrics.MSE(), X, Y, sk.mean_squared_error(Y, X)),
        (metrics.RMSE(), X[:, 0], Y[:, 0], sk.root_mean_squared_error(Y[:, 0], X[:, 0])),
        (metrics.MAPE(), X, Y, sk.mean_absolute_percentage_error(Y, X)),
        (metrics.R2(), X, Y, sk.r2_score(Y, X)),
        (metrics.R2(), X[:, 0], Y[:, 0] * 0 + 3, sk.r2_score(Y[:, 0] * 0 + 3, X[:, 0])),
        (metrics.ExplainedVariance(), X + 7, Y, sk.explained_variance_score(Y, X + 7)),
        (metrics.CosineSimilarity(), X, Y, np.diag(sk.pairwise.cosine_similarity(X, Y)).mean()),
    ],
)  # fmt: skip
def test_metrics(metric, output, target, wanted):
    assert result(metric, output, target) == pytest.approx(wanted, rel=1e-9, abs=1e-12)


def test_the_confusion_matrix():
    np.testing.assert_array_equal(
        result(metrics.ConfusionMatrix(), SCORES, CLASSES), sk.confusion_matrix(CLASSES, SAID, labels=ALL)
    )
