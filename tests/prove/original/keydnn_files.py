"""Run with KeyDNN 2.1.0 on the path: ``write FOLDER``, or ``read FOLDER NAME ...``, which writes NAME_found.npy."""

import ctypes
import sys
from unittest.mock import MagicMock

import numpy as np


def models():
    """Of each model how it is made, and the shape of its input; every type of layer that it can write."""
    import keydnn.layers as n
    from keydnn.infrastructure.activations._modules import LeakyReLU, ReLU, Sigmoid, Softmax, Tanh
    from keydnn.infrastructure.recurrent._gru_module import GRUCell
    from keydnn.infrastructure.recurrent._lstm_module import LSTMCell
    from keydnn.infrastructure.recurrent._rnn_module import RNNCell
    from keydnn.losses import MSE, SSE, BinaryCrossEntropy, CategoricalCrossEntropy

    flat = {"keras_compat": True, "return_state": False}
    dense = [n.Linear(5, 6), LeakyReLU(0.2), n.LayerNorm((6,)), n.Dense(4), Tanh(), n.Dropout(0.3)]
    images = [n.Conv2d(2, 4, 3, stride=2, padding=1), n.BatchNorm2d(4), ReLU()]
    images += [n.Conv2dTranspose(4, 3, (3, 2), stride=2, padding=1, output_padding=1), n.MaxPool2d(2)]
    images += [n.AvgPool2d((2, 1), padding=(1, 0)), n.GlobalAvgPool2d(), n.Flatten()]
    steps = [n.RNN(3, 4, **flat, return_sequences=True), n.GRU(4, 5, **flat, return_sequences=True)]
    rest = [RNNCell(2, 3), GRUCell(2, 3), LSTMCell(2, 3), MSE(), SSE(), BinaryCrossEntropy(), CategoricalCrossEntropy()]
    return {
        "mlp": ([*dense, n.Dense(3, bias=False), Sigmoid()], (7, 5)),
        "norm": ([n.Linear(5, 6), n.BatchNorm1d(6), ReLU(), n.Linear(6, 3), Softmax()], (7, 5)),
        "cnn": (images, (3, 2, 11, 9)),
        "rnn": ([*steps, n.LSTM(5, 2, **flat, return_sequences=False)], (6, 2, 3)),
        "both": (
            [n.Bidirectional(n.LSTM(3, 4)), n.Bidirectional(n.GRU(8, 2)), n.Bidirectional(n.RNN(4, 2))],
            (6, 2, 3),
        ),
        "rest": (rest, None),
    }


def main(task, folder, *names):
    ctypes.windll = MagicMock()  # it is asked for at the import, on every system
    from keydnn.models import Sequential
    from keydnn.tensors import Device, Tensor

    def tensor(a):
        t = Tensor(a.shape, Device("cpu"))
        t.copy_from_numpy(np.ascontiguousarray(a, np.float32))
        return t

    rng = np.random.default_rng(0)
    for name, (layers, shape) in (models() if task == "write" else dict.fromkeys(names, (None, None))).items():
        path = f"{folder}/{name}"
        if task == "read":
            model, x = Sequential.load_json(f"{path}.json"), np.load(f"{path}_x.npy")
        else:
            model, x = Sequential(*layers), rng.standard_normal(shape or 1).astype("f4")
        if shape or task == "read":
            model.build(tensor(x))
        for _, p in model.named_parameters() if task == "write" else ():
            p.copy_from_numpy(0.5 * rng.standard_normal(p.shape).astype("f4"))
        model.eval()
        if task == "write":
            model.save_json(f"{path}.json")
            np.save(f"{path}_x.npy", x)
        if shape or task == "read":
            np.save(f"{path}_found.npy", model(tensor(x)).to_numpy())


if __name__ == "__main__":
    main(*sys.argv[1:])
