"""The logging of one job after the other: set up once, then turned to the next job's files."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from hydra.core.utils import configure_log
from omegaconf import OmegaConf

from gradexp.sweeps.composition import Template

_SAME_BUT_FOR_THE_FOLDER = re.compile(r"\$\{hydra\.(runtime\.output_dir|job\.name)\}")


class JobLogging:
    """Logging as jobs' configs want it: setting it up anew takes two milliseconds."""

    def __init__(self) -> None:
        self._template: Template | None = None
        self._again = False
        self._folder = Path()
        self._files: list[logging.FileHandler] = []

    def turn_to(self, folder: Path, template: Template) -> None:
        """Makes what is logged from now on that of a job.

        Args:
            folder: the job's.
            template: the job's, its reusable written.
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
    """Whether the logging of a template's jobs differs in the folder of its files alone."""
    text = OmegaConf.to_yaml(template.config.hydra.job_logging)
    return "${" not in _SAME_BUT_FOR_THE_FOLDER.sub("", text)


def _handlers() -> list[logging.Handler]:
    """Every handler of every logger."""
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    return [
        handler
        for logger in loggers
        if isinstance(logger, logging.Logger)
        for handler in logger.handlers
    ]


def _reopen(handler: logging.FileHandler, path: Path) -> None:
    """Lets a handler write to another file from now on."""
    handler.acquire()
    try:
        if handler.stream is not None:
            handler.stream.close()
            handler.stream = None
        handler.baseFilename = str(path)
        opened = path.open(handler.mode, encoding=handler.encoding, errors=handler.errors)
        handler.setStream(opened)  # type: ignore[arg-type]  # its mode is one of text
    finally:
        handler.release()
