"""Saves the tables and figures of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gradexp.comparison import Sample, Table
from gradexp.errors import UserError
from gradexp.results.output_folder import staged

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = {"csv": ".csv", "parquet": ".parquet", "latex": ".tex"}
ANIMATION = "gif"

DEFAULT_FORMATS = "csv,png"

_CAPTIONS = "captions.txt"


def parse_formats(formats: str) -> list[str]:
    """Splits a comma-separated list of formats and checks that each is known.

    Raises:
        UserError: If one of them is not known.
    """
    from gradexp.plots import FORMATS  # matplotlib takes 0.4 s

    known = (*TABLES, *FORMATS, ANIMATION)
    wanted = [name.strip() for name in formats.split(",") if name.strip()]
    for name in wanted:
        if name not in known:
            reason = f"must be one or more of {', '.join(known)}, separated by commas"
            raise UserError("--formats", name, reason)
    return wanted


def save(
    folder: Path,
    formats: Sequence[str],
    sample: Sample,
    tables: Sequence[Table],
    overwrite: bool = False,
) -> list[str]:
    """Writes tables and figures, and their captions to ``captions.txt``.

    Args:
        folder: where to; it is created if it does not exist.
        formats: some of `TABLES`, `plots.FORMATS` and `ANIMATION`.
        sample: the runs that were compared.
        tables: the tables of the comparison.
        overwrite: whether to replace existing files.

    Returns:
        One line for each reason why figures could not be drawn, with their names.

    Raises:
        UserError: If a file exists already or a run cannot be drawn, in which cases nothing is
            written, or if the folder cannot be written to.
    """
    with staged("--save", folder, overwrite, [_CAPTIONS]) as staging:
        return _save(staging, formats, sample, tables)


def _save(
    folder: Path, formats: Sequence[str], sample: Sample, tables: Sequence[Table]
) -> list[str]:
    captions = [f"{table.name}: {table.title}. {table.footer}.\n" for table in tables]
    for table in tables:
        _save_table(folder / table.name, formats, table)
    kinds = [kind for kind in formats if kind not in (*TABLES, ANIMATION)]
    not_drawn: dict[str, list[str]] = {}
    if kinds:
        from gradexp.comparison.figures import figures, unrecorded
        from gradexp.plots import save

        not_drawn = unrecorded(sample)
        for name, figure in figures(sample):
            for kind in kinds:
                save(figure, folder / f"{name}.{kind}")
            captions.append(f"{name}: {_caption(figure)}.\n")
    if ANIMATION in formats:
        from gradexp.comparison.figures import animate

        caption = animate(sample, folder / f"race.{ANIMATION}")
        captions += [f"race: {caption}.\n"] if caption else []
    (folder / _CAPTIONS).write_text("".join(captions))
    return [
        f"not drawn (no {array} was recorded): {', '.join(names)}"
        for array, names in not_drawn.items()
    ]


def _caption(figure: Figure) -> str:
    """Returns a figure's title and caption."""
    from gradexp.plots.style import CAPTION

    titles = [figure.get_suptitle(), *(axes.get_title() for axes in figure.axes)]
    captions = [text.get_text() for text in figure.texts if text.get_gid() == CAPTION]
    return ". ".join([next(filter(None, titles), ""), *filter(None, captions)])


def _save_table(path: Path, formats: Sequence[str], table: Table) -> None:
    if "csv" in formats:
        table.frame.to_csv(path.with_suffix(TABLES["csv"]), index=False)
    if "parquet" in formats:
        table.frame.to_parquet(path.with_suffix(TABLES["parquet"]), index=False)
    if "latex" in formats:
        path.with_suffix(TABLES["latex"]).write_text(_latex(table))


def _latex(table: Table) -> str:
    """Returns the table as LaTeX source, which needs the package booktabs."""
    caption = "".join(_LATEX_ESCAPES.get(sign, sign) for sign in f"{table.title}. {table.footer}.")
    shown = table.shown.style.hide(axis="index")
    shown = shown.format(escape="latex").format_index(escape="latex", axis="columns")
    text = shown.to_latex(
        column_format="".join(
            "r" if table.is_numeric(head) else "l" for head in map(str, table.shown)
        ),
        caption=caption,
        label=f"tab:{table.name}",
        hrules=True,
        position_float="centering",
    )
    return str(text).translate(_LATEX_COMMANDS)


_LATEX_ESCAPES = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}

_LATEX_COMMANDS = str.maketrans(
    {
        "\N{NO-BREAK SPACE}": "~",
        "<": "$<$",
        ">": "$>$",
        "÷": r"$\div$",
        "×": r"$\times$",
        "≤": r"$\le$",
        "≥": r"$\ge$",
        "∞": r"$\infty$",
        "β": r"$\beta$",
        "ε": r"$\varepsilon$",
        "σ": r"$\sigma$",
    }
)
"""Characters that need a command in LaTeX."""
