"""The ops: the rows of tests/ops, the cases of the tests against PyTorch beside this folder, and drawn ones."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from tests.ops.samples import SAMPLES
from tests.ops.table import Sample
from tests.prove import test_torch_layers, test_torch_parity
from tests.prove.parity.draws import DRAWS
from tests.prove.parity.measure import DTYPES, Case, Row, run
from tests.prove.parity.peers import ALONE, CONSTANT, PEERS

from chainrule.ops._op import OPS

LEAST = 30  # cases of an op
# Units of rounding, where they are more than a few: sums over many terms, and what takes differences of near numbers.
ALLOWED = {
    **dict.fromkeys(["layer_norm", "rms_norm", "group_norm", "ctc"], 64.0),
    **dict.fromkeys(["rnn", "gru", "lstm", "linear_activation", "std"], 32.0),
    "scaled_dot_product_attention": 128.0,  # the gradient of a single score is 0; here it is, there it is the rounding
}
USUAL = 16.0


def usable(sample: Sample) -> bool:
    """PyTorch draws other random numbers, and has no GRU that resets before the product."""
    return not sample.params.get("dropout") and sample.params.get("reset_after", True)


def redrawn(sample: Sample, seed: int) -> Sample:
    """The same with other numbers, in the range of the old ones."""
    random = np.random.default_rng(seed)
    args = list(sample.args)
    for i in sample.varied:
        if np.size(args[i]) > 1:
            args[i] = random.uniform(np.min(args[i]), np.max(args[i]), np.shape(args[i]))
    return Sample(sample.op, args, sample.varied, sample.expected, sample.params)


def samples_of(name: str, least: int) -> Iterator[Sample]:
    """Fixed rows, then drawn shapes and options where there are some, then the rows with other numbers."""
    fixed = [s for s in SAMPLES if s.op == name and usable(s)]
    yield from fixed
    found, seed = len(fixed), zlib.crc32(name.encode())
    if name in DRAWS:
        for i in range(least):
            args, params = DRAWS[name](np.random.default_rng(seed + i))
            yield Sample(name, args, [j for j, a in enumerate(args) if is_float(a)], lambda: None, params)
        return
    changing = [s for s in fixed if s.varied]
    while changing and found < least:
        yield redrawn(changing[found % len(changing)], seed + found)
        found += 1


def is_float(a: Any) -> bool:
    return isinstance(a, np.ndarray) and a.dtype.kind == "f"


def case_of(sample: Sample) -> Case:
    ours, theirs, params = OPS[sample.op], PEERS[sample.op][0], sample.params
    mine = ours
    if sample.op == "ctc":  # the gradient that PyTorch gives is that of the scores
        mine = lambda x, *rest, **p: ours(x.log_softmax(2), *rest, **p)  # noqa: E731
    if sample.op == "batch_norm_train":  # with what it writes
        mine = lambda x, w, b, m, v, **p: (ours(x, w, b, m, v, **p), m, v)  # noqa: E731
    varied = [i for i in sample.varied if i not in CONSTANT.get(sample.op, [])]
    args = [np.array(a) if isinstance(a, np.ndarray) else a for a in sample.args]
    return Case(lambda *a: mine(*a, **copy.copy(params)), lambda *a: theirs(*a, **params), args, varied, str(sample))


def cases_beside() -> dict[str, list[Case]]:
    """The cases of test_torch_parity.py and test_torch_layers.py; their names begin with an op."""
    layers = test_torch_layers
    found: dict[str, list[Case]] = {}
    listed = [
        *test_torch_parity.CASES,
        *layers.ACTIVATIONS,
        *layers.NORMS,
        *layers.POOLS,
        *layers.SHAPES,
        *layers.CONVS,
    ]
    other = {  # what else they begin with
        "indexing": "getitem",
        "masking": "index",
        "indices": "max_pool2d_with_indices",
        "instance_norm": "group_norm",
    }
    for parameter in listed:
        ours, theirs, args, rtol = parameter.values
        if rtol > 1e-8:  # constants of PyTorch have the digits of float32 there
            continue
        first = str(parameter.id).split()[0]
        name = other.get(first, first)
        if name not in OPS:
            raise ValueError(f"the case {parameter.id!r} begins with no op")
        dtypes = ("float64",) if name.startswith("batch_norm") else DTYPES  # its statistics are those of float64
        args = [np.ascontiguousarray(a) for a in args]
        case = Case(ours, theirs, args, list(range(len(args))), str(parameter.id), dtypes)
        found.setdefault(name, []).append(case)
    return found


def rows(least: int = LEAST) -> tuple[list[Row], dict[str, str]]:
    """A row for each op that PyTorch has, and the others with what covers them."""
    beside, found = cases_beside(), []
    missing = set(OPS) - set(PEERS) - set(ALONE)
    if missing:
        raise ValueError(f"ops without a peer in tests/prove/parity/peers.py: {sorted(missing)}")
    for name in sorted(PEERS):
        row = Row(f"`{name}`", f"`{PEERS[name][1]}`", ALLOWED.get(name, USUAL))
        for sample in samples_of(name, least):
            run(row, case_of(sample))
        for case in beside.get(name, []):
            run(row, case)
        found.append(row)
    return found, ALONE
