#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs TEST against an Open vSwitch of its own (userspace datapath) in a network namespace of its own.
# Needs root; exit 77: skipped.
# usage: live.sh TEST
set -eu
[ "$(id -u)" = 0 ] || { echo "live: needs root"; exit 77; }
if [ "${OFP_LIVE_INSIDE:-}" != 1 ]; then
	OFP_LIVE_INSIDE=1 exec unshare --net -- "$0" "$@"
fi
dir=$(mktemp -d /tmp/ofp-live.XXXXXX)
finish() {
	for daemon in vswitchd ovsdb; do
		[ -f "$dir/$daemon.pid" ] && kill "$(cat "$dir/$daemon.pid")" 2>/dev/null || true
	done
	rm -rf "$dir"
}
trap finish EXIT INT TERM
export OVS_RUNDIR="$dir" OVS_LOGDIR="$dir" OVS_DBDIR="$dir"
ip link set lo up
for port in g u; do
	ip link add "$port" mtu 9000 type veth peer name "s$port" mtu 9000
	sysctl -qw "net.ipv6.conf.$port.disable_ipv6=1" "net.ipv6.conf.s$port.disable_ipv6=1"
	ip link set "$port" up
	ip link set "s$port" up
done
ovsdb-tool create "$dir/conf.db" /usr/share/openvswitch/vswitch.ovsschema
ovsdb-server "$dir/conf.db" --remote="punix:$dir/db.sock" --pidfile="$dir/ovsdb.pid" --detach --no-chdir \
	--log-file="$dir/ovsdb.log" -vconsole:off
ovs-vsctl --db="unix:$dir/db.sock" --no-wait init
ovs-vswitchd "unix:$dir/db.sock" --pidfile="$dir/vswitchd.pid" --detach --no-chdir \
	--log-file="$dir/vswitchd.log" -vconsole:off
ovs-vsctl --db="unix:$dir/db.sock" --timeout=60 add-br br0 \
	-- set bridge br0 datapath_type=netdev fail_mode=secure protocols=OpenFlow15 other_config:disable-in-band=true \
	-- add-port br0 sg -- set interface sg ofport_request=1 -- add-port br0 su -- set interface su ofport_request=2
"$1" "$dir/br0.mgmt"
