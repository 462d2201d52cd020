"""Tables and lines that the commands print in the terminal."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from gradexp.config.choices import Choice
from gradexp.errors import as_text, printable

if TYPE_CHECKING:
    from gradexp.comparison import Table as Comparison
    from gradexp.jobs.job import Result
    from gradexp.sweeps.forecast import Forecast
    from gradexp.sweeps.status import SweepStatus
    from gradexp.sweeps.summary import Tally

_JOBS = 16
"""The largest sweep of which every job gets a line, in jobs."""

_BEST, _FAILED = 5, 20
"""How many of the best jobs of a larger sweep are listed, and how many failed jobs of any."""

_ROWS, _COLUMNS = 20, 4
"""The most rows, and the fewest columns, that are shown of a comparison."""

_WIDE = 200
"""The width in characters that is assumed for a file or a pipe, which has none."""

_ROOMY = 140
"""The width in characters from which each property of the choices has a column of its own."""

_KINDS = 10
"""How many kinds of batches are listed."""

_COLOURS = {
    "converged": "green",
    "noise_floor": "green",
    "saddle": "magenta",
    "plateau": "magenta",
    "cycling": "magenta",
    "diverged": "red",
    "budget": "yellow",
}


class _Rows(Table):
    """A table that makes control characters in its cells visible: they may come from files."""

    def add_row(self, *cells: Any, **options: Any) -> None:
        super().add_row(*(printable(c) if isinstance(c, str) else c for c in cells), **options)


def _table(*columns: str, **options: Any) -> Table:
    table = _Rows(box=box.SIMPLE_HEAD, pad_edge=False, **options)
    for column in columns:
        table.add_column(printable(column), overflow="fold")
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def _outcome(word: str) -> str:
    return f"[{_COLOURS.get(word, 'white')}]{escape(word)}[/]"


def tensorboard_command(folder: Path) -> str:
    """Returns the command that shows a folder in TensorBoard, for the current directory."""
    program = "tensorboard"
    beside = Path(sys.executable).with_name("tensorboard")
    found = shutil.which(program)
    if beside.exists() and (found is None or Path(found).resolve() != beside.resolve()):
        program = _short(beside)
    return f"{shlex.quote(program)} --logdir {shlex.quote(_short(folder))}"


def resume_command(folder: Path) -> str:
    """Returns the command that resumes a sweep, for the current directory."""
    return f"gradexp resume {shlex.quote(_short(folder))}"


def _short(path: Path) -> str:
    """Returns a path relative to the current directory if it is inside it, else an absolute one."""
    path = Path(os.path.abspath(path))
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _show_look(folder: Path) -> None:
    """Prints the command that shows a folder in TensorBoard, if it has any event files."""
    from gradexp.results import EVENTS  # imports NumPy: 0.1 s, and `gradexp list` does not need it

    if any(folder.rglob(f"{EVENTS}*")):
        _say(f"look:   {tensorboard_command(folder)}")


def show_run(result: Result) -> None:
    """Prints the result of one run, and where its files are."""
    figures = result.metrics
    table = _table("", "", show_header=False)
    table.add_row("outcome", f"{_outcome(result.outcome)}: {escape(result.because)}")
    table.add_row("steps", str(figures["steps"]))
    if figures.get("evaluations", figures["steps"]) != figures["steps"]:
        table.add_row("evaluations", str(figures["evaluations"]))
    table.add_row("final loss", _number(figures["final_loss"]))
    table.add_row("distance to minimizer", _number(figures["distance"]))
    table.add_row("device", result.device)
    _print(table)
    _say(f"folder: {_short(result.folder)}")
    _show_look(result.folder)


def show_sweep(status: SweepStatus) -> None:
    """Prints the results of a sweep's jobs, and where its files are."""
    from gradexp.sweeps.summary import ranking, tallies

    rows, swept = [row for _, row in sorted(status.rows.items())], status.swept()
    small = len(rows) <= _JOBS
    if small:
        _print(_jobs(rows, swept))
    tallied = tallies(rows, swept) if not small or len(swept) > 1 else []
    if tallied:
        _print(_outcomes(tallied))
    best = ranking(rows)
    if best.rows and not small:
        _say(f"best by {best.criterion}:")
        _print(_jobs(best.rows[:_BEST], swept, best.arrivals))
    elif len(rows) > 1 and best.rows:
        _say(f"best:   job {best.rows[0]['job']}, by {best.criterion}")
    failed = status.failed
    for number in failed[:_FAILED]:
        _say(f"job {number} failed: {status.rows[number]['failure']}")
    if len(failed) > _FAILED:
        _say(f"and {len(failed) - _FAILED} more failed: see the column failure of runs.parquet")
    _say(f"folder: {_short(status.folder)}")
    _show_look(status.folder)
    if len(status.rows) > len(failed) + 1:
        _say(f"tables: {compare_command(status.folder)}")


def compare_command(folder: Path) -> str:
    """Returns the command that compares the runs of a sweep, for the current directory."""
    return f"gradexp compare {shlex.quote(_short(folder))}"


def show_tables(tables: Sequence[Comparison]) -> None:
    """Prints tables that compare runs: their first rows, and as many columns as fit."""
    for table in tables:
        heads = [str(head) for head in table.shown]
        console, left_out = _console(), list[str]()
        while (rows := _rows(table, heads, console.width)) is None:
            left_out.insert(0, heads.pop())
        console.print(rows)
        if left_out:
            _say(f"no room for {', '.join(left_out)}: widen the terminal, or --save FOLDER")
        if len(table.shown) > _ROWS:
            _say(f"and {len(table.shown) - _ROWS:,} more: --save FOLDER writes all")
        _say(table.footer)
        print()


def _rows(table: Comparison, heads: Sequence[str], width: int) -> Table | None:
    """Lays out some columns of a table without folding its numbers, which would be misread.

    Args:
        table: the table.
        heads: the columns to show.
        width: the width of the terminal, in characters.

    Returns:
        The table, or None if the columns do not fit and are more than `_COLUMNS`.
    """
    shown = table.shown[list(heads)].head(_ROWS)
    coloured = [_coloured(head) for head in heads]
    rows = _table(*coloured, title=escape(table.title), title_style="bold", title_justify="left")
    for column, head in zip(rows.columns, heads, strict=True):
        texts = list(shown[head])
        figures = table.is_numeric(head)
        words = head.split() + (texts if figures else " ".join(texts).split())
        column.justify = "right" if figures else "left"
        column.min_width, column.max_width = max(map(len, words)), max(map(len, (head, *texts)))
    between = 3 * len(heads) - 1
    if sum(column.max_width or 0 for column in rows.columns) + between > width:
        for column in rows.columns:
            column.width = column.min_width
    if (
        sum(column.width or 0 for column in rows.columns) + between > width
        and len(heads) > _COLUMNS
    ):
        return None
    for row in shown.itertuples(index=False):
        rows.add_row(*map(escape, row))
    return rows


def _coloured(head: str) -> str:
    """Returns the heading of a column, with the outcome that it begins with, if any, in color."""
    word, space, rest = head.partition(" ")
    return f"{_outcome(word)}{space}{escape(rest)}" if word in _COLOURS else escape(head)


def show_forecast(forecast: Forecast) -> None:
    """Prints what a sweep or a run would take, and which jobs would fail."""
    for number, reason in list(forecast.failures.items())[:_FAILED]:
        _say(f"job {number} would fail: {reason}")
    if len(forecast.failures) > _FAILED:
        _say(f"and {len(forecast.failures) - _FAILED} more would fail")
    table = _table("", "", show_header=False)
    table.add_row("jobs", f"{forecast.jobs:,}")
    kinds = Counter(forecast.batches)
    for index, (batch, count) in enumerate(kinds.most_common(_KINDS)):
        each = f"{count:,} × " if count > 1 else ""
        runs = "1 run" if batch.runs == 1 else f"{batch.runs:,} runs"
        told = f"{each}{runs} of {batch.steps:,} steps, {batch.engine}"
        table.add_row("" if index else "batches", told)
    if len(kinds) > _KINDS:
        table.add_row("", f"and {len(kinds) - _KINDS} more kinds")
    time = "not known for this launcher"
    if forecast.besides is not None:
        whole = _duration(forecast.steps + forecast.jobs * forecast.besides)
        parts = f"steps {_duration(forecast.steps)} where none ends early"
        time = f"about {whole} ({parts}, {_duration(forecast.besides)} a job besides)"
    table.add_row("time", time)
    room = forecast.jobs * forecast.room
    free = shutil.disk_usage(next(path for path in forecast.folder.parents if path.exists())).free
    full = f", but only {decimal(free)} are free" if room > free else ""
    table.add_row("disk", f"about {decimal(int(room))}{full}")
    _print(table)


def _duration(seconds: float) -> str:
    units = (("h", 3600.0, 7200.0), ("min", 60.0, 120.0), ("s", 1.0, 1.0), ("ms", 1e-3, 0.0))
    unit, size = next((unit, size) for unit, size, least in units if seconds >= least)
    return f"{seconds / size:.{0 if seconds >= 10 * size else 1}f} {unit}"


def _jobs(
    rows: Sequence[Mapping[str, Any]], swept: Sequence[str], arrivals: Sequence[float] | None = None
) -> Table:
    """Returns a table with a row for each job.

    Args:
        rows: the jobs, as rows of the sweep's table.
        swept: the config keys whose values are shown.
        arrivals: the hitting time of each job, if the jobs are ranked by it.
    """
    heads = ["steps", "final loss", *(["arrived"] if arrivals else [])]
    table = _table("job", "overrides", "outcome", *heads)
    for column in (table.columns[0], *table.columns[3:]):
        column.justify = "right"
    for index, row in enumerate(rows):
        values = " ".join(f"{key}={as_text(row[key])}" for key in swept if key in row)
        steps, loss = row.get("metrics.steps"), row.get("metrics.final_loss")
        ended = f"{_outcome(row['outcome'])} {escape(row.get('reached') or '')}"
        figures = ["-" if steps is None else str(steps), _number(loss)]
        if arrivals:
            figures.append(f"{arrivals[index]:g}".replace("inf", "∞"))
        table.add_row(str(row["job"]), escape(values), ended.rstrip(), *figures)
    return table


def _outcomes(tallied: Sequence[Tally]) -> Table:
    """Returns a table of counts, with a row for each swept value and a column for each outcome."""
    found = {outcome for tally in tallied for outcome in tally.outcomes}
    words = [word for word in (*_COLOURS, "failed") if word in found]
    table = _table("key", "value", *map(_outcome, words))
    before = ""
    for column in table.columns[1:]:
        column.justify = "right"
    for tally in tallied:
        key, before = "" if tally.key == before else tally.key, tally.key
        counts = (str(tally.outcomes[word] or "") for word in words)
        table.add_row(key, escape(tally.values), *counts)
    return table


def show_groups(counts: dict[str, int]) -> None:
    """Prints the config groups, and how many choices each has."""
    table = _table("list", "choices")
    for name, count in counts.items():
        table.add_row(name, str(count))
    _print(table)
    _say("gradexp list NAME shows the choices with their keys and defaults.")


def show_choices(choices: Sequence[Choice]) -> None:
    """Prints the choices of a config group, with their keys and defaults."""
    families = any(choice.family for choice in choices)
    sources = any(choice.source for choice in choices)
    heads = ["name", "family", "keys and defaults", "what", "source"]
    shown = [True, families, True, True, sources]
    stacked = _console().width < _ROOMY
    table = _table("name", "what") if stacked else _table(*compress(heads, shown))
    for choice in sorted(choices, key=lambda choice: (choice.family or "~", choice.name)):
        keys = ", ".join(f"{key}={as_text(value)}" for key, value in choice.settings.items())
        told = (choice.name, choice.family, keys, choice.description, choice.source)
        row = name, family, keys, what, source = [escape(text) for text in told]
        if stacked:
            dim = [text and f"[dim]{text}[/]" for text in (family, keys)]
            cells = [[name, dim[0]], [what, dim[1], source]]
            table.add_row(*("\n".join(filter(None, cell)) for cell in cells))
        else:
            table.add_row(*compress(row, shown))
    _print(table)


def _say(text: str) -> None:
    """Prints a line, making control characters visible: parts of it may come from files."""
    print(printable(text))


def _print(table: Table) -> None:
    _console().print(table)


class _Output(Console):
    """A console that raises `BrokenPipeError` if its reader ends early; `main` reports it."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def _console() -> Console:
    console = _Output()
    return console if console.is_terminal else _Output(width=_WIDE)
