"""The database is killed under load: sessions do not notice, orders are refused in words, and it heals."""

import contextlib
import threading

from tests.support.daemon import daemon
from tests.support.eventually import eventually
from tests.support.renting import MIB, api, logged_in, pattern, qemu_io, rent, tenant


class Load:
    """A session that writes and reads back without a pause, until told to stop; in a thread."""

    def __init__(self, d, rented, lun):
        self.who = logged_in(d, rented, name=f"iqn.1993-08.org.debian:01:load{lun}")
        self.who.settle(lun)
        self.lun, self.rounds, self.error = lun, 0, None
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.over.set()
        self.thread.join(30)
        self.who.close()

    def _run(self):
        try:
            while not self.over.is_set():
                place = self.rounds % 8 * 128
                self.who.write(place, pattern(self.rounds), lun=self.lun)
                assert self.who.read(place, 128, lun=self.lun) == pattern(self.rounds)
                self.who.command(bytes([0x35]) + bytes(9), lun=self.lun)  # SYNCHRONIZE CACHE
                self.rounds += 1
        except BaseException as error:
            self.error = error

    def goes_on(self):
        """Many more rounds, and no error."""
        goal = self.rounds + 20
        eventually(lambda: self.error or self.rounds >= goal, 60)
        assert self.error is None, self.error


def test_killing_postgresql_under_load_disturbs_no_session(tmp_path, postgres, on_postgres):
    """No I/O error; 503 from the API, in words; logins need no database; recovery by itself."""
    with daemon(tmp_path, "--workers", "2", *on_postgres) as d:
        tenant(d)
        rented = rent(d, 2 * MIB, 2 * MIB)
        with Load(d, rented, 0) as first, Load(d, rented, 1) as second:
            first.goes_on()
            postgres.kill()
            try:
                status, said = api(d, "POST", "/targets", {"tenant": "ada", "size": MIB})
                assert status == 503
                assert "database" in said["detail"]
                assert api(d, "GET", f"/targets/{rented['id']}")[0] in (200, 503)
                first.goes_on()
                second.goes_on()
                qemu_io(d, rented, "write -P 7 1M 64k", "read -P 7 1M 64k")  # a login, and its CHAP
                first.goes_on()
            finally:
                postgres.start()
            made = []

            def rents_again():
                status, said = api(d, "POST", "/targets", {"tenant": "ada", "size": MIB})
                made.append(said)
                return status == 201

            eventually(rents_again, 30, 0.2)
            first.goes_on()
            second.goes_on()
        with logged_in(d, made[-1]) as who:
            who.write(0, pattern(1))
        assert d.status()["database"]
        listed = api(d, "GET", "/targets")[1]["items"]
        # What was refused left nothing behind.
        assert {target["id"] for target in listed} == {rented["id"], made[-1]["id"]}
        assert len(list((tmp_path / "overlays").glob("t-*.data"))) == 3
    log = d.log_text()
    assert "the database does not answer" in log
    assert "the database answers again" in log
    assert "crashed" not in log
    with contextlib.suppress(FileNotFoundError):
        assert not list((tmp_path / "overlays").glob("*.failed"))
