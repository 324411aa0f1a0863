"""`logging` into the run's log, level by level."""

import logging
import sys

from .text import encodable, shorten

#: Longest message of one record, in characters. The host has a cap for the whole log.
MESSAGE_LENGTH_MAX = 64 * 1024

#: Folders of the standard library and the packages, as tracebacks have them. `snapshot`
#: sets it: packages tell more at `INFO` than the workflow's author wants to read.
LIBRARY_FOLDERS = ()

# Not `logging.INFO` itself, so that a program that sets that level is noticed.
_DEFAULT_LEVEL = logging.INFO - 1

#: Set on a record that a handler of the program's own has told already.
_TOLD = "tidegate_told"

_basic_config = logging.basicConfig
_stream_emit = logging.StreamHandler.emit


class Handler(logging.Handler):
    """Hands records to `emit`, a function of level, message and fields.

    Level is ``debug``, ``info``, ``warning`` or ``error``; fields are pairs of texts.
    """

    def __init__(self, emit):
        super().__init__()
        self.send = emit

    def emit(self, record):
        try:
            self.forward(record, self.format(record))
        except Exception:
            self.handleError(record)

    def forward(self, record, message):
        self.send(
            level_of(record.levelno),
            encodable(shorten(message, MESSAGE_LENGTH_MAX)),
            [("logger", encodable(record.name)), ("line", f"{record.filename}:{record.lineno}")],
        )


def _is_wanted(record):
    """Whether a record is to be told: once, and of a package only if it was asked for."""
    if getattr(record, _TOLD, False):
        return False
    if record.levelno >= logging.WARNING or not record.pathname.startswith(LIBRARY_FOLDERS):
        return True
    logger = logging.getLogger(record.name)
    while logger.parent is not None:
        if logger.level:
            return True
        logger = logger.parent
    return logger.level != _DEFAULT_LEVEL


def level_of(number):
    """The name of the run log's level for a level of `logging`."""
    if number >= logging.ERROR:
        return "error"
    if number >= logging.WARNING:
        return "warning"
    return "info" if number >= _DEFAULT_LEVEL else "debug"


def install(emit):
    """Sends records of all loggers to `emit`, from `INFO` upwards.

    A program may ask for another level by `logging.basicConfig`, which elsewhere does
    nothing once there is a handler. A handler for standard output or error that it adds
    itself keeps the level of each record, too.
    """
    handler = Handler(emit)
    handler.addFilter(_is_wanted)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_DEFAULT_LEVEL)

    def basic_config(**options):
        if root.handlers != [handler] or {"stream", "filename", "handlers"} & set(options):
            if root.handlers == [handler]:
                root.handlers.clear()
            _basic_config(**options)
            return
        root.handlers.clear()
        _basic_config(**options)
        handler.setFormatter(root.handlers[0].formatter if "format" in options else None)
        root.handlers[:] = [handler]

    def stream_emit(self, record):
        if self.stream not in (sys.__stdout__, sys.__stderr__):
            _stream_emit(self, record)
            return
        try:
            handler.forward(record, self.format(record))
            setattr(record, _TOLD, True)
        except Exception:
            self.handleError(record)

    logging.basicConfig = basic_config
    logging.StreamHandler.emit = stream_emit


def uninstall():
    """Undoes `install`, where the process outlives the run."""
    logging.basicConfig = _basic_config
    logging.StreamHandler.emit = _stream_emit
    root = logging.getLogger()
    root.handlers[:] = [handler for handler in root.handlers if not isinstance(handler, Handler)]
    root.setLevel(logging.WARNING)
