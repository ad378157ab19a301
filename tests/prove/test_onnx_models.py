"""Models that others trained and published as ONNX files: chainrule computes what onnxruntime computes, and can go on training.

Speech detection (convolutions, LSTM, If) and optical character recognition (convolutions, attention): Silero VAD, MIT,
and PP-OCRv4, Apache-2.0. The files are fetched by pip and kept in the cache; without a network the tests are skipped.
"""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.data.fetch import RemoteData, obtain
from chainrule.data.packages import PypiPackage
from chainrule.data.sources import RemoteFile
from chainrule.domain.errors import DownloadError
from chainrule.interop import from_onnx

runtime = pytest.importorskip("onnxruntime")
runtime.set_default_logger_severity(3)

VAD = RemoteData(
    "silero-vad",
    files=(
        RemoteFile("silero_vad.onnx", 2327524, "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3"),
        RemoteFile(
            "silero_vad_16k_sequence.onnx", 1246165, "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85"
        ),
        RemoteFile("silero_vad_half.onnx", 1280395, "1e0b195ad4806595ef4466f419d16fca7e4afcfc6669b8c0b5f76ea87547c769"),
    ),
    sources=(PypiPackage("silero-vad", "6.2.3", 11_317_527, "silero_vad/data"),),
    terms="about 11 MB; Silero Team, MIT",
)
OCR = RemoteData(
    "pp-ocr-v4",
    files=(
        RemoteFile(
            "ch_PP-OCRv4_det_infer.onnx", 4745517, "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9"
        ),
        RemoteFile(
            "ch_PP-OCRv4_rec_infer.onnx", 10857958, "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b"
        ),
        RemoteFile(
            "ch_ppocr_mobile_v2.0_cls_infer.onnx",
            585532,
            "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
        ),
    ),
    sources=(PypiPackage("rapidocr-onnxruntime", "1.4.4", 14_915_192, "rapidocr_onnxruntime/models"),),
    terms="about 15 MB; PaddlePaddle and RapidAI, Apache-2.0",
)


def noise(*shape):
    return np.random.default_rng(0).normal(0, 0.1, shape).astype(np.float32)


STATE, RATE = noise(2, 1, 128), np.array(16000)
SPEECH = {"input": noise(1, 576), "state": STATE, "sr": RATE}
CASES = {
    "silero_vad.onnx": (VAD, SPEECH),
    "silero_vad_half.onnx": (VAD, {"input": SPEECH["input"], "state": STATE}),
    "silero_vad_16k_sequence.onnx": (VAD, {"input": noise(9, 576), "h": STATE[:1], "c": STATE[1:]}),
    "ch_PP-OCRv4_det_infer.onnx": (OCR, {"x": noise(1, 3, 96, 160)}),
    "ch_PP-OCRv4_rec_infer.onnx": (OCR, {"x": noise(2, 3, 48, 192)}),
    "ch_ppocr_mobile_v2.0_cls_infer.onnx": (OCR, {"x": noise(3, 3, 48, 192)}),
}


def content(name):
    try:
        return obtain(CASES[name][0], progress=False)[name]
    except DownloadError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", CASES)
def test_published_models_compute_the_same(name, record_property, tmp_path):
    data, arrays = content(name), CASES[name][1]
    session = runtime.InferenceSession(data, providers=["CPUExecutionProvider"])
    wanted = session.run(None, arrays)
    model = from_onnx(data)
    inputs = {key: cr.tensor(value) for key, value in arrays.items()}
    results = model(inputs)
    results = results if isinstance(results, tuple) else (results,)
    for ours, theirs in zip(results, wanted, strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), theirs, rtol=1e-4, atol=1e-5)
    record_property("nodes", sum(type(m).__name__ == "OnnxNode" for m in model.modules()))
    record_property(
        "largest deviation",
        max(float(np.abs(o.detach().numpy() - t).max()) for o, t in zip(results, wanted, strict=True)),
    )
    results[0].sum().backward()
    assert sum(p.grad is not None for p in model.parameters()) > 10
    model.save(tmp_path / "model.safetensors")
    again = cr.load(tmp_path / "model.safetensors")(inputs)
    again = again if isinstance(again, tuple) else (again,)
    for a, b in zip(again, results, strict=True):
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())
