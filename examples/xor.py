"""The smallest network worth training: exclusive or.

python examples/xor.py
"""

import chainrule as cr
from chainrule import nn, optim

x = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
y = [[0.0], [1.0], [1.0], [0.0]]

cr.manual_seed(0)
model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1), nn.Sigmoid())
model.compile(loss="bce", optimizer=optim.Adam(model.parameters(), lr=0.05), metrics=["accuracy"])
history = model.fit(x, y, epochs=200, verbose=0)
print(history)
print(model.predict(x))
