"""UCI digits: 1,797 handwritten digits of 8x8 pixels, small enough to come with the package (Alpaydin, Kaynak, 1998)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from .arrays import Samples, pixels
from .idx import read_idx

FILES = Path(__file__).parent / "files"


def load_digits(*, raw: bool = False, dtype: DTypeLike = "float32") -> Samples:
    """The digits as NumPy arrays ``(x, y)``, without any download; the ``digits`` of scikit-learn, in the same order.

    Images are ``dtype`` (1797, 1, 8, 8) from 0 (paper) to 1 (ink), labels int64 (1797,) from 0 to 9; ``raw=True`` leaves
    the images as they are in the files, uint8 (1797, 8, 8), 0 to 16. The pixels have mean 0.3053 and standard deviation
    0.3760. There is no official split. Terms: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits",
    UCI Machine Learning Repository, CC BY 4.0 (a README stands beside the files).

    >>> x, y = load_digits()
    >>> x.shape, y[:5], x[0, 0, 0].tolist()
    ((1797, 1, 8, 8), array([0, 1, 2, 3, 4]), [0.0, 0.0, 0.3125, 0.8125, 0.5625, 0.0625, 0.0, 0.0])
    """
    images = read_idx(FILES / "optdigits-images-idx3-ubyte.gz")
    labels = read_idx(FILES / "optdigits-labels-idx1-ubyte.gz").astype(np.int64)
    return Samples(pixels([images if raw else images[:, None]], raw, dtype, most=16), labels)
