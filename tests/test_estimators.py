"""Networks as scikit-learn estimators: its own checks, and that they do what they say inside its tools."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris, load_linnerud
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import chainrule as cr
from chainrule import errors, nn, optim
from chainrule.estimators import ClassifierModel, RegressorModel
from chainrule.random import fork_rng
from chainrule.train import LambdaCallback

IRIS = load_iris(return_X_y=True)
QUICK = {"hidden_layer_sizes": (16,), "epochs": 12, "lr": 0.05, "random_state": 0}


@pytest.mark.parametrize("estimator", [ClassifierModel, RegressorModel])
def test_the_checks_of_scikit_learn_all_pass(estimator):
    results = check_estimator(estimator(**QUICK), on_skip=None)
    assert {result["status"] for result in results} <= {"passed", "skipped"} and len(results) > 50


@pytest.mark.parametrize("copied", [lambda m: pickle.loads(pickle.dumps(m)), copy.deepcopy])
def test_copies_predict_the_same_and_can_be_trained_on(copied):
    fitted = ClassifierModel(**QUICK, warm_start=True).fit(*IRIS)
    again = copied(fitted)
    np.testing.assert_array_equal(again.predict_proba(IRIS[0]), fitted.predict_proba(IRIS[0]))
    again.fit(*IRIS), fitted.fit(*IRIS)
    np.testing.assert_array_equal(again.predict_proba(IRIS[0]), fitted.predict_proba(IRIS[0]))
    assert fitted.n_iter_ == again.n_iter_ == 24


def test_a_clone_is_unfitted_and_has_the_parameters():
    module = nn.Sequential(nn.Linear(4), nn.ReLU(), nn.Linear(3))
    fitted = ClassifierModel(module, lr=0.5, epochs=1).fit(*IRIS)
    made = clone(fitted)
    assert made.get_params()["lr"] == 0.5 and not hasattr(made, "module_") and repr(made.module) == repr(module)
    assert not module.is_built  # the one that was given is left as it is
    made.set_params(epochs=2).fit(*IRIS)
    assert made.n_iter_ == 2


def test_in_a_pipeline_and_a_grid_search():
    pipeline = make_pipeline(StandardScaler(), ClassifierModel(**QUICK))
    search = GridSearchCV(
        pipeline, {"classifiermodel__hidden_layer_sizes": [(), (8, 8)], "classifiermodel__lr": [1e-5, 0.05]}
    )
    search.fit(*IRIS)
    assert search.best_params_["classifiermodel__lr"] == 0.05 and search.best_score_ > 0.9
    assert cross_val_score(pipeline, *IRIS, cv=3).mean() > 0.9


def test_a_random_state_repeats_and_leaves_the_generators_alone():
    cr.manual_seed(11)
    expected = cr.rand(3).tolist()
    cr.manual_seed(11)
    module = nn.Sequential(nn.Linear(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(3))
    first, second = (ClassifierModel(module, epochs=3, random_state=5).fit(*IRIS) for _ in range(2))
    assert cr.rand(3).tolist() == expected
    np.testing.assert_array_equal(first.predict_proba(IRIS[0]), second.predict_proba(IRIS[0]))
    other = ClassifierModel(module, epochs=3, random_state=6).fit(*IRIS)
    assert (other.predict_proba(IRIS[0]) != first.predict_proba(IRIS[0])).any()


def test_generators_that_are_made_later_have_the_seed_from_before(monkeypatch):
    cr.manual_seed(11)
    expected = cr.rand(3).tolist()
    cr.manual_seed(11)
    monkeypatch.setattr("chainrule.random._default", {})  # no device was used yet
    with fork_rng(5):
        cr.rand(3)  # this one is made inside
    assert cr.rand(3).tolist() == expected
    monkeypatch.setattr("chainrule.random._default", {})
    assert cr.rand(3).tolist() == expected


class Net(nn.Module):
    def __init__(self, features, outputs):
        self.fc = nn.Linear(features, outputs)

    def forward(self, x):
        return self.fc(x)


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3)),
        nn.Sequential(nn.Linear(4, 3), nn.Softmax()),
        Net,
        lambda features, outputs: nn.Sequential(nn.Linear(features, 8), nn.ReLU(), nn.Linear(8, outputs)),
    ],
)
def test_modules_of_all_kinds(module):
    fitted = ClassifierModel(module, lr=0.05, epochs=20, random_state=0).fit(*IRIS)
    assert fitted.score(*IRIS) > 0.9
    probabilities = fitted.predict_proba(IRIS[0])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-6)
    np.testing.assert_array_equal(fitted.classes_[probabilities.argmax(axis=1)], fitted.predict(IRIS[0]))


def test_images_go_through_convolutions():
    x, y = load_digits(return_X_y=True)
    images = x.reshape(-1, 1, 8, 8) / 16
    module = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(10))
    fitted = ClassifierModel(module, lr=0.01, epochs=4, dtype="float32", random_state=0).fit(images[:1200], y[:1200])
    assert fitted.score(images[1200:], y[1200:]) > 0.85 and fitted.module_[0].weight.dtype == "float32"


def test_regression_of_several_targets():
    x, y = load_linnerud(return_X_y=True)
    x, y = StandardScaler().fit_transform(x), StandardScaler().fit_transform(y)
    fitted = RegressorModel(epochs=200, lr=0.01, random_state=0).fit(x, y)
    assert fitted.predict(x).shape == y.shape == (20, 3) and fitted.score(x, y) > 0.8 and fitted.n_outputs_ == 3
    one = RegressorModel(**QUICK).fit(x, y[:, 0])
    assert one.predict(x).shape == (20,) and one.predict(x).dtype == np.float64
    with pytest.raises(errors.ArgumentError, match="y has 3 targets, but the model was made for 1"):
        one.partial_fit(x, y)


def test_partial_fit_is_an_epoch_more():
    fitted = ClassifierModel(**QUICK)
    with pytest.raises(errors.ArgumentError, match="first partial_fit needs classes"):
        fitted.partial_fit(*IRIS)
    for _ in range(12):
        fitted.partial_fit(*IRIS, classes=[0, 1, 2])
    assert fitted.n_iter_ == 12 and fitted.score(*IRIS) > 0.9
    fitted.partial_fit(IRIS[0][:50], IRIS[1][:50])  # not all classes have to be there
    with pytest.raises(errors.ArgumentError, match="the label 7, which is not among the classes"):
        fitted.partial_fit(IRIS[0], IRIS[1] + 7)


def test_patience_holds_out_and_ends_with_the_best():
    fitted = ClassifierModel(**{**QUICK, "epochs": 300}, validation_fraction=0.2, patience=3).fit(*IRIS)
    losses = fitted.history_["val_loss"]
    assert len(losses) == fitted.n_iter_ < 300 and losses.index(min(losses)) == len(losses) - 5
    assert "val_loss" not in ClassifierModel(**QUICK, patience=2).fit(*IRIS).history_


def test_weights_of_classes_and_of_samples():
    x, y = IRIS[0][:60], IRIS[1][:60]  # 50 of one class and 10 of another
    each = np.where(y == 1, 60 / 2 / 10, 60 / 2 / 50)
    plain, balanced = (ClassifierModel(**QUICK, class_weight=w).fit(x, y) for w in (None, "balanced"))
    weighed = ClassifierModel(**QUICK).fit(x, y, sample_weight=10 * each)  # only ratios count
    np.testing.assert_allclose(balanced.predict_proba(x), weighed.predict_proba(x), rtol=1e-9)
    assert not np.allclose(balanced.predict_proba(x), plain.predict_proba(x))
    only = ClassifierModel(**QUICK).fit(x, y, sample_weight=np.where(y == 1, 1.0, 0.0))
    assert (only.predict(x) == 1).all()
    with pytest.raises(ValueError, match="at least one non-zero"):
        ClassifierModel(**QUICK).fit(x, y, sample_weight=np.zeros(60))


def test_optimizers_losses_callbacks_and_lists():
    seen = []
    callback = LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch))
    fitted = ClassifierModel(
        optimizer=optim.get("sgd", lr=0.05, momentum=0.9), loss=cr.losses.CrossEntropy(label_smoothing=0.1),
        hidden_layer_sizes=8, epochs=30, callbacks=callback, random_state=0, batch_size=1000,
    ).fit(IRIS[0].tolist(), np.array(["a", "b", "c"])[IRIS[1]].tolist())  # fmt: skip
    assert isinstance(fitted.module_.compiled.optimizer, optim.SGD) and seen == [*range(30)]
    assert fitted.predict(IRIS[0][:1]).tolist() == ["a"] and fitted.classes_.tolist() == ["a", "b", "c"]
    assert len(fitted.module_) == 3 and fitted.module_[0].weight.shape == (8, 4)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"activation": "rleu"},
            errors.ArgumentError,
            "unknown activation of ClassifierModel 'rleu': did you mean 'relu'",
        ),
        ({"module": 3}, errors.ArgumentTypeError, "module is 3, expected None, a Module, or a function"),
        ({"optimizer": "sdg"}, errors.ArgumentError, "did you mean 'sgd'"),
    ],
)
def test_bad_parameters_are_told_by_fit(options, error, message):
    with pytest.raises(error, match=message):
        ClassifierModel(**options).fit(*IRIS)


def test_without_scikit_learn():
    code = "import sys; sys.modules['sklearn'] = None\nimport chainrule\n"
    code += "try:\n    import chainrule.estimators\nexcept chainrule.errors.MissingDependencyError as error:\n    print(error)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'chainrule[sklearn]'" in done.stdout


def test_folds_of_one_sample_more_than_batches_train_a_batch_norm():
    x = np.random.default_rng(0).normal(size=(66, 3))

    def module(inputs, outputs):
        return nn.Sequential(nn.Linear(8), nn.BatchNorm1d(), nn.ReLU(), nn.Linear(outputs))

    model = RegressorModel(module=module, batch_size=32, epochs=2, random_state=0)
    assert np.isfinite(cross_val_score(model, x, x[:, 0], cv=2, error_score="raise")).all()
