"""Logging for a sequence of jobs: configured once, then redirected to each job's files."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from hydra.core.utils import configure_log
from omegaconf import OmegaConf

from gradexp.sweeps.composition import Template

_SAME_BUT_FOR_THE_FOLDER = re.compile(r"\$\{hydra\.(runtime\.output_dir|job\.name)\}")


class JobLogging:
    """Configures logging as each job's config says.

    Configuring it again for each job would take 2 ms. If only the folder of the log files differs,
    the handlers are kept and their files are replaced.
    """

    def __init__(self) -> None:
        self._template: Template | None = None
        self._again = False
        self._folder = Path()
        self._files: list[logging.FileHandler] = []

    def turn_to(self, folder: Path, template: Template) -> None:
        """Directs the log messages that follow to a job's files.

        Args:
            folder: the job's folder.
            template: the job's template, whose `reusable` config holds the job's values.
        """
        if template is self._template and self._again:
            for handler in self._files:
                _reopen(handler, folder / Path(handler.baseFilename).relative_to(self._folder))
        else:
            self._again = _depends_on_folder_alone(template)
            hydra = template.reusable.config.hydra
            configure_log(hydra.job_logging, hydra.verbose)
            self._files = [
                handler
                for handler in _handlers()
                if isinstance(handler, logging.FileHandler)
                and Path(handler.baseFilename).is_relative_to(folder)
            ]
        self._template, self._folder = template, folder


def _depends_on_folder_alone(template: Template) -> bool:
    """Whether the logging of a template's jobs differs only in the folder of the log files."""
    text = OmegaConf.to_yaml(template.config.hydra.job_logging)
    return "${" not in _SAME_BUT_FOR_THE_FOLDER.sub("", text)


def _handlers() -> list[logging.Handler]:
    """Returns the handlers of all loggers."""
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    return [
        handler
        for logger in loggers
        if isinstance(logger, logging.Logger)
        for handler in logger.handlers
    ]


def _reopen(handler: logging.FileHandler, path: Path) -> None:
    """Makes a handler write to another file."""
    handler.acquire()
    try:
        if handler.stream is not None:
            handler.stream.close()
            handler.stream = None
        handler.baseFilename = str(path)
        opened = path.open(handler.mode, encoding=handler.encoding, errors=handler.errors)
        handler.setStream(opened)  # type: ignore[arg-type]  # its mode is a text mode
    finally:
        handler.release()
