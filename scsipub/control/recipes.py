"""Recipes: what to type to use a target that was just rented.

Pure.  One block for each initiator that people have, ready to paste, with the secrets in it: they are shown
once and kept nowhere."""

from scsipub.store.records import Account


def recipes(name: str, portal: str, account: Account, initiators: tuple[str, ...] = ()) -> dict[str, str]:
    """For open-iscsi, QEMU, iPXE and Windows.  ``portal`` is ``host:port``."""
    host, _, port = portal.rpartition(":")
    return {
        "open-iscsi": _open_iscsi(name, portal, account),
        "qemu": _qemu(name, portal, account, initiators),
        "ipxe": _ipxe(name, host, port, account),
        "powershell": _powershell(name, host.strip("[]"), port, account),
    }


def _open_iscsi(name: str, portal: str, account: Account) -> str:
    node = f"iscsiadm -m node -T {name} -p {portal}"
    settings = [
        ("node.session.auth.authmethod", "CHAP"),
        ("node.session.auth.chap_algs", "SHA3-256,SHA256,SHA1,MD5"),
        ("node.session.auth.username", account.user),
        ("node.session.auth.password", account.secret),
    ]
    if account.mutual_user is not None and account.mutual_secret is not None:
        settings += [
            ("node.session.auth.username_in", account.mutual_user),
            ("node.session.auth.password_in", account.mutual_secret),
        ]
    lines = [f"{node} -o new", *(f"{node} -o update -n {key} -v {value}" for key, value in settings)]
    return "\n".join([*lines, f"{node} --login"])


def _qemu(name: str, portal: str, account: Account, initiators: tuple[str, ...]) -> str:
    chosen = next((i for i in initiators if "*" not in i), "")
    who = f",initiator-name={chosen}" if chosen else ""
    return (
        f"qemu-system-x86_64 -object secret,id=chap,data={account.secret} "
        f"-drive driver=iscsi,transport=tcp,portal={portal},target={name},lun=0,"
        f"user={account.user},password-secret=chap{who}"
    )


def _ipxe(name: str, host: str, port: str, account: Account) -> str:
    lines = [f"set username {account.user}", f"set password {account.secret}"]
    if account.mutual_user is not None and account.mutual_secret is not None:
        lines += [
            f"set reverse-username {account.mutual_user}",
            f"set reverse-password {account.mutual_secret}",
        ]
    return "\n".join([*lines, f"sanboot iscsi:{host}::{port}::{name}"])


def _powershell(name: str, host: str, port: str, account: Account) -> str:
    lines = [f"New-IscsiTargetPortal -TargetPortalAddress {host} -TargetPortalPortNumber {port}"]
    kind = "ONEWAYCHAP"
    if account.mutual_secret is not None:
        kind = "MUTUALCHAP"
        lines.append(f"Set-IscsiChapSecret -ChapSecret '{account.mutual_secret}'")
    lines.append(
        f"Connect-IscsiTarget -NodeAddress {name} -TargetPortalAddress {host} -TargetPortalPortNumber {port} "
        f"-AuthenticationType {kind} -ChapUsername '{account.user}' -ChapSecret '{account.secret}'"
    )
    return "\n".join(lines)
