"""The units that the suite needs, as one configuration file.

No single disk can pass every test: one wants a disk that cannot be written, one wants physical blocks of one
logical block, one a SANITIZE that takes its time.  Each gets a set-up, which is a target of its own; the rest
run on ``thin``.  Knows the daemon's configuration and the suite's names, nothing else."""

import attrs

from tests.support.daemon import PREFIX

USER, SECRET = "tester", "sixteen-letters!"
TARGET_USER, TARGET_SECRET = "the-target", "what-we-say-back"
# Sanitize.Reset looks 4 s after its command whether the unit is still busy, and again after a new login.
SANITIZE_SECONDS = 8


@attrs.frozen
class SetUp:
    """One kind of target.  Keys are those of the configuration file; ``physical`` counts logical blocks."""

    name: str
    what: str
    physical: int = 8
    bytes: int = 0  # at least
    lun: str = "removable = true"
    target: str = ""
    # Its tests wait most of the time, so they cost no turn of those that work.
    sleeps: bool = False


THIN = SetUp("thin", "thin, removable, eight logical blocks in a physical one")
FINE = SetUp("fine", "thin, a physical block is one logical block", physical=1)
LARGE = SetUp("large", "thin, more than 4 GiB", bytes=5 << 30)
READ_ONLY = SetUp("read-only", "write-protected", lun="read_only = true")
PACED = SetUp(
    "paced",
    f"SANITIZE takes {SANITIZE_SECONDS} s",
    target=f"sanitize_seconds = {SANITIZE_SECONDS}",
    sleeps=True,
)
CHAP = SetUp("chap", "asks for CHAP", target=f'users = [{{ user = "{USER}", secret = "{SECRET}" }}]')
MUTUAL = SetUp(
    "mutual",
    "asks for CHAP and can prove itself",
    target=f'users = [{{ user = "{USER}", secret = "{SECRET}", '
    f'mutual_user = "{TARGET_USER}", mutual_secret = "{TARGET_SECRET}" }}]',
)
SETUPS = (THIN, FINE, LARGE, READ_ONLY, PACED, CHAP, MUTUAL)

# Test or family -> where it runs.
PLACES = {
    "ReadOnly": READ_ONLY,
    "GetLBAStatus.UnmapSingle": FINE,
    "Write10.Simple": LARGE,  # writes across the 4 GiB where there are so many
    "Sanitize.Reset": PACED,
}
# Families that see one unit by two paths.
TWO_PATHS = frozenset({"MultipathIO"})


def place(family: str, test: str) -> SetUp:
    return PLACES.get(f"{family}.{test}") or PLACES.get(family) or THIN


@attrs.frozen
class Variant:
    """The whole suite once more: on blocks of another size, or on another logical unit of its target."""

    block_size: int = 512
    lun: int = 0

    @property
    def name(self) -> str:
        return f"{self.block_size}-byte blocks, LUN {self.lun}"

    @property
    def bytes(self) -> int:
        """At least 65,536 blocks, and more than MAXIMUM WRITE SAME LENGTH, or the suite leaves parts out."""
        return max(65536 * self.block_size, 128 << 20)

    def target(self, setup: SetUp) -> str:
        """Targets of their own, because a reset reaches every unit of its target."""
        return f"{setup.name}-{self.block_size}-{self.lun}"

    def iscsi_name(self, setup: SetUp) -> str:
        return PREFIX + self.target(setup)

    def toml(self, setup: SetUp) -> str:
        lun = (
            f"{{ size = {max(self.bytes, setup.bytes)}, block_size = {self.block_size}, "
            f"physical_block_size = {self.block_size * setup.physical}, "
            f"unmap_ignores_pattern = true, {setup.lun} }}"
        )
        luns = ", ".join([lun] * max(2, self.lun + 1))
        return f'[[target]]\nname = "{self.target(setup)}"\nshared = true\n{setup.target}\nluns = [{luns}]\n'


ORDINARY = Variant()
EVERY = (ORDINARY, Variant(block_size=4096), Variant(lun=1))

# The suite is one initiator that logs in hundreds of times, and means to do what is wrong.
LIMITS = """[limits]
source_connections_per_second = 10000
source_connections_burst = 10000
sessions_per_source = 10000
penalty_malformed = 0.0
penalty_crash = 0.0
reinstatements_per_minute = 10000
"""


def configuration(variants: tuple[Variant, ...]) -> str:
    targets = [variant.toml(setup) for variant in variants for setup in SETUPS]
    return "\n".join([LIMITS, *targets])


def rows() -> list[tuple[str, str, str]]:
    """For the document: name, what it is, which tests run there."""
    there: dict[str, list[str]] = {setup.name: [] for setup in SETUPS}
    for name, setup in PLACES.items():
        there[setup.name].append(f"`{name}`")
    there[THIN.name] = ["the rest"]
    there[CHAP.name] = there[MUTUAL.name] = ["logins"]
    return [(setup.name, setup.what, ", ".join(there[setup.name])) for setup in SETUPS]
