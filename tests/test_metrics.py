"""Metrics: counted over batches, without reading anything back before the end."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
from tests.listeners import Heard

import chainrule as cr
from chainrule import losses, metrics, nn
from chainrule.domain.errors import ArgumentError, ArgumentTypeError, IndexRangeError, ShapeError
from chainrule.modes import listen

RNG = np.random.default_rng(0)


def result(metric, output, target):
    metric.update(cr.tensor(output), cr.tensor(target))
    return metric.result()


@pytest.mark.parametrize("kind", ["auto", "multiclass"])
def test_accuracy_of_classes_over_uneven_batches(kind):
    x, y = RNG.standard_normal((50, 3)).astype(np.float32), RNG.integers(0, 3, 50)
    accuracy = metrics.Accuracy(kind)
    for rows in (slice(0, 7), slice(7, 8), slice(8, 50)):
        accuracy.update(cr.tensor(x[rows]), cr.tensor(y[rows]))
    assert accuracy.result() == pytest.approx((x.argmax(axis=1) == y).mean(), abs=1e-12)
    accuracy.reset()
    assert accuracy.result() == 0.0
    onehot = np.eye(3, dtype=np.float32)[y]
    assert result(accuracy, x, onehot) == pytest.approx((x.argmax(axis=1) == y).mean())
    assert result(metrics.Accuracy(), x, y.astype(np.uint8)) == accuracy.result()


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
@pytest.mark.parametrize("target_shape", [(4,), (4, 1)])
@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_binary_accuracy(shape, target_shape, dtype):
    p = np.array([0.2, 0.6, 0.9, 0.4], np.float32).reshape(shape)
    y = np.array([0, 1, 0, 1]).reshape(target_shape).astype(dtype)
    assert result(metrics.Accuracy(), p, y) == 0.5
    assert result(metrics.Accuracy(threshold=0.0), np.log(p / (1 - p)), y) == 0.5


def test_accuracy_of_several_labels_and_of_pixels():
    p, y = np.array([[0.9, 0.2], [0.6, 0.7]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    assert result(metrics.Accuracy("binary"), p, y) == 0.75
    x, y = RNG.standard_normal((2, 3, 4, 5)), RNG.integers(0, 3, (2, 4, 5))
    assert result(metrics.Accuracy(), x, y) == pytest.approx((x.argmax(axis=1) == y).mean())


def test_accuracy_refuses_what_does_not_fit():
    for output, target in (((4, 3), (5,)), ((4, 3), (4, 1)), ((4,), (5,)), ((4, 3), (4, 3, 1))):
        with pytest.raises(ShapeError, match=r"\[accuracy\] output has shape"):
            result(metrics.Accuracy(), np.zeros(output), np.zeros(target, np.int64))
    with pytest.raises(ArgumentError, match="kind of accuracy"):
        metrics.Accuracy("binry")


def test_updates_read_nothing_and_change_the_same_memory():
    accuracy = metrics.Accuracy()
    x, y = cr.zeros(2, 3), cr.tensor([0, 1])
    accuracy.update(x, y)
    memory = accuracy.total.array, accuracy.count.array
    with listen(Heard(forbids_reading=True)):
        accuracy.update(x, y)
        accuracy.reset()
        accuracy.update(x, y)
    assert (accuracy.total.array is memory[0]) and (accuracy.count.array is memory[1]) and accuracy.result() == 0.5


def test_a_copy_counts_for_itself():
    accuracy = metrics.Accuracy()
    accuracy.update(cr.zeros(2, 3), cr.tensor([0, 1]))
    other = copy.deepcopy(accuracy)
    other.reset()
    assert accuracy.result() == 0.5 and other.result() == 0.0


def test_outputs_on_the_tape_are_counted():
    x = cr.zeros(2, 3, requires_grad=True)
    accuracy = metrics.Accuracy()
    accuracy.update(x * 2, cr.tensor([0, 0]))
    assert accuracy.result() == 1.0 and not accuracy.total.requires_grad


def test_the_mean_of_a_function_weighs_batches_by_their_size():
    mean = metrics.get(lambda x, y: (x - y).abs().mean())
    mean.update(cr.ones(3), cr.zeros(3))
    mean.update(cr.ones(1) * 5, cr.zeros(1))
    assert mean.result() == 2.0 and mean.name == "<lambda>"
    error = metrics.get(losses.MSE())
    assert error.name == "MSE" and result(error, [1.0], [3.0]) == 4.0


def test_metrics_by_name():
    assert metrics.get("acc").name == metrics.get("accuracy").name == "accuracy"
    assert metrics.get("binary_accuracy").kind == "binary" and metrics.get(metrics.Accuracy).kind == "auto"
    scores = metrics.get("accuracy", losses.BCEWithLogits())
    assert scores.kind == "binary" and scores.threshold == 0.0
    assert metrics.get("accuracy", losses.BCE()).threshold == 0.5
    assert metrics.get(scores) is scores
    with pytest.raises(ArgumentError, match="unknown metric 'acurracy': did you mean 'accuracy'"):
        metrics.get("acurracy")
    with pytest.raises(ArgumentTypeError, match="a metric is"):
        metrics.get(3)
    with pytest.raises(ArgumentError, match="mean over its batch"):
        metrics.get(losses.MSE("sum"))


# ---- the catalogue: against plain loops over samples

SCORES, CLASSES = RNG.standard_normal((40, 4)).round(1), RNG.integers(0, 4, 40)
P, YES = RNG.random(40).round(1), RNG.integers(0, 2, 40)
SHARES = np.exp(SCORES) / np.exp(SCORES).sum(axis=1, keepdims=True)
X, Y = RNG.standard_normal((40, 3)) + 1e6, RNG.standard_normal((40, 3)) + 1e6


def counts(said, true, c):
    """How often c was said and true, was said, was true."""
    pairs = [*zip(said, true, strict=True)]
    return sum(a == b == c for a, b in pairs), sum(a == c for a, _ in pairs), sum(b == c for _, b in pairs)


def averaged(f, average, said, true, classes):
    each = [f(*counts(said, true, c)) for c in classes]
    if average == "micro":
        return f(*np.sum([counts(said, true, c) for c in classes], axis=0))
    shares = [counts(said, true, c)[2] / len(true) for c in classes]
    found = {"none": each, "macro": np.mean(each), "weighted": np.dot(each, shares), "binary": each[-1]}
    return found[average]


def f_beta(beta):
    def f(right, said, true):
        p, r = right / said, right / true
        return (1 + beta**2) * p * r / (beta**2 * p + r) if p + r else 0.0

    return f


PER_CLASS = [
    (metrics.Precision, {}, lambda right, said, true: right / said),
    (metrics.Recall, {}, lambda right, said, true: right / true),
    (metrics.F1, {}, f_beta(1)),
    (metrics.FBeta, {"beta": 0.5}, f_beta(0.5)),
    (metrics.IoU, {}, lambda right, said, true: right / (said + true - right)),
]


def over_batches(metric, output, target):
    """The result of uneven batches, some of them seen by another metric; the updates read nothing."""
    other = copy.deepcopy(metric)
    parts = slice(0, 7), slice(7, 8), slice(8, 20), slice(20, None)
    metric.update(cr.tensor(output[parts[0]]), cr.tensor(target[parts[0]]))
    with listen(Heard(forbids_reading=True)):
        metric.update(cr.tensor(output[parts[1]]), cr.tensor(target[parts[1]]))
        for part in parts[2:]:
            other.update(cr.tensor(output[part]), cr.tensor(target[part]))
        metric.merge(other)
    found = metric.result()
    metric.reset()
    metric.update(cr.tensor(output), cr.tensor(target))
    np.testing.assert_allclose(metric.result(), found, rtol=1e-9, atol=1e-12)
    return found


@pytest.mark.parametrize("average", ["micro", "macro", "weighted", "none"])
@pytest.mark.parametrize(("cls", "options", "f"), PER_CLASS)
def test_metrics_of_each_class(cls, options, f, average):
    found = over_batches(cls(average=average, **options), SCORES, CLASSES)
    np.testing.assert_allclose(found, averaged(f, average, SCORES.argmax(1), CLASSES, range(4)), rtol=1e-12)


@pytest.mark.parametrize(("cls", "options", "f"), PER_CLASS)
def test_metrics_of_yes_and_no(cls, options, f):
    said = (P > 0.5).astype(int)
    assert over_batches(cls(**options), P[:, None], YES) == pytest.approx(averaged(f, "binary", said, YES, (0, 1)))
    metric = metrics.get(cls.__name__.lower() if cls is not metrics.FBeta else cls(**options), losses.BCEWithLogits())
    if cls is not metrics.FBeta:
        assert (metric.kind, metric.threshold) == ("binary", 0.0)


def correlation():
    """Of one-hot rows, what they share beyond their means."""
    a, b = np.eye(4)[SCORES.argmax(1)], np.eye(4)[CLASSES]
    a, b = a - a.mean(0), b - b.mean(0)
    return (a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum())


def kappa(power):
    said = SCORES.argmax(1)
    cost = (lambda a, b: abs(a - b) ** power) if power else (lambda a, b: a != b)
    seen = np.mean([cost(a, b) for a, b in zip(said, CLASSES, strict=True)])
    return 1 - seen / np.mean([cost(a, b) for a in said for b in CLASSES])


def ranked(scores, yes):
    """How often a yes is above a no."""
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[yes == 1] for b in scores[yes == 0]]
    return np.mean(pairs)


def precision_over_recall(scores, yes):
    total, before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        above = scores >= threshold
        recall = (above & (yes == 1)).sum() / yes.sum()
        total, before = total + (recall - before) * yes[above].mean(), recall
    return total


CASES = [
    (metrics.BinaryAccuracy(), P, YES, ((P > 0.5) == YES).mean()),
    (metrics.TopK(2), SCORES, CLASSES, np.mean([c in np.argsort(-s, kind="stable")[:2]
                                                for s, c in zip(SCORES, CLASSES, strict=True)])),
    (metrics.MatthewsCorrCoef(), SCORES, CLASSES, correlation()),
    (metrics.CohenKappa(), SCORES, CLASSES, kappa(0)),
    (metrics.CohenKappa("linear"), SCORES, CLASSES, kappa(1)),
    (metrics.CohenKappa("quadratic"), SCORES, CLASSES, kappa(2)),
    (metrics.LogLoss(), SHARES, CLASSES, -np.log(SHARES[np.arange(40), CLASSES]).mean()),
    (metrics.LogLoss(from_logits=True), SCORES, np.eye(4)[CLASSES], -np.log(SHARES[np.arange(40), CLASSES]).mean()),
    (metrics.LogLoss(), P * 0.8 + 0.1, YES, -np.log(np.where(YES, P * 0.8 + 0.1, 0.9 - P * 0.8)).mean()),
    (metrics.Perplexity(), SCORES, CLASSES, np.exp(-np.log(SHARES[np.arange(40), CLASSES]).mean())),
    (metrics.Perplexity(3, from_logits=False), SHARES, CLASSES,
     np.exp(-np.log(SHARES[np.arange(40), CLASSES])[CLASSES != 3].mean())),
    (metrics.ROCAUC(), P, YES, ranked(P, YES)),
    (metrics.ROCAUC(), SCORES, CLASSES, np.mean([ranked(SCORES[:, c], CLASSES == c) for c in range(4)])),
    (metrics.PRAUC(), P[:, None], YES, precision_over_recall(P, YES)),
    (metrics.PRAUC(), SCORES, np.eye(4)[CLASSES], np.mean([precision_over_recall(SCORES[:, c], CLASSES == c)
                                                           for c in range(4)])),
    (metrics.MAE(), X, Y, np.abs(X - Y).mean()),
    (metrics.MSE(), X, Y, ((X - Y) ** 2).mean()),
    (metrics.RMSE(), X[:, :1], Y[:, 0], np.sqrt(((X - Y)[:, 0] ** 2).mean())),
    (metrics.MAPE(), X, Y, np.abs((X - Y) / Y).mean()),
    (metrics.CosineSimilarity(), SCORES, SHARES,
     np.mean([a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(SCORES, SHARES, strict=True)])),
    (metrics.R2(), X, Y, 1 - np.mean(((X - Y) ** 2).sum(0) / ((Y - Y.mean(0)) ** 2).sum(0))),
    (metrics.R2(), X[:, 0], Y[:, 0], 1 - ((X - Y)[:, 0] ** 2).sum() / ((Y[:, 0] - Y[:, 0].mean()) ** 2).sum()),
    (metrics.ExplainedVariance(), X + 5, Y, 1 - np.mean((X - Y).var(0) / Y.var(0))),
]  # fmt: skip


@pytest.mark.parametrize(("metric", "output", "target", "wanted"), CASES, ids=lambda v: getattr(v, "name", ""))
def test_metrics(metric, output, target, wanted):
    assert over_batches(metric, output, target) == pytest.approx(wanted, rel=1e-8)
    fresh = copy.deepcopy(metric)
    fresh.reset()
    assert math.isfinite(fresh.result())
    assert (metric.higher_is_better is False) == (
        isinstance(metric, (metrics.LogLoss, metrics.Perplexity))
        or type(metric).__name__ in ("MAE", "MSE", "RMSE", "MAPE")
    )


def test_the_confusion_matrix():
    found = over_batches(metrics.ConfusionMatrix(), SCORES, CLASSES)
    said = SCORES.argmax(1)
    wanted = [[((CLASSES == i) & (said == j)).sum() for j in range(4)] for i in range(4)]
    assert found.tolist() == wanted and found.dtype == np.int64
    with pytest.raises(IndexRangeError, match=r"target has a class that output lacks: it has 4 \(0 to 3\)"):
        result(metrics.ConfusionMatrix(), SCORES[:2], np.array([0, 4]))


def test_nothing_to_divide_by():
    x, y = np.array([0.1, 0.2]), np.array([1, 1])
    for metric, wanted in (
        (metrics.Precision(), 0.0), (metrics.Recall(), 0.0), (metrics.F1(), 0.0), (metrics.IoU(), 0.0),
        (metrics.MatthewsCorrCoef(), 0.0), (metrics.CohenKappa(), 0.0), (metrics.ROCAUC(), 0.0), (metrics.PRAUC(), 1.0),
    ):  # fmt: skip
        assert result(metric, x, y) == wanted
    assert result(metrics.R2(), np.ones(3), np.ones(3)) == 1.0 and result(metrics.R2(), np.zeros(3), np.ones(3)) == 0.0
    assert result(metrics.CosineSimilarity(), np.zeros((1, 2)), np.ones((1, 2))) == 0.0


def test_metrics_say_what_is_wrong():
    for make, error in (
        (lambda: metrics.Precision("mean"), ArgumentError),
        (lambda: metrics.FBeta(0.0), ArgumentError),
        (lambda: metrics.TopK(0), ArgumentError),
        (lambda: metrics.CohenKappa("cubic"), ArgumentError),
        (lambda: result(metrics.Precision("binary"), SCORES, CLASSES), ArgumentError),
        (lambda: result(metrics.MAE(), X, Y[:, :2]), ShapeError),
        (lambda: result(metrics.ROCAUC(), P, YES[:5]), ShapeError),
        (lambda: result(metrics.F1(kind="binary"), P, YES[:5]), ShapeError),
        (lambda: result(metrics.LogLoss(), P, YES[:5]), ShapeError),
        (lambda: result(metrics.TopK(), SCORES, YES[:5]), ShapeError),
        (lambda: metrics.MAE().merge(metrics.MSE()), ArgumentTypeError),
        (lambda: metrics.PRAUC().merge(metrics.ROCAUC()), ArgumentTypeError),
    ):
        with pytest.raises(error):
            make()


def test_metrics_in_training_know_their_direction():
    from chainrule.train import EarlyStopping

    model = nn.Sequential(nn.Linear(4, 4))
    names = ["f1", "roc_auc", "top_k_accuracy", "cohen_kappa", "log_loss"]
    model.compile("cross_entropy", metrics=[*names[:4], metrics.LogLoss(from_logits=True)])
    history = model.fit(SCORES.astype("f"), CLASSES, epochs=1, verbose=0)
    assert history["roc_auc"] and history["log_loss"][0] == pytest.approx(history["loss"][0], rel=1e-3)
    headed = nn.Sequential(nn.Linear(4, 4), nn.Softmax())
    for made, from_logits in ((model, True), (headed, False)):
        made.compile("cross_entropy", metrics=["log_loss", "perplexity"])
        assert [m.from_logits for m in made.compiled.metrics] == [from_logits] * 2
        logs = made.evaluate(SCORES.astype("f"), CLASSES)
        assert logs["log_loss"] == pytest.approx(logs["loss"], rel=1e-5)
        assert logs["perplexity"] == pytest.approx(math.exp(logs["loss"]), rel=1e-5)
    model.compile("cross_entropy", metrics=[*names[:4], metrics.LogLoss(from_logits=True)])
    for name, sign in (("cohen_kappa", -1), ("val_log_loss", 1), ("val_f1", -1)):
        stopping = EarlyStopping(name)
        stopping.set_model(model)
        stopping.on_train_begin({})
        assert stopping.sign == sign
    for metric in ("confusion_matrix", metrics.Recall("none")):
        with pytest.raises(ArgumentError, match="no one number to report"):
            model.compile("cross_entropy", metrics=metric)


def test_every_name_makes_a_metric():
    for name in metrics.NAMES:
        assert isinstance(metrics.get(name), metrics.Metric) and repr(metrics.get(name))
        assert metrics.get(name).name == {"acc": "accuracy"}.get(name, name)


def test_accuracy_leaves_out_what_the_loss_ignores():
    from chainrule.losses import CrossEntropy

    accuracy = metrics.get("accuracy", CrossEntropy(ignore_index=7))
    accuracy.update(cr.tensor(np.eye(4, dtype="float32")), cr.tensor([0, 2, 7, 7]))
    assert accuracy.result() == 0.5
    accuracy.update(cr.tensor(np.eye(4, dtype="float32")), cr.tensor([0, 1, 2, 3]))
    assert accuracy.result() == pytest.approx(5 / 6)


OF_CLASSES = ["accuracy", "categorical_accuracy", "top_k_accuracy", "precision", "recall", "f1", "iou", "matthews_corrcoef",
              "cohen_kappa", "roc_auc", "pr_auc", "log_loss", "perplexity"]  # fmt: skip


@pytest.mark.parametrize("name", OF_CLASSES)
@pytest.mark.parametrize("ignored", [-100, 2])
def test_what_the_loss_ignores_counts_in_no_metric(name, ignored):
    from chainrule.losses import CrossEntropy

    rng = np.random.default_rng(0)
    output, target = rng.normal(size=(40, 7)), rng.integers(0, 7, 40)
    target[::3] = ignored
    counted = target != ignored
    some, rest = metrics.get(name, CrossEntropy(ignore_index=ignored)), metrics.get(name, CrossEntropy())
    for rows in (slice(0, 15), slice(15, 40)):
        some.update(cr.tensor(output[rows]), cr.tensor(target[rows]))
        rest.update(cr.tensor(output[rows][counted[rows]]), cr.tensor(target[rows][counted[rows]]))
    assert some.result() == pytest.approx(rest.result(), rel=1e-9) and some.result() != 0


def test_pixels_that_are_ignored():
    rng = np.random.default_rng(0)
    output, target = rng.normal(size=(3, 4, 5, 5)), rng.integers(0, 4, (3, 5, 5))
    target[:, 0] = 255
    overlap, rest = metrics.IoU(), metrics.IoU()
    overlap.ignore_index = 255
    overlap.update(cr.tensor(output), cr.tensor(target))
    rest.update(cr.tensor(output[:, :, 1:].copy()), cr.tensor(target[:, 1:].copy()))
    assert overlap.result() == rest.result()
