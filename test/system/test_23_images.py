# SPDX-License-Identifier: Apache-2.0
"""Block roots: images of OCI, prepared, run, kept; hostile ones."""
import os
import shutil
import subprocess
import tarfile
import time

import images
import sandbox
from images import Layer
from lab import LAB, build_dir, sh, wait_until
from product import STATE_DIR, environment, processes_named, sekisho, sekisho_json
from run import no_daemon
from test_07_vm import run_vm, vm_state
from test_09_rights import begin
from test_16_profiles import profile

PLACE = f"{LAB}/images"


def with_images(function):
    """In a cache of the test's own, empty."""
    def wrapped(t):
        shutil.rmtree(PLACE, ignore_errors=True)
        os.makedirs(PLACE)
        os.environ.update(SEKISHO_IMAGES=f"{PLACE}/cache", SEKISHO_LAYERS=f"{PLACE}/layers")
        try:
            function(t)
        finally:
            del os.environ["SEKISHO_IMAGES"], os.environ["SEKISHO_LAYERS"]
            shutil.rmtree(PLACE)
    wrapped.__name__, wrapped.__doc__ = function.__name__, function.__doc__
    wrapped.__dict__.update(function.__dict__)
    return wrapped


def archive(name="bb", **members):
    return "docker-archive:" + images.docker_archive(f"{PLACE}/{name}.tar", [images.busybox_layer().done()], **members)


@with_images
@vm_state
def test_run_as_it_says(t):
    """An image runs unmodified as its configuration says: entry point, command, environment, user with his groups, directory; its files have
    their owners; its names are resolved and its packets judged like any."""
    source = archive(Entrypoint=["/bin/sh", "-c"], Cmd=["id; pwd; echo $A; cat page; stat -c %a:%u:%g /bin/special; wget -qO- http://www.example.org/ | wc -c; echo no >/bin/x"],
                     Env=["A=said", "PATH=/bin"], User="www", WorkingDir="/srv")
    t.rule("allow img to www.example.org port 80/tcp")
    t.script.app("img", *t.vm_addresses)
    status, out, err = sekisho("run", "--image", source, "--ephemeral", "img", check=False, timeout=120)
    lines = out.splitlines()
    assert status == 1 and lines[:5] == ["uid=33(www) gid=33(www) groups=29(audio),33(www)", "/srv", "said", "the page", "4755:33:0"], (status, out, err)
    assert int(lines[5]) > 10 and "Permission denied" in err, (out, err)
    assert len(sekisho_json("image", "ls")) == 1


@with_images
@vm_state
def test_layer_is_kept(t):
    """What is written is there in the next run, root may write anywhere, and reset forgets it; a command behind -- replaces the image's. With
    --ephemeral nothing is seen of it, and nothing kept."""
    source = archive(Cmd=["/bin/false"], Env=["PATH=/bin"])
    options = ("--image", source)
    status, out, err, _ = run_vm(t, "keep", "sh", "-c", "echo kept >/etc/new; mv /srv /moved; echo $B", options=(*options, "-e", "B=given"))
    assert (status, out) == (0, "given\n"), (status, out, err)
    assert run_vm(t, "keep", "sh", "-c", "cat /etc/new && exit 5; touch /ephemeral", options=(*options, "--ephemeral"))[0] == 0
    status, out, err, _ = run_vm(t, "keep", "sh", "-c", "cat /etc/new /moved/page; ls /ephemeral", options=options)
    assert status == 1 and out == "kept\nthe page\n", (status, out, err)
    sekisho("image", "reset", "keep")
    assert sekisho("image", "reset", "keep", check=False)[0] == 3


@with_images
def test_cache(t):
    """A prepared image is found again until its source changes, under its number too; one whose file changed is not used; the least used go
    first; rm and prune remove."""
    one, two = archive("one", Cmd=["/bin/sh"]), archive("two", Cmd=["/bin/id"])
    ids = [sekisho("image", "prepare", source).strip() for source in (one, two)]
    shown = {e["image"][:12]: e for e in sekisho_json("image", "ls")}
    assert set(shown) == set(ids) and shown[ids[0]]["sources"] == [one] and shown[ids[0]]["config"]["cmd"] == ["/bin/sh"], shown
    images.docker_archive(one.split(":")[1], [images.busybox_layer().done()], Cmd=["/bin/other"])
    status, _, err = sekisho("image", "rm", one, check=False)
    assert status == 3 and "no prepared image" in err, err
    path = f"{PLACE}/cache/{shown[ids[0]]['image']}.erofs"
    os.chmod(path, 0o600)
    with open(path, "r+b") as f:
        f.seek(70000)
        f.write(b"x")
    status, _, err = sekisho("run", "--image", ids[0], "img", check=False)
    assert status == 125 and "not the file that was prepared" in err, (status, err)
    assert [e["image"][:12] for e in sekisho_json("image", "ls")] == [ids[1]]
    os.makedirs(f"{PLACE}/cache/.prepare.killed/out")
    sekisho("image", "prune")
    assert os.listdir(f"{PLACE}/cache") == []
    status, _, err = sekisho("image", "rm", "../../x", check=False)
    assert status == 2 and "is no image" in err, err
    assert sekisho("run", "--image", one, "../x", check=False)[0] == 125


def unpacked(source, name):
    """The files of a prepared image, taken out of it: (path, lstat) by name."""
    image = sekisho("image", "prepare", "--space", "64", source)
    found = [e["image"] for e in sekisho_json("image", "ls") if e["image"].startswith(image.strip())]
    target = f"{PLACE}/{name}.out"
    sh("fsck.erofs", f"--extract={target}", f"{PLACE}/cache/{found[0]}.erofs")
    return {os.path.relpath(os.path.join(folder, f), target): os.lstat(os.path.join(folder, f)) for folder, dirs, files in os.walk(target) for f in files + dirs}


def hostile(name, *layers):
    return "docker-archive:" + images.docker_archive(f"{PLACE}/{name}.tar", [one.done() for one in layers], Cmd=["/x"])


@with_images
def test_hostile_images(t):
    """Paths and links that lead out stay inside; device nodes are no devices; what is too large, too much or no image is refused, and nothing of
    it stays."""
    leads = f"{PLACE}/cache"
    seen = unpacked(hostile("paths", Layer().add(f"../../../..{leads}/pwned", data=b"x").add(f"{leads}/pwned2", data=b"x").add("../../out/pwned3")), "paths")
    assert f"{leads}/pwned"[1:] in seen and f"{leads}/pwned2"[1:] in seen and "out/pwned3" in seen, seen
    link = Layer().add("d", tarfile.SYMTYPE, link=leads).add("e", tarfile.SYMTYPE, link="../../../../../out")
    unpacked(hostile("links", link, Layer().add("d/pwned", data=b"x").add("e/pwned", data=b"x")), "links")
    seen = unpacked(hostile("nodes", Layer().add("disk", tarfile.BLKTYPE, device=(8, 0), mode=0o666).add("su", data=b"x", mode=0o4755, uid=1234)), "nodes")
    assert seen["disk"].st_rdev == 0 and seen["su"].st_uid == 1234, seen
    assert not [f for _, _, files in os.walk(leads) for f in files if "pwned" in f], "a file got out"
    hundreds = Layer().add("zeros", size=100 << 20)
    broken = images.oci_layout(f"{PLACE}/broken", [images.busybox_layer().done()], Cmd=["/x"])
    blob = max((f"{broken}/blobs/sha256/{f}" for f in os.listdir(f"{broken}/blobs/sha256")), key=os.path.getsize)
    with open(blob, "r+b") as f:
        f.seek(1000)
        f.write(b"another")
    with open(f"{PLACE}/garbage", "wb") as f:
        f.write(os.urandom(10000))
    before = sorted(os.listdir(leads))
    for source, words in ((hostile("large", hundreds), "does not fit into the 64 MiB"), (f"oci:{broken}:one", "it cannot be read"),
                          (f"docker-archive:{PLACE}/garbage", "it cannot be read"), (f"docker-archive:{PLACE}/none", "No such file"),
                          (hostile("hard", Layer().add("h", tarfile.LNKTYPE, link="/proc/self/mem")), "cannot be unpacked"),
                          (hostile("user", Layer().add("u", uid=3000000000)), "cannot be unpacked")):
        status, _, err = sekisho("image", "prepare", "--space", "64", source, check=False)
        assert status in (1, 3) and words in err, (source, status, err)
    assert sorted(os.listdir(leads)) == before


@with_images
def test_registry(t):
    """A registry's image is fetched over TLS by the person's own process, and not asked about again until it is prepared again."""
    sh("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost",
       "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", f"{PLACE}/key", "-out", f"{PLACE}/cert")
    with open(f"{PLACE}/registry.yml", "w", encoding="ascii") as f:
        f.write(f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {PLACE}/registry}}}}\n"
                f"http: {{addr: '127.0.0.1:5443', tls: {{certificate: {PLACE}/cert, key: {PLACE}/key}}}}\n")
    with open(f"{PLACE}/registry.log", "w", encoding="ascii") as log:
        p = subprocess.Popen(["docker-registry", "serve", f"{PLACE}/registry.yml"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    t.processes.append(p)
    layout = images.oci_layout(f"{PLACE}/oci", [images.busybox_layer().done()], Cmd=["/bin/sh"])
    os.environ["SSL_CERT_FILE"] = f"{PLACE}/cert"
    try:
        wait_until(lambda: subprocess.run(["curl", "-s", "https://localhost:5443/v2/", "--cacert", f"{PLACE}/cert"], stdout=subprocess.DEVNULL,
                                          env=environment(), check=False).returncode == 0, 30, "the registry answers")
        sh("skopeo", "--insecure-policy", "copy", "--quiet", f"oci:{layout}:one", "docker://localhost:5443/lab/one:1")
        source = "docker://localhost:5443/lab/one:1"
        image = sekisho("image", "prepare", source)
        status, _, err = sekisho("image", "prepare", "docker://localhost:5443/lab/none:1", check=False)
        assert status == 1 and "cannot be fetched" in err, err
        p.terminate()
        p.wait(20)
        assert [e["sources"] for e in sekisho_json("image", "ls")] == [[source]]
        assert sekisho("image", "rm", source) == "" and image
    finally:
        del os.environ["SSL_CERT_FILE"]


@with_images
@vm_state
@no_daemon
def test_profile(t):
    """A profile's image is prepared by whoever starts the application, and its command takes the place of the image's."""
    profile("img", f"users = root\nimage = {archive(Cmd=['/bin/false'], Env=['PATH=/bin'])}\ncommand = cat page\n")
    begin(t)
    status, out, err = sekisho("run", "--ephemeral", "--user", "www:29", "img", check=False, timeout=120)
    assert (status, out) == (1, "") and "page" in err, (status, out, err)
    status, out, err = sekisho("run", "--ephemeral", "--user", "none", "img", "--", "id", check=False, timeout=120)
    assert status == 125 and 'no user or group "none"' in err, (status, out, err)


def cold_and_stored(t, *options):
    """A machine of this shape has booted, and another was stored behind it."""
    before = t.daemon.count("start warm from now on")
    status, out, err, took = run_vm(t, "img", "true", options=options)
    assert status == 0, (out, err)
    wait_until(lambda: t.daemon.count("start warm from now on") > before and not processes_named("qemu-system"), 60, f"it is stored: {t.daemon.tail()}")
    return took


def resumed():
    """-> of each VMM whether it began as a stored machine"""
    return ["-incoming" in open(f"/proc/{pid}/cmdline").read().split("\0") for pid in processes_named("qemu-system")]


TELL = ("head -c 16 /dev/urandom | od -An -tx1; cat /proc/sys/kernel/random/uuid /proc/sys/kernel/random/boot_id /etc/machine-id; "
        "hostname; date +%s; ip addr show eth0")


@with_images
@vm_state
@no_daemon
def test_warm(t):
    """The second start of a shape resumes a stored machine. Two from the same one have other random numbers, ids, names, addresses, the
    right time; their names are resolved and their packets judged as of any. With a layer it is another shape."""
    begin(t)
    source = archive(Env=["PATH=/bin"])
    cold = cold_and_stored(t, "--image", source, "--ephemeral")
    began = time.time()
    for name in ("img", "one", "two"):  # the witness takes all guests' addresses for those of the first
        t.rule(f"allow {name} to www.example.org port 80/tcp")
    for name in ("one", "two"):
        t.script.app(name, *t.vm_addresses)
        sekisho("run", "--detach", "--image", source, "--ephemeral", name, "--", "sleep", "600")
    assert resumed() == [True, True]
    told = [sekisho("exec", name, "--", "sh", "-c", TELL).splitlines() for name in ("one", "two")]
    for i, what in enumerate(("random", "uuid", "boot id", "machine-id", "host name")):
        assert told[0][i] != told[1][i] and len(told[0][i]) > 2, (what, told)
    apps = {a["app"]: a for a in sekisho_json("ps")}
    for name, lines in zip(("one", "two"), told):
        assert began - 1 <= int(lines[5]) <= time.time() + 1, lines
        text = "\n".join(lines)
        assert apps[name]["mac"] in text and apps[name]["ipv4"] in text and apps[name]["ipv6"] in text, (apps[name], text)
        assert "Welcome" in sekisho("exec", name, "--", "wget", "-qO-", "http://www.example.org/"), name
        sekisho("stop", name)
    wait_until(lambda: sekisho_json("ps") == [], 20, "both have ended")
    status, out, err, warm = run_vm(t, "img", "echo", "hello", options=("--image", source, "--ephemeral"))
    assert (status, out) == (0, "hello\n"), (out, err)
    t.say(f"cold {cold:.2f} s, warm {warm:.2f} s")
    cold_and_stored(t, "--image", source)
    status, out, err, _ = run_vm(t, "img", "sh", "-c", "echo kept >/kept", options=("--image", source))
    assert status == 0, err
    assert run_vm(t, "img", "cat", "/kept", options=("--image", source))[1] == "kept\n"


def pss_mib(pid):
    lines = open(f"/proc/{pid}/smaps_rollup").read().splitlines()
    return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) / 1024


@with_images
@vm_state
@no_daemon
def test_twenty(t):
    """Twenty applications started at once, each with its own address, run and answer; what is ours of each is small; each stops at once."""
    begin(t)
    source = archive(Env=["PATH=/bin"])
    options = ("--image", source, "--ephemeral", "--memory", "128")
    cold_and_stored(t, *options)
    names = [f"a{i}" for i in range(20)]
    began = time.monotonic()
    starts = [t.processes.append(p) or p for p in
              [subprocess.Popen([f"{build_dir()}/sekisho", "run", "--detach", *options, name, "--", "sleep", "600"], env=environment(), stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE) for name in names]]
    for p in starts:
        _out, err = p.communicate(timeout=120)
        assert p.returncode == 0, err
    took = time.monotonic() - began
    apps = sekisho_json("ps")
    assert sorted(a["app"] for a in apps) == sorted(names) and all(a["state"] == "running" for a in apps), apps
    assert all(resumed()) and len({a["ipv4"] for a in apps}) == len({a["mac"] for a in apps}) == 20
    assert sekisho("exec", "a7", "--", "hostname").strip() == "a7"
    ours = sum(pss_mib(p) for p in t.daemon.role_pids("keeper")) / 20
    began = time.monotonic()
    sekisho("stop", "a7")
    wait_until(lambda: "a7" not in [a["app"] for a in sekisho_json("ps")], 20, "it has stopped")
    t.say(f"all run after {took:.1f} s; {ours:.1f} MiB of ours each; stopped in {time.monotonic() - began:.2f} s")
    assert ours < 8
    for name in names:
        if name != "a7":
            sekisho("stop", name)
    wait_until(lambda: sekisho_json("ps") == [] and not processes_named("qemu-system"), 60, "all have ended")


@with_images
@vm_state
@no_daemon
def test_warm_damaged(t):
    """A stored machine that is no more what it was starts nothing, is forgotten, and the next one boots. What another boot of the computer or other
    programs stored is not taken. A daemon that stops while one is stored leaves none half done."""
    begin(t)
    source = archive(Env=["PATH=/bin"])
    options = ("--image", source, "--ephemeral")
    cold_and_stored(t, *options)
    stored = [f"{STATE_DIR}/warm/{name}" for name in os.listdir(f"{STATE_DIR}/warm")]
    machine, key = sorted(stored, key=lambda n: n.endswith(".key"))
    with open(machine, "r+b") as f:
        f.truncate(1 << 20)
    status, _out, err, _ = run_vm(t, "img", "true", options=options)
    assert status == 125, err
    wait_until(lambda: not os.path.exists(machine), 10, "it is forgotten")
    assert run_vm(t, "img", "true", options=options)[0] == 0
    t.daemon.stop()
    t.daemon.start()
    cold_and_stored(t, *options)
    text = open(key).read()
    with open(key, "w") as f:
        f.write(text.replace(text.split()[1], "00000000-0000-0000-0000-000000000000"))
    t.script.app("img", *t.vm_addresses)
    sekisho("run", "--detach", *options, "img", "--", "sleep", "600")
    wait_until(lambda: len(processes_named("qemu-system")) == 2, 30, "another is being stored")
    assert resumed() == [False, False]
    assert t.daemon.stop() == 0
    assert not processes_named("qemu-system") and not os.path.exists(key)


@with_images
@vm_state
def test_lent(t):
    """A directory of the owner's is lent to an image as to the host's directories; the machine boots, for a stored one serves no files."""
    top = "/srv/image-lent"
    if not os.path.ismount("/srv"):
        sandbox.mount("lent", "/srv", "tmpfs", data="mode=0755")
    os.makedirs(top, exist_ok=True)
    options = ("--image", archive(), "--user", "root", "--rw", top)
    status, out, err, _ = run_vm(t, "lent", "sh", "-c", f"echo x >{top}/new; ls -ln {top}", options=options)
    assert status == 0 and " 0 " in out, (status, out, err)
    with open(f"{top}/new") as f:
        assert f.read() == "x\n"
