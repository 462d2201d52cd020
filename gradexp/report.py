"""Saves what a comparison found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gradexp.comparison import Table
from gradexp.mistakes import Mistake

TABLES = {"csv": ".csv", "parquet": ".parquet", "latex": ".tex"}
FIGURES = ("png", "pdf", "svg")


def checked(formats: str) -> list[str]:
    """A comma-separated list of formats, as a list.

    Raises:
        Mistake: one of them is not known.
    """
    wanted = [name.strip() for name in formats.split(",") if name.strip()]
    for name in wanted:
        if name not in (*TABLES, *FIGURES):
            known = ", ".join((*TABLES, *FIGURES))
            raise Mistake("--formats", name, f"must be some of {known}, separated by commas")
    return wanted


def save(folder: Path, formats: Sequence[str], tables: Sequence[Table]) -> None:
    """Writes tables, and what stands behind each into ``captions.txt``.

    Args:
        folder: is made where it is missing.
        formats: of `TABLES` and `FIGURES`.
        tables: of the comparison.

    Raises:
        Mistake: the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for table in tables:
            _save_table(folder / table.name, formats, table)
        captions = [f"{table.name}: {table.title}. {table.footer}.\n" for table in tables]
        (folder / "captions.txt").write_text("".join(captions))
    except OSError as error:
        raise Mistake("--save", folder, f"cannot be written: {error.strerror}") from None


def _save_table(path: Path, formats: Sequence[str], table: Table) -> None:
    if "csv" in formats:
        table.frame.to_csv(path.with_suffix(TABLES["csv"]), index=False)
    if "parquet" in formats:
        table.frame.to_parquet(path.with_suffix(TABLES["parquet"]), index=False)
    if "latex" in formats:
        caption = f"{table.title}. {table.footer}."
        text = table.shown.style.hide(axis="index").to_latex(
            caption=caption, label=f"tab:{table.name}", hrules=True, position_float="centering"
        )
        path.with_suffix(TABLES["latex"]).write_text(text)
