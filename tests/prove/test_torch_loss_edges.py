"""Losses at their edges against PyTorch: nothing to average, all ignored, certainty, weights beside smoothing, broadcasting."""

import itertools

import numpy as np
import pytest

import chainrule as cr
from chainrule import losses

torch = pytest.importorskip("torch")
f = torch.nn.functional
RNG = np.random.default_rng(0)
X, Y, W = RNG.normal(size=(6, 4)), RNG.integers(0, 4, 6), np.array([1.0, 2.0, 0.5, 0.0])
A, B, U = RNG.normal(size=(5, 3)), RNG.normal(size=(5, 3)), RNG.uniform(0.05, 0.95, (5, 3))
YES = RNG.integers(0, 2, (5, 3)).astype(float)
SIDE = np.where(YES[:, 0] > 0, 1.0, -1.0)
TARGETS = {
    "classes": (X, Y),
    "probabilities": (X, RNG.dirichlet(np.ones(4), 6)),
    "one-hot": (X, np.eye(4)[Y]),
    "pixels": (RNG.normal(size=(2, 4, 3, 5)), RNG.integers(0, 4, (2, 3, 5))),
    "probabilities of pixels": (
        RNG.normal(size=(2, 4, 3)),
        np.moveaxis(RNG.dirichlet(np.ones(4), (2, 3)), 2, 1).copy(),
    ),
    "all ignored": (X, np.full(6, -100)),
    "some ignored": (X, np.where(Y == 1, -100, Y)),
    "no samples": (X[:0], Y[:0]),
    "no pixels": (np.zeros((2, 4, 0)), np.zeros((2, 0), int)),
}


def compare(mine, theirs, arrays, without=(), tolerances=(("float64", 1e-12), ("float32", 2e-5))):
    """The value and the gradients of all floats but those of the arguments ``without``."""
    for dtype, near in tolerances:
        given = [a.astype(dtype) if a.dtype.kind == "f" else a for a in arrays]
        ours = [cr.tensor(a, requires_grad=a.dtype.kind == "f") for a in given]
        other = [torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in given]
        found, expected = mine(*ours), theirs(*other)
        np.testing.assert_allclose(found.numpy(), expected.detach().numpy(), rtol=near, atol=near)
        if not expected.requires_grad:
            continue
        found.sum().backward()
        expected.sum().backward()
        for place, (a, b) in enumerate(zip(ours, other, strict=True)):
            if b.grad is not None and place not in without:
                np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=near * 10, atol=near)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("kind", TARGETS)
def test_losses_of_classes(kind, reduction):
    x, y = TARGETS[kind]
    for smoothing, weight, ignored in itertools.product([0.0, 0.1, 1.0], [None, W], [-100, 1]):
        if y.dtype.kind == "f" and ignored >= 0:
            with pytest.raises(cr.errors.ArgumentError, match="probabilities have no index to ignore"):
                losses.CrossEntropy(ignore_index=ignored)(cr.tensor(x), cr.tensor(y))
            continue
        options = {"reduction": reduction, "ignore_index": ignored}
        y = np.where(y == -100, ignored, y) if y.dtype.kind == "i" else y

        def of(x, options=options, weight=weight):
            return {**options, "weight": None if weight is None else torch.tensor(weight, dtype=x.dtype)}

        compare(
            lambda x, y, w=weight, s=smoothing, o=options: losses.CrossEntropy(w, label_smoothing=s, **o)(x, y),
            lambda x, y, s=smoothing: f.cross_entropy(x, y, label_smoothing=s, **of(x)),
            [x, y],
        )
        if y.dtype.kind == "i" and not smoothing:
            compare(
                lambda x, y, w=weight, o=options: losses.NLL(w, **o)(x.log_softmax(axis=1), y),
                lambda x, y: f.nll_loss(x.log_softmax(1), y, **of(x)),
                [x, y],
            )


@pytest.mark.parametrize("value", [1e4, -1e4, 1e30, np.inf, -np.inf, np.nan])
def test_cross_entropy_of_extreme_scores(value):
    x = X.copy()
    x[0, 0] = value
    compare(losses.CrossEntropy(), f.cross_entropy, [x, Y])


# PyTorch's gradients of targets are infinite or NaN where a probability is exactly 0 or 1: ours are finite, and left out
CASES = {
    "mae of equals": (losses.MAE, f.l1_loss, [A, A.copy()], {}, ()),
    "smooth_l1 without a bend": (losses.SmoothL1, f.smooth_l1_loss, [A, B], {"beta": 0.0}, ()),
    "bce of the certain": (losses.BCE, f.binary_cross_entropy, [YES.copy(), YES], {}, (1,)),
    "bce of the wrong": (losses.BCE, f.binary_cross_entropy, [1 - YES, YES], {}, (1,)),
    "bce of large scores": (losses.BCEWithLogits, f.binary_cross_entropy_with_logits, [A * 50, YES], {}, ()),
    "kl_div of nothing": (losses.KLDiv, f.kl_div, [np.log(U), YES], {}, (1,)),
    "kl_div of logarithms": (losses.KLDiv, f.kl_div, [np.log(U), np.log(U[::-1])], {"log_target": True}, ()),
    "poisson of none": (losses.PoissonNLL, f.poisson_nll_loss, [A, np.round(np.abs(B))], {"full": True}, (1,)),
    "poisson of rates": (losses.PoissonNLL, f.poisson_nll_loss, [U, np.abs(B)], {"log_input": False}, ()),
    "cosine of nothing": (losses.CosineEmbedding, f.cosine_embedding_loss, [A * 0, B, SIDE], {"margin": 0.2}, ()),
    "one pair": (losses.CosineEmbedding, f.cosine_embedding_loss, [A[0], B[0], np.array(1.0)], {}, ()),
    "one triplet": (losses.TripletMargin, f.triplet_margin_loss, [A[0], B[0], U[0]], {"p": 1.0, "swap": True}, ()),
    "variances below eps": (losses.GaussianNLL, f.gaussian_nll_loss, [A, B, U], {"eps": 0.3}, ()),
    "a variance a row": (losses.GaussianNLL, f.gaussian_nll_loss, [A, B, U[:, 0].copy()], {"full": True}, ()),
    "a variance a row of a square": (losses.GaussianNLL, f.gaussian_nll_loss, [A[:3], B[:3], U[:3, 0].copy()], {}, ()),
    "a variance in a column": (losses.GaussianNLL, f.gaussian_nll_loss, [A, B, U[:, :1].copy()], {}, ()),
}


SINGLE = ("bce of the wrong", "cosine of nothing")  # PyTorch's 1e-12 is rounded to float32, also in float64


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")  # PyTorch's own, of its kl_div
def test_edges(case):
    make, reference, arrays, options, without = CASES[case]
    more = {"tolerances": (("float32", 2e-5),)} if case in SINGLE else {}
    for reduction in ("mean", "sum", "none", *(["batchmean"] if make is losses.KLDiv else [])):
        given = {**options, "reduction": reduction}
        compare(make(**given), lambda *parts, given=given: reference(*parts, **given), arrays, without, **more)
        if arrays[0].ndim > 1 and "row" not in case:
            empty = [a[:0] for a in arrays]
            compare(make(**given), lambda *parts, given=given: reference(*parts, **given), empty, without, **more)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize(
    ("labels", "steps"),
    [((2, 3, 1), (7, 6, 5)), ((0, 3, 1), (7, 6, 5)), ((0, 0, 0), (7, 7, 7)), ((4, 4, 4), (7, 7, 7))],
)
def test_ctc(labels, steps, reduction, zero):
    target = RNG.integers(1, 5, (3, 4))
    target[2] = 2  # four equal labels just fit into seven steps
    options = {"reduction": reduction, "zero_infinity": zero}
    compare(
        lambda x: losses.CTC(**options)(x.log_softmax(axis=2), *map(cr.tensor, (target, steps, labels))),
        lambda x: f.ctc_loss(x.log_softmax(2), *map(torch.tensor, (target, steps, labels)), **options),
        [RNG.normal(size=(7, 3, 5))],
    )
