"""Published files: what the list says, and that fetching keeps only the right file."""

from __future__ import annotations

import errno
import hashlib
import http.server
import re
import threading

import numpy as np
import pytest

from minimask.weights.published import Published, choose, find, published
from minimask.weights.published.fetch import BLOCK, checked
from minimask.weights.published.fetch import fetch as fetch_file

CONTENT = np.random.default_rng(0).bytes(3 * BLOCK + 12345)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT the way the path says, and closes; `server.asked` is what was asked for."""

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Range")))
        getattr(self, self.path.strip("/").partition("/")[0].replace("-", "_"))()

    def whole(self, content=CONTENT, claimed=None):
        start = self.start()
        if start is not None and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.end_headers()
            return
        self.send_response(200 if start is None else 206)
        if start is not None:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        sent = content[start or 0 :]
        self.send_header("Content-Length", str(len(sent) if claimed is None else claimed))
        self.end_headers()
        self.wfile.write(sent)

    def start(self):
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        return int(found[1]) if found else None

    def cut(self):
        """A third of the rest each time, then the line is cut."""
        start = self.start()
        self.send_response(200 if start is None else 206)
        if start is not None:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        rest = CONTENT[start or 0 :]
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: len(rest) // 3 + 1000])

    def no_range(self):
        """Ignores Range; cuts the first answer."""
        first = len(self.server.asked) == 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: BLOCK + 5] if first else CONTENT)

    def wrong(self):
        self.whole(CONTENT[:-1] + b"?")

    def short(self):
        """Says and sends less than the file has."""
        self.whole(CONTENT[:-500])

    def missing(self):
        self.send_error(404)

    def dead(self):
        """A thousand bytes, and afterwards none."""
        start = self.start()
        self.send_response(200 if start is None else 206)
        if start is not None:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(CONTENT) - (start or 0)))
        self.end_headers()
        if start is None:
            self.wfile.write(CONTENT[:1000])

    def dead_no_range(self):
        """The same thousand bytes again and again."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:1000])

    def away(self):
        self.redirect("http://example.invalid/file.pth")

    def moved(self):
        self.redirect(f"http://127.0.0.1:{self.server.server_port}/whole/file.pth")

    def redirect(self, address):
        self.send_response(302)
        self.send_header("Location", address)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):  # connections are cut on purpose
        pass


@pytest.fixture(scope="module")
def running():
    server = Server(("127.0.0.1", 0), Handler)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def server(running):
    running.asked.clear()
    return running


def entry(server, way, **known):
    known = {"hashed": "sha256", "digest": SHA256[:8], **known}
    address = f"http://127.0.0.1:{server.server_port}/{way}/file-{SHA256[:8]}.pth"
    return Published("file", "torchvision", "a file", address, **known)


def test_a_file_arrives_whole_with_progress(server, tmp_path):
    steps = []
    file = fetch_file(entry(server, "whole"), tmp_path / "new", lambda *now: steps.append(now))
    assert file.read_bytes() == CONTENT and file.name == f"file-{SHA256[:8]}.pth"
    assert steps[-1] == (len(CONTENT), len(CONTENT)) and len(steps) >= 4
    assert [f.name for f in file.parent.iterdir()] == [file.name]
    asked = len(server.asked)
    assert fetch_file(entry(server, "whole"), tmp_path / "new") == file
    assert len(server.asked) == asked, "a file that is there was fetched again"


def test_a_cut_line_is_taken_up_where_it_was(server, tmp_path):
    file = fetch_file(entry(server, "cut", size=len(CONTENT), digest=SHA256), tmp_path)
    assert file.read_bytes() == CONTENT
    starts = [int((asked or "bytes=0-")[6:-1]) for _, asked in server.asked]
    assert len(starts) > 2 and starts == sorted(set(starts)), "nothing was fetched twice"


def test_a_server_without_ranges_begins_again(server, tmp_path):
    assert fetch_file(entry(server, "no_range"), tmp_path).read_bytes() == CONTENT
    assert [asked is not None for _, asked in server.asked] == [False, True]


def test_an_earlier_part_is_gone_on_with(server, tmp_path):
    part = tmp_path / f"file-{SHA256[:8]}.pth.part"
    part.write_bytes(CONTENT[:1000])
    assert fetch_file(entry(server, "whole"), tmp_path).read_bytes() == CONTENT
    assert server.asked == [(f"/whole/file-{SHA256[:8]}.pth", "bytes=1000-")]


def test_a_part_that_is_whole_or_too_long(server, tmp_path):
    part = tmp_path / f"file-{SHA256[:8]}.pth.part"
    part.write_bytes(CONTENT)  # stopped between the last byte and the name
    assert fetch_file(entry(server, "whole"), tmp_path).read_bytes() == CONTENT
    (tmp_path / f"file-{SHA256[:8]}.pth").unlink()
    part.write_bytes(CONTENT + b"more")
    assert fetch_file(entry(server, "whole"), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("way", "known", "words"),
    [
        ("wrong", {}, r"SHA-256 begins with \w{8}, not"),
        ("wrong", {"digest": SHA256}, "SHA-256 begins with"),
        ("wrong", {"hashed": "md5", "digest": "000000"}, "its MD5 begins with"),
        ("short", {"size": len(CONTENT), "hashed": None, "digest": None}, "bytes instead of"),
    ],
)
def test_what_is_wrong_is_not_kept(server, tmp_path, way, known, words):
    with pytest.raises(ValueError, match=words):
        fetch_file(entry(server, way, **known), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_gone(server, tmp_path):
    with pytest.raises(OSError, match=r"404 .*the file is not there any more"):
        fetch_file(entry(server, "missing"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_no_network(tmp_path):
    nobody = Published("file", "x", "a file", "http://127.0.0.1:9/file-00000000.pth")
    with pytest.raises(OSError, match=r"cannot be reached .* is there a network"):
        fetch_file(nobody, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("way", ["dead", "dead_no_range"])
def test_a_line_that_brings_nothing_ends_with_a_sentence_and_the_part(server, tmp_path, way):
    with pytest.raises(OSError, match=r"breaks again and again .* goes on from there"):
        fetch_file(entry(server, way), tmp_path)
    assert len(server.asked) < 10
    assert [file.suffix for file in tmp_path.iterdir()] == [".part"]


def test_a_full_disk(server, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "file.part")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        fetch_file(entry(server, "whole"), tmp_path)


def test_ctrl_c_keeps_the_part_and_says_how_to_go_on(server, tmp_path):
    def stop(done, whole):
        if done > BLOCK:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="the same command goes on from there"):
        fetch_file(entry(server, "whole"), tmp_path, stop)
    (part,) = tmp_path.iterdir()
    assert CONTENT.startswith(part.read_bytes()) and part.stat().st_size > BLOCK
    assert fetch_file(entry(server, "whole"), tmp_path).read_bytes() == CONTENT


def test_only_encrypted_addresses(server, tmp_path):
    with pytest.raises(ValueError, match="only https"):
        fetch_file(entry(server, "away"), tmp_path)
    assert fetch_file(entry(server, "moved"), tmp_path).read_bytes() == CONTENT
    for address in ("http://example.org/a-00000000.pth", "ftp://a/b.pth", "file:///etc/passwd"):
        with pytest.raises(ValueError, match="only https"):
            fetch_file(Published("a", "x", "", address), tmp_path)


def test_another_file_of_that_name_is_left_alone(server, tmp_path):
    other = tmp_path / f"file-{SHA256[:8]}.pth"
    other.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="is there already, but its SHA-256 begins"):
        fetch_file(entry(server, "whole"), tmp_path)
    assert other.read_bytes() == b"mine" and not server.asked


# --- the list --------------------------------------------------------------------------------


def test_what_is_known_of_a_file_fits_its_name():
    entries = published()
    assert len({e.name for e in entries}) == len({e.address for e in entries}) == len(entries)
    for e in entries:
        assert e.address.startswith("https://") and e.what
        if e.hashed is not None:
            assert re.fullmatch(r"[0-9a-f]{6}|[0-9a-f]{8}|[0-9a-f]{64}", e.digest)
            assert e.digest[:6] in e.file, "a hash that the name contradicts"
        if e.size is not None and e.about is not None:
            assert abs(e.size - e.about) < 1000
        if e.sha256 is not None:
            assert len(e.sha256) == 64


def test_how_many_there_are():
    systems = [e.system for e in published()]
    assert systems.count("detectron2") == 46  # of 64: what minimask has
    assert systems.count("mmdet") >= 50 and systems.count("matterport") == 2
    assert systems.count("imagenet") == 5


def test_finding_and_choosing():
    assert find("maskrcnn_resnet50_fpn").digest == "bf2d0c1e"
    assert find("mask_rcnn_r_50_fpn_3x").file == "model_final_f10217.pkl"
    assert find("model_final_f10217.pkl").system == "detectron2"
    with pytest.raises(ValueError, match="did you mean maskrcnn_resnet50_fpn"):
        find("maskrcnn_resnet50_fpm")
    with pytest.raises(ValueError, match="2 files are called so"):
        find("mask_rcnn_R_50_FPN_1x")
    assert {e.system for e in choose(["ResNeXt", "coco"], "mmdet")} == {"mmdet"}
    with pytest.raises(ValueError, match="--system: expected one of"):
        choose(system="keras")


def test_what_was_compared_is_said():
    assert checked(find("resnet50")).startswith("size 102530333, SHA-256 0676ba61")
    assert checked(find("MSRA/R-50")).startswith("nothing to compare it with is known")
    assert "MD5 begins with f10217" in checked(find("mask_rcnn_R_50_FPN_3x"))
