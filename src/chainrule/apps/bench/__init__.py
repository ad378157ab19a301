"""``chainrule bench``: how fast, beside whom, how near to the machine's limit, and where the time goes."""

from . import commands as commands
from .cli import bench as bench
