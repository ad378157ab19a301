"""Defects that earlier frameworks had: chainrule has none of these. docs/defects.md lists them, and more, with their tests."""

import gc
import re
import weakref
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule import losses, metrics, nn, optim
from chainrule.train import Callback

HOME = Path(__file__).parent.parent.parent


def test_every_test_in_the_list_of_defects_exists():
    found = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (HOME / "docs" / "defects.md").read_text(encoding="utf-8"))
    assert len(found) > 40
    missing = [f"{f}::{name}" for f, name in found if f"def {name}(" not in (HOME / f).read_text(encoding="utf-8")]
    assert not missing


def test_parameters_of_both_ways_are_stepped_once():
    layer = nn.Bidirectional(nn.RNN(2, 3))
    assert len(layer.parameters()) == len({id(p) for p in layer.parameters()}) == len(layer.state_dict()) == 8
    before = [p.detach().numpy().copy() for p in layer.parameters()]
    layer(cr.randn(4, 2, 2))[0].sum().backward()
    optim.SGD(layer.parameters(), lr=0.1).step()
    for p, old in zip(layer.parameters(), before, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), old - np.float32(0.1) * p.grad.numpy(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_the_last_state_of_the_way_back_is_that_of_the_first_step(kind):
    layer = nn.Bidirectional(kind(2, 3), return_sequences=True, return_state=False)
    x = cr.randn(5, 2, 2)
    everywhere = layer(x).detach().numpy()
    layer.return_sequences = False
    last = layer(x).detach().numpy().reshape(2, 6)
    np.testing.assert_allclose(last[:, :3], everywhere[-1, :, :3], rtol=1e-6)
    np.testing.assert_allclose(last[:, 3:], everywhere[0, :, 3:], rtol=1e-6)
    assert not np.allclose(last[:, 3:], everywhere[-1, :, 3:])


def test_float64_stays_float64():
    x = cr.tensor(np.ones((2, 3)), dtype="float64", requires_grad=True)
    layer = nn.Linear(3, 2, dtype="float64")
    y = (layer(x) * 2 + 1).tanh().sum()
    y.backward()
    assert y.dtype == x.grad.dtype == layer.weight.grad.dtype == "float64"
    assert nn.create(nn.describe(nn.Conv2d(1, 2, 3, dtype="float64"))).dtype == "float64"
    numbers = {"weight": np.full((2, 3), 1 / 3), "bias": np.zeros(2)}
    layer.load_state_dict(numbers)
    np.testing.assert_array_equal(layer.weight.detach().numpy(), numbers["weight"])


def test_tensors_can_be_in_sets_and_dicts():
    a, b = cr.tensor([1.0]), cr.tensor([1.0])
    assert len({a, b, a}) == 2 and {a: "first"}[a] == "first"


def test_sgd_by_its_name_does_not_diverge():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 8)).astype(np.float32)
    model = nn.Sequential(nn.Linear(1))
    model.compile("mse", "sgd")
    history = model.fit(x, x.sum(axis=1, keepdims=True), epochs=10, verbose=0)
    assert history["loss"][-1] < history["loss"][0]


def test_broadcasting_axes_and_batches_of_matrices():
    a, b = cr.randn(4, 1, 3, requires_grad=True), cr.randn(2, 3, requires_grad=True)
    (a + b).sum().backward()
    np.testing.assert_array_equal(a.grad.numpy(), np.full((4, 1, 3), 2.0))
    np.testing.assert_array_equal(b.grad.numpy(), np.full((2, 3), 4.0))
    x = cr.randn(2, 3, 4)
    np.testing.assert_allclose(x.mean(axis=1).numpy(), x.numpy().mean(axis=1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(x.sum(axis=(0, 2)).numpy(), x.numpy().sum(axis=(0, 2)), rtol=1e-5, atol=1e-6)
    assert (x @ cr.randn(2, 4, 5)).shape == (2, 3, 5) and x.transpose(0, 2).shape == (4, 3, 2)


def test_a_model_class_with_a_plain_constructor():
    class Own(nn.Module):
        def __init__(self):
            self.layers = nn.Sequential(nn.LSTM(4, 8), nn.Linear(1))

        def forward(self, x):
            return self.layers(x)

    assert Own().build(cr.zeros(5, 2, 4))(cr.zeros(5, 2, 4)).shape == (2, 1)  # of the last step


def test_infinite_and_large_inputs_of_activations():
    x = cr.tensor([-np.inf, -100.0, 100.0])
    np.testing.assert_array_equal(cr.relu(x).numpy(), [0, 0, 100])
    np.testing.assert_array_equal(cr.tanh(x).numpy(), [-1, -1, 1])


def test_nothing_waits_for_the_garbage_collector():
    gc.collect()
    gc.disable()
    try:
        model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(), nn.Sigmoid(), nn.Linear(8, 2), nn.Softmax())
        y = model(cr.randn(3, 4))
        storage = weakref.ref(y.storage)
        y.sum().backward()
        del y
        assert storage() is None
    finally:
        gc.enable()


def test_only_leaves_get_a_gradient():
    x = cr.randn(3, requires_grad=True)
    y = x * 2.0
    y.sum().backward()
    assert x.grad is not None and y.grad is None


def test_weights_are_float32_of_the_right_size():
    conv = nn.Conv2d(16, 32, 3, init="xavier_uniform")
    assert conv.weight.dtype == conv(cr.zeros(1, 16, 4, 4)).dtype == "float32"
    limit = (6 / (16 * 9 + 32 * 9)) ** 0.5
    assert 0.98 * limit < np.abs(conv.weight.detach().numpy()).max() <= limit
    np.testing.assert_array_equal(nn.Linear(8, 4).bias.detach().numpy(), 0)


def test_weights_of_another_shape_are_refused():
    state = {k: v.numpy().copy() for k, v in nn.Linear(4, 2).state_dict().items()}
    other = nn.Linear(5, 2)
    before = other.weight.detach().numpy().copy()
    with pytest.raises(cr.errors.StateError):
        other.load_state_dict(state)
    np.testing.assert_array_equal(other.weight.detach().numpy(), before)


@pytest.mark.parametrize("norm", [1.0, 3.0])
def test_gradients_are_clipped_by_the_norm_of_all(norm):
    a, b = (cr.zeros(n, requires_grad=True) for n in (2, 3))
    (a.sum() * 3 + b.sum() * 4).backward()
    optim.clip_grad_norm_([a, b], norm)
    assert np.sqrt((a.grad.numpy() ** 2).sum() + (b.grad.numpy() ** 2).sum()) == pytest.approx(norm, rel=1e-5)
    assert b.grad.numpy()[0] / a.grad.numpy()[0] == pytest.approx(4 / 3)


def test_the_gradient_of_softmax_is_its_own():
    x = cr.randn(2, 5, dtype="float64", requires_grad=True)
    assert cr.gradcheck(lambda x: nn.Softmax()(x), (x,))


def test_activations_multiply_the_gradient_by_their_slope_at_the_input():
    x = cr.tensor([-2.0, 3.0], requires_grad=True)
    weight = cr.tensor([-5.0, -7.0])
    for f, slopes in ((cr.relu, [0, 1]), (cr.leaky_relu, [0.01, 1]), (cr.tanh, 1 - np.tanh([-2.0, 3.0]) ** 2)):
        x.grad = None
        (f(x) * weight).sum().backward()
        np.testing.assert_allclose(x.grad.numpy(), weight.numpy() * slopes, rtol=1e-4)


def test_the_mean_of_a_loss_and_its_gradient_are_over_the_batch():
    x = cr.randn(6, 4, dtype="float64", requires_grad=True)
    target = np.arange(6) % 4
    losses.cross_entropy(x, cr.tensor(target)).backward()
    p = np.exp(x.detach().numpy())
    p /= p.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(x.grad.numpy(), (p - np.eye(4)[target]) / 6, rtol=1e-6)


def test_momentum_has_one_velocity_for_each_parameter():
    x = cr.zeros(2, requires_grad=True)
    optimizer = optim.SGD([x], lr=0.1, momentum=0.9)
    x.sum().backward()
    for _ in range(3):
        optimizer.step()
    assert [len(state) for state in optimizer.state_dict()["state"].values()] == [1]
    np.testing.assert_allclose(x.detach().numpy(), -0.1 * (1 + 1.9 + 2.71), rtol=1e-5)


def test_a_prediction_between_forward_and_backward_changes_nothing():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    x = cr.randn(5, 3)
    model(x).sum().backward()
    alone = model[0].weight.grad.numpy().copy()
    model.zero_grad()
    y = model(x)
    model.predict(cr.randn(9, 3))
    y.sum().backward()
    np.testing.assert_array_equal(model[0].weight.grad.numpy(), alone)


@pytest.mark.parametrize("n", [1, 4, 33])
def test_every_sample_is_trained_on(n):
    seen = []

    class Count(Callback):
        def on_batch_end(self, batch, logs):
            seen.append(logs["samples"])

    model = nn.Sequential(nn.Linear(1))
    model.compile("mse", "sgd").fit(np.ones((n, 2), np.float32), np.ones((n, 1)), callbacks=Count(), verbose=0)
    assert seen[-1] == n


@pytest.mark.parametrize("bias", [True, False])
def test_layers_without_bias_are_trained_and_saved(bias, tmp_path):
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3, bias=bias, init="kaiming_normal"), nn.Flatten(), nn.Linear(8, 1, bias=bias)
    )
    assert len(model.parameters()) == (4 if bias else 2)
    before = model[0].weight.detach().numpy().copy()
    x = np.random.default_rng(0).random((4, 1, 4, 4)).astype(np.float32)
    model.compile("mse", optim.SGD(model.parameters(), lr=0.1)).fit(x, np.ones((4, 1)), verbose=0)
    assert not np.array_equal(model[0].weight.detach().numpy(), before)
    model.save(tmp_path / "model.safetensors")
    again = cr.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again[0].weight.detach().numpy(), model[0].weight.detach().numpy())


def test_sizes_of_pools_and_temperatures_are_in_the_file(tmp_path):
    model = nn.Sequential(nn.MaxPool2d(3, 2), nn.AvgPool2d(2, 1), nn.Flatten(), nn.Softmax(temperature=2.5))
    model.save(tmp_path / "model.safetensors")
    again, x = cr.load(tmp_path / "model.safetensors"), cr.rand(2, 1, 9, 9)
    assert again[3].temperature == 2.5
    np.testing.assert_array_equal(again(x).numpy(), model(x).numpy())


def test_precision_recall_and_f1_of_yes_are_those_of_yes():
    chances, truth = cr.tensor([[0.9], [0.8], [0.1], [0.2]]), cr.tensor([[1.0], [0.0], [1.0], [0.0]])
    for name in ("Precision", "Recall", "F1"):
        metric = getattr(metrics, name)("binary")
        metric.update(chances, truth)
        assert metric.result() == pytest.approx(0.5), name
    metric = metrics.F1("binary")
    metric.update(cr.tensor([[0.9], [0.8], [0.1], [0.2]]), cr.tensor([[1.0], [0.0], [0.0], [0.0]]))
    assert metric.result() == pytest.approx(2 / 3)


def test_swish_has_a_gradient_far_out():
    x = cr.tensor([-100.0, -1e4, 1e4], requires_grad=True)
    nn.SiLU()(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [0, 0, 1], atol=1e-30)


def test_dense_labels_need_not_be_one_hot():
    x = cr.randn(4, 3)
    labels = np.array([0, 2, 1, 1])
    plain = losses.cross_entropy(x, cr.tensor(labels)).item()
    assert losses.cross_entropy(x, cr.tensor(np.eye(3, dtype=np.float32)[labels])).item() == pytest.approx(plain)


def test_windows_need_not_be_square():
    assert nn.Conv2d(1, 2, (3, 5), padding=(1, 2))(cr.rand(1, 1, 8, 9)).shape == (1, 2, 8, 9)


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_recurrent_layers_stand_large_inputs(kind):
    x = cr.tensor(np.linspace(-1e4, 1e4, 24).reshape(4, 3, 2), dtype="float32", requires_grad=True)
    y = kind(2, 5)(x)[0]
    y.sum().backward()
    assert np.isfinite(y.detach().numpy()).all() and np.isfinite(x.grad.numpy()).all()


def test_moving_and_casting_keep_the_gradient():
    x = cr.ones(3, requires_grad=True)
    (x.to("cpu") * x.to("float64")).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [2, 2, 2])


def test_a_gpu_that_is_not_there_is_told():
    with pytest.raises(cr.errors.DeviceError, match=r"cuda:98 was asked for, but"):
        cr.ones(2).to("cuda:98")


def test_freezing_layers_does_not_mix_up_the_state_of_others():
    a, b = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    b.load_state_dict({k: v.numpy() for k, v in a.state_dict().items()})
    x = cr.ones(3, 2)
    whole, part = optim.Adam(a.parameters(), lr=0.1), optim.Adam(b[1].parameters(), lr=0.1)
    for frozen in (False, True, True, False):
        a[0].requires_grad_(not frozen)
        for model, optimizer in ((a, whole), (b, part)):
            optimizer.zero_grad()
            (model(x).sum() - 1).square().backward()
            optimizer.step()
        b[0].load_state_dict({k: v.numpy() for k, v in a[0].state_dict().items()})  # only the last layer is compared
    np.testing.assert_allclose(a[1].weight.detach().numpy(), b[1].weight.detach().numpy(), rtol=1e-6)


@pytest.mark.parametrize("name", ["weights.h5", "weights.hdf5", "weights.npz", "weights.xyz", "weights"])
def test_a_file_has_the_name_it_was_given_or_none(name, tmp_path):
    model = nn.Sequential(nn.Linear(2, 1))
    try:
        model.save(tmp_path / name)
    except cr.errors.ArgumentError as error:
        assert "ends in" in str(error) and not [*tmp_path.iterdir()]
    else:
        assert [p.name for p in tmp_path.iterdir()] == [name]
        again = cr.load(tmp_path / name)
        np.testing.assert_array_equal(again(cr.ones(1, 2)).detach().numpy(), model(cr.ones(1, 2)).detach().numpy())


@pytest.mark.parametrize("bias_before_norm", [True, False])
def test_a_bias_before_a_norm_goes_only_where_it_was_asked(bias_before_norm):
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(), nn.Flatten(), nn.Linear(8, 3), nn.BatchNorm1d(), nn.Linear(3, 1),
        bias_before_norm=bias_before_norm,
    )  # fmt: skip
    assert [model[i].bias is not None for i in (0, 3, 5)] == [bias_before_norm, bias_before_norm, True]


def test_predictions_have_the_temperature_of_the_softmax():
    model = nn.Sequential(nn.Linear(2, 2), nn.Softmax(temperature=4.0)).compile("cross_entropy")
    x = np.array([[1.0, 3.0]], np.float32)
    e = np.exp(model[0](cr.tensor(x)).detach().numpy() / 4)
    np.testing.assert_allclose(model.predict(x).numpy(), e / e.sum(), rtol=1e-6)


def test_no_metric_is_reported_that_was_not_asked_for():
    model = nn.Sequential(nn.Linear(1), nn.Sigmoid()).compile("bce", "sgd")
    assert [*model.fit(np.ones((4, 2), np.float32), np.ones((4, 1)), verbose=0)] == ["loss"]


def test_prelu_with_a_slope_above_one():
    x = cr.tensor([-2.0, 3.0], requires_grad=True)
    y = cr.prelu(x, cr.tensor([1.5]))
    y.sum().backward()
    assert y.tolist() == [-3, 3] and x.grad.tolist() == [1.5, 1]


def test_a_layer_does_not_change_by_being_used():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.AvgPool2d(2), nn.Dropout(0.5), nn.Flatten())
    before = nn.describe(model)
    model(cr.rand(3, 1, 12, 12)), model(cr.rand(5, 1, 20, 16))
    assert nn.describe(model) == before
    assert model[1](cr.rand(1, 1, 4, 4)).shape == (1, 1, 2, 2)


def test_dtypes_of_a_file_stay(tmp_path):
    model = nn.Sequential(nn.Linear(3, 2, dtype="float64"), nn.Conv2d(1, 1, 1, dtype="float64"))
    model.save(tmp_path / "model.safetensors")
    again = cr.load(tmp_path / "model.safetensors")
    for name, value in model.state_dict().items():
        assert again.state_dict()[name].dtype == "float64"
        np.testing.assert_array_equal(again.state_dict()[name].numpy(), value.numpy())
