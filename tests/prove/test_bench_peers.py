"""Every case of the benchmarks computes the same wherever it races: PyTorch, JAX and Keras beside float64."""

from __future__ import annotations

from typing import Any

import pytest

from chainrule.apps.bench import race
from chainrule.apps.bench.contestants.cases import CASES, unable
from chainrule.apps.bench.limits import Limits

PEERS = [race.Entrant.of(name) for name in ("torch", "jax", "keras")]
PLAN = race.Plan(blocks=1, block_seconds=0.0, seconds=0.0)


@pytest.mark.parametrize("name", CASES)
def test_a_case_is_the_same_everywhere(name: str, record_property: Any) -> None:
    case = CASES[name]
    scale = (64 if case.job == "fit" else 4) / case.size
    entrants = [race.Entrant.of("chainrule"), race.Entrant.of("chainrule:jit"), *PEERS]
    expected = race.exact(case, entrants, PLAN, scale)
    row = race.race(case, entrants, 1, PLAN, Limits(1, {}), scale=scale, expected=expected)
    for who, why in row["unavailable"].items():
        side = who.partition(":")[0]
        assert why == unable(side, case, "float32") or why.startswith("ModuleNotFoundError"), (who, why)
    assert {"chainrule:eager", "chainrule:jit", "torch:eager"} <= {*row["contestants"]}
    for who, entry in row["contestants"].items():
        record_property(who, entry["deviation"])
