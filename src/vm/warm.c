/* SPDX-License-Identifier: Apache-2.0 */
/* The dialogue with a machine that is being stored, or tried. Its guest runs nothing but our own first process. */
#include "vm/warm.h"

#include "agent/exec.h"
#include "agent/session.h"
#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 65536, TRY_MS = 10000, ASK_EVERY_MS = 10 };

/* 0: something is to be read. */
static int await(int fd, int64_t until_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int64_t left = until_ms - clock_boot_ms();
	int n = left <= 0 ? 0 : poll(&p, 1, (int)left);
	return n > 0 ? 0 : n == 0 ? -ETIMEDOUT : -errno;
}

/* Reads the guest's frames up to one of this type. */
static int await_frame(int ctl, struct agent_in *in, enum agent_type type, int64_t until_ms)
{
	uint8_t buf[256];
	for (;;) {
		int err = await(ctl, until_ms);
		if (err != 0)
			return err;
		ssize_t n = read(ctl, buf, sizeof(buf));
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EPIPE;
		const uint8_t *p = buf;
		size_t len = (size_t)n;
		struct agent_frame f;
		for (int got; (got = agent_in_take(in, &p, &len, &f)) != 0;) {
			if (got < 0)
				return -EPROTO;
			if (f.type == type)
				return 0;
		}
	}
}

/* A command, with a descriptor for it where there is one. */
static int say(int qmp, const char *json, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec v = { .iov_base = (void *)(uintptr_t)json, .iov_len = strlen(json) };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	if (fd >= 0) {
		m.msg_control = control;
		m.msg_controllen = sizeof(control);
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	ssize_t n = sendmsg(qmp, &m, MSG_NOSIGNAL);
	return n == (ssize_t)v.iov_len ? 0 : n < 0 ? -errno : -EIO;
}

/* The answer to the last command, which events may precede. */
static int answer(int qmp, char line[LINE_MAX_BYTES], int64_t until_ms)
{
	size_t len = 0;
	for (;;) {
		int err = await(qmp, until_ms);
		if (err != 0)
			return err;
		ssize_t n = read(qmp, line + len, 1);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EPIPE;
		if (line[len] != '\n') {
			if (++len == LINE_MAX_BYTES - 1)
				return -EMSGSIZE;
			continue;
		}
		line[len] = '\0';
		len = 0;
		if (strstr(line, "\"error\"") != NULL)
			return -EREMOTEIO;
		if (strncmp(line, "{\"return\"", 9) == 0)
			return 0;
	}
}

static int migrate(int qmp, int file, char *line, int64_t until_ms)
{
	static const struct {
		const char *text;
		bool with_file;
	} first[] = { { "{\"execute\":\"qmp_capabilities\"}\n", false },
		/* Nobody waits for it to be slow. */
		{ "{\"execute\":\"migrate-set-parameters\",\"arguments\":{\"max-bandwidth\":4294967296}}\n", false },
		{ "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"out\"}}\n", true },
		{ "{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"fd:out\"}}\n", false } };
	int err = 0;
	for (size_t i = 0; err == 0 && i < sizeof(first) / sizeof(*first); i++) {
		err = say(qmp, first[i].text, first[i].with_file ? file : -1);
		if (err == 0)
			err = answer(qmp, line, until_ms);
	}
	while (err == 0) {
		err = say(qmp, "{\"execute\":\"query-migrate\"}\n", -1);
		if (err == 0)
			err = answer(qmp, line, until_ms);
		if (err == 0 && strstr(line, "\"completed\"") != NULL)
			return 0;
		if (err == 0 && (strstr(line, "\"failed\"") != NULL || strstr(line, "\"cancelled\"") != NULL))
			err = -EIO;
		if (err == 0)
			(void)!poll(NULL, 0, ASK_EVERY_MS);
	}
	return err;
}

int vm_warm_store(int ctl, int qmp, int file)
{
	struct agent_in *in = calloc(1, sizeof(*in));
	char *line = malloc(LINE_MAX_BYTES);
	int err = in == NULL || line == NULL ? -ENOMEM : 0;
	if (err == 0)
		err = await_frame(ctl, in, AGENT_HELLO, clock_boot_ms() + VM_WARM_BOOT_MS);
	if (err == 0)
		err = migrate(qmp, file, line, clock_boot_ms() + VM_WARM_STORE_MS);
	free(in);
	free(line);
	return err;
}

/* Its disks are empty: it says that it has no root. */
int vm_warm_try(int ctl)
{
	static struct agent_exec e = { .argc = 1, .strings_len = 5, .strings = "true" };
	static uint8_t body[AGENT_BODY_MAX], frame[AGENT_FRAME_MAX];
	struct agent_in *in = calloc(1, sizeof(*in));
	struct wr b = wr_init(body, sizeof(body)), w = wr_init(frame, sizeof(frame));
	int err = in == NULL ? -ENOMEM : 0;
	if (err == 0 && getrandom(e.seed, sizeof(e.seed), 0) != (ssize_t)sizeof(e.seed))
		err = -EIO;
	e.wall_us = clock_wall_ms() * 1000;
	if (err == 0 && !agent_exec_put(&b, &e))
		err = -EMSGSIZE;
	agent_put(&w, AGENT_EXEC, AGENT_STDIN, body, b.len);
	if (err == 0 && send(ctl, frame, w.len, MSG_NOSIGNAL) != (ssize_t)w.len)
		err = -EPIPE;
	if (err == 0)
		err = await_frame(ctl, in, AGENT_EXIT, clock_boot_ms() + TRY_MS);
	free(in);
	return err;
}
