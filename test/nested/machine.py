#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A whole host in QEMU without KVM, for what this machine's kernel cannot show: the kernel's Open vSwitch datapath, KVM, Firecracker.

usage: machine.py [--limit SECONDS] [--memory MIB] KERNEL-DIR COMMAND…

KERNEL-DIR holds an unpacked linux-image package (boot/vmlinuz-*, lib/modules/*). The host's root is this machine's own root, read-only
through virtiofs, under an overlay in memory; COMMAND runs there as root, its words come out here, and its status is ours. Nested
virtualisation is emulated, so /dev/kvm works inside. There is no network but what COMMAND makes.
"""
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

BOOT_MODULES = ("virtio_pci", "virtiofs", "overlay")
INIT = """#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc p /proc; $b mount -t sysfs s /sys; $b mount -t devtmpfs d /dev
for m in $($b cat /mods/order); do $b insmod /mods/$m || echo "nested: cannot load $m"; done
$b mount -t virtiofs hostroot /low && $b mount -t tmpfs -o size=75% t /up && $b mkdir /up/u /up/w || $b poweroff -f
$b mount -t overlay -o lowerdir=/low,upperdir=/up/u,workdir=/up/w o /new || $b poweroff -f
$b mount --move /dev /new/dev; $b mount --move /proc /new/proc; $b mount --move /sys /new/sys
exec $b switch_root /new /bin/sh "$($b cat /command)"
"""
BEGIN = """#!/bin/sh
# The host's first process.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
mount -t tmpfs t /run; mkdir -p /dev/shm /dev/pts /run/lock; mount -t tmpfs t /dev/shm; mount -t devpts p /dev/pts
mount -t cgroup2 c /sys/fs/cgroup; mkdir -p /lib/modules/$(uname -r)
mount --bind {modules} /lib/modules/$(uname -r); ip link set lo up; hostname nested; modprobe virtio_console
while [ ! -c /dev/hvc0 ]; do sleep 0.1; done
ln -sf /proc/self/fd /dev/fd; for n in 0:stdin 1:stdout 2:stderr; do ln -sf /proc/self/fd/${{n%:*}} /dev/${{n#*:}}; done
cd {cwd}
(setsid {command}) </dev/null >/dev/hvc0 2>&1
echo "nested: status $?" >/dev/hvc0
sync
echo o >/proc/sysrq-trigger
sleep 60
"""


def cpio(entries):
    """A newc archive of (name, mode, bytes)."""
    out = bytearray()
    for number, (name, mode, data) in enumerate((*entries, ("TRAILER!!!", 0, b"")), 1):
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        out += b"070701" + b"".join(b"%08X" % f for f in fields) + name.encode() + b"\0"
        out += bytes(-len(out) % 4) + data
        out += bytes(-len(out) % 4)
    return bytes(out)


def initramfs(kernel, version, begin):
    entries = [(d, 0o40755, b"") for d in ("bin", "dev", "low", "mods", "new", "proc", "sys", "up")]
    order = []
    for name in BOOT_MODULES:
        shown = subprocess.run(["modprobe", "-d", kernel, "-S", version, "--show-depends", name], check=True, capture_output=True, text=True).stdout
        for path in re.findall(r"^insmod (\S+)", shown, re.M):
            if os.path.basename(path) not in order:
                order.append(os.path.basename(path))
                entries.append((f"mods/{order[-1]}", 0o100644, open(path, "rb").read()))
    entries += [("mods/order", 0o100644, "\n".join(order).encode()), ("bin/busybox", 0o100755, open("/bin/busybox", "rb").read()),
                ("command", 0o100644, begin.encode()), ("init", 0o100755, INIT.encode())]
    return cpio(entries)


def tsc_khz():
    """As the guest's early clock source wants it (switching it off hangs some boots on a loaded host)."""
    for line in open("/proc/cpuinfo"):
        if line.startswith("cpu MHz"):
            return int(float(line.split(":")[1]) * 1000)
    return 2000000


def virtiofsd():
    found = next((p for p in ("/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd") if os.path.exists(p)), None)
    return found or shutil.which("virtiofsd") or sys.exit("nested: there is no virtiofsd")


class Machine:
    def __init__(self, kernel, command, limit, memory):
        self.kernel, self.command, self.limit, self.memory = os.path.abspath(kernel), command, limit, memory
        self.version = os.listdir(f"{self.kernel}/lib/modules")[0]
        self.work = tempfile.mkdtemp(prefix="nested-", dir="/var/tmp")
        self.children = []

    def start(self):
        if not os.path.exists(f"{self.kernel}/lib/modules/{self.version}/modules.dep"):
            subprocess.run(["depmod", "-b", self.kernel, self.version], check=True)
        begin = f"{self.work}/begin"
        quoted = " ".join("'" + w.replace("'", "'\\''") + "'" for w in self.command)
        with open(begin, "w") as f:
            f.write(BEGIN.format(modules=f"{self.kernel}/lib/modules/{self.version}", cwd=os.getcwd(), command=quoted))
        with open(f"{self.work}/initrd", "wb") as f:
            f.write(initramfs(self.kernel, self.version, begin))
        share = f"{self.work}/share"
        os.mkdir(f"{self.work}/root")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(share)
        listener.listen(1)
        view = f"mount --rbind / {self.work}/root && mount -o remount,ro,bind {self.work}/root && exec {virtiofsd()} --fd={listener.fileno()} -f " \
               f"-o source={self.work}/root,cache=auto --thread-pool-size=4"
        self.children.append(subprocess.Popen(["unshare", "-m", "sh", "-c", view], stdout=subprocess.DEVNULL, stderr=open(f"{self.work}/share.log", "w"),
                                              pass_fds=[listener.fileno()]))
        listener.close()
        qemu = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-M", "q35,accel=tcg", "-cpu", "max,+svm",
                "-smp", "2", "-m", str(self.memory), "-object", f"memory-backend-memfd,id=m,size={self.memory}M,share=on", "-numa", "node,memdev=m",
                "-kernel", f"{self.kernel}/boot/vmlinuz-{self.version}", "-initrd", f"{self.work}/initrd",
                "-append", f"console=ttyS0 quiet panic=-1 mitigations=off tsc_early_khz={tsc_khz()}",
                "-chardev", f"socket,id=s,path={share}", "-device", "vhost-user-fs-pci,chardev=s,tag=hostroot",
                "-chardev", f"file,id=k,path={self.work}/console", "-serial", "chardev:k",
                "-device", "virtio-serial-pci", "-chardev", "stdio,id=o,signal=off", "-device", "virtconsole,chardev=o",
                "-device", "virtio-rng-pci"]
        p = subprocess.Popen(qemu, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.children.append(p)
        return p

    def run(self):
        status, p = None, self.start()
        signal.signal(signal.SIGALRM, lambda *_: p.kill())
        signal.alarm(self.limit)
        for raw in p.stdout:
            line = raw.decode(errors="replace").rstrip("\r\n")
            end = re.fullmatch(r"nested: status (\d+)", line)
            if end:
                status = int(end[1])
            else:
                print(line, flush=True)
        p.wait()
        if status is None:
            console = [line for name in ("share.log", "console") if os.path.exists(f"{self.work}/{name}")
                       for line in open(f"{self.work}/{name}", errors="replace").read().splitlines()[-25:]]
            print("nested: the machine ended before its command did; its console's last lines:", *console, sep="\n  ", flush=True)
            return 1
        return status

    def end(self):
        for p in self.children:
            if p.poll() is None:
                p.kill()
            p.wait()
        shutil.rmtree(self.work, ignore_errors=True)


def main():
    args, limit, memory = sys.argv[1:], 480, 3072
    while args and args[0] in ("--limit", "--memory"):
        if args[0] == "--limit":
            limit = int(args[1])
        else:
            memory = int(args[1])
        args = args[2:]
    if len(args) < 2:
        sys.exit(__doc__.strip())
    machine = Machine(args[0], args[1:], limit, memory)
    try:
        return machine.run()
    finally:
        machine.end()


if __name__ == "__main__":
    sys.exit(main())
