"""The charts in TensorBoard's tab for custom scalars, and their order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.custom_scalar import metadata
from tensorboard.plugins.custom_scalar.layout_pb2 import (
    Category,
    Chart,
    Layout,
    MarginChartContent,
    MultilineChartContent,
)

_RUN = {
    "convergence": {
        "loss": ["loss"],
        "loss gap": ["loss_gap"],
        "gradient norm": ["gradient_norm"],
        "distance to the nearest minimizer": ["distance"],
    },
    "hyperparameters": {
        "learning rate": ["learning_rate"],
        "momentum": ["momentum", "betas.0"],  # betas.0: what momentum schedules change in Adam
    },
}


@cache
def run_layout() -> Summary:
    """Returns the charts of a run; TensorBoard shows those of several runs together."""
    return _summary(
        Category(title=category, chart=[_lines(*one) for one in charts.items()])
        for category, charts in _RUN.items()
    )


def curve_tags(setting: str) -> tuple[str, str, str]:
    """Returns the tags of a setting's median, first quartile and third quartile."""
    return f"{setting}/median", f"{setting}/first_quartile", f"{setting}/third_quartile"


def summary_layout(settings: Sequence[str]) -> Summary:
    """Returns the charts of a sweep's summary: all medians, then each with its quartile band."""
    tags = [curve_tags(setting) for setting in settings]
    together = _lines("medians", [median for median, _, _ in tags])
    bands = [
        Chart(
            title=setting,
            margin=MarginChartContent(
                series=[MarginChartContent.Series(value=median, lower=low, upper=high)]
            ),
        )
        for setting, (median, low, high) in zip(settings, tags, strict=True)
    ]
    return _summary([Category(title="by setting: median and quartiles", chart=[together, *bands])])


def _lines(title: str, tags: Sequence[str]) -> Chart:
    patterns = [f"^{re.escape(tag)}$" for tag in tags]
    return Chart(title=title, multiline=MultilineChartContent(tag=patterns))


def _summary(categories: Iterable[Category]) -> Summary:
    """Returns a layout as a summary for an event. TensorBoard's own function needs TensorFlow."""
    layout = Layout(category=categories)
    tensor = TensorProto(dtype=DT_STRING, string_val=[layout.SerializeToString()])
    value = Summary.Value(
        tag=metadata.CONFIG_SUMMARY_TAG,
        metadata=metadata.create_summary_metadata(),
        tensor=tensor,
    )
    return Summary(value=[value])
