"""Data: sets, batches, and the files they come from.

>>> import numpy as np
>>> loader = DataLoader(ArrayDataset(np.eye(4), np.arange(4)), batch_size=3, shuffle=True, seed=0)
>>> [(x.shape, y.shape) for x, y in loader]
[((3, 4), (3,)), ((1, 4), (1,))]
"""

from ..folders import cache_folder
from .arrays import Samples, TrainTest
from .cifar import CIFAR10_CLASSES, CIFAR100_CLASSES, CIFAR100_SUPERCLASSES, load_cifar10, load_cifar100, read_cifar
from .collate import default_collate, pad_collate
from .csv_files import CSVDataset, Table, load_csv
from .dataset import ArrayDataset, Subset, split
from .digits import load_digits
from .fashion_mnist import FASHION_MNIST_CLASSES, load_fashion_mnist
from .folder import ImageFolder
from .geometry import (
    RandomAffine,
    RandomCrop,
    RandomHorizontalFlip,
    RandomRotation,
    RandomShear,
    RandomShift,
    RandomVerticalFlip,
    RandomZoom,
)
from .idx import read_idx, write_idx
from .iterable import IterableDataset
from .loader import DataLoader
from .memmap import MemmapDataset
from .mixing import CutMix, Cutout, MixUp, RandomErasing
from .mnist import load_mnist
from .samplers import (
    BatchSampler,
    DistributedSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    StratifiedSampler,
    WeightedRandomSampler,
)
from .splitting import KFold, StratifiedKFold, one_hot, random_split, train_test_split
from .tabular import load_breast_cancer, load_diabetes, load_iris, load_wine
from .texts import Speech, load_moby_dick, load_shakespeare, load_sotu
from .timeseries import load_japanese_vowels, read_ts
from .tokens import CharVocabulary, LineDataset, TextDataset
from .transforms import ColorJitter, Compose, GaussianNoise, Normalize, Transform
from .words import Pronunciation, load_cmu_pronunciations, load_names

__all__ = [
    "ArrayDataset",
    "BatchSampler",
    "CIFAR100_CLASSES",
    "CIFAR100_SUPERCLASSES",
    "CIFAR10_CLASSES",
    "CSVDataset",
    "CharVocabulary",
    "ColorJitter",
    "Compose",
    "CutMix",
    "Cutout",
    "DataLoader",
    "DistributedSampler",
    "FASHION_MNIST_CLASSES",
    "GaussianNoise",
    "ImageFolder",
    "IterableDataset",
    "KFold",
    "LineDataset",
    "MemmapDataset",
    "MixUp",
    "Normalize",
    "Pronunciation",
    "RandomAffine",
    "RandomCrop",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomRotation",
    "RandomSampler",
    "RandomShear",
    "RandomShift",
    "RandomVerticalFlip",
    "RandomZoom",
    "Sampler",
    "Samples",
    "SequentialSampler",
    "Speech",
    "StratifiedKFold",
    "StratifiedSampler",
    "Subset",
    "Table",
    "TextDataset",
    "TrainTest",
    "Transform",
    "WeightedRandomSampler",
    "cache_folder",
    "default_collate",
    "load_breast_cancer",
    "load_cifar10",
    "load_cifar100",
    "load_cmu_pronunciations",
    "load_csv",
    "load_diabetes",
    "load_digits",
    "load_fashion_mnist",
    "load_iris",
    "load_japanese_vowels",
    "load_mnist",
    "load_moby_dick",
    "load_names",
    "load_shakespeare",
    "load_sotu",
    "load_wine",
    "one_hot",
    "pad_collate",
    "random_split",
    "read_cifar",
    "read_idx",
    "read_ts",
    "split",
    "train_test_split",
    "write_idx",
]
