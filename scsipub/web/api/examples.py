"""Examples for the OpenAPI document, by the name of the record.  A test holds each against its record."""

from typing import Any

_ID = "c5qx3dwq5d2kfo4tnbxv2yq3mu"
_NAME = f"iqn.2025-01.pub.scsipub:{_ID}"
LUN: dict[str, Any] = {
    "lun": 0,
    "size": 8 << 30,
    "block_size": 512,
    "image": "debian",
    "uuid": "8f14e45fceea167a5a36dedd4bea2543",
    "state": "ACTIVE",
    "reason": "",
}
TARGET: dict[str, Any] = {
    "id": _ID,
    "name": _NAME,
    "tenant": "ada",
    "tier": "home",
    "alias": "the Pi in the cellar",
    "state": "ACTIVE",
    "reason": "",
    "nexus": "name",
    "initiators": [],
    "tls_required": False,
    "certificate_required": False,
    "created": "2026-01-31T12:00:00+00:00",
    "expires": "2026-03-02T12:00:00+00:00",
    "luns": [LUN],
    "portal": "disks.example.org:3260",
}
TENANT = {
    "id": "m3v5ytxk2bqf7w4hdz6c5la2oe",
    "name": "ada",
    "tier": "home",
    "created": "2026-01-31T12:00:00+00:00",
    "suspended": False,
}
TOKEN: dict[str, Any] = {
    "id": "1f2e3d4c5b6a7988",
    "tenant_id": TENANT["id"],
    "name": "backup script",
    "scopes": ["targets:read", "targets:write"],
    "created": "2026-01-31T12:00:00+00:00",
    "expires": None,
    "last_used": None,
    "revoked": None,
}
EVENT = {
    "id": 7,
    "at": "2026-01-31T12:00:00+00:00",
    "kind": "target.created",
    "text": f"target {_ID} was made",
    "tenant_id": TENANT["id"],
    "target_id": _ID,
    "data": {},
}
SESSION = {
    "id": "0f4e1b7c90ad2f13",
    "worker": 0,
    "initiator": "iqn.1993-08.org.debian:01:42c0ffee",
    "target": "iqn.2025-01.pub.scsipub:blank",
    "source": "192.0.2.17",
    "since": "2026-01-31T12:00:00+00:00",
    "tls": False,
    "tunnel": False,
    "bytes_read": 1_048_576,
    "bytes_written": 4096,
    "operations": 257,
    "iops": 12.5,
    "last_error": "",
}
UPLOAD: dict[str, Any] = {
    "id": "9c1185a5c5e9fc54",
    "name": "debian-12",
    "format": "qcow2",
    "compression": "none",
    "size": 430 << 20,
    "offset": 64 << 20,
    "sha256": None,
    "created": "2026-01-31T12:00:00+00:00",
}
IMPORT: dict[str, Any] = {
    "id": UPLOAD["id"],
    "name": "debian-12",
    "source": "debian-12.qcow2",
    "format": "qcow2",
    "compression": "none",
    "created": UPLOAD["created"],
    "state": "converting",
    "doing": "converting",
    "bytes_in": 700 << 20,
    "bytes_total": 2 << 30,
    "bytes_out": 700 << 20,
    "error": None,
}
USAGE = {"lun": 0, "used": 1 << 30, "budget": 20 << 30, "size": 8 << 30}
RESERVATIONS: dict[str, Any] = {
    "id": _ID,
    "name": _NAME,
    "nexus": "name",
    "luns": [
        {
            "lun": 0,
            "generation": 3,
            "type": "write exclusive registrants only",
            "survives_power_loss": True,
            "registrations": [
                {
                    "initiator": SESSION["initiator"],
                    "isid": None,
                    "portal": None,
                    "user": "ada",
                    "key": "0xc0ffee01",
                    "holds": True,
                    "sessions": 1,
                }
            ],
        }
    ],
}
CERTIFICATE = {
    "id": "p2m7ytxk2bqf7w4hdz6c5la2oe",
    "tenant_id": TENANT["id"],
    "identity": "name:pi.cellar.example.org",
    "created": "2026-01-31T12:00:00+00:00",
}
TIER: dict[str, Any] = {
    "name": "home",
    "allocation_budget": 20 << 30,
    "persistent": True,
    "disk_bytes": 100 << 30,
    "luns": 4,
    "targets": 5,
    "sessions": 8,
    "lifetime_seconds": 30 * 86400.0,
    "expiry_grace_seconds": 3 * 86400.0,
    "tls_required": False,
    "certificate_required": False,
    "algorithm_floor": 7,
    "warn_seconds": 86400.0,
    "iops": 500.0,
    "iops_burst": 2000.0,
    "bytes_per_second": 50 << 20,
    "bytes_burst": None,
}
IMAGE = {
    "name": "debian-12",
    "format": "qcow2",
    "bytes": 2 << 30,
    "sha256": "0f" * 32,
    "imported": "2026-01-31T12:00:00+00:00",
}
MOVED = {"bytes_read": 1 << 30, "bytes_written": 1 << 28, "operations": 81_234}
STATUS: dict[str, Any] = {
    "version": "0.1.0",
    "uptime_seconds": 86400.5,
    "sessions": 12,
    "parked": 1,
    "images": 2,
    "workers": [
        {"index": 0, "state": "ready", "sessions": 12, "restarts": 0, "times": [0, 0, 17, 4321, 512], **MOVED}
    ],
    "counters": {
        "connections": 40,
        "refused": 0,
        "logins": 31,
        "login_failures": 2,
        "crashes": 0,
        "malformed": {"digest": 1},
        **MOVED,
    },
}
CHAP = {"user": "ada", "secret": "shown-only-once.", "mutual_user": None, "mutual_secret": None}

ATTEMPT = {
    "target": _NAME,
    "initiator": "iqn.1993-08.org.debian:01:42c0ffee",
    "source": "192.0.2.17",
    "user": "",
    "status": "0x0202",
    "cause": "tls-required",
    "first": "2026-01-31T12:00:00+00:00",
    "last": "2026-01-31T12:10:00+00:00",
    "count": 200,
    "words": "The target takes logins over TLS only, and this one came in the clear.",
    "mend": f"scsipub connect disks.example.org --target {_NAME}",
}

FAULT_RULE = {"fault": "medium-error", "opcode": [40], "lba": [100, 199], "p": 0.5}
FAULT_EVENT = {
    "at": 1.5,
    "command": 12,
    "fault": "medium-error",
    "rule": 0,
    "opcode": 40,
    "lun": 0,
    "lba": 128,
}
FAULTS = {"seed": 7, "rules": [FAULT_RULE], "commands": 13, "struck": 1, "events": [FAULT_EVENT]}
DISK_FAULT_RULE = {"fault": "eio", "access": "read", "sectors": [100, 199], "p": 0.5}
DISK_FAULT_EVENT = {
    "at": 1.5,
    "number": 12,
    "fault": "eio",
    "rule": 0,
    "access": "read",
    "first": 128,
    "sectors": 8,
}
DISK_FAULTS = {
    "seed": 7,
    "rules": [DISK_FAULT_RULE],
    "accesses": 13,
    "struck": 1,
    "events": [DISK_FAULT_EVENT],
}

EXAMPLES: dict[str, Any] = {
    "FaultRule": FAULT_RULE,
    "FaultOrder": {"rules": [FAULT_RULE], "seed": 7},
    "FaultEvent": FAULT_EVENT,
    "Faults": FAULTS | {"id": SESSION["id"]},
    "DiskFaultRule": DISK_FAULT_RULE,
    "DiskFaultOrder": {"rules": [DISK_FAULT_RULE], "seed": 7},
    "DiskFaultEvent": DISK_FAULT_EVENT,
    "DiskFaults": DISK_FAULTS | {"id": SESSION["id"], "lun": 0},
    "TargetOrder": {"images": ["debian"], "size": 8 << 30, "alias": "the Pi in the cellar"},
    "LunOrder": {"size": 1 << 30},
    "SuspendOrder": {"reason": "not paid for"},
    "ResizeOrder": {"size": 16 << 30},
    "ExtendOrder": {"seconds": 30 * 86400},
    "CertificateOrder": {"identity": CERTIFICATE["identity"]},
    "TenantOrder": {"name": "ada", "tier": "home"},
    "TenantChange": {"suspended": True},
    "TokenOrder": {"name": "backup script", "scopes": ["targets:read", "targets:write"]},
    "TierTerms": {"allocation_budget": 20 << 30, "persistent": True, "luns": 4, "targets": 5, "iops": 500},
    "UploadOrder": {"size": 430 << 20, "file_name": "debian-12.qcow2"},
    "FetchOrder": {"url": "https://example.org/debian-12.img.xz", "sha256": "0f" * 32},
    "Upload": UPLOAD,
    "UploadList": {"items": [UPLOAD]},
    "Import": IMPORT,
    "ImportList": {"items": [IMPORT]},
    "Lun": LUN,
    "LunPage": {"items": [LUN], "next": None},
    "Target": TARGET,
    "TargetPage": {"items": [TARGET], "next": None},
    "NewTarget": TARGET
    | {"chap": CHAP, "commands": {"qemu": "qemu-system-x86_64 -object secret,id=chap,data=…"}},
    "LunUsage": USAGE,
    "Usage": {"items": [USAGE]},
    "Reservations": RESERVATIONS,
    "Certificate": CERTIFICATE,
    "CertificatePage": {"items": [CERTIFICATE], "next": None},
    "Tier": TIER,
    "TierPage": {"items": [TIER], "next": None},
    "Image": IMAGE,
    "ImagePage": {"items": [IMAGE], "total": 1, "next": None},
    "Status": STATUS,
    "Tenant": TENANT,
    "TenantPage": {"items": [TENANT], "next": None},
    "Token": TOKEN,
    "TokenPage": {"items": [TOKEN], "next": None},
    "NewToken": TOKEN | {"token": "scsipub_1f2e3d4c5b6a7988." + "x" * 43},
    "Me": {"tenant": "ada", "tenant_id": TENANT["id"], "scopes": ["targets:read"]},
    "Event": EVENT,
    "EventPage": {"items": [EVENT], "next": None},
    "Attempt": ATTEMPT,
    "AttemptPage": {"items": [ATTEMPT], "next": None},
    "Session": SESSION,
    "SessionPage": {"items": [SESSION], "total": 1, "next": None},
}
