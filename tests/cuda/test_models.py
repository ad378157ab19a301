"""Layers, losses, metrics and optimizers on a GPU: what they compute and learn is what they do on the CPU."""

import copy

import numpy as np
import pytest
from tests.test_nn_catalogue import EXAMPLES

import chainrule as cr
from chainrule import losses, metrics, nn, optim
from chainrule.domain.errors import DeviceError
from chainrule.nn import KVCache

RNG = np.random.default_rng(0)


def merged(*branches):
    return nn.Parallel(*branches, merge="sum")


MORE = [  # of each layer that the catalogue does not have, and the shape of an input; a list: of integers
    (nn.BatchNorm1d(4), (6, 4)), (nn.BatchNorm2d(3), (4, 3, 2, 2)), (nn.Bidirectional(nn.LSTM(3, 4)), (2, 5, 3)),
    (nn.ChannelsLast(nn.GlobalAvgPool1d()), (2, 4, 3)), (nn.DepthwiseConv1d(3, 3), (2, 3, 6)),
    (nn.DepthwiseConv2d(3, 3, depth_multiplier=2), (2, 3, 5, 5)), (nn.Dropout(0.4), (5, 7)), (nn.Flatten(), (2, 3, 4)),
    (nn.Flip(), (2, 4, 3)), (nn.GELU(), (4, 6)), (nn.GELU("tanh"), (4, 6)), (nn.GRU(3, 4), (2, 5, 3)),
    (nn.GRU(3, 4, num_layers=2, bidirectional=True, reset_after=False), (2, 5, 3)), (nn.GRUCell(3, 4), (2, 3)),
    (nn.GatedGRU(3, 4), (2, 5, 3)), (nn.GatedLSTM(3, 4), (2, 5, 3)), (nn.LSTM(3, 4, dropout=0.3, num_layers=2), (2, 5, 3)),
    (nn.LSTMCell(3, 4), (2, 3)), (nn.LeakyReLU(0.1), (4, 6)), (nn.LearnedPositions(8, 4), (2, 5, 4)),
    (nn.Linear(6, 3), (4, 6)), (nn.Linear(6, 3, activation="tanh"), (2, 4, 6)), (nn.Masking(), (2, 4, 3)),
    (nn.MultiHeadAttention(8, 2), (2, 5, 8)), (nn.MultiHeadAttention(8, 4, num_kv_heads=2, rotary=True), (2, 5, 8)),
    (nn.Pad((1, 2), "reflect"), (2, 3, 5)), (merged(nn.Linear(4, 3), nn.Linear(4, 3)), (2, 4)), (nn.RNN(3, 4), (2, 5, 3)),
    (nn.RNNCell(3, 4), (2, 3)), (nn.ReLU(), (4, 6)), (nn.RepeatVector(3), (2, 4)), (nn.Rescaling(0.5, 1.0), (2, 4)),
    (nn.Residual(nn.Linear(4, 4)), (2, 4)), (nn.RotaryEmbedding(), (2, 2, 5, 4)), (nn.SameAvgPool(2), (2, 3, 5, 5)),
    (nn.SamePad(3, 2), (2, 3, 5, 5)), (nn.SeparableConv1d(3, 4, 3), (2, 3, 6)), (nn.SeparableConv2d(3, 4, 3), (2, 3, 5, 5)),
    (nn.Sigmoid(), (4, 6)), (nn.SinusoidalPositions(), (2, 5, 4)), (nn.Swish(), (4, 6)), (nn.Tanh(), (4, 6)),
    (nn.TimeDistributed(nn.Linear(3, 2)), (2, 4, 3)), (nn.Identity(), (2, 3)),
    (nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2), (2, 5, 8)),
    (nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", norm_first=True), (2, 5, 8)),
]  # fmt: skip
INNER = {
    "Module",
    "ModuleDict",
    "ModuleList",
    "Sequential",
    "Graph",
    "Merge",
    "Dot",
    "Parallel",
    "Swish",
}  # SiLU by its other name
PAIRS = {"TransformerDecoder", "TransformerDecoderLayer"}  # of two inputs, below


def named(value):
    return type(value).__name__ if isinstance(value, nn.Module) else ""


def leaves(y):
    return [v for part in y for v in leaves(part)] if isinstance(y, (tuple, list)) else [y]


def learned(model, x, device):
    """What a model gives on a device, and all its gradients and buffers afterwards, in training."""
    cr.manual_seed(3)
    given = [cr.tensor(a, device=device, requires_grad=a.dtype.kind == "f") for a in x]
    found = leaves(model.train()(*given))
    total = [(y.to("float32") ** 2).sum() for y in found if y.requires_grad]
    if total:
        sum(total[1:], total[0]).backward()
    assert {y.device for y in found} == {given[0].device}
    made = [(f"y{i}", y) for i, y in enumerate(found)]
    made += [(f"gradient of x{i}", a.grad) for i, a in enumerate(given) if a.grad is not None]
    made += [(f"gradient of {name}", p.grad) for name, p in model.named_parameters() if p.grad is not None]
    made += [(name, b) for name, b in model.named_buffers()]
    return {name: value.numpy() for name, value in made}


def alike(model, *x, rtol=2e-5, atol=1e-5):
    """A model on the CPU and its copy on a GPU."""
    model(*[cr.tensor(a) for a in x])  # built
    for parameter in model.parameters():
        parameter.grad = None
    other = copy.deepcopy(model).to("cuda")
    expected, found = learned(model, x, "cpu"), learned(other, x, "cuda")
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol, atol, err_msg=name)
    return found


@pytest.mark.parametrize(("layer", "shape"), [*EXAMPLES, *MORE], ids=named)
def test_layers(layer, shape):
    x = RNG.integers(0, 3, shape) if isinstance(shape, list) else RNG.standard_normal(shape).astype(np.float32)
    alike(copy.deepcopy(layer), x)


def test_no_layer_is_missing():
    here = {type(layer).__name__ for layer, _ in [*EXAMPLES, *MORE]} | INNER | PAIRS
    kinds = {n: c for n, c in vars(nn).items() if isinstance(c, type) and issubclass(c, nn.Module)}
    assert {*kinds} - here == set()


def test_layers_of_two_inputs():
    x, memory = (RNG.standard_normal((2, n, 8)).astype(np.float32) for n in (3, 5))
    alike(nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16), 2), x, memory)
    a, b = nn.Input((8,)), nn.Input((8,))
    joined = nn.Merge("concat")(nn.Linear(8, 3)(a), nn.Linear(8, 3)(b))
    alike(nn.Graph([a, b], [joined, nn.Dot(1)(a, b)]), x[:, 0], memory[:, 0])


# ---- losses, metrics, optimizers

SCORES, VALUES = RNG.standard_normal((6, 4)).astype(np.float32), RNG.standard_normal((6, 4)).astype(np.float32)
SHARES = RNG.dirichlet(np.ones(4), 6).astype(np.float32)
CLASSES, BITS = np.array([0, 3, 1, 2, 2, 0]), RNG.integers(0, 2, (6, 4)).astype(np.float32)
SIGNS = np.array([1, -1, 1, 1, -1, -1])
LOSSES = [  # loss, and what it takes
    (losses.MSE(), SCORES, VALUES), (losses.MAE(), SCORES, VALUES), (losses.Huber(0.5), SCORES, VALUES),
    (losses.SSE(), SCORES, VALUES),
    (losses.SmoothL1(0.5), SCORES, VALUES), (losses.LogCosh(), SCORES, VALUES), (losses.Cosine(), SCORES, VALUES),
    (losses.CrossEntropy(), SCORES, CLASSES), (losses.CrossEntropy([1.0, 2.0, 0.5, 3.0], label_smoothing=0.1), SCORES, CLASSES),
    (losses.CrossEntropy(), SCORES, SHARES), (losses.CrossEntropy(ignore_index=2, reduction="sum"), SCORES, CLASSES),
    (losses.NLL(), np.log(SHARES), CLASSES), (losses.CategoricalCrossEntropy(), SHARES, CLASSES),
    (losses.BCE(), SHARES, BITS), (losses.BCEWithLogits(pos_weight=[1.0, 2.0, 3.0, 1.0]), SCORES, BITS),
    (losses.Focal(), SCORES, BITS),
    (losses.Dice(), SHARES, BITS), (losses.Hinge(), SCORES, BITS * 2 - 1), (losses.SquaredHinge(), SCORES, BITS * 2 - 1),
    (losses.KLDiv(), np.log(SHARES), SHARES[::-1].copy()), (losses.PoissonNLL(full=True), SCORES, BITS * 3),
    (losses.GaussianNLL(), SCORES, SHARES, VALUES), (losses.Contrastive(), SCORES, VALUES, (SIGNS > 0).astype(np.float32)),
    (losses.CosineEmbedding(), SCORES, VALUES, SIGNS), (losses.TripletMargin(swap=True), SCORES, VALUES, SHARES),
    (losses.CTC(), RNG.standard_normal((7, 2, 4)).astype(np.float32), np.array([[1, 2, 2], [3, 1, 0]]), np.array([7, 6]),
     np.array([3, 2])),
]  # fmt: skip


@pytest.mark.parametrize("row", LOSSES, ids=lambda row: named(row[0]))
def test_losses(row):
    alike(*row)


def test_no_loss_is_missing():
    kinds = {c for c in vars(losses).values() if isinstance(c, type) and issubclass(c, losses.Loss)}
    assert kinds - {type(row[0]) for row in LOSSES} == {losses.Loss, losses.base.Elementwise}


NAMES = {
    "classes": "Accuracy CohenKappa ConfusionMatrix F1 FBeta IoU MatthewsCorrCoef Precision Recall TopK Perplexity",
    "bits": "BinaryAccuracy LogLoss PRAUC ROCAUC",
    "values": "MAE MAPE MSE RMSE R2 ExplainedVariance CosineSimilarity",
}


@pytest.mark.parametrize(("name", "kind"), [(n, kind) for kind, names in NAMES.items() for n in names.split()])
def test_metrics_count_on_the_device(gpu, name, kind):
    x, y = {"classes": (SCORES, CLASSES), "bits": (SHARES[:, 0], BITS[:, 0]), "values": (SCORES, VALUES)}[kind]
    found = []
    for device in ("cpu", "cuda"):
        metric = getattr(metrics, name)(2) if name == "TopK" else getattr(metrics, name)()
        x_, y_ = cr.tensor(x, device=device), cr.tensor(y, device=device)
        for rows in (slice(0, 4), slice(4, 6)):
            before = {**gpu.copies}
            metric.update(x_[rows], y_[rows])
            assert device == "cpu" or (gpu.copies["out"], gpu.copies["waits"]) == (before["out"], before["waits"])
        found.append(np.asarray(metric.result()))
    np.testing.assert_allclose(*found, rtol=1e-6)


def test_no_metric_is_missing():
    kinds = {n for n, c in vars(metrics).items() if isinstance(c, type) and issubclass(c, metrics.Metric)}
    inner = {"Metric", "Mean", "Confusion", "PerClass", "Ranking"}
    assert kinds - {n for names in NAMES.values() for n in names.split()} - inner == set()


OPTIMIZERS = [
    (optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}), (optim.Adadelta, {}),
    (optim.Adagrad, {"lr": 0.1, "lr_decay": 0.1}), (optim.Adam, {"lr": 0.1, "amsgrad": True}),
    (optim.Adam, {"lr": 0.1, "l1": 0.1}),
    (optim.AdamW, {"lr": 0.1, "exempt": True}), (optim.Adamax, {}), (optim.LAMB, {}), (optim.Lion, {}),
    (optim.Muon, {"lr": 0.02}),
    (optim.NAdam, {}), (optim.RAdam, {}), (optim.RMSprop, {"momentum": 0.5, "centered": True}), (optim.LBFGS, {}),
]  # fmt: skip


@pytest.mark.parametrize(("cls", "options"), OPTIMIZERS, ids=lambda v: getattr(v, "__name__", str(v)))
@pytest.mark.parametrize("moved", [False, True])
def test_optimizers(gpu, cls, options, moved):
    """Five steps, the model moved to the GPU before the optimizer is made or, state and all, after two of them."""
    x, y, found = SCORES, VALUES[:, :3], []
    for device in ("cpu", "cuda"):
        cr.manual_seed(0)
        model = nn.Sequential(
            nn.Linear(4, 5, bias=cls is not optim.Muon), nn.Tanh(), nn.Linear(5, 3, bias=cls is not optim.Muon)
        )
        model.to("cpu" if moved else device)
        optimizer = cls(model.parameters(), **options)
        for step in range(5):
            if step == 2:
                model.to(device)
            where = next(iter(model.parameters())).device
            x_, y_ = cr.tensor(x, device=where), cr.tensor(y, device=where)

            def closure(model=model, optimizer=optimizer, x=x_, y=y_):
                optimizer.zero_grad()
                loss = cr.mse(model(x), y)
                loss.backward()
                return loss

            if optimizer.uses_closure:
                optimizer.step(closure)
            else:
                closure()
                before = {**gpu.copies}
                optimizer.step()
                assert step < 3 or (gpu.copies["out"], gpu.copies["waits"]) == (before["out"], before["waits"])
        states = [s for of in optimizer.state_dict()["state"].values() for s in of.values() if isinstance(s, cr.Tensor)]
        states = [s for s in states if s.ndim]  # numbers of LBFGS are the host's
        assert {str(s.device) for s in states} <= {"cuda:0" if device == "cuda" else "cpu"}
        found.append([p.numpy() for p in model.parameters()])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(b, a, rtol=2e-4, atol=2e-5)


# ---- where things are


def test_a_seed_gives_the_same_parameters_on_both_devices():
    found = []
    for device in ("cpu", "cuda"):
        cr.manual_seed(5)
        model = nn.Sequential(nn.Conv2d(None, 4, 3), nn.BatchNorm2d(), nn.Flatten(), nn.Linear(None, 3)).to(device)
        model(cr.zeros(2, 3, 5, 5, device=device))  # sizes and values are found now, on the device
        assert {str(p.device) for p in [*model.parameters(), *model.buffers()]} == {
            "cuda:0" if device == "cuda" else "cpu"
        }
        found.append({name: value.numpy() for name, value in model.state_dict().items()})
    for name, value in found[0].items():
        np.testing.assert_array_equal(found[1][name], value, err_msg=name)


@pytest.mark.parametrize("draw", ["uniform", "bernoulli", "permutation", "integers"])
def test_generators_give_the_same_numbers(draw):
    given = {"uniform": ((5, 3),), "bernoulli": (0.3, (5, 3)), "permutation": (7,), "integers": (0, 9, (4,))}[draw]
    found = []
    for device in ("cpu", "cuda", "cuda:0", cr.Device("cuda:0")):
        cr.manual_seed(2)
        generator = cr.random.default_generator(device)
        found.append([getattr(generator, draw)(*given).tolist() for _ in range(2)])
    assert found[0] == found[1] == found[2] == found[3] and found[0][0] != found[0][1]
    assert cr.random.default_generator("cuda") is cr.random.default_generator("cuda:0")


def test_to_and_back_keeps_ties_identity_and_what_learns():
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5, bias=False))
    model[1].weight = model[0].weight
    model[0].weight.requires_grad = False
    before, weight = {n: v.numpy() for n, v in model.state_dict().items()}, model[0].weight
    model.to("cuda")
    assert model[0].weight is model[1].weight is weight and weight.device == "cuda:0" and not weight.requires_grad
    assert {str(v.device) for v in model.state_dict().values()} == {"cuda:0"}
    model.to("cuda:1").to(device="cpu")
    assert model[0].weight is model[1].weight is weight and weight.device == "cpu"
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])


def test_gradients_move_with_their_parameters():
    layer = nn.Linear(2, 1)
    layer(cr.ones(1, 2)).sum().backward()
    gradient = layer.weight.grad.tolist()
    layer.to("cuda")
    assert layer.weight.grad is None or (
        layer.weight.grad.device == "cuda:0" and layer.weight.grad.tolist() == gradient
    )


def test_state_of_one_device_is_taken_by_another():
    one, other = nn.BatchNorm1d(3), nn.BatchNorm1d(3).to("cuda")
    one(cr.Tensor(SCORES[:, :3]))
    other.load_state_dict(one.state_dict())
    assert {str(v.device) for v in other.state_dict().values()} == {"cuda:0"}
    np.testing.assert_array_equal(other.running_mean.numpy(), one.running_mean.numpy())
    one.load_state_dict(other.state_dict())
    assert one.running_mean.device == "cpu"


def test_a_language_model_goes_on_from_its_cache():
    cr.manual_seed(0)
    model = cr.zoo.gpt(11, width=8, depth=2, heads=2, context=8).eval()
    tokens = RNG.integers(0, 11, (2, 6))
    expected = model(cr.tensor(tokens)).numpy()
    layers = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2).eval().to("cuda")
    x = cr.tensor(RNG.standard_normal((2, 5, 8)), dtype="float32", device="cuda")
    model.to("cuda")
    np.testing.assert_allclose(model(cr.tensor(tokens, device="cuda")).numpy(), expected, rtol=1e-4, atol=1e-5)
    with cr.no_grad():
        whole, cache = layers(x, is_causal=True).numpy(), KVCache()
        steps = [layers(x[:, i : i + 1], is_causal=True, cache=cache).numpy() for i in range(5)]
    np.testing.assert_allclose(np.concatenate(steps, 1), whole, rtol=1e-4, atol=1e-5)


def test_second_derivatives_and_gradcheck():
    x = cr.tensor([0.5, -1.0, 2.0], dtype="float64", device="cuda", requires_grad=True)
    (g,) = cr.grad((x**3).sum(), [x], create_graph=True)
    (h,) = cr.grad(g.sum(), [x])
    assert h.tolist() == [3.0, -6.0, 12.0] and h.device == "cuda:0"
    assert cr.gradcheck(lambda x: (x.sin() * x).exp(), [x])


def test_two_devices_are_named():
    layer = nn.Linear(2, 3).to("cuda")
    with pytest.raises(DeviceError, match=r"\[linear\] .*argument 0 of shape \(1, 2\) is on cpu.*on cuda:0"):
        layer(cr.ones(1, 2))


# ---- of the list of scenarios (tests/acceptance)


def test_2_a_product_on_a_gpu(gpu):
    """Of 64 rows here: 1024 take the emulator minutes."""
    data, before = RNG.random((64, 64)).astype(np.float32), {**gpu.copies}
    x = cr.tensor(data, device=cr.Device("cuda:0"), requires_grad=True)
    y = (x @ x.T).mean()
    y.backward()
    assert {k: v - before[k] for k, v in gpu.copies.items()} == {"in": 1, "out": 0, "waits": 0}
    assert y.shape == () and y.device == "cuda:0" and "device='cuda:0'" in repr(y)
    assert y.item() == pytest.approx((data.astype(np.float64) @ data.T).mean(), rel=1e-5)
    np.testing.assert_allclose(x.grad.numpy(), np.tile(2 * data.sum(0) / 64**2, (64, 1)), rtol=1e-4)


def test_29_a_cnn_on_another_device_by_one_line():
    ends = []
    for device in ("cpu", "cuda"):
        with cr.backends.use(device):
            cr.manual_seed(0)
            layers = nn.Conv2d(1, 4, 3, padding=1, stride=1, bias=False), nn.BatchNorm2d(), nn.ReLU(), nn.MaxPool2d(2)
            model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(3))
            optimizer = optim.Adam(model.build(cr.zeros(1, 1, 8, 8)).parameters(), lr=0.01)
            x = cr.tensor(np.random.default_rng(0).random((12, 1, 8, 8)).astype(np.float32))
            for _ in range(5):
                optimizer.zero_grad()
                losses.cross_entropy(model(x), cr.tensor(np.arange(12) % 3)).backward()
                optimizer.step()
            ends.append(model.eval()(x))
            assert str(ends[-1].device) == str(cr.Device(device))
    np.testing.assert_allclose(ends[1].numpy(), ends[0].numpy(), rtol=1e-3, atol=1e-4)
