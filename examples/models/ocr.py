"""What is written in a picture of one line: the recognizer of PP-OCRv4, convolutions and attention, read from ONNX.

python -m examples.models.ocr line.png

Without a file it reads two lines that it draws. The network is that of rapidocr-onnxruntime 1.4.4 (PaddlePaddle and
RapidAI, Apache-2.0): 6,623 characters, Latin and Chinese. Needs onnx and Pillow: pip install 'chainrule[onnx,images]'.
"""

import sys

import numpy as np
from examples.models.files import fetched

import chainrule as cr
from chainrule.data.fetch import RemoteData
from chainrule.data.packages import PypiPackage
from chainrule.data.sources import RemoteFile

NAME = "ch_PP-OCRv4_rec_infer.onnx"
DATA = RemoteData(
    "pp-ocr-v4",
    files=(RemoteFile(NAME, 10857958, "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b"),),
    sources=(PypiPackage("rapidocr-onnxruntime", "1.4.4", 14_915_192, "rapidocr_onnxruntime/models"),),
    terms="15 MB to fetch, 11 MB kept; PaddlePaddle and RapidAI, Apache-2.0",
)
HEIGHT = 48


def load():
    """The network, an ordinary module, and its characters: the first is CTC's blank, the last the space."""
    import onnx

    path = fetched(DATA) / NAME
    notes = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    return cr.interop.from_onnx(path).eval(), ["", *notes["character"].splitlines(), " "]


def prepared(picture):
    """A picture of Pillow as (1, 3, 48, width) from -1 to 1, channels blue, green, red."""
    width = max(1, round(picture.width * HEIGHT / picture.height))
    pixels = np.asarray(picture.convert("RGB").resize((width, HEIGHT)), "float32")
    return pixels.transpose(2, 0, 1)[None, ::-1].copy() / 127.5 - 1


def decoded(probabilities, characters):
    """The text of one line (steps, characters): of the likeliest at each step repeats are one, then blanks go."""
    best = probabilities.argmax(axis=-1)
    return "".join(characters[now] for now, before in zip(best, [0, *best], strict=False) if now != before)


@cr.no_grad()
def read(pictures):
    """The text of each picture."""
    model, characters = load()
    return [decoded(model(cr.tensor(prepared(p))).numpy()[0], characters).strip() for p in pictures]


def drawn(text, size=32):
    """A picture of a line of text."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size)
    picture = Image.new("RGB", (round(font.getlength(text)) + size, 3 * size // 2), "white")
    ImageDraw.Draw(picture).text((size // 2, size // 5), text, "black", font)
    return picture


if __name__ == "__main__":
    from PIL import Image

    given = [Image.open(path) for path in sys.argv[1:]]
    for text in read(given or [drawn("The chain rule, 1676"), drawn("Learning by gradients!")]):
        print(text)
