"""`gradexp compare`: tables and figures over the runs of sweeps."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from gradexp.errors import UserError

SUMMARY = "tables and figures over the runs of sweeps"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="of a sweep")
    parser.add_argument(
        "--by", nargs="+", default=[], metavar="KEY", help="the config keys to compare"
    )
    parser.add_argument("--metric", metavar="NAME", help="such as steps_to_gap.1e-06")
    parser.add_argument(
        "--rank", metavar="HOW", help="the best first by par10 (usual), ert or median"
    )
    parser.add_argument("--where", metavar="EXPR", help="such as 'optimizer.lr < 0.01'")
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="where to write all of it")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    parser.add_argument(
        "--formats",
        metavar="LIST",
        help="what to write: csv, parquet, latex; png, pdf, svg, gif (csv,png)",
    )


def run(args: Namespace) -> int:
    from gradexp.cli import terminal
    from gradexp.comparison import gather, make_tables, report

    if args.formats is not None and args.save is None:
        raise UserError("--formats", args.formats, "needs --save FOLDER")
    formats = (
        [] if args.save is None else report.parse_formats(args.formats or report.DEFAULT_FORMATS)
    )
    sample = gather(args.folders, args.by, args.metric, args.where, args.rank)
    tables = make_tables(sample)
    undrawn: list[str] = []
    if args.save is not None:  # before the tables: their reader (`head`, say) may close the pipe
        undrawn = report.save(args.save, formats, sample, tables, args.overwrite)
    terminal.show_tables(tables)
    for line in undrawn:
        print(line)
    if args.save is not None:
        print(f"saved:  {args.save}")
    return 0
