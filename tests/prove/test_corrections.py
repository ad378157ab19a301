"""What fine-tuning on corrections costs on all of MNIST's test images: docs/digits.md has the table."""

import numpy as np

from chainrule.apps.corrections import Corrections
from chainrule.apps.image import Steps
from chainrule.apps.predictor import DigitPredictor


def test_the_hardest_corrections_are_learnt_and_little_is_forgotten(mnist, record_property):
    predictor = DigitPredictor()
    x, y = mnist.x_test, mnist.y_test

    def right():
        return predictor.scores(x).argmax(axis=1) == y

    before = right()
    misread = np.flatnonzero(~before)[::5]
    corrections, found = Corrections(predictor), []
    for i in misread[:4]:  # each alone
        assert corrections.learn(Steps(x[i, 0], x[i, 0], x[i, 0]), int(y[i])).right
        found.append(float(right().mean()))
        corrections.reset()
    assert np.array_equal(right(), before)
    for i in misread[:5]:  # one after the other
        corrections.learn(Steps(x[i, 0], x[i, 0], x[i, 0]), int(y[i]))
    together = right()
    record_property("accuracy_after_one", found)
    record_property("accuracy_after_five", float(together.mean()))
    assert before.mean() - np.mean(found) <= 0.002 and before.mean() - min(found) <= 0.005
    assert before.mean() - together.mean() <= 0.005 and together[misread[:5]].all()
