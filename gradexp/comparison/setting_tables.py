"""Tables of how the runs of each setting ended, and how fast they were."""

from __future__ import annotations

import math
from functools import cache
from typing import Any, get_args

import numpy as np
import pandas as pd

from gradexp.analysis.metric import Metric
from gradexp.analysis.outcome import Word
from gradexp.analysis.quartiles import median
from gradexp.comparison.hitting_times import (
    expected_running_time,
    quantiles,
)
from gradexp.comparison.ranking import format_arrived, format_quantile
from gradexp.comparison.sample import Sample
from gradexp.comparison.table import (
    Table,
    append_interval,
    format_key_columns,
    format_number,
    format_percent,
    format_steps,
    format_with_interval,
)

OUTCOMES: tuple[str, ...] = get_args(Word)


@cache
def share_interval(successes: int, trials: int) -> tuple[float, float]:
    """Returns a confidence interval of a proportion with a coverage of at least 95 %.

    Source: Clopper and Pearson, "The use of confidence or fiducial limits" (1934). Wilson's
    interval is narrower, but covers some proportions with a probability of only 83 %.
    """
    from scipy import stats

    interval = stats.binomtest(successes, trials).proportion_ci(method="exact")
    return float(interval.low), float(interval.high)


def outcomes_table(sample: Sample) -> Table:
    """Returns the share of each outcome among the runs of each setting."""
    words = [word for word in OUTCOMES if (sample.runs["outcome"] == word).any()]
    rows = []
    for values, runs in sample.settings:
        row: dict[str, Any] = {**values, "runs": len(runs)}
        for word in words:
            count = int(np.count_nonzero(runs["outcome"] == word))
            low, high = share_interval(count, len(runs))
            row |= {word: count / len(runs), f"{word}.low": low, f"{word}.high": high}
        rows.append(row)
    frame = pd.DataFrame(rows)
    shown: dict[str, Any] = {
        **format_key_columns(frame, sample.setting_keys),
        "runs": frame["runs"].map(str),
    }
    one_run_each = bool((frame["runs"] == 1).all())

    def text(share: float, low: float, high: float) -> str:
        if share == 0:
            return ""
        return "1" if one_run_each else format_with_interval(share, low, high, format_percent)

    for word in words:
        parts = zip(frame[word], frame[f"{word}.low"], frame[f"{word}.high"], strict=True)
        shown[word if one_run_each else f"{word} %"] = [text(*part) for part in parts]
    footer = f"{sample.summary()}; "
    footer += (
        "number of runs"
        if one_run_each
        else "% of runs, with exact intervals (coverage at least 95 %)"
    )
    return Table("outcomes", "How runs ended", frame, pd.DataFrame(shown), footer)


def speed_table(sample: Sample) -> Table:
    """Returns the speed of the runs of each setting, and how direct their paths were."""
    metric, criterion = sample.metric, sample.criterion
    rows, medians = [], []
    for values, runs in sample.settings:
        row: dict[str, Any] = {**values, "runs": len(runs)}
        if criterion:
            hits = sample.hitting_times.take(runs.rows)
            low, half, high = quantiles(hits)
            row |= {"arrived": hits.arrived, "par10": criterion.par10(hits)}
            row |= {"ert": expected_running_time(hits)}
            parts = ((half, 0.5), (low, 0.25), (high, 0.75))
            medians.append(append_interval(*(format_quantile(hits, *part) for part in parts)))
        else:
            low, half, high = sample.quartiles(metric, runs)
            medians.append(format_with_interval(half, low, high))
        row |= {"median": half, "first_quartile": low, "third_quartile": high}
        has_gap = not np.isnan(runs["metrics.loss_gap"]).all()
        row["loss_gap"] = sample.quartiles(Metric("loss_gap"), runs)[1] if has_gap else math.nan
        row["rate"] = median(runs["metrics.rate"])
        with np.errstate(divide="ignore", invalid="ignore"):
            tortuosity = runs["metrics.path_length"] / runs["metrics.displacement"]
        row["tortuosity"] = median(tortuosity[np.isfinite(tortuosity)])
        row["reversals"] = median(runs["metrics.reversals"])
        rows.append(row)
    frame = pd.DataFrame(rows)
    shown: dict[str, Any] = format_key_columns(frame, sample.setting_keys)
    if criterion:
        counts = zip(frame["arrived"], frame["runs"], strict=True)
        shown["arrived"] = [format_arrived(arrived, count) for arrived, count in counts]
    shown[f"median {metric.unit if criterion else metric.label}"] = medians
    if criterion:
        shown |= {"PAR10": frame["par10"].map(format_steps), "ERT": frame["ert"].map(format_steps)}
    if frame["loss_gap"].notna().any():
        shown["loss gap"] = [format_number(value, 3) for value in frame["loss_gap"]]
    shown["rate"] = [format_number(value, 5) for value in frame["rate"]]
    shown["tortuosity"] = [format_number(value, 3) for value in frame["tortuosity"]]
    shown["reversals"] = [format_number(value) for value in frame["reversals"]]
    footer = f"{sample.summary()}; medians, "
    if criterion:
        footer += f"those of {metric.unit} with quartiles and by Kaplan-Meier: runs that used all "
        footer += "their steps are censored, runs that ended elsewhere never arrive; "
        footer += f"{criterion.table_legend()}; in the median loss gap, "
    else:
        footer += f"that of {metric.label} with quartiles; in it and in the median loss gap, "
    footer += "runs that diverged count as worse than all others; rate: the factor by which the "
    footer += "gradient norm shrinks in a step, in runs to which it could be fitted; tortuosity: "
    footer += "path length ÷ displacement; reversals: moves at more than a right angle to the one "
    footer += "before"
    title = f"How fast: {metric.label}; the best first, by {sample.ranking_label()}"
    return Table("speed", title, frame, pd.DataFrame(shown), footer)
