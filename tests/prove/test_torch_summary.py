"""The multiply-adds of ``summary`` are half the FLOPs that PyTorch counts; parameters are as many. Runs where PyTorch is."""

from __future__ import annotations

import pytest

from chainrule import nn

torch = pytest.importorskip("torch")
counter = pytest.importorskip("torch.utils.flop_counter")

PAIRS = [
    ("linear", lambda n: [n.Linear(5, 7), n.ReLU(), n.Linear(7, 3, bias=False)], (4, 5)),
    ("words", lambda n: [n.Embedding(20, 6), n.Linear(6, 4)], (2, 9)),
    ("conv1d", lambda n: [n.Conv1d(4, 6, 3, stride=2, padding=1, groups=2), n.Flatten(), n.Linear(30, 2)], (3, 4, 10)),
    (
        "conv2d",
        lambda n: [n.Conv2d(4, 8, 3, dilation=2), n.BatchNorm2d(8), n.Conv2d(8, 8, (1, 3), groups=8)],
        (2, 4, 9, 8),
    ),
    ("conv3d", lambda n: [n.Conv3d(2, 4, (2, 3, 1), padding=1)], (2, 2, 4, 5, 6)),
    ("transposed 1d", lambda n: [n.ConvTranspose1d(4, 6, 3, stride=2, padding=1)], (2, 4, 7)),
    ("transposed", lambda n: [n.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1)], (2, 4, 5, 6)),
    ("transposed in groups", lambda n: [n.ConvTranspose2d(4, 6, (2, 3), groups=2, dilation=2)], (2, 4, 5, 6)),
]


@pytest.mark.parametrize(("make", "shape"), [pytest.param(m, s, id=name) for name, m, s in PAIRS])
def test_layers(make, shape):
    theirs = torch.nn.Sequential(*make(torch.nn)).eval()
    x = torch.zeros(shape, dtype=torch.int64 if isinstance(theirs[0], torch.nn.Embedding) else torch.float32)
    with counter.FlopCounterMode(display=False) as counted, torch.no_grad():
        theirs(x)
    ours = nn.Sequential(*make(nn)).summary(shape)
    assert 2 * ours.macs == counted.get_total_flops() > 0
    assert ours.total == sum(p.numel() for p in theirs.parameters())


def test_a_transformer():
    theirs = torch.nn.TransformerEncoderLayer(16, 4, 32, batch_first=True).train()  # in eval it is one fused call
    with counter.FlopCounterMode(display=False) as counted:
        theirs(torch.zeros(2, 7, 16))
    ours = nn.TransformerEncoderLayer(16, 4, 32).summary((2, 7, 16))
    assert 2 * ours.macs == counted.get_total_flops()
    assert ours.total == sum(p.numel() for p in theirs.parameters())
