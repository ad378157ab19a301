"""Bad input to compile, fit, evaluate and predict: a clear error before the first step, and nothing lost."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import errors, losses, nn, optim, train
from chainrule.data import ArrayDataset, DataLoader

X, Y = np.ones((6, 3), np.float32), np.array([0, 1, 2, 3, 0, 1])


def model():
    made = nn.Sequential(nn.Linear(3, 4))
    return made.compile("cross_entropy", optim.SGD(made.parameters(), lr=0.1))


def spoiled(array, index, value):
    array = array.astype(np.float32)
    array[index] = value
    return array


BAD = {
    "empty": ((X[:0], Y[:0]), {}, errors.DataError, r"\[fit\] the data set is empty"),
    "lengths": ((X, Y[:5]), {}, errors.DataError, r"\[fit\] x has 6 samples but y has 5"),
    "no y": ((X,), {}, errors.ArgumentError, r"y is missing"),
    "a pair": (((X, Y),), {}, errors.ArgumentError, r"y is missing"),
    "text": (("abc", Y), {}, errors.ArgumentTypeError, r"x is a str, expected an array"),
    "a number": ((X, 3), {}, errors.DataError, r"y is a single number"),
    "label": (
        (X, [0, 1, 2, 9, 0, 1]),
        {},
        errors.IndexRangeError,
        r"y is 9 at row 3, but the model has 4 classes \(0 to 3\)",
    ),
    "negative": ((X, [0, -1, 2, 3, 0, 1]), {}, errors.IndexRangeError, r"y is -1 at row 1"),
    "from 1": ((X, [1, 2, 3, 4, 1, 2]), {}, errors.IndexRangeError, r"y is 4 at row 3.*count classes from 0"),
    "floats": ((X, Y.astype(float)), {}, errors.DTypeError, r"y has dtype float32 and shape \(6,\).*astype\('int64'\)"),
    "column": ((X, Y[:, None]), {}, errors.ShapeError, r"y has shape \(6, 1\).*squeeze\(1\)"),
    "other one-hot": ((X, np.eye(5)[Y]), {}, errors.DTypeError, r"probabilities of shape \(6, 4\)"),
    "nan": ((spoiled(X, (4, 1), np.nan), Y), {}, errors.DataError, r"x has nan at index \(4, 1\) \(sample 4\)"),
    "inf": ((spoiled(X, (0, 2), -np.inf), Y), {}, errors.DataError, r"x has -inf at index \(0, 2\)"),
    "features": ((X[:, :2], Y), {}, errors.ShapeError, r"0: \[linear\] x has 2 features .* 3"),
    "batch size": (
        (X, Y),
        {"batch_size": 0},
        errors.ArgumentError,
        r"batch_size is 0, expected an integer of at least 1",
    ),
    "half a batch": ((X, Y), {"batch_size": 2.5}, errors.ArgumentError, r"batch_size is 2.5"),
    "epochs": ((X, Y), {"epochs": 0}, errors.ArgumentError, r"epochs is 0, expected an integer of at least 1"),
    "initial epoch": ((X, Y), {"initial_epoch": -1}, errors.ArgumentError, r"initial_epoch is -1"),
    "verbose": ((X, Y), {"verbose": 3}, errors.ArgumentError, r'verbose is 3, expected 0, 1, 2 or "auto"'),
    "split": ((X, Y), {"validation_split": 1.5}, errors.ArgumentError, r"1\.5"),
    "text as split": (
        (X, Y),
        {"validation_split": "0.2"},
        errors.ArgumentError,
        "is '0.2', expected a fraction, or \"auto",
    ),
    "two inputs": (((X, X), Y), {}, errors.DataError, r"the model takes 1 input \(x\) and a mask, bool"),
    "class by text": (
        (X, Y),
        {"class_weight": {"0": 1.0}},
        errors.ArgumentError,
        "names the class '0', expected an integer",
    ),
    "two validations": (
        (X, Y),
        {"validation_split": 0.5, "validation_data": (X, Y)},
        errors.ArgumentError,
        r"validation_data or validation_split, not both",
    ),
    "validation label": (
        (X, Y),
        {"validation_data": (X, Y + 1)},
        errors.IndexRangeError,
        r"\[validation\] y is 4 at row 3",
    ),
    "validation lengths": ((X, Y), {"validation_data": (X, Y[:1])}, errors.DataError, r"\[validation\] x has 6"),
    "loader and y": ((DataLoader(ArrayDataset(X, Y)), Y), {}, errors.ArgumentError, r"y was given beside a loader"),
    "loader and size": (
        (DataLoader(ArrayDataset(X, Y)),),
        {"batch_size": 2},
        errors.ArgumentError,
        r"batch_size was given",
    ),
    "loader and split": (
        (DataLoader(ArrayDataset(X, Y)),),
        {"validation_split": 0.5},
        errors.ArgumentError,
        r"cut a loader",
    ),
    "set and y": ((ArrayDataset(X, Y), Y), {}, errors.ArgumentError, r"y was given beside a data set"),
    "set without y": ((ArrayDataset(X),), {}, errors.DataError, r"expected inputs and a target"),
    "empty generator": ((iter(()),), {}, errors.DataError, r"gave no batch"),
    "label in a loader": ((DataLoader(ArrayDataset(X, Y + 7)),), {}, errors.IndexRangeError, r"y is 7 at row 0"),
    "nan in a loader": (
        (DataLoader(ArrayDataset(spoiled(X, (1, 1), np.nan), Y)),),
        {},
        errors.DataError,
        r"first batch",
    ),
    "no callback": ((X, Y), {"callbacks": [print]}, errors.ArgumentTypeError, r"is no callback"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_data(case):
    args, options, error, message = BAD[case]
    trained = model()
    before = trained[0].weight.numpy().copy()
    with pytest.raises(error, match=message):
        trained.fit(*args, **{"verbose": 0, **options})
    np.testing.assert_array_equal(trained[0].weight.numpy(), before)
    assert trained.fit(X, Y, verbose=0).epoch == [0]  # and it can go on


def test_labels_far_away_are_found_before_the_first_step():
    y = np.zeros(1000, np.int64)
    y[777] = 4
    trained = model()
    with pytest.raises(errors.IndexRangeError, match="y is 4 at row 777"):
        trained.fit(np.ones((1000, 3), np.float32), y, batch_size=10, shuffle=False, verbose=0)


def test_ignored_labels_and_one_hot_rows_are_fine():
    trained = nn.Sequential(nn.Linear(3, 4))
    trained.compile(losses.CrossEntropy(ignore_index=-1), "sgd")
    trained.fit(X, [0, -1, 2, 3, 0, 1], verbose=0)
    one_hot = trained.compile("cross_entropy").evaluate(X, np.eye(4)[Y])
    assert one_hot["loss"] == pytest.approx(trained.evaluate(X, Y)["loss"], rel=1e-6)


def test_a_second_epoch_needs_more_than_a_generator():
    with pytest.raises(errors.DataError, match="gone through only once"):
        model().fit(((X, Y) for _ in range(2)), epochs=2, verbose=0)


def test_large_values_are_no_infinity():
    x = np.full((4, 3), 3e38, np.float32)  # their sum is more than float32 holds
    cr.train.checks.finite("fit", "x", x)
    x[3, 2] = np.inf
    with pytest.raises(errors.DataError, match=r"inf at index \(3, 2\)"):
        cr.train.checks.finite("fit", "x", x)


def test_nan_is_found_beyond_the_first_chunk(monkeypatch):
    monkeypatch.setattr(cr.train.checks, "CHUNK", 6)
    with pytest.raises(errors.DataError, match=r"nan at index \(5, 0\)"):
        model().fit(spoiled(X, (5, 0), np.nan), Y, verbose=0)


def test_regression_targets_are_checked_too():
    trained = nn.Sequential(nn.Linear(3, 1)).compile("mse", "sgd")
    with pytest.raises(errors.DataError, match=r"y has nan at index \(2, 0\)"):
        trained.fit(X, spoiled(np.ones((6, 1)), (2, 0), np.nan), verbose=0)
    with pytest.raises(errors.ShapeError):  # never broadcast against each other
        trained.fit(X, np.ones(6), verbose=0)


def test_sorted_labels_and_a_split_give_a_warning():
    with pytest.warns(UserWarning, match="y is sorted"):
        model().fit(X, np.array([0, 0, 1, 1, 2, 3]), validation_split=0.34, verbose=0)


def test_a_hidden_softmax_gives_a_warning():
    class Hidden(nn.Module):
        def __init__(self):
            self.fc = nn.Linear(3, 4)

        def forward(self, x):
            return self.fc(x).softmax(axis=1)

    with pytest.warns(UserWarning, match="gives probabilities, but cross-entropy works on scores"):
        Hidden().compile("cross_entropy", "sgd").fit(X, Y, epochs=2, verbose=0)


@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_a_model_that_is_not_compiled(method):
    with pytest.raises(errors.NotCompiledError, match=rf"\[{method}\] the model is not compiled: call model.compile"):
        getattr(nn.Sequential(nn.Linear(3, 4)), method)(X, Y)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"loss": "cross_entrpy"}, errors.ArgumentError, "unknown loss 'cross_entrpy': did you mean 'cross_entropy'"),
        ({"optimizer": "adamm"}, errors.ArgumentError, "unknown optimizer 'adamm': did you mean 'adam'"),
        ({"metrics": ["acuracy"]}, errors.ArgumentError, "unknown metric 'acuracy': did you mean 'accuracy'"),
        ({"optimizer": optim.Adam}, errors.ArgumentTypeError, "expected a name like"),
        ({"metrics": [3]}, errors.ArgumentTypeError, "a metric is a name, .*, not 3"),
        ({"metrics": ["accuracy", "accuracy"]}, errors.ArgumentError, "reported as 'accuracy'"),
        ({"loss": losses.CrossEntropy(reduction="none")}, errors.ArgumentError, 'reduction="none"'),
    ],
)
def test_bad_arguments_of_compile(arguments, error, message):
    with pytest.raises(error, match=message):
        nn.Sequential(nn.Linear(3, 4)).compile(**{"loss": "cross_entropy", **arguments})


def test_bad_data_for_evaluate_and_predict():
    trained = model()
    with pytest.raises(errors.IndexRangeError, match=r"\[evaluate\] y is 4 at row 3"):
        trained.evaluate(X, Y + 1)
    with pytest.raises(errors.DataError, match=r"\[predict\] the data set is empty"):
        trained.predict(X[:0])
    with pytest.raises(errors.ArgumentError, match=r"\[predict\] batch_size is 0"):
        trained.predict(X, batch_size=0)
    with pytest.raises(errors.DataError, match=r"\[predict\] the data gave no batch"):
        trained.predict(iter(()))


def test_an_optimizer_of_another_model_is_refused():
    other, model = nn.Linear(2, 1), nn.Linear(2, 1)
    with pytest.raises(errors.ArgumentError, match="none of this model's parameters"):
        model.compile("mse", optim.SGD(other.parameters(), lr=0.1))


@pytest.mark.parametrize("value, what", [(1.0, "a float"), (cr.zeros(2), r"a tensor of shape \(2,\)")])
def test_a_loss_function_returns_one_number(value, what):
    model = nn.Linear(2, 1).compile(lambda prediction, target: value)
    with pytest.raises(TypeError, match=f"the loss function returned {what}"):
        model.fit([[1.0, 2.0]], [[1.0]], verbose=0)


def test_a_history_is_a_dict_of_lists():
    model = nn.Linear(2, 1).compile("mse")
    history = model.fit([[1.0, 2.0]], [[1.0]], epochs=2, verbose=0)
    assert list(history) == ["loss"] and dict(history)["loss"] == history["loss"] and len(history.epoch) == 2


def test_what_losses_of_numbers_and_of_yes_and_no_take():
    column = np.array([[0.0], [1.0]] * 3, np.float32)
    for loss, outputs, y, error, message in (
        (
            "mse",
            1,
            column[:, 0],
            errors.ShapeError,
            r"y has shape \(6,\), but MSE takes .* \(6, 1\): y\[:, None\] makes it",
        ),
        ("mse", 4, Y, errors.ShapeError, r"one_hot\(y, 4\) makes it of labels, or give the loss cross_entropy"),
        ("huber", 2, column, errors.ShapeError, r"Huber takes the shape of the output, \(6, 2\)$"),
        ("bce_with_logits", 1, 2 * column - 1, errors.DataError, r"from -1.0 to 1.0, but .*: \(y \+ 1\) / 2 makes it"),
        ("bce_with_logits", 4, np.eye(4)[Y] * 2, errors.DataError, "y goes from 0.0 to 2.0, but BCEWithLogits takes"),
        (
            "bce",
            1,
            column,
            errors.DataError,
            "the model gives 3.0, but BCE takes probabilities: end it in a Sigmoid, or",
        ),
        (
            losses.CategoricalCrossEntropy(),
            4,
            Y,
            errors.DataError,
            "end it in a Softmax, or give the loss cross_entropy",
        ),
    ):
        trained = nn.Sequential(nn.Linear(3, outputs, init="ones")).compile(loss, "sgd")
        with pytest.raises(error, match=message):
            trained.fit(X, y, verbose=0)
        with pytest.raises(error, match=message):
            trained.evaluate(X, y)
        np.testing.assert_array_equal(trained[0].weight.numpy(), 1.0)

    class Normal(nn.Module):
        def __init__(self):
            self.fc = nn.Linear(3, 1)

        def forward(self, x):
            return self.fc(x), -self.fc(x).abs() - 0.5

    with pytest.raises(errors.DataError, match="a variance of -.* never below 0: end it in a Softplus or exp"):
        Normal().compile("gaussian_nll").fit(X, column, verbose=0)


def test_one_sample_without_the_axis_of_the_batch():
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 1)))
    with pytest.raises(errors.ShapeError, match=r"x has shape \(4,\), but the model takes \(None, 4\): .* x\[None\]"):
        model.predict(np.zeros(4))
    assert model.predict(np.zeros((1, 4))).shape == (1, 1)
    assert nn.Sequential(nn.Embedding(5, 3)).predict(np.arange(4)).shape == (4, 3)


def test_lr_find_has_nothing_to_find_for_an_optimizer_with_a_closure():
    model = nn.Sequential(nn.Linear(2, 1)).compile("mse", "lbfgs")
    with pytest.raises(
        errors.ArgumentError, match="LBFGS finds how far to go by itself: compile the model with another"
    ):
        train.lr_find(model, np.zeros((4, 2)), np.zeros((4, 1)))


def test_weights_of_classes_that_a_step_of_the_models_own_does_not_look_at():
    class Own(nn.Sequential):
        def train_step(self, batch):
            x, y = batch
            loss = losses.CrossEntropy()(self(x), y)
            loss.backward()
            return loss

    class Asks(nn.Sequential):
        def train_step(self, batch):
            return super().train_step(batch)

    with pytest.warns(UserWarning, match=r"class_weight has no effect: the train_step of Own does not call super"):
        Own(nn.Linear(3, 4)).compile("cross_entropy", "sgd").fit(X, Y, class_weight={0: 2.0}, verbose=0)
    Asks(nn.Linear(3, 4)).compile("cross_entropy", "sgd").fit(X, Y, class_weight={0: 2.0}, verbose=0)
    Own(nn.Linear(3, 4)).compile("cross_entropy", "sgd").fit(X, Y, verbose=0)
