#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Real boots: what a program in a VM sees and says, what the host tree keeps, what the VMM's processes may. Needs root; fetches the
# guest's kernel once into SEKISHO_TEST_STATE (default /var/cache/sekisho-test).
# usage: boot.sh VMTRY INIT FETCH
set -u
vmtry=$1 init=$2 fetch=$3
[ "$(id -u)" = 0 ] || { echo "needs root"; exit 77; }
state=${SEKISHO_TEST_STATE:-/var/cache/sekisho-test}
mkdir -p "$state" && sh "$fetch" "$state" || exit 1
tmp=$(mktemp -d /tmp/vmt-XXXXXX)
ns=vmt-$$
passed=0 failed=0 pid=
finish() {
	[ -z "$pid" ] || kill "$pid" 2>/dev/null
	ip netns del "$ns" 2>/dev/null
	rm -rf "$tmp" /usr/sekisho-was-here
}
trap finish EXIT
trap 'exit 1' INT TERM HUP

ok() { # ok WHAT CONDITION...
	what=$1
	shift
	if "$@"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAILED: $what"
		sed 's/^/    out: /' "$tmp/out" | head -n 20
		sed 's/^/    err: /' "$tmp/err" | head -n 20
	fi
}
run() { # run OPTIONS... -- COMMAND...: leaves out, err, rc
	opts=
	while [ "$1" != -- ]; do
		opts="$opts $1"
		shift
	done
	rc=0
	timeout 200 "$vmtry" $opts "$state" "$init" "$@" >"$tmp/out" 2>"$tmp/err" || rc=$?
}
has() { grep -q -- "$1" "$tmp/$2"; }
lacks() { ! grep -q -- "$1" "$tmp/$2"; }

run -- sh -c 'echo to-out; echo to-err >&2; id -u; echo $USER; pwd; hostname; exit 42' </dev/null
ok "exit status 42" [ $rc = 42 ]
ok "stdout" has '^to-out$' out
ok "stderr apart" has '^to-err$' err
ok "stderr not in stdout" lacks to-err out
ok "the user's uid" has '^1000$' out
ok "the user's name" has '^person$' out
ok "home is the working directory" has '^/home/person$' out
ok "host name" has '^vmtry$' out

run -- true </dev/null
ok "exit status 0" [ $rc = 0 ]
run -- false </dev/null
ok "exit status 1" [ $rc = 1 ]
run -- sh -c 'kill -KILL $$' </dev/null
ok "killed: 128 + 9" [ $rc = 137 ]
run -- /no/such/program </dev/null
ok "not found: 127" [ $rc = 127 ]
ok "and says what" has 'cannot run /no/such/program' err
run -- /etc/passwd </dev/null
ok "not executable: 126" [ $rc = 126 ]

head -c 10485760 /dev/urandom >"$tmp/big"
run -- cat <"$tmp/big"
ok "10 MiB through stdin and stdout, intact" cmp -s "$tmp/big" "$tmp/out"
run -- sh -c 'sleep 1000 & echo started' </dev/null
ok "what a program leaves behind does not hold its end" [ $rc = 0 ]

: >"$tmp/err"
# The shell is named, since script takes it from the environment; --foreground, or the VM's terminal belongs to a group it is not in.
printf 'hello\n' | SHELL=/bin/sh script -qec "stty rows 33 cols 101; timeout --foreground 200 $vmtry -t $state $init -- sh -c 'stty size; read x; echo \"<\$x>\"; tty; exit 3'" /dev/null \
	>"$tmp/out" 2>&1
rc=$?
ok "tty: window size" has '33 101' out
ok "tty: input" has '<hello>' out
ok "tty: a pty" has '/dev/pts/0' out
ok "tty: exit status" [ $rc = 3 ]

# The host tree against guest root.
run -u 0 -- sh -c '
	echo overlay >/usr/sekisho-was-here && echo wrote-overlay
	mkdir /mnt/low && mount -t virtiofs hostroot /mnt/low && echo mounted-again
	mount -o remount,rw /mnt/low; mount -o remount,rw,bind /mnt/low
	touch /mnt/low/usr/sekisho-was-here && echo WROTE-HOST
	touch /mnt/low/etc/sekisho-was-here && echo WROTE-HOST
	mkdir /mnt/low/x && echo WROTE-HOST
	mv /mnt/low/usr/bin/true /mnt/low/usr/bin/true2 && echo WROTE-HOST
	chmod 777 /mnt/low/etc/passwd && echo WROTE-HOST
	mknod /mnt/low/usr/sda b 8 0 && echo WROTE-HOST
	cat /etc/shadow /mnt/low/etc/shadow && echo READ-SECRET
	cat /mnt/low/etc/machine-id && echo READ-SECRET
	[ "$(wc -c </etc/machine-id)" = 33 ] && echo id-of-its-own
	ls /mnt/low/root /mnt/low/home /mnt/low/proc /mnt/low/run /mnt/low/var && echo SAW-HOST
	ls /mnt/low/../.. | grep -q jail && echo ESCAPED
	find /mnt/low/etc -type f ! -perm -o=r -exec head -c1 {} \; 2>/dev/null | grep -q . && echo READ-PRIVATE
	exit 0' </dev/null
ok "guest root writes its overlay" has wrote-overlay out
ok "guest root mounts the share again" has mounted-again out
ok "and cannot write the host" lacks WROTE-HOST out
ok "nothing was written" [ ! -e /usr/sekisho-was-here ]
ok "no secret is read" lacks READ-SECRET out
ok "a machine-id of its own" has id-of-its-own out
ok "nor a file closed to others" lacks READ-PRIVATE out
ok "nor another tree seen" lacks 'SAW-HOST\|ESCAPED' out

# The processes' jails, while the guest runs.
mkfifo "$tmp/in"
exec 9<>"$tmp/in"
timeout 200 "$vmtry" -v "$state" "$init" -- sh -c 'echo up; read x' <"$tmp/in" >"$tmp/out" 2>"$tmp/err" &
pid=$!
n=0
while [ $n -lt 1200 ] && ! grep -q up "$tmp/out"; do
	n=$((n + 1))
	sleep 0.1
done
vmm=$(sed -n 's/.*vmm \([0-9]*\), share .*/\1/p' "$tmp/err")
share=$(sed -n 's/.*share \([0-9]*\)$/\1/p' "$tmp/err")
field() { sed -n "s/^$2:[[:space:]]*//p" "/proc/$1/status" | tr -s '\t ' ' '; }
for p in $vmm $share; do
	ok "$p: own uid" [ "$(field $p Uid | cut -d' ' -f1)" -ge 2000000000 ]
	ok "$p: no new privileges" [ "$(field $p NoNewPrivs)" = 1 ]
	ok "$p: seccomp" [ "$(field $p Seccomp)" = 2 ]
	for n in user net mnt pid ipc uts; do
		ok "$p: own $n namespace" [ "$(readlink /proc/$p/ns/$n)" != "$(readlink /proc/self/ns/$n)" ]
	done
	ok "$p: empty network" [ "$(nsenter -t $p -n ip -o link | grep -cv ' lo:')" = 0 ]
	ok "$p: no way to the host's files" [ ! -e "/proc/$p/root/root" ]
	ok "$p: its root is read-only" sh -c "! touch /proc/$p/root/x 2>/dev/null"
done
ok "vmm and share differ" [ "$(field $vmm Uid)" != "$(field $share Uid)" ]
ok "vmm: no capability" [ "$(field $vmm CapEff)$(field $vmm CapPrm)$(field $vmm CapBnd)$(field $vmm CapAmb)" = "$(printf '%064d' 0)" ]
ok "share: CAP_FOWNER at most, in its own user namespace" [ "$(field $share CapEff)" = 0000000000000008 ]
echo >&9
wait "$pid"
exec 9>&-
pid=

# The NIC: static addresses of both families, through a tap in a namespace of ours.
ip netns add "$ns"
ip netns exec "$ns" sh -c "ip link set lo up; ip tuntap add vmt0 mode tap vnet_hdr; ip addr add 192.0.2.1/30 dev vmt0
	ip addr add 2001:db8::1/64 dev vmt0 nodad; ip link set vmt0 up"
rc=0
ip netns exec "$ns" sh -c 'sysctl -qw net.ipv6.conf.vmt0.disable_ipv6=0' 2>/dev/null
ip netns exec "$ns" timeout 200 "$vmtry" -u 0 -T vmt0 "$state" "$init" -- sh -c \
	'ip -o addr show dev eth0; ip route; ip -6 route; cat /etc/resolv.conf; busybox ping -c2 -W2 192.0.2.1' </dev/null >"$tmp/out" 2>"$tmp/err" || rc=$?
ok "IPv4 address" has '192.0.2.2/30' out
ok "IPv4 gateway" has 'default via 192.0.2.1' out
ok "IPv6 address" has '2001:db8::2/64' out
ok "IPv6 gateway" has 'default via 2001:db8::1' out
ok "resolver" has 'nameserver 192.0.2.1' out
ok "ping the gateway" [ $rc = 0 ]

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
