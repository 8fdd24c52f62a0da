# SPDX-License-Identifier: Apache-2.0
"""Full, read-only, newer, lost: the store says what is wrong, nothing acknowledged is lost, nothing passes that was not allowed."""
import errno
import os
import signal
import sqlite3

from lab import LabError, sh, wait_until
from product import STATE_DIR, sekisho
from run import no_daemon

STORE = f"{STATE_DIR}/store"
DB = f"{STORE}/store.db"


def rules():
    return sekisho("rules", check=False)[1]


def put(word):
    return sekisho("allow", "web", "to", f"{word}.example.org", check=False)


def fill():
    fd = os.open(f"{STORE}/filler", os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(fd, b"x" * 4096)
    except OSError as e:
        assert e.errno == errno.ENOSPC
    finally:
        os.close(fd)


def fails_with(t, *words):
    """The daemon does not come up, and its log says why."""
    try:
        t.daemon.start(timeout=4)
    except LabError:
        pass
    else:
        raise AssertionError("the daemon came up")
    wait_until(lambda: all(w in t.daemon.tail(30) for w in words), 30, f"its log says {words}")
    t.daemon.stop()


@no_daemon
def test_disk_full(t):
    """No room: a change is refused with that word, what was stored goes on and outlives kill -9; with room again all works."""
    os.makedirs(STORE, exist_ok=True)
    sh("mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", STORE)
    try:
        t.new_daemon().start()
        assert put("before")[0] == 0
        fill()
        refused, kept = [], ["before"]
        for i in range(60):  # the write-ahead log has room that it took before
            code, out, err = put(f"n{i}")
            (kept if code == 0 else refused).append(f"n{i}")
            if code != 0:
                assert code == 1 and "No space left" in out + err, (code, out, err)
        assert refused, "the disk is full and everything was taken"
        t.daemon.kill_all()
        os.unlink(f"{STORE}/filler")
        t.daemon.start()
        listed = rules()
        assert all(f" {w}.example.org" in listed for w in kept), (kept, listed)
        assert not any(f" {w}.example.org" in listed for w in refused), (refused, listed)
        assert put("after")[0] == 0
        t.daemon.stop()
    finally:
        sh("umount", "-l", STORE)


@no_daemon
def test_read_only(t):
    """A state directory that cannot be written: the daemon does not come up, and says so; nothing of it is lost."""
    t.new_daemon().start()
    assert put("kept")[0] == 0
    t.daemon.stop()
    sh("mount", "--bind", STORE, STORE)
    sh("mount", "-o", "remount,ro,bind", STORE)
    try:
        fails_with(t, "store")
    finally:
        sh("umount", "-l", STORE)
    t.daemon.start()
    assert " kept.example.org" in rules()


@no_daemon
def test_newer(t):
    """A store of a newer version is left alone, and the daemon says which version it is."""
    t.new_daemon().start()
    assert put("kept")[0] == 0
    t.daemon.stop()
    db = sqlite3.connect(DB)
    was = db.execute("PRAGMA user_version").fetchone()[0]
    db.execute("PRAGMA user_version = 99")
    db.close()
    fails_with(t, "newer version", "99")
    assert os.path.exists(DB) and not os.path.exists(f"{DB}.damaged-1")
    db = sqlite3.connect(DB)
    db.execute(f"PRAGMA user_version = {was}")
    db.close()
    t.daemon.start()
    assert " kept.example.org" in rules()


@no_daemon
def test_lost_seal(t):
    """A seal that is gone is no decision: nothing passes, and the rules stay where they are, until somebody accepts them."""
    t.new_daemon().start()
    assert put("kept")[0] == 0
    t.daemon.stop()
    os.unlink(f"{DB}.seal")
    t.daemon.start()
    assert put("other")[0] == 1 and "its seal is gone" in sekisho("doctor", check=False)[1]
    assert os.path.exists(DB) and not os.path.exists(f"{DB}.damaged-1")
    open(f"{DB}.accept", "x").close()
    os.kill(t.daemon.process.pid, signal.SIGHUP)
    wait_until(lambda: put("other")[0] == 0, 15, "the daemon takes changes again")
    assert " kept.example.org" in rules() and os.path.exists(f"{DB}.seal") and not os.path.exists(f"{DB}.accept")
    assert "are taken as they are" in t.daemon.tail(60)
