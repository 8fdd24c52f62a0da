# SPDX-License-Identifier: Apache-2.0
"""A private machine to test in: mount, network and process namespaces of our own.

Everything a test starts lives below one process whose end ends all of it; /run and /etc are copies in memory. So nothing a test
does, crashes included, stays on the machine.
"""
import ctypes
import os
import shutil
import signal
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
CLONE_NEWNS, CLONE_NEWNET = 0x20000, 0x40000000
INSIDE = "SEKISHO_SANDBOX"


def _check(result, what):
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def mount(source, target, kind=None, flags=0, data=None):
    def as_bytes(value):
        return None if value is None else os.fsencode(value)
    _check(LIBC.mount(as_bytes(source), as_bytes(target), as_bytes(kind), ctypes.c_ulong(flags), as_bytes(data)),
           f"mount {target}")


def setns_net(name):
    """Moves the calling process into the named network namespace."""
    fd = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
    _check(LIBC.setns(fd, CLONE_NEWNET), f"enter {name}")
    os.close(fd)


def private_resolv_conf(path):
    """Gives the calling process a mount namespace of its own in which /etc/resolv.conf is `path`."""
    _check(LIBC.unshare(CLONE_NEWNS), "unshare mounts")
    mount(None, "/", flags=MS_REC | MS_PRIVATE)
    mount(path, "/etc/resolv.conf", flags=MS_BIND)


def _replace_run():
    os.makedirs("/run", exist_ok=True)
    mount("tmpfs", "/run", "tmpfs", data="mode=0755")
    for name in ("netns", "lab", "lock"):
        os.mkdir(f"/run/{name}")
    # `ip netns add` bind-mounts into a shared mount of its own making otherwise.
    mount("/run/netns", "/run/netns", flags=MS_BIND)


def _replace_etc():
    shutil.copytree("/etc", "/run/lab/etc", symlinks=True, ignore_dangling_symlinks=True,
                    ignore=lambda folder, names: {n for n in names if not _copyable(os.path.join(folder, n))})
    resolv = "/run/lab/etc/resolv.conf"
    if os.path.lexists(resolv):
        os.unlink(resolv)
    open(resolv, "w").close()
    mount("/run/lab/etc", "/etc", flags=MS_BIND)


def _copyable(path):
    mode = os.lstat(path).st_mode
    return (mode & 0o170000) in (0o100000, 0o040000, 0o120000)


def _replace_sys():
    """sysfs shows the network namespace it was mounted in."""
    os.mkdir("/run/lab/cgroup")
    if os.path.isdir("/sys/fs/cgroup"):
        mount("/sys/fs/cgroup", "/run/lab/cgroup", flags=MS_BIND | MS_REC)
    mount("sysfs", "/sys", "sysfs")
    if os.path.isdir("/sys/fs/cgroup"):
        mount("/run/lab/cgroup", "/sys/fs/cgroup", flags=MS_BIND | MS_REC)


def _be_init(child):
    """Process 1: reaps what is left to it; ends with its child, and everything with it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda got, _frame: os.kill(child, got))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches the child by itself
    while True:
        try:
            pid, status = os.wait()
        except InterruptedError:
            continue
        if pid == child:
            os._exit(os.waitstatus_to_exitcode(status) & 0xff if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))


def enter():
    """Returns inside the sandbox; outside, runs this very program again in there and exits with its status."""
    if os.environ.get(INSIDE) != "1":
        if os.geteuid() != 0:
            sys.exit("this needs root: namespaces, interfaces, a switch of its own; run it with sudo")
        os.environ[INSIDE] = "1"
        os.execvp("unshare", ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc",
                              "--propagation", "private", "--", sys.executable, "-B", *sys.argv])
    if os.getpid() == 1:
        child = os.fork()
        if child != 0:
            _be_init(child)
        _replace_run()
        _replace_sys()
        _replace_etc()
