"""Data: sets, batches, and the files they come from.

>>> import numpy as np
>>> loader = DataLoader(ArrayDataset(np.eye(4), np.arange(4)), batch_size=3, shuffle=True, seed=0)
>>> [(x.shape, y.shape) for x, y in loader]
[((3, 4), (3,)), ((1, 4), (1,))]
"""

from .dataset import ArrayDataset, Subset, split
from .fetch import cache_folder
from .idx import read_idx, write_idx
from .loader import DataLoader
from .mnist import load_mnist

__all__ = ["ArrayDataset", "DataLoader", "Subset", "cache_folder", "load_mnist", "read_idx", "split", "write_idx"]
