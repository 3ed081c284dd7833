"""What an operator and its tenants do all day, over the control socket and over HTTP, at random.

Each deed may fail because the daemon is just away; what it says otherwise is an error.  A tenant of this file
makes targets, changes them and destroys them; whatever is left is removed at the end."""

import http.client
import random
import threading
import time
import urllib.error
from typing import Any

import attrs

from tests.soak.clients import LOST, Client
from tests.soak.house import House
from tests.soak.record import Record
from tests.support.initiator import Initiator
from tests.support.renting import api, logged_in

MIB = 1 << 20
TIER: dict[str, Any] = {"allocation_budget": 64 * MIB, "persistent": True, "targets": 64, "sessions": 32}
# Too many requests, not now: who is asked may be being killed.
AWAY = (408, 409, 429, 502, 503, 504)
KEYS = (b"soak-one", b"soak-two")
REGISTER, RESERVE, PREEMPT, CLEAR, REGISTER_AND_IGNORE = 0, 1, 4, 3, 6
WRITE_EXCLUSIVE_REGISTRANTS_ONLY = 5
CONFLICT = 0x18


@attrs.define(eq=False)
class Operator:
    """One thread of deeds.  ``kept``: targets that verifying clients use: changed, but not removed."""

    record: Record
    house: House
    seed: int
    kept: list[dict[str, Any]]
    troubled: list[Client]
    made: list[str] = attrs.Factory(list)
    thread: threading.Thread = attrs.field(init=False)
    chance: random.Random = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.thread = threading.Thread(target=self.live, name="operator", daemon=True)

    def live(self) -> None:
        deeds = [
            self.rent, self.destroy, self.look, self.lun, self.resize, self.throttle, self.trouble,
            self.upload, self.token, self.sweep, self.kick,
        ]  # fmt: skip
        while not self.record.stopping.is_set():
            deed = self.chance.choice(deeds)
            if self.house.up.wait(1.0):
                self.attempt(deed.__name__, deed)
            self.record.stopping.wait(self.chance.uniform(0.05, 0.5))

    def attempt(self, name: str, deed: Any) -> None:
        epoch = self.record.epoch
        try:
            deed()
            self.record.count(f"deed {name}")
        except (OSError, http.client.HTTPException, urllib.error.URLError, ValueError) as away:
            self.record.count(f"deed {name} met nobody")
            self.record.event(f"operator, {name}: {type(away).__name__}: {str(away)[:100]}")
        except Exception as wrong:
            said = f"operator, {name}: {type(wrong).__name__}: {str(wrong)[:200]}"
            if epoch == self.record.epoch and self.house.up.is_set() and not tolerable(str(wrong)):
                self.record.error(said)
            else:
                self.record.event(said)

    def api(self, method: str, path: str, body: Any = None) -> Any:
        status, said = api(self.house.running, method, path, body)
        if status in AWAY or status == 404:
            self.record.count(f"HTTP {status}")
        elif status >= 400:
            raise RuntimeError(f"{method} {path}: {status} {said}")
        return said

    # -- deeds -------------------------------------------------------------------------------------------

    def rent(self) -> None:
        if len(self.made) < 8:
            order = {"tenant": "soak", "luns": [{"size": self.chance.randrange(1, 9) * MIB}]}
            said = self.api("POST", "/targets", order)
            if said and "id" in said:
                self.made.append(said["id"])

    def destroy(self) -> None:
        if len(self.made) > 3:
            self.api("DELETE", f"/targets/{self.made.pop(self.chance.randrange(len(self.made)))}")

    def look(self) -> None:
        for path in ("/status", "/targets?limit=20", "/sessions?limit=20", "/events?limit=20", "/images"):
            self.api("GET", path)

    def lun(self) -> None:
        """One more unit for a target that is in use, and away with it again."""
        target = self.chance.choice(self.kept)
        ask = self.house.running.ask
        said = ask("lun.add", id=target["id"], size=2 * MIB)
        lun = max(one["lun"] for one in said["luns"])
        self.record.event(f"LUN {lun} added to {target['id'][:8]}")
        self.record.stopping.wait(self.chance.uniform(0, 1))
        ask("lun.remove", id=target["id"], lun=lun)
        self.record.event(f"LUN {lun} removed from {target['id'][:8]}")

    def resize(self) -> None:
        target = self.chance.choice(self.kept)
        size = target.setdefault("grown", 16 * MIB) + 64 * 1024
        self.house.running.ask("target.resize", id=target["id"], lun=0, size=size)
        target["grown"] = size

    def throttle(self) -> None:
        iops = self.chance.choice([None, 50.0, 500.0])
        self.house.running.ask("tier.put", name="soak", **TIER, **({"iops": iops} if iops else {}))
        self.record.event(f"tier soak has {iops} IOPS")

    def trouble(self) -> None:
        """Faults for the sessions of those who can bear it."""
        names = {client.name for client in self.troubled}
        rules: list[dict[str, Any]] = [
            {"fault": "delay", "seconds": 0.2, "p": 0.02},
            {"fault": "medium-error", "opcode": [0x88], "p": 0.02},
            {"fault": "busy", "p": 0.02},
            {"fault": "cut", "p": 0.002},
            {"fault": "drop-response", "p": 0.002},
        ]
        for session in self.house.running.ask("session.list"):
            if session["initiator"] in names:
                some = self.chance.sample(rules, 2)
                seed = self.chance.randrange(1 << 16)
                self.house.running.ask("session.faults", id=session["id"], rules=some, seed=seed)
                self.record.event(
                    f"faults for {session['initiator']}: {[rule['fault'] for rule in some]}, seed {seed}"
                )

    def upload(self) -> None:
        """An image, and away with it."""
        data = self.chance.randbytes(self.chance.randrange(1, 64) * 4096)
        name = f"soak-{self.chance.randrange(1 << 30):x}"
        said = self.api(
            "POST", "/images/uploads", {"size": len(data), "name": name, "file_name": f"{name}.raw"}
        )
        if not said or "id" not in said:
            return
        id, host = said["id"], self.house.running.endpoints["web"]
        token = (self.house.place / "state" / "admin.token").read_text().strip()
        line = http.client.HTTPConnection(host, timeout=20)
        half = len(data) // 2 if self.chance.random() < 0.3 else len(data)
        headers = {"Authorization": f"Bearer {token}", "Upload-Offset": "0"}
        line.request("PATCH", f"/api/v1/images/uploads/{id}", data[:half], headers)
        line.getresponse().read()
        line.close()
        if half < len(data):
            self.api("DELETE", f"/images/uploads/{id}")
            return
        self.api("POST", f"/images/uploads/{id}/finish")
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if any(image["name"] == name for image in self.house.running.ask("image.list")):
                break
            self.record.stopping.wait(0.2)
        self.house.running.ask("image.remove", name=name)

    def token(self) -> None:
        said = self.house.running.ask("token.create", tenant="soak")
        for key in ("id", "token_id"):
            if key in said:
                self.house.running.ask("token.revoke", id=said[key])

    def sweep(self) -> None:
        self.house.running.ask("janitor.run")

    def kick(self) -> None:
        sessions = self.house.running.ask("session.list")
        if sessions and self.chance.random() < 0.3:
            session = self.chance.choice(sessions)
            self.house.running.ask("session.kick", id=session["id"])
            self.record.event(f"kicked {session['initiator']}")

    def tidy(self) -> None:
        """Everything that this has made goes."""
        said = self.house.running.ask("target.list", tenant="soak", limit=1000)
        for target in said["targets"]:
            self.house.running.ask("target.destroy", id=target["id"])
        for image in self.house.running.ask("image.list"):
            if image["name"].startswith("soak-"):
                self.house.running.ask("image.remove", name=image["name"])
        status, uploads = api(self.house.running, "GET", "/images/uploads")
        for upload in uploads["items"] if status == 200 else ():
            api(self.house.running, "DELETE", f"/images/uploads/{upload['id']}")
        for token in self.house.running.ask("token.list", tenant="soak")["tokens"]:
            if not token.get("revoked"):
                self.house.running.ask("token.revoke", id=token["id"])
        self.house.running.ask("tier.put", name="soak", **TIER)


def tolerable(what: str) -> bool:
    """Said of things that went, or are busy, because of somebody else's deed."""
    return any(
        word in what for word in ("not_found", "There is no", "busy", "away", "in use", "exists", "again")
    )


@attrs.define(eq=False)
class Reservers:
    """Two nodes that take turns in holding a unit; who does not hold it writes nothing."""

    record: Record
    house: House
    rented: dict[str, Any]
    thread: threading.Thread = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.thread = threading.Thread(target=self.live, name="reservers", daemon=True)

    def live(self) -> None:
        while not self.record.stopping.is_set():
            try:
                if self.house.up.wait(1.0):
                    self.once()
                    self.record.count("reservations fought over")
            except LOST as lost:
                self.record.event(f"reservers: {type(lost).__name__}: {str(lost)[:80]}")
            except Exception as bug:
                self.record.error(f"reservers: {type(bug).__name__}: {bug}")
            self.record.stopping.wait(1.0)

    def once(self) -> None:
        d = self.house.running
        names = ("iqn.1993-08.org.debian:01:node-1", "iqn.1993-08.org.debian:01:node-2")
        with logged_in(d, self.rented, name=names[0]) as one, logged_in(d, self.rented, name=names[1]) as two:
            nodes = list(zip((one, two), KEYS, strict=True))
            for who, key in nodes:
                self.out(who, REGISTER_AND_IGNORE, 0, bytes(8), key)
            self.out(one, CLEAR, 0, KEYS[0], bytes(8))
            for turn in range(4):
                (holder, key), (other, theirs) = nodes[turn % 2], nodes[1 - turn % 2]
                for who, own in nodes:
                    who.settle()
                    self.out(who, REGISTER_AND_IGNORE, 0, bytes(8), own)
                self.out(holder, RESERVE, WRITE_EXCLUSIVE_REGISTRANTS_ONLY, key, bytes(8))
                # Away with the other one's registration: from here on it must not write.
                self.out(holder, PREEMPT, WRITE_EXCLUSIVE_REGISTRANTS_ONLY, key, theirs)
                other.settle()
                status = other.command(b"\x2a" + bytes(7) + b"\x01\x00", write=bytes(512)).status
                if status != CONFLICT:
                    self.record.error(f"a fenced node's write ended with status {status:02x}h")
                holder.settle()
                holder.write(8, bytes(512))
                self.out(holder, CLEAR, 0, key, bytes(8))

    def out(self, who: Initiator, action: int, kind: int, key: bytes, service: bytes) -> None:
        cdb = bytes((0x5F, action, kind, 0, 0, 0, 0, 0, 24, 0))
        for _ in range(5):
            result = who.command(cdb, write=key + service + bytes(8))
            if result.status != 2:
                break  # unit attentions: what the other has done
        if result.status:
            sense = bytes(result.sense).hex()
            self.record.error(f"PERSISTENT RESERVE OUT {action} ended with {result.status:02x}h {sense}")
            raise ConnectionError("out of step")
