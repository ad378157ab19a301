"""One model, many Python threads that predict with it at once, as in a server: no lock, and the same answers.

python examples/threads.py [--quick]
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import chainrule as cr
from chainrule import nn
from chainrule.data import load_digits

quick = "--quick" in sys.argv
x, y = load_digits()
cr.manual_seed(0)
model = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 64, 10))
model.compile("cross_entropy", "adam", metrics=["accuracy"])
model.fit(x, y, epochs=2 if quick else 10, verbose=0)
alone = model.predict(x).numpy()

cr.set_num_threads(1)  # each request on one core; the requests share the cores among them
pieces = [slice(i, i + 50) for i in range(0, len(x), 50)] * (2 if quick else 20)


def answer(piece):
    return model.predict(x[piece]).numpy()


for threads in (1, 4):
    begin = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        answers = list(pool.map(answer, pieces))
    seconds = time.perf_counter() - begin
    print(f"{threads} at a time: {50 * len(pieces) / seconds:,.0f} images a second")
    if not all((found == alone[piece]).all() for found, piece in zip(answers, pieces, strict=True)):
        raise SystemExit("the answers depend on who else was asking")
print("every answer is the one that the model gives alone, to the bit")
