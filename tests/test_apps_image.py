"""A picture of a digit becomes what MNIST is."""

import sys

import numpy as np
import pytest

from chainrule import errors
from chainrule.apps.image import load_digit, prepare, preprocess, read_grey, shrink


def scene(image, side, corner, *, size=200, light=False):
    """A digit of MNIST redrawn ``side`` pixels wide somewhere on a sheet."""
    places = (np.arange(side) * 28 / side).astype(int)
    sheet = np.zeros((size, size))
    sheet[corner[0] : corner[0] + side, corner[1] : corner[1] + side] = image[np.ix_(places, places)]
    return 1 - sheet if light else sheet


@pytest.mark.parametrize("light", [False, True])
def test_an_mnist_digit_stays_itself_wherever_and_however_large_it_is_drawn(mnist, light):
    differences = []
    for i, image in enumerate(mnist.x_test[:20, 0]):
        digit = prepare(scene(image, 84 + i, (2 * i, 100 - 3 * i), light=light))[0]
        near = [np.roll(digit, (a, b), (0, 1)) for a in (-1, 0, 1) for b in (-1, 0, 1)]  # its mass lies between pixels
        differences.append(min(np.abs(moved - image).mean() for moved in near))
    assert max(differences) < 0.03 and np.mean(differences) < 0.01
    assert np.abs(prepare(mnist.x_test[0, 0])[0] - mnist.x_test[0, 0]).max() < 1e-6


def test_the_digit_is_20_pixels_large_and_its_mass_in_the_centre():
    for height, width in ((150, 40), (30, 90), (20, 5), (5, 5)):
        sheet = np.zeros((200, 300))
        sheet[20 : 20 + height, 130 : 130 + width] = np.linspace(0.4, 1, width)
        digit = prepare(sheet)
        rows, columns = np.nonzero(digit[0])
        assert digit.shape == (1, 28, 28) and digit.dtype == np.float32 and digit.max() == 1
        assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
        for places in (rows, columns):
            assert abs(np.average(places, weights=digit[0][rows, columns]) - 14) <= 0.5


def test_shrink_keeps_the_mean():
    image = np.random.default_rng(0).random((37, 53))
    assert (shrink(20, 37) @ image @ shrink(11, 53).T).mean() == pytest.approx(image.mean())


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0, 255.0])
def test_a_blank_picture_is_refused(value):
    with pytest.raises(errors.DataError, match="blank"):
        prepare(np.full((50, 50), value))


def test_what_is_no_line_is_refused_in_words_for_people():
    sheet = np.zeros((200, 200))
    sheet[40, 50:54] = 1
    with pytest.raises(errors.DataError, match="a speck, hardly any ink: draw a digit"):
        preprocess(sheet)
    sheet[20:170, 30:190] = 1
    with pytest.raises(errors.DataError, match="a filled area, not lines"):
        preprocess(sheet)
    for bad, message in (
        (np.zeros((2, 3, 4)), r"\[2, 3, 4\]"),
        (np.zeros((0, 5)), "expected grey"),
        (np.array([[np.nan]]), "NaN"),
    ):
        with pytest.raises(errors.DataError, match=message):
            preprocess(bad)


def test_grain_of_the_paper_is_no_ink(mnist):
    image = mnist.x_test[3, 0]
    clean = scene(image, 140, (30, 20), light=True) * 0.7 + 0.2
    grainy = clean + np.random.default_rng(0).normal(0, 0.02, clean.shape)
    assert np.abs(preprocess(grainy).image - preprocess(clean).image).mean() < 0.02


def test_the_steps_to_the_image():
    sheet = np.ones((90, 200))
    sheet[20:80, 40:45] = sheet[75:80, 40:70] = 0.25
    steps = preprocess(sheet)
    assert steps.ink.shape == (60, 30) and steps.ink.max() == 1 and steps.box.shape == (20, 10)
    rows, columns = np.nonzero(steps.image)
    assert np.array_equal(steps.image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1], steps.box)
    assert {part.dtype for part in steps} == {np.dtype(np.float32)}


def test_pictures_from_files(tmp_path, mnist):
    from PIL import Image

    image = mnist.x_test[3, 0]
    expected = prepare(scene(image, 140, (30, 20)))
    grey = np.round(scene(image, 140, (30, 20), light=True) * 255).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey).convert("RGB").save(tmp_path / "colour.jpg", quality=95)
    ink = np.zeros((200, 200, 4), np.uint8)
    ink[..., 3] = 255 - grey  # black ink on a transparent sheet
    Image.fromarray(ink).save(tmp_path / "transparent.png")
    np.save(tmp_path / "floats.npy", scene(image, 140, (30, 20)))
    np.save(tmp_path / "bytes.npy", grey[None])
    for name in ("grey.png", "colour.jpg", "transparent.png", "floats.npy", "bytes.npy"):
        assert np.abs(load_digit(tmp_path / name) - expected).mean() < 0.01, name


def test_pictures_of_cameras(tmp_path, mnist, monkeypatch):
    from PIL import Image

    grey = np.round(scene(mnist.x_test[3, 0], 1120, (80, 160), size=1400, light=True) * 255).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    Image.fromarray(np.rot90(grey).copy()).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    upright, turned = read_grey(tmp_path / "upright.png"), read_grey(tmp_path / "turned.jpg")
    assert upright.shape == turned.shape == (1024, 1024) and np.abs(upright - turned).mean() < 0.01
    plain = grey.reshape(-1)[: 1400 * 1400].reshape(1400, 1400) / 255
    assert np.abs(prepare(upright) - prepare(plain)).mean() < 0.01
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # Pillow refuses what has more than twice as many
    with pytest.raises(errors.FileFormatError, match="upright.png is no picture that Pillow can read: Image size"):
        read_grey(tmp_path / "upright.png")


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("none.png", None, errors.MissingFileError, "there is no file"),
        ("text.png", b"hello", errors.FileFormatError, "no picture"),
        ("cut.npy", b"\x93NUMPY\x01\x00v\x00{'descr'", errors.FileFormatError, "no array"),
        ("empty.npy", b"", errors.FileFormatError, "no array"),
        ("many.npy", np.zeros((2, 28, 28)), errors.DataError, r"float64\[2, 28, 28\], expected one picture"),
        ("words.npy", np.array([["a"]]), errors.DataError, "expected one picture"),
        ("nan.npy", np.full((28, 28), np.nan), errors.DataError, "NaN"),
    ],
)
def test_bad_pictures(tmp_path, name, content, error, message):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(error, match=message):
        load_digit(path)


def test_a_pickle_is_never_run(tmp_path):
    np.save(tmp_path / "evil.npy", np.array([[object()]], dtype=object), allow_pickle=True)
    with pytest.raises(errors.FileFormatError, match="no array"):
        load_digit(tmp_path / "evil.npy")


def test_without_pillow_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "digit.png").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(errors.MissingDependencyError, match=r"pip install 'chainrule\[gui\]'"):
        read_grey(tmp_path / "digit.png")
