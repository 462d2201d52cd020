"""Learning-rate sensitivity: the width of the range of learning rates that do almost best."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from gradexp.analysis.quartiles import median
from gradexp.comparison.sample import LR, MOMENTUM, RunSubset, Sample
from gradexp.comparison.table import Table, format_key_columns, format_number, format_steps

FACTOR = 2.0
"""A learning rate is in the band if its ranking value is at most this many times the best one."""


def lr_bands_table(sample: Sample) -> Table | None:
    """Returns the band of learning rates within a factor of two of the best, by other settings.

    The value that settings are ranked by is interpolated linearly between the learning rates of the
    sweep, both on logarithmic scales; the band ends where it exceeds twice its least value. Beside
    a learning rate at which fewer than half of the runs arrive, the band ends at the last one at
    which at least half do.

    Returns:
        The table; None if the learning rate was not swept or has fewer than three values, if runs
        are not compared by a hitting time, or if there is no learning rate at which half of the
        runs arrive.
    """
    if LR not in sample.setting_keys or sample.criterion is None:
        return None
    others = [key for key in sample.setting_keys if key != LR]
    rows = []
    for values, runs in sample.groups(others):
        rates, steps, censored_at = values_by_lr(sample, runs)
        row = {**values, "rates": len(rates), **lr_band(rates, steps, censored_at)}
        has_one_momentum = MOMENTUM in sample.runs and MOMENTUM not in sample.repeat_keys
        momentum = runs[MOMENTUM][0] if has_one_momentum else None
        row["predicted_edge"] = median(runs["theory.edge"])
        damping = 1 - float(momentum) if isinstance(momentum, int | float) else math.nan
        for end in ("best", "low", "high"):
            row[f"effective_{end}"] = row[end] / damping
        rows.append(row)
    frame = pd.DataFrame(rows)
    if frame["rates"].max() < 3 or frame["best"].isna().all():
        return None
    open_low, open_high, label = frame["open_low"], frame["open_high"], sample.ranking_label()
    shown: dict[str, Any] = {
        **format_key_columns(frame, others),
        "best lr": [format_number(value) for value in frame["best"]],
        label: ["" if math.isnan(v) else format_steps(v) for v in frame["best_steps"]],
        "band from": _ends(frame["low"], open_low, "≤ "),
        "to": _ends(frame["high"], open_high, "≥ "),
        "decades": _ends(frame["decades"], open_low | open_high, "≥ ", 3),
        "stable below": [format_number(value) for value in frame["predicted_edge"]],
    }
    if frame["effective_best"].notna().any():
        heads = {"best": "best lr/(1 - β)", "low": "from /(1 - β)", "high": "to /(1 - β)"}
        for end, head in heads.items():
            shown[head] = [format_number(value) for value in frame[f"effective_{end}"]]
    footer = f"{sample.summary()}; band: the learning rates at which at least half of the runs "
    footer += f"arrive, with a {label} within a factor of {FACTOR:g} of the smallest; ≤, ≥: the "
    footer += "band may extend further, beyond the rates tried or with a larger budget; "
    footer += "stable below: predicted from the Hessian at the minimizers reached; "
    footer += sample.criterion.definition()
    title = f"Learning-rate sensitivity: learning rates within a factor of {FACTOR:g} of the best"
    return Table("lr_bands", title, frame, pd.DataFrame(shown), footer)


def values_by_lr(sample: Sample, runs: RunSubset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the learning rates of runs, ascending, with the other arguments of `lr_band`.

    These are the ranking value at each, infinite where fewer than half of the runs arrive, and the
    smallest number of steps after which a run that has not arrived was cut off.
    """
    assert sample.criterion is not None
    rates, steps, censored_at = [], [], []
    for value, group in sample.groups([LR], runs):
        hits = sample.hitting_times.take(group.rows)
        rates.append(float(value[LR]))
        steps.append(sample.criterion.value_if_half_arrived(hits))
        censored_at.append(float(hits.lower_bounds[np.isinf(hits.times)].min(initial=math.inf)))
    return np.array(rates), np.array(steps), np.array(censored_at)


def _ends(values: pd.Series, is_open: pd.Series, sign: str, digits: int = 4) -> list[str]:
    pairs = zip(values, is_open, strict=True)
    return [f"{sign if beyond else ''}{format_number(value, digits)}" for value, beyond in pairs]


def lr_band(rates: np.ndarray, steps: np.ndarray, censored_at: np.ndarray) -> dict[str, Any]:
    """Returns the band of learning rates around the one with the fewest steps.

    Args:
        rates: ``(N,)``, learning rates, ascending and positive.
        steps: ``(N,)``, the steps at each, at least 0; infinite where too few runs arrive.
        censored_at: ``(N,)``, the number of steps up to which it is known that runs did not arrive;
            infinite where they never will.

    Returns:
        A dictionary of ``best``, ``best_steps`` (the steps there), ``low``, ``high``, ``decades``
        (the width), and ``open_low`` and ``open_high``: whether the band may extend beyond that
        end.
    """
    if not np.isfinite(steps).any():
        nothing = dict.fromkeys(("best", "best_steps", "low", "high", "decades"), math.nan)
        return {**nothing, "open_low": False, "open_high": False}
    x, y = np.log10(rates), np.log10(np.maximum(steps, 1.0))
    best = int(np.argmin(y))
    limit = y[best] + math.log10(FACTOR)

    def end(direction: int) -> tuple[float, bool]:
        at = best
        while 0 <= at + direction < len(x) and y[at + direction] <= limit:
            at += direction
        beyond = at + direction
        if not 0 <= beyond < len(x):
            return float(x[at]), True
        if not math.isfinite(y[beyond]):
            return float(x[at]), bool(censored_at[beyond] < FACTOR * steps[best])
        share = (limit - y[at]) / (y[beyond] - y[at])
        return float(x[at] + share * (x[beyond] - x[at])), False

    (low, open_low), (high, open_high) = end(-1), end(1)
    return {
        "best": float(rates[best]),
        "best_steps": float(steps[best]),
        "low": 10**low,
        "high": 10**high,
        "decades": high - low,
        "open_low": open_low,
        "open_high": open_high,
    }
