# SPDX-License-Identifier: Apache-2.0
"""Real programs, whole, in a virtual machine."""
import sqlite3

from run import no_daemon
from test_07_vm import run_vm, vm_state
from test_09_rights import begin
from test_26_shares import place, running

# Each line: a word, then what must succeed. What they write lies in the guest's own memory.
PROGRAMS = {
    "bash": "bash -c 'for i in 1 2 3; do echo $i; done | wc -l' | grep -qx 3",
    "sed": "printf 'one\\n' >v; sed -i s/one/two/ v; grep -qx two v",
    "gcc": "python3 gen.py 500 >big.c; gcc -O0 -o big big.c; ./big | grep -qx 499",
    "git": "git init -q r; cd r; git config user.email a@example.org; git config user.name a; echo x >f; git add f; git commit -qm x; cd ..; "
           "git clone -q r s; test -f s/f",
    "python": "python3 -m venv --without-pip env; env/bin/python -c 'import ssl, sqlite3, asyncio; print(1)'",
    "perl": "perl -e 'print join(q(), map { chr } 97..99)' | grep -qx abc",
    "tar": "tar czf etc.tgz /etc/ssl 2>/dev/null; tar tzf etc.tgz >list; grep -q openssl.cnf list",
    "sqlite": "python3 -c \"import sqlite3; c=sqlite3.connect('d'); c.execute('pragma journal_mode=wal'); c.execute('create table t(x)'); "
              "c.executemany('insert into t values(?)', ((i,) for i in range(1000))); c.commit(); print(c.execute('pragma integrity_check').fetchone()[0])\""
              " | grep -qx ok",
    "openssl": "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=x -keyout k -out c 2>/dev/null; openssl verify -CAfile c c",
    "find": "test $(find /usr/bin | wc -l) -gt 300",
    "threads": "python3 -c \"import threading; ts=[threading.Thread(target=lambda: None) for _ in range(200)]; [t.start() for t in ts]; [t.join() for t in ts]\"",
}


@vm_state
def test_all(t):
    """A shell, an editor, a compiler, git, interpreters, databases: each does its work."""
    script = "cd /tmp; cat >gen.py <<'E'\nimport sys\nn=int(sys.argv[1])\nprint('#include <stdio.h>')\n" \
             "for i in range(n): print(f'static int f{i}(void) {{ return {i}; }}')\n" \
             "print('int main(void) { int x = 0;')\nfor i in range(n): print(f'x = f{i}();')\nprint('printf(\"%d\\\\n\", x); return 0; }')\nE\n"
    for name, line in PROGRAMS.items():
        script += f"(set -e; {line}) >/tmp/out.{name} 2>&1 && echo good {name} || {{ echo bad {name}; cat /tmp/out.{name}; }}\n"
    status, out, err, took = run_vm(t, "dev", "sh", "-c", script, timeout=250)
    t.say(f"{took:.0f} s")
    good = {line.split()[1] for line in out.splitlines() if line.startswith("good")}
    assert status == 0 and good == set(PROGRAMS), (set(PROGRAMS) - good, out, err)


@vm_state
@no_daemon
def test_database(t):
    """A database in a directory that is lent, written in the machine, is whole on the host."""
    begin(t)
    top = place("empty")
    code = ("import sqlite3; c = sqlite3.connect('d'); c.execute('create table t(x)'); "
            "[(c.execute('insert into t values(?)', (i,)), c.commit()) for i in range(200)]; c.close()")
    p = running(t, "--rw", top, "-w", top, "job", "--", "python3", "-c", code)
    out, err = p.communicate(timeout=120)
    assert p.returncode == 0, (out, err)
    db = sqlite3.connect(f"{top}/d")
    assert db.execute("pragma integrity_check").fetchone() == ("ok",) and db.execute("select count(*), sum(x) from t").fetchone() == (200, 19900)
    db.close()
