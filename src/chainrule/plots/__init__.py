"""Figures of training, of what a model does, and of what is inside it.

Functions return a matplotlib Figure (``pip install 'chainrule[plot]'``), which a notebook shows; with ``path`` they also
write it, in the format of the suffix: .png, .svg, .pdf. ``computation_graph`` and ``class_report`` need nothing, and
``plots.terminal`` has plots of characters for where there is no display.

>>> import chainrule as cr
>>> print(class_report([0, 0, 1, 1], [0, 1, 1, 1], ["cat", "dog"]))
          precision recall    F1 samples
cat           1.000  0.500 0.667       2
dog           0.667  1.000 0.800       2
<BLANKLINE>
mean          0.833  0.750 0.733       4
accuracy      0.750
"""

from . import terminal
from .classes import ClassReport, class_report, confusion_matrix, misclassified
from .curves import compare, history, lr_find, predictions
from .graph import ComputationGraph, computation_graph, program_graph
from .layers import attention, feature_maps, filters, gradients, weights
from .surface import decision_boundary, loss_landscape

__all__ = [
    "ClassReport",
    "ComputationGraph",
    "attention",
    "class_report",
    "compare",
    "computation_graph",
    "program_graph",
    "confusion_matrix",
    "decision_boundary",
    "feature_maps",
    "filters",
    "gradients",
    "history",
    "loss_landscape",
    "lr_find",
    "misclassified",
    "predictions",
    "terminal",
    "weights",
]
