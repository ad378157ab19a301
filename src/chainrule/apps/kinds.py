"""The figures of a run by name: what each shows. Apart from what makes them, so that the command line is there at once."""

from __future__ import annotations

KINDS = {
    "history": "losses and metrics over the epochs",
    "confusion": "which class is taken for which",
    "classes": "precision, recall and F1 of each class",
    "predictions": "what is predicted over what is true, of numbers",
    "misclassified": "images that are taken for another class",
    "filters": "weights of the first layer as images",
    "features": "what the layers make of an image",
    "weights": "how the weights are spread",
    "gradients": "how large gradients are, layer by layer",
    "lr": "the loss over the learning rate, to choose one",
    "landscape": "the loss around the weights",
    "boundary": "what is said of each point of a plane",
    "attention": "where attention looks",
    "graph": "the computation, call by call",
}
