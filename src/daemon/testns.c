/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/testns.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

static int inner_up(bool offload, testns_inside *inside, void *arg)
{
	struct link_sock *s;
	int err = link_open(&s);
	if (err != 0)
		return err;
	err = link_set_no_ipv6_auto(s, TESTNS_LINK);
	if (err == 0)
		err = link_set_offload(TESTNS_LINK, offload);
	if (err == 0)
		err = link_set_up(s, "lo", true);
	if (err == 0)
		err = link_set_up(s, TESTNS_LINK, true);
	if (err == 0)
		err = inside(s, arg);
	link_close(s);
	return err;
}

/* Between leaving home and coming back nothing may return early. */
static int build(struct link_sock *outside, const char *port, int home, bool offload, testns_inside *inside, void *arg)
{
	if (unshare(CLONE_NEWNET) != 0)
		return -errno;
	int netns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	int err = netns < 0 ? -errno : link_add_veth(outside, port, TESTNS_LINK, netns);
	if (err == 0)
		err = inner_up(offload, inside, arg);
	if (setns(home, CLONE_NEWNET) != 0)
		_exit(70); /* in the wrong namespace every further step would do harm */
	if (netns >= 0)
		close(netns);
	return err;
}

int testns_make(struct link_sock *outside, const char *port, bool offload, testns_inside *inside, void *arg)
{
	int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (home < 0)
		return -errno;
	int err = build(outside, port, home, offload, inside, arg);
	close(home);
	if (err == 0)
		err = link_prepare(outside, port, offload);
	if (err == 0)
		err = link_set_up(outside, port, true);
	return err;
}
