"""The loop inside fit, written by hand, with callbacks and validation: the same network to the bit.

python examples/by_hand.py
"""

import numpy as np

import chainrule as cr
from chainrule import losses, metrics, nn, optim
from chainrule.data import ArrayDataset, DataLoader
from chainrule.train import CallbackList, EarlyStopping, History

x = np.random.default_rng(0).normal(size=(2000, 2)).astype(np.float32)
y = (np.hypot(x[:, 0], x[:, 1]) > 1.2).astype(np.int64)  # inside or outside a circle
x_train, y_train, x_val, y_val = x[:1600], y[:1600], x[1600:], y[1600:]


def network():
    cr.manual_seed(0)
    return nn.Sequential(nn.Linear(32), nn.ReLU(), nn.Linear(32), nn.ReLU(), nn.Linear(2))


# by hand
model, loss_fn = network(), losses.CrossEntropy()
optimizer = optim.Adam(model.parameters(), lr=0.01)
loader = DataLoader(ArrayDataset(x_train, y_train), batch_size=32, shuffle=True)
history, stopping = History(), EarlyStopping("val_loss", patience=3)
callbacks = CallbackList([stopping, history], model)

callbacks.on_train_begin()
for epoch in range(30):
    for xb, yb in loader:
        optimizer.zero_grad()
        loss_fn(model(xb), yb).backward()
        optimizer.step()
    accuracy = metrics.Accuracy()
    with cr.no_grad():
        model.eval()
        scores = model(cr.tensor(x_val))
        accuracy.update(scores, cr.tensor(y_val))
        model.train()
    val_loss = loss_fn(scores, cr.tensor(y_val)).item()
    callbacks.on_epoch_end(epoch, {"val_loss": val_loss, "val_accuracy": accuracy.result()})
    if callbacks.stop_training:
        break
callbacks.on_train_end()
print(
    f"by hand: best validation loss {stopping.best:.4f} after epoch {stopping.best_epoch + 1} of {len(history.epoch)}"
)

# the same with fit
fitted, stopping = network(), EarlyStopping("val_loss", patience=3)
held_out = DataLoader(ArrayDataset(x_val, y_val), batch_size=400)
fitted.compile(losses.CrossEntropy(), optim.Adam(fitted.parameters(), lr=0.01), metrics=["accuracy"])
fit_history = fitted.fit(x_train, y_train, epochs=30, validation_data=held_out, callbacks=stopping, verbose=0)
same = all(np.array_equal(a.numpy(), b.numpy()) for a, b in zip(model.parameters(), fitted.parameters(), strict=True))
print(f"with fit: {fit_history}\nequal to the bit: {same}")
if not same:
    raise SystemExit("the two loops differ")
