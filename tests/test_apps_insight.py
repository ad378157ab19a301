"""Feature maps are what the layers give, saliency is the gradient: checked by running layers and by finite differences."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import errors, nn
from chainrule.apps.hand import STYLES, pictures
from chainrule.apps.insight import feature_maps, saliency, scores
from chainrule.apps.predictor import DigitPredictor


@pytest.fixture(scope="module")
def picture():
    return pictures(20)[0][7, 0]


def test_the_maps_are_those_after_norm_and_activation(picture):
    predictor = DigitPredictor()
    block = predictor.model[0]
    with cr.no_grad():
        expected = block[2](block[1](block[0](cr.tensor(picture[None, None])))).numpy()[0]
    found = predictor.feature_maps(picture)
    assert found.layer == "0.0 Conv2d, 0.1 BatchNorm2d, 0.2 ReLU"
    assert found.maps.dtype == np.float32 and np.array_equal(found.maps, expected)
    assert all(module._hooks is None or not module._hooks.after for module in predictor.model.modules())


class Branches(nn.Module):
    def __init__(self):
        self.conv, self.side, self.act = nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Tanh()

    def forward(self, x):
        y = self.conv(x)
        return self.side(2 * y).mean((2, 3)) + self.act(y).mean((2, 3))


@pytest.mark.parametrize(
    ("model", "layer", "shape"),
    [
        (nn.Sequential(nn.Conv2d(1, 4, 5), nn.MaxPool2d(2)), "0 Conv2d", (4, 24, 24)),
        (nn.Sequential(nn.Conv2d(1, 4, 5), nn.Conv2d(4, 4, 1)), "0 Conv2d", (4, 24, 24)),
        (
            nn.Sequential(nn.Conv2d(1, 4, 5), nn.Dropout(), nn.Tanh(), nn.ReLU()),
            "0 Conv2d, 1 Dropout, 2 Tanh",
            (4, 24, 24),
        ),
        (nn.Sequential(nn.ReLU(), nn.Conv2d(1, 4, 3), nn.ReLU()), "1 Conv2d, 2 ReLU", (4, 26, 26)),
        (Branches(), "conv Conv2d, act Tanh", (2, 26, 26)),
        (nn.Conv2d(1, 4, 5), "Conv2d", (4, 24, 24)),
    ],
    ids=["pool", "conv", "dropout", "first", "branches", "alone"],
)
def test_the_way_from_the_convolution_to_its_activation(model, layer, shape, picture):
    found = feature_maps(model, picture)
    assert (found.layer, found.maps.shape) == (layer, shape)


def test_no_convolution_and_no_picture_are_refused():
    with pytest.raises(errors.ArgumentError, match="the model has no Conv2d, so there are no maps"):
        feature_maps(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), np.zeros((28, 28)))
    with pytest.raises(errors.DataError, match=r"shape \[28\], expected \[h, w\]"):
        feature_maps(nn.Conv2d(1, 4, 5), np.zeros(28))


def small(dtype="float64"):
    cr.manual_seed(3)
    model = nn.Sequential(nn.Conv2d(1, 3, 5), nn.Tanh(), nn.Flatten(), nn.Linear(10), nn.Dropout(0.5))
    return model.build((None, 1, 9, 9)).to(dtype)


def test_the_plain_gradient_is_that_of_finite_differences():
    model, image, label = small(), np.random.default_rng(0).random((9, 9)), 4
    model.append(nn.Softmax())

    def score(x):
        with cr.no_grad():
            return float(model.eval()[:-1](cr.tensor(x[None, None])).numpy()[0, label])

    numeric, step = np.zeros((9, 9)), 1e-6
    for at in np.ndindex(9, 9):
        moved = np.zeros((9, 9))
        moved[at] = step
        numeric[at] = abs(score(image + moved) - score(image - moved)) / (2 * step)
    found = saliency(model.train(), image, label, noise=0)
    assert found.dtype == np.float32 and found.max() == 1 and model.training
    assert found == pytest.approx(numeric / numeric.max(), abs=1e-6)
    assert saliency(model, image[None], label, noise=0).shape == (1, 9, 9)


def test_smoothgrad_is_the_mean_over_noisy_pictures():
    model, image = small("float32").eval(), np.random.default_rng(1).random((9, 9)).astype(np.float32)
    noise = cr.random.Generator(5).normal((3, 1, 9, 9)).numpy() * 0.2
    total = np.zeros((9, 9))
    for one in noise:
        x = cr.tensor((image + one)[None].astype(np.float32), requires_grad=True)
        total += cr.grad(model(x)[:, 2].sum(), x)[0].numpy()[0, 0]
    found = saliency(model, image, 2, samples=3, noise=0.2, seed=5)
    assert found == pytest.approx(np.abs(total) / np.abs(total).max(), abs=1e-5)
    assert np.array_equal(found, saliency(model, image, 2, samples=3, noise=0.2, seed=5))
    likeliest = int(model(cr.tensor(image[None, None])).numpy().argmax())
    assert np.array_equal(saliency(model, image), saliency(model, image, likeliest))
    assert all(p.grad is None for p in model.parameters())


def test_what_moves_nothing_and_what_is_no_class():
    still = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    with cr.no_grad():
        still[1].weight.fill_(0)
    assert not saliency(still, np.ones((28, 28))).any()
    with pytest.raises(errors.ArgumentError, match="label is 10, expected a class from 0 to 9"):
        saliency(still, np.ones((28, 28)), 10)
    with pytest.raises(errors.ArgumentError, match="samples is 0"):
        saliency(still, np.ones((28, 28)), samples=0)


class Normed(nn.Module):
    def __init__(self):
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(x).softmax(axis=1)


def test_scores_give_the_probabilities_of_the_model():
    x = cr.tensor(np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32))
    for model in (
        nn.Sequential(nn.Linear(4, 3), nn.Softmax(temperature=2.5)),
        nn.Sequential(nn.Linear(4, 3), nn.LogSoftmax()),
        Normed(),
    ):
        with cr.no_grad():
            y = model(x).numpy()
            found = scores(model, x).softmax(axis=1).numpy()
        assert found == pytest.approx(np.exp(y) if y.min() < 0 else y, abs=1e-5)
    plain = nn.Linear(4, 3)
    assert np.array_equal(scores(plain, x).numpy(), plain(x).numpy())


def test_the_drawings_by_hand_are_varied_and_repeat():
    x, y = pictures(60)
    assert {len(styles) for styles in STYLES.values()} == {3} and x.dtype == np.float32
    assert len({image.tobytes() for image in x}) == 60 and np.bincount(y).tolist() == [6] * 10
    pictures.cache_clear()
    assert np.array_equal(pictures(60)[0], x)
    assert (DigitPredictor().scores(x).argmax(axis=1) == y).mean() >= 0.97
