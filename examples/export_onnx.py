"""Export a trained network to ONNX, read it back, and compare; with ONNX Runtime too, where it is installed.

python examples/export_onnx.py [--quick]     (pip install 'chainrule[onnx]')
"""

import sys
from importlib.util import find_spec

import numpy as np

import chainrule as cr
from chainrule import nn
from chainrule.data import load_digits

x, y = load_digits()
cr.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1),
    nn.BatchNorm2d(8),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(8 * 4 * 4, 10),
    nn.Softmax(),
)
model.compile("cross_entropy", "adam", metrics=["accuracy"])
model.fit(x, y, epochs=2 if "--quick" in sys.argv else 10, verbose=0)
ours = model.predict(x).numpy()

cr.interop.to_onnx(model, "digits.onnx", (None, 1, 8, 8))  # the shape of a batch; None: any number of images
again = cr.interop.from_onnx("digits.onnx").eval()
with cr.no_grad():
    difference = abs(again(cr.tensor(x)).numpy() - ours).max()
print(f"read back: {difference:.0e} apart at most")

if find_spec("onnxruntime"):
    import onnxruntime

    session = onnxruntime.InferenceSession("digits.onnx", providers=["CPUExecutionProvider"])
    (theirs,) = session.run(None, {session.get_inputs()[0].name: x})
    difference = max(difference, abs(theirs - ours).max())
    print(f"ONNX Runtime: {abs(theirs - ours).max():.0e} apart at most")
else:
    print("ONNX Runtime is not installed: not compared")
if not np.isfinite(difference) or difference > 1e-5:
    raise SystemExit("the file says something else than the model")
