"""The examples in the docstrings of the op rooms run, and show what they say."""

import doctest
import importlib
import inspect

import pytest

from chainrule.ops._op import OPS

ROOMS = sorted({call.__wrapped__.__module__ for call in OPS.values()} | {"chainrule.ops.memory"})


def examples(module):
    finder = doctest.DocTestFinder(recurse=False)
    for name, value in vars(module).items():
        own = inspect.isroutine(value) and inspect.unwrap(value).__module__ == module.__name__
        if own and ">>> " in (inspect.getdoc(value) or ""):
            yield from finder.find(value, name, globs=dict(vars(module)), module=False)


@pytest.mark.parametrize("room", ROOMS)
def test_the_examples_run(room):
    module = importlib.import_module(room)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    found = list(examples(module))
    for example in found:
        runner.run(example)
    result = runner.summarize(verbose=False)
    assert found and result.attempted and not result.failed
