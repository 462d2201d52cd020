"""Configs are made into runs, many at once as each alone."""

from __future__ import annotations

from typing import Any

import pytest

from gradexp.cli.run import parse
from gradexp.config.application import compose
from gradexp.config.build import Builder, build, settings_of
from gradexp.errors import UserError


def settings(*overrides: str) -> dict[str, Any]:
    return settings_of(compose(parse(overrides, "gradexp run")[1]))


def test_many_are_made_as_each_alone() -> None:
    builder = Builder()
    axes = [
        *("optimizer.lr=0.1", "optimizer.lr=1", "optimizer.lr=1.0", "optimizer.momentum=0.5"),
        *("surface=sphere", "seed=7", "init=uniform", "dtype=float32", "engine=reference"),
    ]
    made = [builder.build(settings(axis)) for axis in axes]
    assert made == [build(settings(axis)) for axis in axes]
    assert made[0].surface is made[1].surface
    assert made[0].optimizer != made[1].optimizer


@pytest.mark.parametrize(
    ("good", "bad", "key"),
    [
        (["optimizer.lr=1e-50"], ["optimizer.lr=1e-50", "dtype=float32"], "optimizer.lr"),
        (["init=point", "init.point=[1,2]"], ["init=point", "init.point=[1]"], "init"),
        (["optimizer.lr=1"], ["optimizer.lr=-1"], "optimizer.lr"),
        (["optimizer.lr=1"], ["optimizer.lr=true"], "optimizer.lr"),
        (["record=trace"], ["record=metrics", "log.trajectory=always"], "log.trajectory"),
    ],
)
def test_a_mistake_is_found_each_time(good: list[str], bad: list[str], key: str) -> None:
    builder = Builder()
    builder.build(settings(*good))
    for _ in range(2):
        with pytest.raises(UserError) as found:
            builder.build(settings(*bad))
        assert found.value.key.startswith(key)
    builder.build(settings(*good))
