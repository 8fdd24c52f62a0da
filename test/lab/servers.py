# SPDX-License-Identifier: Apache-2.0
"""Plain services of the lab's internet, on every address of the namespace they run in, IPv4 and IPv6.

echo 7/tcp 7/udp 123/udp 5000/udp · discard 9/tcp 9/udp · chargen 19/tcp · who 79/tcp (says from whom the connection came) ·
hold 1234/tcp (accepts, says hello, then one line a tenth of a second) · game 27015/udp echo
"""
import selectors
import socket
import struct
import sys

CHUNK = bytes(range(32, 126)) * 700
TICK = 0.1


def udp_socket(port):
    """One socket for both families; answers leave from the address that was asked."""
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    s.bind(("::", port))
    s.setblocking(False)
    return s


def tcp_socket(port):
    s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.bind(("::", port))
    s.listen(1024)
    s.setblocking(False)
    return s


def udp_echo(s, _state):
    try:
        data, ancillary, _flags, peer = s.recvmsg(65535, 256)
    except OSError:
        return
    back = []
    for level, kind, value in ancillary:
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            back.append((level, kind, value[:16] + struct.pack("=I", 0)))
    try:
        s.sendmsg([data], back, 0, peer)
    except OSError:
        pass


def udp_discard(s, _state):
    try:
        s.recv(65535)
    except OSError:
        pass


class Connection:
    def __init__(self, kind):
        self.kind, self.out, self.at = kind, b"", 0


class Servers:
    def __init__(self):
        self.selector = selectors.DefaultSelector()
        self.ticking = set()
        for port in (7, 123, 5000, 27015):
            self.selector.register(udp_socket(port), selectors.EVENT_READ, (udp_echo, None))
        self.selector.register(udp_socket(9), selectors.EVENT_READ, (udp_discard, None))
        for port, kind in ((7, "echo"), (9, "discard"), (19, "chargen"), (79, "who"), (1234, "hold"), (22, "hold"), (8080, "echo")):
            self.selector.register(tcp_socket(port), selectors.EVENT_READ, (self.accept, kind))

    def accept(self, listener, kind):
        try:
            s, peer = listener.accept()
        except OSError:
            return
        s.setblocking(False)
        c = Connection(kind)
        if kind == "who":
            c.out = f"{peer[0]} {peer[1]}\n".encode()
        if kind == "hold":
            c.out = b"hello\n"
            self.ticking.add(s)
        self.selector.register(s, self.events(c), (self.serve, c))

    @staticmethod
    def events(c):
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if c.out or c.kind == "chargen" else 0)

    def close(self, s):
        self.ticking.discard(s)
        self.selector.unregister(s)
        s.close()

    def serve(self, s, c):
        try:
            self.read(s, c)
            self.write(s, c)
        except BlockingIOError:
            pass
        except OSError:
            self.close(s)
            return
        if s.fileno() >= 0:
            self.selector.modify(s, self.events(c), (self.serve, c))

    def read(self, s, c):
        try:
            data = s.recv(65536)
        except BlockingIOError:
            return
        if not data:
            raise ConnectionResetError
        if c.kind == "echo":
            c.out += data

    @staticmethod
    def write(s, c):
        if c.kind == "chargen":
            c.at = (c.at + s.send(CHUNK[c.at:])) % len(CHUNK)
        elif c.out:
            c.out = c.out[s.send(c.out):]
            if c.kind == "who" and not c.out:
                raise ConnectionResetError

    def tick(self):
        for s in list(self.ticking):
            try:
                s.send(b"tick\n")
            except BlockingIOError:
                pass
            except OSError:
                self.close(s)

    def run(self):
        import time
        due = time.monotonic() + TICK
        while True:
            for key, _events in self.selector.select(max(0, due - time.monotonic())):
                if key.fileobj.fileno() >= 0:
                    function, state = key.data
                    function(key.fileobj, state)
            if time.monotonic() >= due:
                self.tick()
                due = time.monotonic() + TICK


if __name__ == "__main__":
    servers = Servers()
    print("ready", flush=True)
    try:
        servers.run()
    except KeyboardInterrupt:
        sys.exit(0)
