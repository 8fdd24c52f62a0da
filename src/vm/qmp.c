/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/qmp.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

static int say(int fd, const char *json)
{
	if (fd < 0)
		return -EPIPE;
	/* A few short commands in a VM's life: they fit the socket, or the VMM is not listening. */
	ssize_t n = send(fd, json, strlen(json), MSG_NOSIGNAL | MSG_DONTWAIT);
	return n == (ssize_t)strlen(json) ? 0 : n < 0 ? -errno : -EIO;
}

int vm_qmp_begin(int fd)
{
	return say(fd, "{\"execute\":\"qmp_capabilities\"}\n");
}

int vm_qmp_quit(int fd)
{
	return say(fd, "{\"execute\":\"quit\"}\n");
}

int vm_qmp_pause(struct vm_qmp *q, int fd, bool pause)
{
	if (q->pause == VM_PAUSE_ASKED)
		return -EBUSY;
	int err = say(fd,
		pause ? "{\"execute\":\"stop\",\"id\":\"pause\"}\n" : "{\"execute\":\"cont\",\"id\":\"pause\"}\n");
	if (err == 0)
		q->pause = VM_PAUSE_ASKED;
	return err;
}

bool vm_qmp_paused(struct vm_qmp *q, int *ret_err)
{
	if (q->pause != VM_PAUSE_ANSWERED)
		return false;
	q->pause = VM_PAUSE_NONE;
	*ret_err = q->pause_err;
	return true;
}

static void answered(struct vm_qmp *q, int err)
{
	if (q->pause != VM_PAUSE_ASKED)
		return;
	q->pause = VM_PAUSE_ANSWERED;
	q->pause_err = err;
}

/* Greeting, events and the answers of other commands are not needed: what matters shows on the other channels. */
static void line_ended(struct vm_qmp *q)
{
	q->line[q->len] = '\0';
	if (strstr(q->line, "\"id\": \"pause\"") != NULL)
		answered(q, strstr(q->line, "\"error\"") == NULL ? 0 : -EIO);
	q->len = 0;
}

void vm_qmp_take(struct vm_qmp *q, const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (p[i] == '\n')
			line_ended(q);
		else if (q->len < sizeof(q->line) - 1)
			q->line[q->len++] = p[i];
	}
}

void vm_qmp_lost(struct vm_qmp *q)
{
	answered(q, -EPIPE);
}
