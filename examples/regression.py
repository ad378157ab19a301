"""A number from a table: a CSV file, columns scaled, early stopping, and a prediction for one new row.

python examples/regression.py [--quick] [FILE.csv TARGET]

Without a file it writes one: the diabetes study of scikit-learn (pip install 'chainrule[sklearn]').
"""

import sys

import numpy as np

import chainrule as cr
from chainrule import nn, optim
from chainrule.data import load_csv, load_diabetes, train_test_split
from chainrule.train import EarlyStopping

quick = "--quick" in sys.argv
given = [a for a in sys.argv[1:] if a != "--quick"]
path, target = given or ("diabetes.csv", "progression")
if not given:
    x, y = load_diabetes()
    header = [f"measure_{i}" for i in range(x.shape[1])] + [target]
    np.savetxt(path, np.column_stack([x, y]), delimiter=",", header=",".join(header), comments="")

table = load_csv(path, target=target)
y = table.y.astype("float32").reshape(-1, 1)
x_train, x_test, y_train, y_test = train_test_split(table.x, y, test_size=0.2, seed=0)
mean, std, middle, spread = x_train.mean(axis=0), x_train.std(axis=0), y_train.mean(), y_train.std()

cr.manual_seed(0)
model = nn.Sequential(nn.Linear(32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(1))
model.compile("huber", optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.1), metrics=["r2"])
history = model.fit(
    (x_train - mean) / std,
    (y_train - middle) / spread,
    epochs=30 if quick else 200,
    validation_split=0.2,
    callbacks=EarlyStopping("val_loss", patience=10),
    verbose=0,
)
found = model.predict((x_test - mean) / std).numpy() * spread + middle
r2 = 1 - ((found - y_test) ** 2).sum() / ((y_test - y_test.mean()) ** 2).sum()
print(f"{len(history.epoch)} epochs; off by {abs(found - y_test).mean():.1f} in the mean, R² {r2:.2f}")
print(f"the first of the test rows: {found[0, 0]:.0f}, and truly {y_test[0, 0]:.0f}")
if not given and r2 < 0.2:
    raise SystemExit("worse than a line")
