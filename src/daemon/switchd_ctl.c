/* SPDX-License-Identifier: Apache-2.0 */
/* vswitchd's control socket: conntrack zones and cuts, and whether vswitchd still lives. */
#include "base/clock.h"
#include "daemon/switchd.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { FROZEN_MS = 2000 };

static void cut_results(struct switchd *s)
{
	struct ctcut_done d;
	while (ctcut_next(s->cut, &d)) {
		if (d.err != 0)
			log_msg(LOG_WARNING, "vswitchd: %s", d.text);
		if (d.id != 0)
			role_result(s->role, ROLE_GATE, d.id, d.err, d.n_flushed, d.text);
	}
}

static void went_silent(struct switchd *s, const char *text)
{
	s->awake = false;
	switchd_tell(s, LOG_ERROR, text);
	if (!role_send(s->role, ROLE_MAIN, IPC_SWITCH_SILENT, 0, NULL, 0, NULL, 0))
		log_msg(LOG_ERROR, "main cannot be told that vswitchd is silent");
	s->silent = true;
}

/* What the datapath still forwards is from before; gate looks at all its flows again over new connections. */
static void woke(struct switchd *s)
{
	s->awake = true;
	if (!s->silent)
		return;
	s->silent = false;
	if (ctcut_forget_megaflows(s->cut) != 0)
		log_msg(LOG_WARNING, "the datapath's flows stay until vswitchd looks at them");
	switchd_mgmt_close(s);
	switchd_tell(s, LOG_NOTICE, "ovs-vswitchd answers again; all is being restored");
}

void switchd_ctl_close(struct switchd *s)
{
	if (s->ctl == NULL)
		return;
	loop_del(s->role->loop, unixctl_fd(s->ctl));
	ctcut_lost(s->cut);
	unixctl_free(s->ctl);
	s->ctl = NULL;
	s->ctl_writing = false;
	cut_results(s);
	switchd_mgmt_close(s);
}

/* Until no answer has come and nothing can be written: an answer read here makes no event any more. */
void switchd_ctl_io(struct switchd *s)
{
	int err = 0;
	for (unsigned before = UINT32_MAX; err == 0 && s->ctl != NULL && unixctl_queued(s->ctl) != before;) {
		before = unixctl_queued(s->ctl);
		err = unixctl_io(s->ctl);
		cut_results(s);
	}
	if (err != 0) {
		switchd_ctl_close(s);
		went_silent(s, "ovs-vswitchd ended; the applications' interfaces are down until it is back");
		return;
	}
	bool writing = s->ctl != NULL && unixctl_wants_write(s->ctl);
	if (s->ctl == NULL || writing == s->ctl_writing)
		return;
	s->ctl_writing = writing;
	if (loop_mod(s->role->loop, unixctl_fd(s->ctl), EPOLLIN | (writing ? EPOLLOUT : 0), EVENT_CTL, 0) != 0)
		switchd_ctl_close(s);
}

void switchd_ctl_connected(struct switchd *s, int fd)
{
	if (unixctl_new(fd, &s->ctl) != 0) {
		close(fd);
		return;
	}
	if (loop_add(s->role->loop, fd, EPOLLIN, EVENT_CTL, 0) != 0) {
		switchd_ctl_close(s);
		return;
	}
	s->awake = s->beaten = false;
	s->beat_ms = clock_boot_ms();
	ctcut_connected(s->cut, s->ctl);
	switchd_ctl_io(s);
}

void switchd_heartbeat(struct switchd *s)
{
	int64_t now = clock_boot_ms(), since = s->ctl == NULL ? -1 : unixctl_waiting_since(s->ctl);
	if (since >= 0 && now - since >= FROZEN_MS && (s->awake || !s->silent))
		went_silent(s, "ovs-vswitchd does not answer for two seconds; the applications' interfaces are down");
	else if (since < 0 && s->ctl != NULL && s->beaten && !s->awake)
		woke(s);
	if (s->ctl == NULL || now < s->beat_ms)
		return;
	s->beat_ms = now + SWITCHD_BEAT_MS;
	if (since < 0 && ctcut_heartbeat(s->cut) != 0)
		return;
	s->beaten = true;
	switchd_ctl_io(s);
}

void switchd_zone_set(struct switchd *s, uint32_t id, const struct ipc_zone *z)
{
	int64_t now = clock_boot_ms();
	int err = z->limit == 0 ? bridge_zone_del(s->bridge, z->zone, now) : bridge_zone_add(s->bridge, z->zone, now);
	if (err != 0 && err != -ENOENT)
		log_msg(LOG_WARNING, "zone %u gets no timeouts: %s", z->zone, strerror(-err));
	err = ctcut_zone(s->cut, z, id);
	if (err != 0 && id != 0)
		role_result(s->role, ROLE_GATE, id, err, 0, "ovs-vswitchd is away");
	switchd_ctl_io(s);
}
