"""The log of launcher and controller: structlog events on stderr, one line each.

`auto` is readable lines on a terminal and JSON off it. What aiohttp and asyncio say through the
standard library's logging comes out in the same form. Values are logged as fields, never pasted
into the event, so that the event stays a fixed text that can be searched for.
"""

import logging
import sys
from typing import TextIO

import structlog
from structlog.typing import Processor

LOG_FORMATS = ("auto", "json", "console")


def configure_logging(process: str, log_format: str = "auto", stream: TextIO | None = None) -> None:
    """Set up the log of this process. May be called again when the format becomes known."""
    out = stream or sys.stderr
    console = log_format == "console" or (log_format == "auto" and out.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _naming(process),
    ]
    if console:
        last: list[Processor] = [structlog.dev.ConsoleRenderer(colors=out.isatty())]
    else:
        last = [
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("event"),
            structlog.processors.JSONRenderer(default=str),
        ]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)


def _naming(process: str) -> Processor:
    def name_the_process(
        _logger: object, _method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        event.setdefault("process", process)
        return event

    return name_the_process
