"""The files of runs and sweeps: writing, checking and loading them."""

from gradexp.results.loading import Loaded, load, read_runs, swept_keys
from gradexp.results.run_folder import (
    EVENTS,
    FORMAT,
    RUN_FILES,
    as_json,
    digest,
    identity,
    is_sound,
    is_whole,
    read_failure,
    read_record,
    read_run,
    write_failure,
    write_run,
)
from gradexp.results.table import TABLE, is_override, jobs_of, outcome_row, write_table

__all__ = [
    "EVENTS",
    "FORMAT",
    "RUN_FILES",
    "TABLE",
    "Loaded",
    "as_json",
    "digest",
    "identity",
    "is_override",
    "is_sound",
    "is_whole",
    "jobs_of",
    "load",
    "outcome_row",
    "read_failure",
    "read_record",
    "read_run",
    "read_runs",
    "swept_keys",
    "write_failure",
    "write_run",
    "write_table",
]
