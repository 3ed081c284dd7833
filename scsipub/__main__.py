"""``python -m scsipub``: the command line, or one of the daemon's own child processes.

Children are told apart before anything else is imported: a worker needs no command line."""

import sys


def main() -> None:
    """Run what the first word asks for."""
    if sys.argv[1:2] == ["worker"]:
        from scsipub.worker.main import main as worker

        worker(sys.argv[2:])
        return
    if sys.argv[1:2] == ["web"]:
        from scsipub.web.process import main as web

        web(sys.argv[2:])
        return
    if sys.argv[1:2] == ["convert"]:
        from scsipub.convert.program import main as convert

        convert(sys.argv[2:])
        return
    if sys.argv[1:2] == ["fetch"]:
        from scsipub.fetch.program import main as fetch

        fetch(sys.argv[2:])
        return
    from scsipub.cli import main as command_line

    command_line()


if __name__ == "__main__":
    main()
