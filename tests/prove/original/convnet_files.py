"""Run with ConvNet 2.5.3 on the path: ``write FOLDER``, or ``read FOLDER NAME ...``, which writes NAME_found.npy.

A name that ends in .hdf5 is such a file; others are of an .npz. ``_plain`` ones compute convolutions without SciPy.
"""

import sys
import types

import numpy as np


def models():
    """Of each model its layers and the shape of its input."""
    from convnet import Activation, BatchNorm2D, Conv2D, Dense, Dropout, Flatten, MaxPool2D

    def images():
        yield from (Conv2D(4, (3, 3)), Activation("relu"), MaxPool2D(), BatchNorm2D(), Conv2D(5, (2, 4), stride=2))
        yield from (Activation("tanh"), Dropout(0.2), Conv2D(3, (3, 4)), Flatten(), Dense(8), Activation("sigmoid"))
        yield from (Dense(3, use_bias=False), Activation("softmax"))

    def more():
        yield from (Conv2D(4, (4, 3), padding="valid", stride=3, use_bias=False), MaxPool2D((2, 3), 1))
        yield from (Activation("softmax"), Conv2D(2, (4, 4)), Dense(3))

    return {
        "cnn.hdf5": (images, (2, 11, 9, 2)),
        "cnn_plain": (images, (2, 11, 9, 2)),
        "more": (more, (2, 17, 16, 3)),
        "mlp": (lambda: [Dense(8), Activation("relu"), Dense(3)], (4, 5)),
        "flat.hdf5": (lambda: [Flatten(), Dense(8)], (4, 5, 6, 2)),
    }


def main(task, folder, *names):
    sys.modules["tqdm"] = types.SimpleNamespace(tqdm=None)  # for bars alone
    from convnet import Model

    rng = np.random.default_rng(0)
    for name, (layers, shape) in (models() if task == "write" else dict.fromkeys(names, (None, None))).items():
        path = f"{folder}/{name}"
        if task == "read":
            model, x = Model.load(path), np.load(f"{path}_x.npy")
        else:
            model, x = Model([*layers()]), rng.standard_normal(shape).astype("f4")
        model.build(x.shape)
        for layer in model.layers:
            layer.use_fft = "_plain" not in name
            for key, value in layer.params.items() if task == "write" else ():
                layer.params[key] = 0.5 * rng.standard_normal(value.shape).astype("f4")
        if task == "write":
            model.save(path)
            np.save(f"{path}_x.npy", x)
        np.save(f"{path}_found.npy", model.predict(x))


if __name__ == "__main__":
    main(*sys.argv[1:])
