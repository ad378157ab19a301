"""Run with MPNeuralNetwork 1.1.1 on the path: ``write FOLDER``, or ``read FOLDER NAME ...``, which writes NAME_found.npy.

Both then train for two steps and write NAME_after.npz and NAME_later.npy.
"""

import contextlib
import io
import sys

import numpy as np


def models():
    """Of each model how it is made, and the shapes of its input and of its target."""
    from mpneuralnetwork import activations as a
    from mpneuralnetwork import layers as n
    from mpneuralnetwork import losses as q
    from mpneuralnetwork import optimizers as o
    from mpneuralnetwork.model import Model

    images = [n.Convolutional(4, 3, (2, 12, 12)), n.BatchNormalization2D(), a.ReLU(), n.MaxPooling2D()]
    images += [n.Convolutional(3, 3, padding="same", stride=2), a.Tanh(), n.AveragePooling2D(), n.Flatten()]
    return {
        "norm_adam": (
            lambda: Model(
                [n.Dense(8, 5), n.BatchNormalization(), a.ReLU(), n.Dense(6), a.PReLU(0.2), n.Dense(3)],
                q.CategoricalCrossEntropy(),
                o.Adam(0.01),
            ),
            (16, 5),
            3,
        ),
        "mlp_adam_l1": (
            lambda: Model([n.Dense(8, 5), a.Tanh(), n.Dense(3)], q.MSE(), o.Adam(0.01, "L1", 0.02)),
            (16, 5),
            3,
        ),
        "mlp_rmsprop": (
            lambda: Model(
                [n.Dense(8, 5), a.Swish(), n.Dense(4), a.Sigmoid()], q.BinaryCrossEntropy(), o.RMSprop(0.01, "L2", 0.05)
            ),
            (16, 5),
            4,
        ),
        "mlp_sgd": (
            lambda: Model([n.Dense(8, 5), a.Sigmoid(), n.Dense(2)], q.MSE(), o.SGD(0.05, "L1", 0.03, 0.9)),
            (16, 5),
            2,
        ),
        "cnn_sgd": (
            lambda: Model([*images, n.Dense(7), a.ReLU(), n.Dense(3)], q.CategoricalCrossEntropy(), o.SGD(0.1)),
            (8, 2, 12, 12),
            3,
        ),
    }


def main(task, folder, *names):
    from mpneuralnetwork.serialization import load_model, save_model

    np.random.seed(0)
    rng = np.random.default_rng(0)
    for name, (make, shape, outputs) in (
        models() if task == "write" else dict.fromkeys(names, (None, None, 0))
    ).items():
        path = f"{folder}/{name}"
        if task == "write":
            model, x = make(), rng.standard_normal(shape).astype("f4")
            y = np.eye(outputs, dtype="f4")[rng.integers(0, outputs, len(x))]
            np.save(f"{path}_x.npy", x)
            np.save(f"{path}_y.npy", y)
        else:
            model, x, y = load_model(path), np.load(f"{path}_x.npy"), np.load(f"{path}_y.npy")
        with contextlib.redirect_stdout(io.StringIO()):
            options = {"batch_size": len(x), "auto_evaluation": 0.0, "model_checkpoint": False}
            if task == "write":
                model.train(x, y, epochs=3, **options)
                save_model(model, path)
            np.save(f"{path}_found.npy", model.predict(x))
            model.train(x, y, epochs=2, **options)
        save_model(model, f"{path}_after")


if __name__ == "__main__":
    main(*sys.argv[1:])
