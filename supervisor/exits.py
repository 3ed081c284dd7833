"""Why a child ended.

Source: the exit reasons of OTP (``normal``, ``shutdown``, an error, ``killed``), and wait(2) for processes.
Pure: values only.  Who restarts whom because of them is said in ``plan``.
"""

import attrs


@attrs.frozen
class Returned:
    """The child's function came back: its work is done."""

    def __str__(self) -> str:
        return "returned"


@attrs.frozen
class Crashed:
    """An exception escaped."""

    error: BaseException

    def __str__(self) -> str:
        return f"crashed: {type(self.error).__name__}: {self.error}"


@attrs.frozen
class Stopped:
    """It was asked to end, and did."""

    def __str__(self) -> str:
        return "stopped"


@attrs.frozen
class Killed:
    """It was asked to end, did not until the deadline, and was cancelled (a process: killed)."""

    def __str__(self) -> str:
        return "killed at the deadline"


@attrs.frozen
class ProcessExited:
    """A process ended with this exit code; ``stderr`` holds its last lines."""

    code: int
    stderr: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"exit code {self.code}"


@attrs.frozen
class ProcessSignalled:
    """A signal ended the process; ``stderr`` holds its last lines."""

    signal: int
    stderr: tuple[str, ...] = ()
    # "SIGKILL"; numbers differ between systems, so whoever saw the process end says it.
    signal_name: str = ""

    def __str__(self) -> str:
        return f"signal {self.signal_name or self.signal}"


@attrs.frozen
class NeverStarted:
    """The program could not be started at all."""

    error: OSError

    def __str__(self) -> str:
        return f"could not be started: {self.error}"


Reason = Returned | Crashed | Stopped | Killed | ProcessExited | ProcessSignalled | NeverStarted


@attrs.frozen
class Exit:
    """One life, from the outside: whose it was, why it ended, and how long it lasted in seconds."""

    name: str
    reason: Reason
    seconds: float

    @property
    def abnormal(self) -> bool:
        """Whether a transient child is started again."""
        match self.reason:
            case Returned() | Stopped():
                return False
            case ProcessExited(code=code):
                return code != 0
            case _:
                return True

    def __str__(self) -> str:
        return f"{self.name} {self.reason} after {self.seconds:.1f} s"
