"""Run folders: what a run leaves on disk."""

from gradexp.results.run_folder import (
    digest,
    identity,
    is_whole,
    read_failure,
    read_record,
    read_run,
    write_failure,
    write_run,
)

__all__ = [
    "digest",
    "identity",
    "is_whole",
    "read_failure",
    "read_record",
    "read_run",
    "write_failure",
    "write_run",
]
