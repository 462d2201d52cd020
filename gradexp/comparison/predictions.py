"""Compares what theory predicts for runs with what was measured."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from gradexp.analysis.quartiles import median, quartiles
from gradexp.comparison.hitting_times import hitting_times, quantiles
from gradexp.comparison.sample import LR, OPTIMIZER, Sample
from gradexp.comparison.table import (
    Table,
    format_key_columns,
    format_number,
    format_steps,
    format_with_interval,
)

FASTER_THAN_PREDICTED = 1.2
"""Runs at least this many times as fast as predicted are counted separately."""


def rates_table(sample: Sample) -> Table | None:
    """Returns the convergence rates, the factor by which the distance shrinks in a step.

    In the long run, no run near a minimum is slower than predicted. A run is faster only if its
    start has no component in the slowest direction: those that converge
    `FASTER_THAN_PREDICTED` times as fast as predicted, or faster, are counted separately.

    Returns:
        The table, or None if no run has both a predicted and a fitted rate.
    """
    rows = []
    for values, runs in sample.settings:
        known = runs.where(~np.isnan(runs["theory.rate"] + runs["metrics.rate"]))
        if not len(known):
            continue
        low, half, high = quartiles(known["metrics.rate"])
        predicted = median(known["theory.rate"])
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.log(known["metrics.rate"]) / np.log(known["theory.rate"])
        is_faster = ratio >= FASTER_THAN_PREDICTED
        fits = known["metrics.rate_r2"] if "metrics.rate_r2" in sample.runs else np.array([])
        rows.append(
            {
                **values,
                "runs": len(known),
                "predicted": predicted,
                "fitted": half,
                "first_quartile": low,
                "third_quartile": high,
                "r2": median(fits),
                "speed_ratio": median(ratio[~is_faster]),
                "faster_than_predicted": int(is_faster.sum()),
            }
        )
    if not rows:
        return None
    frame = pd.DataFrame(rows)
    parts = zip(frame["fitted"], frame["first_quartile"], frame["third_quartile"], strict=True)
    shown = {
        **format_key_columns(frame, sample.setting_keys),
        "runs": frame["runs"].map(str),
        "predicted rate": [format_number(value, 5) for value in frame["predicted"]],
        "fitted rate": [
            format_with_interval(*part, lambda value: format_number(value, 5)) for part in parts
        ],
        "R²": ["" if math.isnan(value) else format_number(value, 3) for value in frame["r2"]],
        "fitted ÷ predicted speed": [
            "" if math.isnan(value) else format_number(value, 3) for value in frame["speed_ratio"]
        ],
        "faster than predicted": [str(count or "") for count in frame["faster_than_predicted"]],
    }
    footer = (
        "runs that came to rest at a minimum; predicted: the spectral radius of the iteration at "
        "the Hessian there; fitted: to the gradient norms of the second half of the steps, median "
        "and quartiles; R²: of that fit, median; speed: the logarithm of the rate; faster than "
        f"predicted: the number of runs at least {FASTER_THAN_PREDICTED:g} times as fast, which "
        "the ratio of speeds leaves out: their starts have no component in the slowest direction"
    )
    title = "Theory and measurement: convergence rates"
    return Table("rates", title, frame, pd.DataFrame(shown), footer)


def edges_table(sample: Sample) -> Table | None:
    """Returns the learning rates above which minima repel: predicted, and observed in the runs.

    Returns:
        The table, or None if the learning rate was not swept or no run has a predicted edge.
    """
    if LR not in sample.setting_keys:
        return None
    others = [key for key in sample.setting_keys if key != LR]
    rows = []
    for values, runs in sample.groups(others):
        edges = runs["theory.edge"]
        has_edge = ~np.isnan(edges)
        edges = edges[has_edge]
        if not len(edges):
            continue
        if OPTIMIZER in sample.runs:  # keep only the optimizers that have a prediction
            optimizers = runs[OPTIMIZER]
            runs = runs.where(np.isin(optimizers.astype(str), optimizers[has_edge].astype(str)))
        rate, outcome = runs[LR], runs["outcome"]
        stable = rate[(outcome == "converged") | (outcome == "noise_floor")]
        unstable = rate[(outcome == "diverged") | (outcome == "cycling")]
        rows.append(
            {
                **values,
                "runs": len(edges),
                "predicted": median(edges),
                "smallest": float(edges.min()),
                "largest": float(edges.max()),
                "largest_converged": float(stable.max()) if len(stable) else math.nan,
                "smallest_unstable": float(unstable.min()) if len(unstable) else math.nan,
            }
        )
    if not rows:
        return None
    frame = pd.DataFrame(rows)
    parts = zip(frame["predicted"], frame["smallest"], frame["largest"], strict=True)
    shown = {
        **format_key_columns(frame, others),
        "runs": frame["runs"].map(str),
        "stable below": [
            format_with_interval(*part, lambda value: format_number(value, 4)) for part in parts
        ],
        "largest lr that converged": [format_number(value) for value in frame["largest_converged"]],
        "smallest lr that diverged or cycled": [
            format_number(value) for value in frame["smallest_unstable"]
        ],
    }
    footer = (
        "stable below: predicted from the Hessian at the minimizers reached, median and range; "
        "converged: or at its noise floor; a run may diverge before it reaches the minimum at a "
        "smaller learning rate, or settle at another minimum at a larger one"
    )
    title = "Theory and measurement: stability"
    return Table("edges", title, frame, pd.DataFrame(shown), footer)


def escapes_table(sample: Sample) -> Table | None:
    """Returns the steps to escape the saddle that runs started at: predicted and measured.

    Returns:
        The table, or None if no run has a predicted number of steps.
    """
    rows = []
    for values, runs in sample.settings:
        known = runs.where(~np.isnan(runs["theory.escape_steps"]))
        if not len(known):
            continue
        hits = hitting_times(known, "metrics.escape_steps")
        low, half, high = quantiles(hits)
        predicted = median(known["theory.escape_steps"])
        rows.append(
            {
                **values,
                "runs": len(known),
                "left": hits.arrived,
                "predicted": predicted,
                "measured": half,
                "first_quartile": low,
                "third_quartile": high,
            }
        )
    if not rows:
        return None
    frame = pd.DataFrame(rows)
    parts = zip(frame["measured"], frame["first_quartile"], frame["third_quartile"], strict=True)
    counts = zip(frame["left"], frame["runs"], strict=True)
    shown = {
        **format_key_columns(frame, sample.setting_keys),
        "left": [f"{left} of {count}" for left, count in counts],
        "predicted steps": [format_number(value, 4) for value in frame["predicted"]],
        "measured": [format_with_interval(*part, format_steps) for part in parts],
    }
    footer = (
        "runs that started at a saddle; left: they went farther than r from it, 1/20 of the "
        "domain's shortest side; predicted: log(r/ε)/log σ, where ε is the start's offset along "
        "the descent directions, which grows by a factor of σ in a step; measured: the first "
        "recorded step farther than r, median and quartiles by Kaplan-Meier"
    )
    title = "Theory and measurement: escape from saddles"
    return Table("escapes", title, frame, pd.DataFrame(shown), footer)
