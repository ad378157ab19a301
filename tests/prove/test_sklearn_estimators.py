"""The estimators as they are by default, held to scikit-learn's own checks and networks."""

import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.model_selection import cross_val_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from chainrule.estimators import ClassifierModel, RegressorModel

IN_FLOAT32 = {
    "check_sample_weight_equivalence_on_dense_data": "to 1e-7: sums of weighted and of repeated samples round differently",
    "check_methods_subset_invariance": "to 1e-7: sums round differently for batches of other sizes",
}


@pytest.mark.parametrize("estimator", [ClassifierModel, RegressorModel])
def test_the_checks_of_scikit_learn_with_the_defaults(estimator):
    results = check_estimator(estimator(), on_skip=None)
    assert {result["status"] for result in results} <= {"passed", "skipped"}


@pytest.mark.parametrize("estimator", [ClassifierModel, RegressorModel])
def test_the_checks_of_scikit_learn_in_float32(estimator):
    results = check_estimator(estimator(dtype="float32"), on_skip=None, expected_failed_checks=IN_FLOAT32)
    assert {r["check_name"] for r in results if r["status"] not in ("passed", "skipped")} <= {*IN_FLOAT32}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # theirs, which could go on
@pytest.mark.parametrize("data", [load_breast_cancer, load_wine])
def test_classifiers_are_as_good_as_those_of_scikit_learn(data):
    x, y = data(return_X_y=True)
    ours = make_pipeline(StandardScaler(), ClassifierModel(hidden_layer_sizes=(100,), epochs=30, random_state=0))
    theirs = make_pipeline(StandardScaler(), MLPClassifier(hidden_layer_sizes=(100,), max_iter=100, random_state=0))
    assert cross_val_score(ours, x, y, cv=3).mean() > cross_val_score(theirs, x, y, cv=3).mean() - 0.01


def test_a_regressor_explains_the_diabetes_data():
    x, y = load_diabetes(return_X_y=True)
    model = RegressorModel(epochs=40, batch_size=200, random_state=0)
    made = TransformedTargetRegressor(make_pipeline(StandardScaler(), model), transformer=StandardScaler())
    assert cross_val_score(made, x, y, cv=5).mean() > 0.4
