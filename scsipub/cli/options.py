"""What commands have in common: the options, the configuration they make, and how a refusal is told.

Knows click and ``scsipub.config``; the rooms behind the commands are their own business."""

import contextlib
import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import attrs
import click

from scsipub.config import SETTINGS, Config, load_config
from scsipub.errors import OperatorError

Command = Callable[..., Any]


def _default(name: str) -> str:
    field = attrs.fields_dict(Config)[name]
    value = field.default
    if name == "state_dir":
        return "$XDG_STATE_HOME/scsipub"
    if value is None or isinstance(value, attrs.Factory):  # type: ignore[arg-type]
        return ""
    return ",".join(value) if isinstance(value, tuple) else str(value)


def settings(*names: str) -> Callable[[Command], Command]:
    """``--config`` and an option for each named setting; none named: for all of them.

    Options stay strings here: ``scsipub.config`` reads all three places with the same parsers."""

    def add(command: Command) -> Command:
        for setting in reversed(SETTINGS):
            if names and setting.name not in names:
                continue
            default = _default(setting.name)
            words = f"{setting.help}  [{setting.variable}{'; ' + default if default else ''}]"
            command = click.option(setting.option, setting.name, metavar=setting.metavar, help=words)(command)
        words = "TOML file with the same settings.  [SCSIPUB_CONFIG]"
        return click.option("--config", metavar="FILE", help=words)(command)

    return add


def reading(command: Command) -> Command:
    """A command that gets ``config`` and ``as_json``, and may raise OperatorError."""

    @settings("state_dir")
    @click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
    @functools.wraps(command)
    def run(*, config: str | None, state_dir: str | None, as_json: bool, **words: Any) -> None:
        with failures_in_plain_words(as_json):
            read = load_config({"config": config, "state_dir": state_dir})
            command(config=read, as_json=as_json, **words)

    return run


@contextlib.contextmanager
def refusals_in_plain_words(as_json: bool = False) -> Iterator[None]:
    """OperatorError becomes words on stderr (with ``--json`` an object on stdout too) and exit code 1."""
    try:
        yield
        sys.stdout.flush()  # here, where it is known what to do when nobody reads any more
    except OperatorError as error:
        _refuse(error, as_json)
    except BaseExceptionGroup as group:
        # Trio wraps what ended a nursery.  Only where everything in it is for the operator is it told so.
        told, rest = group.split(OperatorError)
        if told is None or rest is not None:
            raise
        _refuse(_first(told), as_json)
    except BrokenPipeError:
        # Whoever read our output has seen enough.  Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


@contextlib.contextmanager
def failures_in_plain_words(as_json: bool) -> Iterator[None]:
    """The rest that can befall a short command: the operating system says no, or we have a bug."""
    with refusals_in_plain_words(as_json):
        try:
            yield
        except (OperatorError, BaseExceptionGroup, BrokenPipeError):
            raise
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise OperatorError(
                f"{where}{error.strerror or error}.", "`scsipub doctor` may know more."
            ) from None
        except Exception as error:
            if os.environ.get("SCSIPUB_TRACEBACK"):
                raise
            raise OperatorError(
                f"This is a bug of ours: {type(error).__name__}: {error}.",
                "Set SCSIPUB_TRACEBACK=1, run it again, and report what it prints.",
            ) from None


def _first(group: BaseExceptionGroup[OperatorError]) -> OperatorError:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


def _refuse(error: OperatorError, as_json: bool) -> NoReturn:
    if as_json:
        print(json.dumps({"error": {"what": error.what, "do": error.do}}))
    click.echo(f"scsipub: {error.what}" + (f"\n  {error.do}" if error.do else ""), err=True)
    sys.exit(1)
