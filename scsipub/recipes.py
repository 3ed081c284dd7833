"""Recipes: what to type to have a disk, for each kind of client.

Source: iscsiadm(8), qemu-block-drivers(7), stunnel(8), iPXE's SAN URIs (RFC 4173), and Windows' iSCSI module.
Pure: makes text, runs nothing.  Hosts and target names reach a shell: what is not plainly one is refused."""

import re

import attrs

OWN_NAME = "iqn.2010-04.org.ipxe:${mac:hexhyp}"  # iPXE fills it in
LOCAL_PORT = 13260  # where a tunnel ends; 3260 may be taken by a target on this very machine

_NAME = re.compile(r"(?!-)[A-Za-z0-9.-]{1,253}")
_ADDRESS6 = re.compile(r"[0-9A-Fa-f:.]{2,45}")
_TARGET = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:-]{0,222}")


@attrs.frozen
class Block:
    """Commands that belong together; ``label`` says when to type them."""

    label: str
    text: str


@attrs.frozen
class Recipe:
    """One kind of client.  ``key`` is its anchor on the page."""

    key: str
    title: str
    lead: str
    blocks: tuple[Block, ...]


@attrs.frozen
class Account:
    """A CHAP account, to be pasted along.  ``mutual``: by which the target proves itself."""

    user: str
    secret: str = attrs.field(repr=False)
    mutual_user: str | None = None
    mutual_secret: str | None = attrs.field(default=None, repr=False)

    @property
    def mutual(self) -> tuple[str, str] | None:
        if self.mutual_user is None or self.mutual_secret is None:
            return None
        return self.mutual_user, self.mutual_secret


@attrs.frozen
class Place:
    """Where the disk is.  ``tls_port``: None when nobody listens there; ``tls_only``: nothing else will do;
    ``initiator``: whom the target expects, if that is one name."""

    host: str
    port: int
    tls_port: int | None
    target: str
    luns: int = 1
    account: Account | None = None
    initiator: str = ""
    tls_only: bool = False
    web: str = ""  # the host, and port, of our pages, where they are reached over TLS

    @property
    def portal(self) -> str:
        return f"{self.bracketed}:{self.port}"

    @property
    def bracketed(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


def host_untrusted(header: str) -> str | None:
    """The host in a ``Host`` header, without its port; None for what is none."""
    host, bracket, _ = header.partition("]")
    if bracket and host.startswith("["):
        return host[1:] if _ADDRESS6.fullmatch(host[1:]) and ":" in host else None
    host = header.partition(":")[0]
    return host if _NAME.fullmatch(host) else None


def web_untrusted(header: str) -> str:
    """The whole of a ``Host`` header, where it is a name and perhaps a port; "" for anything else."""
    name, colon, port = header.partition(":")
    plain = _NAME.fullmatch(name) and (not colon or re.fullmatch(r"[0-9]{1,5}", port))
    return header if plain else ""


def is_plain(place: Place) -> bool:
    """May it stand in a command?  Names of targets come from the operator, who may have had odd ideas."""
    host = bool(_NAME.fullmatch(place.host) or _ADDRESS6.fullmatch(place.host))
    if place.initiator and not _TARGET.fullmatch(place.initiator):
        return False
    return host and bool(_TARGET.fullmatch(place.target))


def commands(place: Place) -> dict[str, str]:
    """What attaches the disk, for each kind of client that can; for programs."""
    found = {"linux": "open-iscsi", "linux-tls": "open-iscsi-tls", "windows": "powershell"}
    made: dict[str, str] = {}
    if place.tls_only and place.tls_port is not None:
        made["open-iscsi"] = _pasted(open_iscsi_tls(place, place.tls_port))
        lead = f"# No TLS in this client: first run  scsipub connect {place.host} --target {place.target}\n"
        near = attrs.evolve(place, host="127.0.0.1", port=3260, tls_port=None, tls_only=False)
        return made | {
            name: lead + text.removeprefix("#!ipxe\n")
            for name, text in commands(near).items()
            if name not in made
        }
    for recipe in recipes(place):
        made[found.get(recipe.key, recipe.key)] = _pasted(recipe)
    return made


def _pasted(recipe: Recipe) -> str:
    return "\n".join(b.text for b in recipe.blocks if b.label.startswith(("Open", "Attach", "Boot")))


def recipes(place: Place) -> list[Recipe]:
    """All of them, the likeliest first."""
    if place.tls_only and place.tls_port is not None:
        return [open_iscsi_tls(place, place.tls_port)]
    made = [open_iscsi(place), windows(place), qemu(place), ipxe(place)]
    if place.tls_port is not None:
        made.insert(1, open_iscsi_tls(place, place.tls_port))
    if place.account is None and (place.tls_port is not None or place.web):
        made.append(connect(place))
    return made


def _iscsiadm(place: Place, portal: str, *words: str) -> str:
    return " ".join(("sudo iscsiadm -m node -T", place.target, "-p", portal, *words))


def _chap(account: Account) -> list[tuple[str, str]]:
    """Settings of a node record."""
    found = [
        ("authmethod", "CHAP"),
        ("chap_algs", "SHA3-256,SHA256,SHA1,MD5"),
        ("username", account.user),
        ("password", account.secret),
    ]
    if account.mutual is not None:
        user, secret = account.mutual
        found += [("username_in", user), ("password_in", secret)]
    return found


def _attach(place: Place, portal: str) -> Block:
    settings = _chap(place.account) if place.account is not None else []
    updates = [_iscsiadm(place, portal, f"-o update -n node.session.auth.{k} -v {v}") for k, v in settings]
    commands = (
        _iscsiadm(place, portal, "-o new"),
        *updates,
        _iscsiadm(place, portal, "--login"),
        "lsblk --scsi",
    )
    return Block("Attach; the last line shows what the disk is called", "\n".join(commands))


def _detach(place: Place, portal: str, *more: str) -> Block:
    commands = (_iscsiadm(place, portal, "--logout"), _iscsiadm(place, portal, "-o delete"), *more)
    return Block("Detach, and forget it", "\n".join(commands))


def open_iscsi(place: Place) -> Recipe:
    return Recipe(
        "linux",
        "Linux",
        "open-iscsi, in every distribution. Nothing is encrypted on the way.",
        (
            Block("Once", "sudo apt-get install open-iscsi"),
            _attach(place, place.portal),
            _detach(place, place.portal),
        ),
    )


def open_iscsi_tls(place: Place, tls_port: int) -> Recipe:
    check = "checkHost" if _NAME.fullmatch(place.host) and not _is_address(place.host) else "checkIP"
    tunnel = (
        "sudo stunnel -fd 0 <<'END'",
        "pid = /run/scsipub-tunnel.pid",
        "[disk]",
        "client = yes",
        f"accept = 127.0.0.1:{LOCAL_PORT}",
        f"connect = {place.bracketed}:{tls_port}",
        "CApath = /etc/ssl/certs",
        "verifyChain = yes",
        f"{check} = {place.host}",
        "END",
    )
    portal = f"127.0.0.1:{LOCAL_PORT}"
    return Recipe(
        "linux-tls",
        "Linux, encrypted",
        "open-iscsi speaks no TLS; stunnel makes a local port that does, and checks who answers. The record "
        "is made by hand: asking for targets through a tunnel brings back addresses that lead around it.",
        (
            Block("Once", "sudo apt-get install open-iscsi stunnel4"),
            Block("Open the tunnel", "\n".join(tunnel)),
            _attach(place, portal),
            _detach(place, portal, 'sudo kill "$(cat /run/scsipub-tunnel.pid)"'),
        ),
    )


def connect(place: Place) -> Recipe:
    """With our own client.  Only where there is something to connect to: TLS, or pages over TLS."""
    ways = []
    if place.tls_port is not None:
        ways.append(("Open a local port; it says what to type next", f"{place.bracketed}:{place.tls_port}"))
    if place.web:
        ways.append(("Where nothing but HTTPS gets out", f"wss://{place.web}"))
    said = [Block(label, f"scsipub connect {where} --target {place.target}") for label, where in ways]
    do = f"sudo scsipub connect {ways[0][1]} --target {place.target} --run"
    return Recipe(
        "connect",
        "scsipub connect",
        "The client that comes with scsipub, in place of a tunnel made by hand: checks the certificate, "
        "comes back when the line breaks, and shows how fast it is.",
        (*said, Block("Or all at once: attach the disk, and detach it when you press Ctrl-C", do)),
    )


def _is_address(host: str) -> bool:
    return ":" in host or bool(re.fullmatch(r"[0-9.]+", host))


def windows(place: Place) -> Recipe:
    target, address, account = place.target, place.host, place.account
    connect = f"Connect-IscsiTarget -NodeAddress {target}"
    before = ""
    if account is not None:
        kind = "ONEWAYCHAP" if account.mutual is None else "MUTUALCHAP"
        if account.mutual is not None:
            before = f"Set-IscsiChapSecret -ChapSecret '{account.mutual[1]}'\n"
        connect += (
            f" -TargetPortalAddress {address} -TargetPortalPortNumber {place.port} -AuthenticationType {kind}"
            f" -ChapUsername '{account.user}' -ChapSecret '{account.secret}'"
        )
    return Recipe(
        "windows",
        "Windows",
        "PowerShell, opened as administrator. A blank disk asks to be initialised in Disk Management.",
        (
            Block(
                "Attach",
                "Start-Service MSiSCSI\n"
                f"New-IscsiTargetPortal -TargetPortalAddress {address} -TargetPortalPortNumber {place.port}\n"
                f"{before}{connect}\n"
                "Get-Disk | Where-Object BusType -eq iSCSI",
            ),
            Block(
                "Detach, and forget it",
                f"Disconnect-IscsiTarget -NodeAddress {target} -Confirm:$false\n"
                f"Remove-IscsiTargetPortal -TargetPortalAddress {address}"
                f" -TargetPortalPortNumber {place.port} -Confirm:$false",
            ),
        ),
    )


def qemu(place: Place) -> Recipe:
    if place.account is None:
        drives = [
            f"  -drive file=iscsi://{place.portal}/{place.target}/{lun},format=raw,if=virtio"
            for lun in range(place.luns)
        ]
        look = Block("Only look at it", f"qemu-img info iscsi://{place.portal}/{place.target}/0")
    else:
        secret = f"secret,id=chap,data={place.account.secret}"
        who = f",initiator-name={place.initiator}" if place.initiator else ""
        disk = (
            f"driver=iscsi,transport=tcp,portal={place.portal},target={place.target},"
            f"user={place.account.user},password-secret=chap{who}"
        )
        drives = [f"  -object {secret}"]
        drives += [f"  -drive {disk},lun={lun},if=virtio" for lun in range(place.luns)]
        look = Block("Only look at it", f"qemu-img info --object {secret} \\\n  --image-opts {disk},lun=0")
    return Recipe(
        "qemu",
        "QEMU",
        "The virtual machine reads the disk over the network by itself; its host needs no iSCSI.",
        (
            Block("Once", "sudo apt-get install qemu-system-x86 qemu-block-extra"),
            Block("Boot from it", " \\\n".join(["qemu-system-x86_64 -m 2G", *drives])),
            look,
        ),
    )


def ipxe(place: Place) -> Recipe:
    uri = f"iscsi:{place.bracketed}::{place.port}:0:{place.target}"
    lines = ["#!ipxe", "dhcp", f"set initiator-iqn {place.initiator or OWN_NAME}"]
    if place.account is not None:
        lines += [f"set username {place.account.user}", f"set password {place.account.secret}"]
        if place.account.mutual is not None:
            user, secret = place.account.mutual
            lines += [f"set reverse-username {user}", f"set reverse-password {secret}"]
    return Recipe(
        "ipxe",
        "iPXE",
        "For a machine without a disk of its own. At the iPXE prompt (Ctrl-B), or in a script.",
        (
            Block(
                "Boot from it",
                "\n".join([*lines, f"sanboot {uri}"]),
            ),
        ),
    )


def cure(place: Place) -> Block:
    """For a machine that goes on calling a target which is gone."""
    commands = (
        "sudo iscsiadm -m node",
        f"sudo iscsiadm -m node -T {place.target} --logout",
        f"sudo iscsiadm -m node -T {place.target} -o delete",
    )
    return Block("See what your machine remembers; then end it, and forget it", "\n".join(commands))
