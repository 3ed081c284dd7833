"""The server of the web process: Hypercorn on Trio, on the port that control opened.

Knows trio and Hypercorn.  ``keep_alive_timeout`` is also the deadline of a request's header: Hypercorn's
clock runs from the connection, or the last answer, until the whole header is there."""

import logging
import os
import sys
from functools import partial

import trio
from hypercorn.config import Config
from hypercorn.trio import serve as serve_http

from scsipub.web import websockets
from scsipub.web.app import make_app
from scsipub.web.asking import Asking
from scsipub.web.tunnel import Tunnels
from supervisor.channel import CallError
from supervisor.child import child_channel

HEADER_SECONDS = 10.0
HEADER_BYTES = 16 * 1024
END_SECONDS = 0.5
# What a WebSocket may send at once, and how much of that may wait for who it is for.
MESSAGE_BYTES = 64 * 1024
MESSAGES = 4


def settings(port_fd: int) -> Config:
    """Hypercorn's bounds.  Each is ours to decide, not a default that may change."""
    config = Config()
    config.bind = [f"fd://{port_fd}"]
    config.loglevel = "WARNING"
    config.include_server_header = False
    config.keep_alive_timeout = HEADER_SECONDS
    config.keep_alive_max_requests = 1000
    config.h11_max_incomplete_size = HEADER_BYTES
    config.h2_max_concurrent_streams = 16
    config.h2_max_header_list_size = HEADER_BYTES
    config.websocket_max_message_size = MESSAGE_BYTES
    config.max_app_queue_size = MESSAGES
    config.graceful_timeout = END_SECONDS
    config.shutdown_timeout = END_SECONDS
    return config


async def serve(channel_fd: int) -> None:
    """The life of the process."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    # It would write a traceback for each connection that finds no descriptor left.
    logging.getLogger("trio.serve_listeners").setLevel(logging.CRITICAL)
    async with child_channel(channel_fd) as control:
        said, fds = await control.call_with_fds("configure", {})
        if len(fds) != 1 or not isinstance(said, dict):
            raise CallError("no_port", "Control sent no port to serve.")
        asking = Asking(control)
        app = make_app(asking, Tunnels(asking, said["tunnels"], tuple(said["trusted_proxies"])))
        websockets.install()

        server = partial(
            serve_http, app, settings(fds[0]), shutdown_trigger=control.draining.wait, mode="asgi"
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(server)
            await control.ready({"pid": os.getpid()})
