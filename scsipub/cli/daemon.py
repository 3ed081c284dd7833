"""Asking the running daemon, over the Unix socket in its state directory.

Knows ``supervisor.channel`` and the socket's place; the methods are the commands' business."""

import socket
from collections.abc import Mapping
from typing import Any

import trio

from scsipub.config import Config
from scsipub.errors import OperatorError
from supervisor.channel import CallError, Channel, ChannelClosed

# A sweep of a large state directory may take its time; a daemon that is stuck is told apart by then.
ASK_SECONDS = 30.0


class DaemonAbsent(OperatorError):
    """Nobody listens on the control socket.  Some commands can do without."""


def ask(config: Config, method: str, params: Mapping[str, Any] | None = None) -> Any:
    """Call one method of the daemon and return its answer, or raise OperatorError."""
    with _connect(config) as connection:
        return trio.run(_ask, connection, method, dict(params or {}))


def ask_all(config: Config, method: str, key: str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every page of a list; ``key`` is where an answer has its items.  Raises OperatorError."""
    listed: list[dict[str, Any]] = []
    after: str | None = None
    while True:
        answer = ask(config, method, {**params, "after": after})
        listed += answer[key]
        after = answer["next"]
        if after is None:
            return listed


def _connect(config: Config) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(config.control_socket))
    except (FileNotFoundError, NotADirectoryError):
        connection.close()
        raise DaemonAbsent(
            f"No daemon is running for {config.state_dir}.",
            "Start it with `scsipub serve`, or name its folder with --state-dir.",
        ) from None
    except ConnectionRefusedError:
        connection.close()
        raise DaemonAbsent(
            f"The daemon of {config.state_dir} has ended without cleaning up.",
            "Start it again with `scsipub serve`.",
        ) from None
    except OSError as error:
        connection.close()
        raise OperatorError(
            f"The daemon's socket {config.control_socket} cannot be used: {error.strerror}.",
            "It belongs to the user who runs the daemon: be that user, or root.",
        ) from None
    return connection


async def _ask(connection: socket.socket, method: str, params: dict[str, Any]) -> Any:
    channel = Channel(connection)
    # Nothing is raised inside the nursery, so nothing comes out of it wrapped in a group.
    answer: Any = None
    refusal: OperatorError | None = None
    async with trio.open_nursery() as nursery:
        await nursery.start(channel.run)
        try:
            answer = await channel.call(method, params, timeout=ASK_SECONDS)
        except ChannelClosed:
            refusal = OperatorError("The daemon hung up in the middle.", "Its log says why; ask again.")
        except CallError as error:
            refusal = _in_plain_words(method, error)
        nursery.cancel_scope.cancel()
    if refusal is not None:
        raise refusal
    return answer


def _in_plain_words(method: str, error: CallError) -> OperatorError:
    if error.code == "timeout":
        return OperatorError(f"The daemon did not answer within {ASK_SECONDS:g} s.", "Try `scsipub doctor`.")
    if error.code == "unknown_method":
        return OperatorError(
            f"The running daemon does not know {method}.", "It is of another version: restart it."
        )
    if error.code == "crashed":
        return OperatorError(
            f"The daemon failed at {method}: {error.message}.", "That is a bug; its log has more."
        )
    # data may carry what to do about it, as OperatorError does.
    do = error.data.get("do", "") if isinstance(error.data, dict) else ""
    return OperatorError(error.message or error.code, str(do))
