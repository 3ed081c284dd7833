"""Logs: one structured line per event, for people on a terminal or for machines.

Knows structlog.  Everything goes to stderr; a service manager puts it where it belongs."""

import logging
import sys
from typing import Any

import structlog


def set_up_logs(format: str) -> None:
    """``json`` or ``console``."""
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            exception_formatter=structlog.dev.plain_traceback,  # never the values of locals: secrets
        )
    )
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, renderer],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)


def say(event: str, **fields: object) -> None:
    """An event worth a line."""
    structlog.get_logger().info(event, **fields)


def warn(event: str, **fields: object) -> None:
    """Something the operator should see to."""
    structlog.get_logger().warning(event, **fields)
