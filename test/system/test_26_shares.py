# SPDX-License-Identifier: Apache-2.0
"""What an application may write of its owner's: --rw, --home; and what a guest with root cannot make of it."""
import json
import os
import shutil
import socket
import stat
import subprocess

import sandbox
from lab import build_dir
from product import RUN_DIR, environment, sekisho, sekisho_json
from run import no_daemon
from test_07_vm import vm_state
from test_09_rights import RUN_FAILED, begin
from test_16_profiles import hangup, profile

ERIN, GROUP, HOME = 60011, 60900, "/srv/home/erin"


def as_erin(*words, timeout=120):
    """-> (status, stdout, stderr)"""
    return sekisho(*words, check=False, user=ERIN, timeout=timeout)


def owned(top):
    for directory, _dirs, names in os.walk(top):
        for one in (directory, *(f"{directory}/{n}" for n in names)):
            os.lchown(one, ERIN, GROUP)
    return top


def place(*files):
    """Erin's directory with these files, afresh; and Erin. /srv is not the machine's own here."""
    if not os.path.ismount("/srv"):
        sandbox.mount("lent", "/srv", "tmpfs", data="mode=0755")
    for one in os.listdir("/srv"):
        shutil.rmtree(f"/srv/{one}")
    os.makedirs(HOME)
    for path in files:
        os.makedirs(os.path.dirname(f"/srv/work/{path}"), exist_ok=True)
        with open(f"/srv/work/{path}", "w") as f:
            f.write(f"{path}\n")
    with open("/etc/passwd") as f:
        known = f.read()
    if "erin:" not in known:
        with open("/etc/passwd", "a") as f:
            f.write(f"erin:x:{ERIN}:{GROUP}::{HOME}:/bin/sh\n")
    owned(HOME)
    return owned("/srv/work")


def running(t, *words):
    """An application of erin's that says "up" and goes on until its stdin ends."""
    p = subprocess.Popen(["setpriv", "--reuid", str(ERIN), "--regid", str(ERIN), "--clear-groups", "--", f"{build_dir()}/sekisho", "run", *words],
                         env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    t.processes.append(p)
    return p


@vm_state
@no_daemon
def test_rw(t):
    """A directory given with --rw is written at the same path, as its owner, whoever writes in the guest. What other programs would run later
    is read-only where it was, and told where it is new. It is shown while it runs, after a restart of the desk, too, and in the history."""
    begin(t)
    top = place("old", ".git/hooks/pre-commit", ".git/config")
    script = ("pwd; cat old; echo new >new; mkdir d; mv old d/old; ln -s /etc/passwd link; id -un; stat -c %U new; "
              "(echo x >>.git/config; echo x >.git/hooks/pre-commit; rm .git/config) 2>/dev/null; "
              "mkdir .vscode; echo x >.vscode/tasks.json; chmod 600 new; echo up; cat >typed")
    p = running(t, "--rw", top, "-w", top, "job", "--", "sh", "-c", script)
    said = [p.stdout.readline().strip() for _ in range(5)]
    assert said == [top, "old", "erin", "erin", "up"], (said, p.stderr.read() if "up" not in said else "")
    t.daemon.kill_role("desk")
    app = sekisho_json("--all", "ps")[0]
    assert app["rw"] == [top] and app["home"] is None, app
    out, err = p.communicate("typed\n", timeout=60)
    assert p.returncode == 0, (out, err)
    with open(f"{top}/typed") as f:
        assert f.read() == "typed\n"
    for name in ("new", "typed", "d", "d/old", ".vscode/tasks.json", "link"):
        st = os.lstat(f"{top}/{name}")
        assert (st.st_uid, st.st_gid) == (ERIN, GROUP), (name, st)
    assert stat.S_IMODE(os.stat(f"{top}/new").st_mode) == 0o600
    for name in (".git/config", ".git/hooks/pre-commit"):
        with open(f"{top}/{name}") as f:
            assert f.read() == f"{name}\n", "what a person's git would run was written"
    assert f"{top}/.vscode/tasks.json" in err and ".git" not in err, err
    started = [e for e in sekisho_json("--all", "log") if e["event"] == "app-started" and e["app"] == "job"]
    assert started[-1]["text"] == f"rw {top}", started


@vm_state
@no_daemon
def test_home(t):
    """--home app keeps what one run wrote into its home for the next, --ephemeral and the default do not; --home DIR is that directory;
    a profile says the same. Each application's home is its own."""
    begin(t)
    top = place("note")
    os.environ["XDG_STATE_HOME"] = f"{HOME}/.local/state"
    try:
        look = "echo $HOME; cd; cat note; echo kept >note; ls -A"
        assert as_erin("run", "--home", "app", "keeps", "--", "sh", "-c", look)[:2] == (0, f"{HOME}\nnote\n")
        kept = f"{HOME}/.local/state/sekisho/homes/keeps"
        assert stat.S_IMODE(os.stat(kept).st_mode) == 0o700 and os.stat(f"{kept}/note").st_uid == ERIN
        profile("keeps", f"users = erin\nhome = app\nrw = {top}\ncommand = sh -c \"cd; cat note; cat {top}/note\"\n")
        hangup(t)
        assert as_erin("run", "keeps")[:2] == (0, "kept\nnote\n")
        code, out, err = as_erin("run", "--ephemeral", "--home", "app", "keeps", "--", "sh", "-c", look)
        assert (code, out) == (0, f"{HOME}\nnote\n"), (code, out, err)
        code, out, err = as_erin("run", "--home", top, "other", "--", "sh", "-c", look)
        assert (code, out) == (0, f"{HOME}\nnote\nnote\n"), (code, out, err)
        with open(f"{top}/note") as f:
            assert f.read() == "kept\n"
    finally:
        del os.environ["XDG_STATE_HOME"]


@vm_state
@no_daemon
def test_keep(t):
    """--keep keeps what was written over the host's directories for the next run with --keep, in a file of the owner's; the host's own
    directories stay as they are; `image reset` forgets."""
    begin(t)
    place("file")
    os.environ["SEKISHO_LAYERS"] = layers = "/srv/layers"
    os.mkdir(layers)
    os.chown(layers, ERIN, GROUP)
    look = ("run", "--keep", "--user", "root", "keeps", "--", "sh", "-c", "cat /usr/local/kept /root/kept; echo kept | tee /usr/local/kept >/root/kept")
    try:
        assert as_erin(*look)[:2] == (0, "")
        code, out, err = as_erin(*look)
        assert (code, out) == (0, "kept\nkept\n"), (code, out, err)
        assert not os.path.exists("/usr/local/kept") and not os.path.exists("/root/kept")
        assert os.listdir(f"{layers}/keeps") == ["host.ext4"]
        assert as_erin("image", "reset", "keeps")[0] == 0 and not os.path.exists(f"{layers}/keeps/host.ext4")
    finally:
        del os.environ["SEKISHO_LAYERS"]
    assert as_erin("run", "--keep", "--ephemeral", "keeps", "--", "true")[0] == 2


@no_daemon
def test_refused_names(t):
    """The system's directories, sekisho's, a whole home, what hides in it and what holds keys are refused by name, symbolic links followed."""
    begin(t)
    top = place("a/file", ".git/config")
    os.symlink("/etc", f"{top}/link")
    for name in (".ssh", ".config/autostart", "work/.gnupg"):
        os.makedirs(f"{HOME}/{name}")
    owned(HOME)
    for path, words in (("/", "the whole computer"), ("/etc", "the system"), ("/usr/local", "the system"), (f"{top}/link", "/etc belongs to the system"),
                        ("/srv", "below it"), ("/tmp", "below it"), (HOME, "is the home"), ("/srv/home", "is the home"), ("/run/sekisho", "the system"),
                        (f"{HOME}/.ssh", "keys"), (f"{HOME}/.config/autostart", "hidden"), (f"{HOME}/work/.gnupg", "keys"),
                        (f"{top}/.git", "what other programs run"), (f"{top}/a/file", "Not a directory"), (f"{top}/none", "No such file"),
                        ("/run/lab/../../proc", "the system")):
        for option in ("--rw", "--home"):
            code, out, err = as_erin("run", option, path, "job", "--", "true", timeout=30)
            assert code == RUN_FAILED and words in err, (option, path, code, out, err)
    code, _out, err = as_erin("run", *(w for i in range(7) for w in ("--rw", top)), "job", "--", "true")
    assert code == 2 and "6 times" in err, (code, err)
    code, _out, err = as_erin("run", *(w for i in range(6) for w in ("--rw", top)), "--home", top, "job", "--", "true")
    assert code == RUN_FAILED and "six directories" in err, (code, err)
    os.chmod(top, 0o700)
    code, _out, err = sekisho("run", "--rw", f"{top}/a", "job", "--", "true", check=False, user=60002)
    assert code == RUN_FAILED and "Permission denied" in err, (code, err)


def call_run(path, fd, **members):
    """Apps.Run as a program of our own would call it, as root; what comes back until the end."""
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(f"{RUN_DIR}/api")
        call = {"method": "org.sekisho.Apps.Run", "upgrade": True, "parameters": {"app": "odd", "argv": ["true"], "rw": [path], **members}}
        socket.send_fds(s, [json.dumps(call).encode() + b"\0"], fd)
        s.settimeout(60)
        got = b""
        while part := s.recv(65536):
            got += part
            if b"error" in got and got.endswith(b"\0"):
                break
        return got


@no_daemon
def test_odd_descriptors(t):
    """What a client says of a descriptor is believed of none: another directory than the one named, one to read from, one of another mount
    namespace and none at all are refused."""
    begin(t)
    top = place("a/file")
    lent, other, plain = (os.open(p, f | os.O_DIRECTORY) for p, f in ((top, os.O_PATH), ("/etc", os.O_PATH), (top, os.O_RDONLY)))
    try:
        assert b"is not the directory that came along" in call_run(top, [other])
        assert b"is not the directory that came along" in call_run(top, [plain])
        assert b"0 descriptors came along instead of 1" in call_run(top, [])
        assert b"1 descriptors came along instead of 2" in call_run(top, [lent], home=f"{top}/a")
        with open(f"{top}/elsewhere", "w"):
            pass
        elsewhere = subprocess.Popen(["unshare", "-m", "--propagation", "private", "sh", "-c", f"mount -t tmpfs x {top}/a; echo up; cat"],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        t.processes.append(elsewhere)
        assert elsewhere.stdout.readline() == "up\n"
        theirs = os.open(f"/proc/{elsewhere.pid}/root{top}/a", os.O_PATH | os.O_DIRECTORY)
        said = call_run(f"{top}/a", [theirs])
        assert b"view of the file system" in said or b"is not the directory" in said, said
        os.close(theirs)
        elsewhere.communicate("")
    finally:
        for fd in (lent, other, plain):
            os.close(fd)


ATTACK = r'''
import os, subprocess
top = "/srv/work"
def tries(what, do):
    try:
        do()
        print("DID", what)
    except OSError as e:
        print("no", what, e.strerror)
def mount(*words):
    subprocess.run(["mount", *words], stdout=2)
def write(path, flags=os.O_WRONLY, mode=0o644):
    fd = os.open(path, flags, mode)
    os.write(fd, b"#!/bin/sh\n")
    os.close(fd)
CREATE = os.O_WRONLY | os.O_CREAT
os.makedirs("/mnt/h"); os.makedirs("/mnt/s")
mount("-t", "virtiofs", "-o", "rw,dev,suid", "hostroot", "/mnt/h")
mount("-t", "virtiofs", "-o", "rw,dev,suid", "shares", "/mnt/s")
mount("-o", "remount,rw,dev,suid", top)
tries("host tree", lambda: write("/mnt/h/usr/SEKISHO-WAS-HERE", CREATE))
tries("host etc", lambda: write("/mnt/h/etc/passwd", os.O_WRONLY | os.O_APPEND))
tries("host tree top", lambda: os.mkdir("/mnt/h/SEKISHO-WAS-HERE"))
print("tops", sorted(os.listdir("/mnt/h")), sorted(os.listdir("/mnt/s")))
tries("host proc", lambda: os.listdir("/mnt/h/proc"))
tries("character device", lambda: os.mknod(top + "/null", 0o20666, os.makedev(1, 3)))
tries("block device", lambda: os.mknod(top + "/disk", 0o60666, os.makedev(7, 0)))
write(top + "/mine", CREATE)
tries("setuid", lambda: os.chmod(top + "/mine", 0o4755))
tries("setgid", lambda: os.chmod(top + "/mine", 0o2755))
tries("setuid from the first", lambda: write(top + "/born", CREATE, 0o4755))
tries("setuid node", lambda: os.mknod(top + "/node", 0o104755))
tries("owner root", lambda: os.chown(top + "/mine", 0, 0))
tries("owner another", lambda: os.chown(top + "/mine", 60002, 60002))
tries("capability", lambda: os.setxattr(top + "/mine", "security.capability", bytes.fromhex("0100000202000000000000000000000000000000")))
tries("trusted", lambda: os.setxattr(top + "/mine", "trusted.x", b"x"))
tries("read what its owner may not", lambda: print(open(top + "/secret").read()))
tries("write what its owner may not", lambda: write(top + "/secret"))
tries("into root's directory", lambda: write(top + "/roots/x", CREATE))
tries("time of root's file", lambda: os.utime(top + "/secret", (1, 1)))
tries("mode of root's file", lambda: os.chmod(top + "/secret", 0o666))
os.symlink("/etc/passwd", top + "/away")
tries("through a link, on the share as it is served", lambda: os.open("/mnt/s/away", os.O_WRONLY | os.O_NOFOLLOW))
os.symlink("../../../../../../../../usr", top + "/up")
write(top + "/up/SEKISHO-WAS-HERE", CREATE)
tries("hard link out of the host tree", lambda: os.link("/mnt/h/usr/bin/env", top + "/env"))
tries("file handle", lambda: open("/proc/self/fd/0/../../etc/x"))
print("below", os.listdir(top + "/below"))
write(top + "/set-id")
mount("--bind", top, "/mnt/h/usr")
mount("--bind", top, "/usr")
print("end")
'''


@vm_state
@no_daemon
def test_guest_root(t):
    """Root in the guest, with the share mounted as it likes: no device, no set-id bit, no other owner, no link, no mount trick, nothing that
    the owner may not; the host's tree and what is mounted below the share are out of its reach."""
    begin(t)
    top = place("set-id", "secret", "below/file", "roots/file")
    sandbox.mount("below", f"{top}/below", "tmpfs")
    with open(f"{top}/below/deep", "w"):
        pass
    try:
        for name, mode in (("secret", 0o600), ("roots", 0o700)):
            os.chown(f"{top}/{name}", 0, 0)
            os.chmod(f"{top}/{name}", mode)
        os.chmod(f"{top}/set-id", 0o6755)
        passwd = open("/etc/passwd").read()
        code, out, err = as_erin("run", "--user", "root", "--rw", top, "evil", "--", "python3", "-c", ATTACK)
        assert code == 0 and out.endswith("end\n"), (code, out, err)
        assert "DID" not in out, out
        assert "deep" not in out and "below ['file']" in out, out
        assert open("/etc/passwd").read() == passwd
        assert not os.path.exists("/usr/SEKISHO-WAS-HERE")
        for directory, dirs, names in os.walk(top):
            for name in dirs + names:
                st = os.lstat(f"{directory}/{name}")
                assert not st.st_mode & 0o6000 and stat.S_IFMT(st.st_mode) in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK), (name, oct(st.st_mode))
                assert st.st_uid == ERIN or name in ("secret", "roots", "below", "deep"), (name, st)
        assert os.stat(f"{top}/secret").st_mtime > 1000 and open(f"{top}/secret").read() == "secret\n"
        assert open(f"{top}/set-id").read().startswith("#!"), "its owner's own file is writable"
    finally:
        sandbox.LIBC.umount2(f"{top}/below".encode(), 2)
