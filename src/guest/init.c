/* SPDX-License-Identifier: Apache-2.0 */
/* The first process of a guest: makes the machine ready for one program, runs it, and switches the machine off. */
#include "guest/serve.h"
#include "guest/setup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <unistd.h>

enum { LAST_S = 3 };

static _Noreturn void power_off(void)
{
	/* Firecracker has no power-off, and would halt. The host ends the machine itself when it has what we said,
	 * which may still be on its way. */
	if (setup_over_vsock())
		sleep(LAST_S);
	else
		reboot(RB_POWER_OFF);
	/* A machine without power-off: the kernel's restart ends a VMM that was told not to reboot. */
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}

static int say(const char *what, int err, char *reason, size_t cap)
{
	if (err != 0)
		snprintf(reason, cap, "the guest cannot set up %s: %s", what, strerror(-err));
	return err;
}

/* Up to its greeting a machine is like any other of its size, and may have been stored then: what is one's own comes
 * after, the clock and the entropy first. */
static int prepare(int ctl, struct agent_exec *e, char *reason, size_t cap)
{
	int err = serve_greet(ctl, e);
	if (err != 0)
		return say("its control channel", err, reason, cap);
	err = say("its clock and entropy", setup_fresh(e), reason, cap);
	setup_devices();
	if (err == 0)
		err = say("its root file system", setup_root(), reason, cap);
	const char *missing;
	if (err == 0 && e->guest_user && setup_user(e, &missing) != 0) {
		snprintf(reason, cap, "the image has no user or group \"%s\"", missing);
		err = -ENOENT;
	}
	if (err == 0)
		err = say("its identity", setup_identity(e), reason, cap);
	if (err == 0)
		err = say("its shares", setup_shares(e), reason, cap);
	if (err == 0)
		err = say("its network", setup_net(e), reason, cap);
	return err;
}

/* Each further port has a process of its own, which init's last kill(-1) ends. */
static void serve_extras(int ctl, const int ports[AGENT_EXTRAS], const struct agent_exec *e)
{
	for (unsigned i = 0; i < AGENT_EXTRAS; i++) {
		if (ports[i] < 0)
			continue;
		pid_t pid = fork();
		if (pid < 0)
			fprintf(stderr, "sekisho-init: port %u: %s\n", i, strerror(errno));
		if (pid == 0) {
			close(ctl);
			for (unsigned k = 0; k < AGENT_EXTRAS; k++) {
				if (k != i && ports[k] >= 0)
					close(ports[k]);
			}
			serve_extra(ports[i], e);
		}
	}
	for (unsigned i = 0; i < AGENT_EXTRAS; i++) {
		if (ports[i] >= 0)
			close(ports[i]);
	}
}

int main(void)
{
	int err = setup_early();
	if (err != 0) {
		fprintf(stderr, "sekisho-init: first mounts: %s\n", strerror(-err));
		power_off();
	}
	int ctl = setup_control();
	if (ctl < 0) {
		fprintf(stderr, "sekisho-init: no control port: %s\n", strerror(-ctl));
		power_off();
	}
	int extras[AGENT_EXTRAS];
	for (unsigned i = 0; i < AGENT_EXTRAS; i++)
		extras[i] = setup_extra(i);
	static struct agent_exec e;
	char reason[256];
	err = prepare(ctl, &e, reason, sizeof(reason));
	if (err == -EPIPE)
		power_off();
	if (err != 0) {
		fprintf(stderr, "sekisho-init: %s\n", reason);
		serve_exit(ctl, 125, 0, reason);
	} else {
		serve_extras(ctl, extras, &e);
		serve_run(ctl, &e);
	}
	power_off();
}
