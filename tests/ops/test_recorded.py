"""Every row of the table as a recorded step: what a replay gives for other values is what the op gives, to the bit."""

import numpy as np
import pytest
from tests.ops.samples import SAMPLES
from tests.ops.test_samples import differentiable, each, gradients, is_float, op, run, tensors

import chainrule as cr
from chainrule import backends
from chainrule.domain.errors import RecordingError
from chainrule.recording.recorder import VALUE_SHAPED

REFUSED = {
    "ctc": "reads a value",
    "to_device": "reads a value",
    **dict.fromkeys(VALUE_SHAPED, "calls .*, whose result"),
}


def turned(sample):
    """The arguments with their floating numbers in another order."""
    return [np.array(np.flip(a)) if is_float(a) else a for a in sample.args]


def step_of(sample):
    """The op and, where it has one, its gradient."""
    varied = differentiable(sample)

    def step(args):
        return [y.detach() for y in run(sample, args)], gradients(sample, args=args) if varied else ()

    return step


def bits(found):
    return [[(y.shape, y.dtype, y.numpy().tobytes()) for y in some] for some in found]


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
@each(SAMPLES)
def test_a_replay_is_the_op(sample, backend):
    with backends.use(backend):
        step = step_of(sample)
        recorded = cr.jit(step)
        recorded(tensors(sample))
        if sample.op in REFUSED:
            with pytest.raises(RecordingError, match=rf"test_samples.py:\d+ {REFUSED[sample.op]}"):
                recorded(tensors(sample))
            return
        recorded(tensors(sample))
        args, again = tensors(sample, args=turned(sample)), tensors(sample, args=turned(sample))
        assert bits(recorded(args)) == bits(step(again))
        assert len(recorded.programs) == 1
        if op(sample).mutates:
            assert bits([[a for a in args if isinstance(a, cr.Tensor)]]) == bits(
                [[a for a in again if isinstance(a, cr.Tensor)]]
            )
