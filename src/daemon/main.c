/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sekishod(8). Run without --role this is main: the one process that stays root. It makes what only root can make,
 * hands it to the roles, starts them again when they die, and takes everything back at the end. It reads nothing but
 * its configuration and the framed messages of the roles. Order at start: lock, directories, switch, names namespace,
 * control socket, roles, policy, uplink. At stop: desk first (it ends the apps with everyone's help), then the roles,
 * the uplink, the switch.
 */
#include "desk/main.h"
#include "base/clock.h"
#include "base/log.h"
#include "daemon/notify.h"
#include "daemon/roles.h"
#include "daemon/sekishod.h"
#include "daemon/setup.h"
#include "role/boot.h"

#include <errno.h>
#include <getopt.h>
#include <sekisho-paths.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SEKISHO_VERSION
#error "SEKISHO_VERSION comes from the build"
#endif

enum { STOP_PATIENCE_MS = 10000, EXIT_USAGE = 2 };

static const enum role_id start_order[] = { ROLE_SWITCHD, ROLE_RESOLVER, ROLE_GATE, ROLE_NAMES, ROLE_AUTH, ROLE_FETCH,
	ROLE_DESK };
enum { N_ROLES = sizeof(start_order) / sizeof(start_order[0]) };

static int role_start(const char *name)
{
	static int (*const mains[ROLE_COUNT])(struct role *) = {
		[ROLE_SWITCHD] = switchd_main,
		[ROLE_GATE] = gate_main,
		[ROLE_NAMES] = names_main,
		[ROLE_RESOLVER] = resolver_main,
		[ROLE_DESK] = desk_main,
		[ROLE_KEEPER] = keeper_main,
		[ROLE_AUTH] = auth_main,
	};
	for (enum role_id id = ROLE_SWITCHD; id < ROLE_COUNT; id++) {
		if (mains[id] != NULL && strcmp(name, role_name(id)) == 0)
			return role_run(id, mains[id]);
	}
	return EXIT_USAGE;
}

static int watch_child(struct sekishod *d, enum role_id role)
{
	struct child *c = &d->children[role];
	int err = loop_add(d->loop, frame_chan_fd(c->chan), EPOLLIN, (uint8_t)role, role);
	if (err == 0)
		err = loop_add(d->loop, c->pidfd, EPOLLIN, MAIN_PIDFD, role);
	return err;
}

static int start_role(struct sekishod *d, enum role_id role)
{
	struct child *c = &d->children[role];
	int err = spawn_role(role, d->conf_text, d->conf_len, c);
	if (err == 0)
		err = watch_child(d, role);
	if (err == 0)
		err = spawn_connect_all(d->children, role);
	if (err == 0)
		err = serve_start(d, role);
	if (err != 0)
		log_msg(LOG_ERROR, "cannot start %s: %s", role_name(role), strerror(-err));
	return err;
}

void main_stop(struct sekishod *d, int exit_status)
{
	if (exit_status != 0)
		d->exit_status = exit_status;
	if (d->stopping)
		return;
	d->stopping = true;
	d->stop_deadline_ms = clock_boot_ms() + STOP_PATIENCE_MS;
	notify_send("STOPPING=1");
	struct child *desk = &d->children[ROLE_DESK];
	if (desk->pid == 0 || frame_send(desk->chan, IPC_STOP, 0, NULL, 0, NULL, 0) != 0)
		d->stop_deadline_ms = clock_boot_ms();
}

static void say_end(enum role_id role, const siginfo_t *si, bool expected)
{
	if (si->si_code == CLD_EXITED && (expected || si->si_status == 0))
		log_msg(expected ? LOG_DEBUG : LOG_WARNING, "%s ended", role_name(role));
	else if (si->si_code == CLD_EXITED)
		log_msg(LOG_ERROR, "%s ended with status %d", role_name(role), si->si_status);
	else if (si->si_status == SIGSYS)
		log_msg(LOG_ERROR, "%s made a system call it may not make and was killed", role_name(role));
	else
		log_msg(LOG_ERROR, "%s was killed by signal %d", role_name(role), si->si_status);
}

static void child_ended(struct sekishod *d, enum role_id role)
{
	struct child *c = &d->children[role];
	siginfo_t si = { 0 };
	if (c->pid == 0 || waitid(P_PID, (id_t)c->pid, &si, WEXITED | WNOHANG) != 0 || si.si_pid == 0)
		return;
	bool planned = role == ROLE_RESOLVER && d->new_servers;
	d->new_servers = d->new_servers && !planned;
	say_end(role, &si, d->stopping || planned);
	loop_del(d->loop, c->pidfd);
	loop_del(d->loop, frame_chan_fd(c->chan));
	spawn_forget(c);
	if (d->stopping) {
		if (role == ROLE_DESK)
			d->stop_deadline_ms = clock_boot_ms();
		return;
	}
	if (!planned && !spawn_may_start(c, clock_boot_ms())) {
		log_msg(LOG_ERROR, "%s dies again and again; stopping, nothing passes", role_name(role));
		main_stop(d, 1);
	} else if (start_role(d, role) != 0) {
		main_stop(d, 1);
	}
}

/* Every role serves, the policy is in force, the uplink is there: only now are we ready. */
static void announce(struct sekishod *d)
{
	if (d->announced || d->stopping)
		return;
	for (unsigned i = 0; i < N_ROLES; i++) {
		if (!d->children[start_order[i]].ready)
			return;
	}
	if (!d->policy_good)
		return;
	if (!d->uplink_up && host_uplink(d) != 0) {
		main_stop(d, 1);
		return;
	}
	d->announced = true;
	log_msg(LOG_NOTICE, "ready: %s datapath, %s Open vSwitch, control socket %s/api", d->ovs.datapath_type,
		d->ovs.private ? "private" : "the host's", d->conf.run_dir);
	notify_send("READY=1");
	checks_at_start(d);
}

static void handle_channel(struct sekishod *d, const struct loop_event *ev)
{
	enum role_id role = (enum role_id)ev->ref.index;
	struct child *c = &d->children[role];
	if (c->chan == NULL || frame_chan_fd(c->chan) != ev->ref.fd)
		return;
	if ((ev->events & EPOLLOUT) && frame_flush(c->chan) == 0 && !frame_pending(c->chan) &&
		loop_mod(d->loop, ev->ref.fd, EPOLLIN, (uint8_t)role, role) != 0)
		main_stop(d, 1);
	struct frame f;
	int got;
	while (c->chan != NULL && (got = frame_recv(c->chan, &f)) > 0) {
		if (f.type == IPC_READY)
			c->ready = true;
		else
			serve_frame(d, role, &f);
		frame_close_fds(&f);
	}
	if (c->chan != NULL && got < 0) {
		/* Its end is told by the pidfd; a process that closed its channel yet lives on has gone wrong. */
		loop_del(d->loop, ev->ref.fd);
		kill(c->pid, SIGKILL);
	}
	if (c->chan != NULL && frame_pending(c->chan) &&
		loop_mod(d->loop, ev->ref.fd, EPOLLIN | EPOLLOUT, (uint8_t)role, role) != 0)
		main_stop(d, 1);
	announce(d);
}

static void handle_signal(struct sekishod *d)
{
	struct signalfd_siginfo si;
	while (read(d->signal_fd, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
		if (si.ssi_signo == SIGHUP) {
			log_msg(LOG_NOTICE, "SIGHUP: reading the policy files again");
			if (serve_policy(d, POLICY_OWN) != 0)
				log_msg(LOG_ERROR, "the policy stays as it was");
		} else {
			main_stop(d, 0);
		}
	}
}

/* libunbound has read its servers before it was confined: another list is for another process. */
static void resolv_conf_event(struct sekishod *d)
{
	struct child *c = &d->children[ROLE_RESOLVER];
	if (!resolvconf_changed(&d->resolvconf) || d->stopping || c->pid == 0 || d->new_servers)
		return;
	log_msg(LOG_NOTICE, "/etc/resolv.conf has changed: the resolver starts again with its name servers");
	d->new_servers = frame_send(c->chan, IPC_STOP, 0, NULL, 0, NULL, 0) == 0;
}

static void handle_event(struct sekishod *d, const struct loop_event *ev)
{
	if (ev->ref.type < ROLE_COUNT) {
		handle_channel(d, ev);
		return;
	}
	switch ((enum main_event)ev->ref.type) {
	case MAIN_PIDFD:
		child_ended(d, (enum role_id)ev->ref.index);
		break;
	case MAIN_SIGNAL:
		handle_signal(d);
		break;
	case MAIN_OVS_VSWITCHD:
		ports_down(d);
		host_ovs_died(d);
		break;
	case MAIN_OVS_DB:
		host_ovs_died(d);
		break;
	case MAIN_RESOLV_CONF:
		resolv_conf_event(d);
		break;
	case MAIN_VM:
		vms_event(d, ev);
		break;
	}
}

static int open_signals(struct sekishod *d)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	d->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return d->signal_fd < 0 ? -errno : loop_add(d->loop, d->signal_fd, EPOLLIN, MAIN_SIGNAL, 0);
}

static void watch_resolv_conf(struct sekishod *d)
{
	if (strcmp(d->conf.resolver, "system") != 0)
		return;
	int err = resolvconf_open(&d->resolvconf);
	if (err == 0)
		err = loop_add(d->loop, d->resolvconf.fd, EPOLLIN, MAIN_RESOLV_CONF, 0);
	if (err != 0)
		log_msg(LOG_WARNING, "changes of /etc/resolv.conf will not be seen: %s", strerror(-err));
}

static int start_all(struct sekishod *d)
{
	int err = loop_new(&d->loop);
	if (err == 0)
		err = open_signals(d);
	if (err == 0) {
		watch_resolv_conf(d);
		err = vms_new(d);
	}
	if (err == 0)
		err = setup_api(&d->conf, &d->api_fd);
	if (err == 0)
		err = host_up(d);
	int n = conf_print(&d->conf, d->conf_text, sizeof(d->conf_text));
	d->conf_len = n > 0 ? (size_t)n : 0;
	if (err == 0)
		vms_adopt(d);
	for (unsigned i = 0; err == 0 && i < N_ROLES; i++)
		err = start_role(d, start_order[i]);
	return err;
}

static void serve(struct sekishod *d)
{
	int64_t watchdog = notify_watchdog_ms(), next = clock_boot_ms() + watchdog;
	while (!d->stopping || clock_boot_ms() < d->stop_deadline_ms) {
		struct loop_event ev;
		int64_t until = d->stopping ? d->stop_deadline_ms : watchdog > 0 ? next : -1;
		if (loop_next(d->loop, until, &ev)) {
			handle_event(d, &ev);
		} else if (watchdog > 0 && clock_boot_ms() >= next) {
			notify_send("WATCHDOG=1");
			next = clock_boot_ms() + watchdog;
		}
	}
}

static void end_role(struct sekishod *d, enum role_id role, int64_t deadline_ms)
{
	struct child *c = &d->children[role];
	if (c->pid == 0)
		return;
	if (c->chan == NULL || frame_send(c->chan, IPC_STOP, 0, NULL, 0, NULL, 0) != 0)
		kill(c->pid, SIGKILL);
	struct loop *alone;
	if (loop_new(&alone) == 0 && loop_add(alone, c->pidfd, EPOLLIN, 0, 0) == 0) {
		struct loop_event ev;
		if (!loop_next(alone, deadline_ms, &ev))
			log_msg(LOG_WARNING, "%s does not end; killed", role_name(role));
		loop_free(alone);
	}
	kill(c->pid, SIGKILL);
	waitpid(c->pid, NULL, 0);
	spawn_forget(c);
}

static void stop_all(struct sekishod *d)
{
	int64_t deadline = clock_boot_ms() + 3000;
	for (unsigned i = N_ROLES; i-- > 0;)
		end_role(d, start_order[i], deadline);
	vms_free(d);
	host_down(d);
	setup_undo(&d->conf);
}

static int sekishod_run(const struct conf *conf)
{
	static struct sekishod d;
	d.conf = *conf;
	d.api_fd = d.lock_fd = d.signal_fd = d.names_netns = d.resolvconf.fd = -1;
	for (unsigned i = 0; i < ROLE_COUNT; i++)
		d.children[i].pidfd = -1;
	if (setup_dirs(conf, &d.lock_fd) != 0)
		return 1;
	if (start_all(&d) != 0)
		d.exit_status = 1;
	else
		serve(&d);
	stop_all(&d);
	loop_free(d.loop);
	return d.exit_status;
}

static void usage(FILE *to)
{
	fputs("usage: sekishod [--config FILE] [--check-config] [--version] [--help]\n"
	      "\n"
	      "The Sekisho daemon: runs in the foreground and logs to stderr.\n"
	      "  --config FILE    configuration (default " SEKISHO_SYSCONFDIR "/sekishod.conf)\n"
	      "  --check-config   read the configuration, say what is wrong, start nothing\n"
	      "  --version        print the version\n"
	      "Signals: SIGTERM stops in order, SIGHUP reads the policy files again. See sekishod(8).\n",
		to);
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "config", required_argument, NULL, 'c' },
		{ "check-config", no_argument, NULL, 'k' }, { "version", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' }, { "role", required_argument, NULL, 'r' }, { NULL, 0, NULL, 0 } };
	const char *path = SEKISHO_SYSCONFDIR "/sekishod.conf";
	bool is_default = true, check = false;
	log_open("sekishod", LOG_INFO);
	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (c == 'r')
			return role_start(optarg);
		if (c == 'c') {
			path = optarg;
			is_default = false;
		} else if (c == 'k') {
			check = true;
		} else if (c == 'v') {
			puts("sekishod " SEKISHO_VERSION);
			return 0;
		} else {
			usage(c == 'h' ? stdout : stderr);
			return c == 'h' ? 0 : EXIT_USAGE;
		}
	}
	if (optind != argc) {
		usage(stderr);
		return EXIT_USAGE;
	}
	struct conf conf;
	if (setup_conf(path, is_default, &conf) != 0)
		return 1;
	if (check)
		return 0;
	if (geteuid() != 0) {
		log_msg(LOG_ERROR, "sekishod must be started by root (it makes taps, a bridge and routes)");
		return 1;
	}
	return sekishod_run(&conf);
}
