"""What open-iscsi must be told, in which order, to use a target behind a local port.

Source: iscsiadm(8).  Pure: makes command lines, runs none.

The record is made with ``-o new`` instead of by discovery: discovery through a tunnel would bring back
addresses that lead around it, or none, and would list what nobody asked for."""

import shlex

import attrs

Command = tuple[str, ...]

# What stands for the secret where commands are shown.
SECRET_WORD = "$SECRET"


@attrs.frozen
class Steps:
    """One target behind one local portal (``ADDRESS:PORT``); ``user`` when it wants CHAP."""

    target: str
    portal: str
    user: str | None = None
    secret: str = attrs.field(default=SECRET_WORD, repr=False)

    def _node(self, *words: str) -> Command:
        return ("iscsiadm", "-m", "node", "-T", self.target, "-p", self.portal, *words)

    def _update(self, name: str, value: str) -> Command:
        return self._node("-o", "update", "-n", name, "-v", value)

    def begin(self) -> list[Command]:
        """From nothing to a disk."""
        commands = [
            self._node("-o", "new"),
            # At boot nothing listens on the local port yet.
            self._update("node.startup", "manual"),
        ]
        if self.user is not None:
            commands += [
                self._update("node.session.auth.authmethod", "CHAP"),
                self._update("node.session.auth.username", self.user),
                self._update("node.session.auth.password", self.secret),
            ]
        return [*commands, self._node("--login")]

    def end(self) -> list[Command]:
        """From a disk to nothing: a record that stays would be tried again and again."""
        return [self._node("--logout"), self._node("-o", "delete")]

    @property
    def device(self) -> str:
        """Where udev puts unit 0."""
        return f"/dev/disk/by-path/ip-{self.portal}-iscsi-{self.target}-lun-0"


def shown(command: Command) -> str:
    """As one would type it."""
    return " ".join(f'"{word}"' if word == SECRET_WORD else shlex.quote(word) for word in command)
