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

EXCITED = 1.2
"""Runs at least this many times as fast as predicted are counted separately."""


def rates_table(sample: Sample) -> Table | None:
    """Returns the convergence rates, the factor by which the distance shrinks in a step.

    In the long run, no run near a minimum is slower than predicted. A run is faster only if its
    start has no component in the slowest direction: those that converge `EXCITED` times as fast as
    predicted, or faster, are counted separately.

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
            apart = np.log(known["metrics.rate"]) / np.log(known["theory.rate"])
        excited = ~(apart >= EXCITED)
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
                "speed_ratio": median(apart[excited]),
                "not_excited": int((~excited).sum()),
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
        "slowest not excited": [str(count or "") for count in frame["not_excited"]],
    }
    told = (
        "runs that came to rest at a minimum; predicted: the spectral radius of the step at the "
        "Hessian there; fitted: to the gradient norms of the second half of the steps, medians and "
        "quartiles, R² how well; speed: the rate's logarithm, of the runs but for those that are "
        f"{EXCITED:g} times as fast as predicted, and more: their starts have no part in the "
        "slowest direction"
    )
    return Table("rates", "Theory beside measurement: rates", frame, pd.DataFrame(shown), told)


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
        known = runs["theory.edge"]
        has = ~np.isnan(known)
        known = known[has]
        if not len(known):
            continue
        if OPTIMIZER in sample.runs:  # keep only the optimizers that have a prediction
            optimizers = runs[OPTIMIZER]
            runs = runs.where(np.isin(optimizers.astype(str), optimizers[has].astype(str)))
        rate, outcome = runs[LR], runs["outcome"]
        settled = rate[(outcome == "converged") | (outcome == "noise_floor")]
        unsettled = rate[(outcome == "diverged") | (outcome == "cycling")]
        rows.append(
            {
                **values,
                "runs": len(known),
                "predicted": median(known),
                "least": float(known.min()),
                "greatest": float(known.max()),
                "converged": float(settled.max()) if len(settled) else math.nan,
                "lost": float(unsettled.min()) if len(unsettled) else math.nan,
            }
        )
    if not rows:
        return None
    frame = pd.DataFrame(rows)
    parts = zip(frame["predicted"], frame["least"], frame["greatest"], strict=True)
    shown = {
        **format_key_columns(frame, others),
        "runs": frame["runs"].map(str),
        "stable below": [
            format_with_interval(*part, lambda value: format_number(value, 4)) for part in parts
        ],
        "largest lr that stayed": [format_number(value) for value in frame["converged"]],
        "least lr that diverged or cycled": [format_number(value) for value in frame["lost"]],
    }
    told = (
        "stable below: from the Hessian at the minimizers reached, median and range; stayed: "
        "converged, or at its noise floor; a run may be "
        "lost on its way at a smaller learning rate, and one that jumps may settle elsewhere"
    )
    return Table("edges", "Theory beside measurement: stability", frame, pd.DataFrame(shown), told)


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
        some = hitting_times(known, "metrics.escape_steps")
        low, half, high = quantiles(some)
        predicted = median(known["theory.escape_steps"])
        rows.append(
            {
                **values,
                "runs": len(known),
                "left": some.arrived,
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
    told = (
        "runs that started at a saddle; predicted: log(r/ε)/log σ, from the offset ε along the "
        "ways down to the radius r, a twentieth of the domain's shortest side; measured: the first "
        "recorded step beyond, medians and quartiles by Kaplan-Meier"
    )
    return Table("escapes", "Theory beside measurement: saddles", frame, pd.DataFrame(shown), told)
