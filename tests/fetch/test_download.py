"""Downloads: from a real server that cuts lines, redirects, and lies."""

import http.server
import itertools
import re
import threading

import pytest

from scsipub.errors import OperatorError
from scsipub.fetch import addresses, download
from scsipub.fetch.addresses import Private
from scsipub.fetch.download import Download, Terms, check_url

DATA = bytes(range(256)) * 2000


class Server(http.server.BaseHTTPRequestHandler):
    """The path says what happens."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Range"), self.headers.get("If-Range")))
        getattr(self, "serve_" + re.split("[/?]", self.path)[1])()

    def serve_whole(self):
        self._say(200, {"Content-Length": len(DATA)}, DATA)

    def serve_unknown(self):
        self._say(200, {"Connection": "close"}, DATA)

    def serve_cut(self):
        """A third at a time; goes on from anywhere."""
        start = self._start()
        headers = {"Content-Length": len(DATA) - start, "ETag": '"one"'}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"
        self._say(206 if start else 200, headers, DATA[start : start + len(DATA) // 3 + 1])

    def serve_stubborn(self):
        """Knows no ranges: begins anew each time."""
        self._say(200, {"Content-Length": len(DATA), "ETag": '"one"'}, DATA[:1000])

    def serve_anonymous(self):
        """Says nothing by which it could be seen that it is the same still."""
        self._say(200, {"Content-Length": len(DATA)}, DATA[:1000])

    def serve_liar(self):
        """Goes on from somewhere else."""
        if not self._start():
            self._say(200, {"Content-Length": len(DATA), "ETag": '"one"'}, DATA[:1000])
        else:
            headers = {"Content-Length": 10, "Content-Range": f"bytes 0-9/{len(DATA)}"}
            self._say(206, headers, DATA[:10])

    def serve_grown(self):
        start = self._start()
        total = len(DATA) + start
        headers = {"Content-Length": total - start, "ETag": '"one"'}
        if start:
            headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
        self._say(206 if start else 200, headers, DATA[start : start + 1000])

    def serve_to(self):
        self._say(302, {"Location": self.path.partition("?")[2], "Content-Length": 0}, b"")

    def serve_round(self):
        self._say(301, {"Location": f"/round/{next(self.server.count)}", "Content-Length": 0}, b"")

    def serve_nowhere(self):
        self._say(302, {"Content-Length": 0}, b"")

    def serve_none(self):
        self._say(404, {"Content-Length": 0}, b"")

    def serve_silent(self):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        self.server.end.wait(10)

    def _start(self):
        return int(re.match(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))[1])

    def _say(self, status, headers, body):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *words):
        pass


@pytest.fixture
def web():
    with http.server.ThreadingHTTPServer(("0.0.0.0", 0), Server) as server:
        server.asked, server.count, server.end = [], itertools.count(), threading.Event()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        server.url = f"http://127.0.0.1:{server.server_port}"
        yield server
        server.end.set()
        server.shutdown()
        thread.join()


def fetch(url, private=Private.ALLOWED, seconds=5.0, redirects=3, resumes=5):
    terms = Terms(seconds=seconds, redirects=redirects, resumes=resumes, private=private)
    with Download(url, terms) as source:
        pieces = []
        while piece := source.read(10_000):
            assert len(piece) <= 10_000
            pieces.append(piece)
        return b"".join(pieces), source


@pytest.mark.parametrize("path", ["whole", "unknown", "to?/whole"])
def test_a_file_is_fetched(web, path):
    data, source = fetch(f"{web.url}/{path}#fragment")

    assert data == DATA
    assert source.total == (None if path == "unknown" else len(DATA))


def test_a_broken_line_is_taken_up_where_it_broke(web):
    data, _ = fetch(f"{web.url}/cut")

    assert data == DATA
    third = len(DATA) // 3 + 1
    assert web.asked == [
        ("/cut", None, None),
        ("/cut", f"bytes={third}-", '"one"'),
        ("/cut", f"bytes={2 * third}-", '"one"'),
    ]


def test_a_line_that_breaks_too_often_is_given_up(web):
    with pytest.raises(OperatorError, match=f"ended {len(DATA) - 2 * (len(DATA) // 3 + 1)} bytes early"):
        fetch(f"{web.url}/cut", resumes=1)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("stubborn", "cannot go on from there"),
        ("liar", "cannot go on from there"),
        ("grown", "another file now"),
        ("anonymous", f"ended {len(DATA) - 1000} bytes early"),
    ],
)
def test_bytes_of_two_files_are_never_put_together(web, path, words):
    with pytest.raises(OperatorError, match=words):
        fetch(f"{web.url}/{path}")


def test_redirects_are_followed_so_often_and_no_more(web):
    with pytest.raises(OperatorError, match="on and on"):
        fetch(f"{web.url}/round", redirects=3)
    assert len(web.asked) == 4


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("none", "answered with 404"),
        ("nowhere", "leads nowhere"),
        ("to?file:///etc/passwd", "is not fetched here"),
        ("to?ftp://127.0.0.1/x", "is not fetched here"),
        ("to?http://user:pw@127.0.0.1/x", "Passwords"),
        ("to?http://[::", "what is no address"),
    ],
)
def test_where_nothing_is_to_be_had_is_said_in_words(web, path, words):
    with pytest.raises(OperatorError, match=words):
        fetch(f"{web.url}/{path}")


def test_a_server_that_falls_silent_is_given_up(web):
    with pytest.raises(OperatorError, match="ended 10 bytes early"):
        fetch(f"{web.url}/silent", seconds=2.0)  # its header must come in time on a busy machine


def test_a_server_that_drips_is_given_up(web, monkeypatch):
    """A byte in time is no silence, and no download either."""
    clock = itertools.count(0, 100.0)
    monkeypatch.setattr(download.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(download, "LEAST_PER_SECOND", 1 << 20)

    with pytest.raises(OperatorError, match="too slow"):
        fetch(f"{web.url}/whole")


def test_loopback_is_refused_to_who_imports_over_http(web):
    with pytest.raises(OperatorError, match="not fetched from"):
        fetch(f"{web.url}/whole", Private.REFUSED)
    assert web.asked == []


@pytest.mark.parametrize("private", [Private.REFUSED, Private.NAMED])
def test_no_redirect_leads_from_the_world_into_the_house(web, monkeypatch, private):
    monkeypatch.setattr(addresses, "is_public", lambda address: address == "127.0.0.1")

    with pytest.raises(OperatorError, match="not fetched from"):
        fetch(f"{web.url}/to?http://127.0.0.2:{web.server_port}/whole", private)
    assert len(web.asked) == 1


def test_a_person_may_name_what_is_in_the_house_and_be_redirected_there(web):
    assert fetch(f"{web.url}/to?http://127.0.0.2:{web.server_port}/whole", Private.NAMED)[0] == DATA


def test_no_redirect_leads_from_https_to_http():
    """Nobody on the way may put in another image."""
    source = Download(
        "https://127.0.0.1:1/", Terms(seconds=1, redirects=1, resumes=0, private=Private.ALLOWED)
    )

    class Answer:
        status = 302
        headers = [(b"Location", b"http://127.0.0.1/x")]

    source._ask = lambda url, headers: Answer()
    with pytest.raises(OperatorError, match="away from https"):
        source._open()


@pytest.mark.parametrize(
    "url", ["", "x", "http://", "http:///x", "https://:80/", "http://h:99999/", "http://h:0/", "gopher://h/"]
)
def test_what_is_no_address_is_refused(url):
    with pytest.raises(OperatorError):
        check_url(url)
