"""The shipped digit network on all of MNIST's test images: as they are, and redrawn at other sizes and places."""

import numpy as np
from tests.test_apps_predictor import accuracy, placed

from chainrule.apps.predictor import DigitPredictor


def test_the_shipped_network_on_all_test_images(mnist, record_property):
    predictor = DigitPredictor()
    x, y = mnist.x_test, mnist.y_test
    chances = predictor.scores(x)
    right, most = chances.argmax(axis=1) == y, chances.max(axis=1)
    gaps = []
    for low in np.linspace(0, 0.9, 10):
        some = (most > low) & (most <= low + 0.1)
        gaps.append(abs(most[some].mean() - right[some].mean()) * some.mean() if some.any() else 0)
    generator = np.random.default_rng(1)
    again = accuracy(predictor, x[:, 0], y)
    redrawn = accuracy(predictor, [placed(image, generator) for image in x[:, 0]], y)
    record_property("accuracy", float(right.mean()))
    record_property("accuracy_after_preprocess", float(again))
    record_property("accuracy_redrawn", float(redrawn))
    record_property("expected_calibration_error", float(sum(gaps)))
    assert right.mean() >= 0.994
    assert abs(again - right.mean()) <= 0.003
    assert abs(redrawn - right.mean()) <= 0.01
    assert sum(gaps) <= 0.015  # modest rather than bold: scribbles have taught it to doubt
