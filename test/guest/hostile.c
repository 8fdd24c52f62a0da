/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first process of a guest that wishes its host ill (test/system/test_27_hostile_guest.py): boots as ours does, and
 * then says what a random generator wants, in frames that are nearly right. Its seed is the word that it is to run;
 * what each session says is printed on the console by its number, so that any of them can be had again.
 */
#include "agent/sync.h"
#include "guest/serve.h"
#include "guest/setup.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <unistd.h>

enum { ROUNDS = 400, SAY_MAX = AGENT_FRAME_MAX };

static uint64_t state;

static uint32_t rnd(uint32_t below)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(state >> 33) % below;
}

/* All of it, as long as the host takes it. What it says is left for later: the next session's key may be in it. */
static bool say(int fd, const uint8_t *p, size_t len)
{
	while (len > 0) {
		struct pollfd pfd = { .fd = fd, .events = POLLOUT };
		if (poll(&pfd, 1, 300) <= 0 || (pfd.revents & POLLHUP))
			return false;
		ssize_t n = write(fd, p, len);
		if (n < 0 && errno != EAGAIN)
			return false;
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
	return true;
}

static size_t fill_body(uint8_t *body, enum agent_type type)
{
	static const char evil[] = "\x1b]0;owned\x07\x1b[2J\xe2\x80\xae\r\n\x9b"
				   "31m%s%n\x00tail";
	size_t len = rnd(4) == 0 ? rnd(AGENT_BODY_MAX) : rnd(24);
	for (size_t i = 0; i < len; i++)
		body[i] = (uint8_t)rnd(256);
	if (type == AGENT_EXIT && rnd(2) == 0) {
		body[0] = (uint8_t)rnd(256);
		body[1] = (uint8_t)rnd(70);
		memcpy(body + 2, evil, sizeof(evil));
		len = 2 + sizeof(evil) + rnd(2) * rnd(5000);
	} else if (type == AGENT_CREDIT && rnd(2) == 0) {
		struct wr w = wr_init(body, 4);
		wr_u32(&w, rnd(3) == 0 ? UINT32_MAX - rnd(9) : rnd(2 * AGENT_WINDOW));
		len = 4;
	} else if (type == AGENT_HELLO && rnd(2) == 0) {
		struct wr w = wr_init(body, 4);
		wr_u32(&w, AGENT_VERSION + rnd(3) - 1);
		len = 4;
	} else if ((type == AGENT_EOF || type == AGENT_STARTED) && rnd(3) != 0) {
		len = 0;
	}
	return len;
}

/* A frame whose fields are each right or wrong by chance; one in 64 is no frame. */
static size_t fill_frame(uint8_t *buf)
{
	static const enum agent_type likely[] = { AGENT_DATA, AGENT_DATA, AGENT_DATA, AGENT_EOF, AGENT_CREDIT,
		AGENT_EXIT, AGENT_STARTED, AGENT_HELLO };
	enum agent_type type = rnd(8) == 0 ? rnd(256) : likely[rnd(sizeof(likely) / sizeof(*likely))];
	size_t len = fill_body(buf + AGENT_HEADER, type);
	struct wr w = wr_init(buf, AGENT_HEADER);
	wr_u8(&w, (uint8_t)type);
	wr_u8(&w, (uint8_t)(rnd(6) == 0 ? rnd(256) : type == AGENT_DATA ? 1 + rnd(2) : rnd(3)));
	wr_u16(&w, (uint16_t)(rnd(32) == 0 ? rnd(65536) : 0));
	wr_u32(&w, rnd(64) == 0 ? UINT32_MAX - rnd(99999) : (uint32_t)len);
	return AGENT_HEADER + len;
}

/* Until the host has enough of it. */
static void rave(int fd, uint64_t seed)
{
	static uint8_t buf[SAY_MAX];
	state = seed;
	if (rnd(8) != 0) {
		struct wr w = wr_init(buf, sizeof(buf));
		agent_put(&w, AGENT_STARTED, AGENT_STDIN, NULL, 0);
		if (!say(fd, buf, w.len))
			return;
	}
	for (unsigned i = 0; i < ROUNDS && say(fd, buf, fill_frame(buf)); i++)
		;
}

/* One session after the other: the key is answered, mostly, and then it raves. */
static _Noreturn void extra(int fd, const struct agent_exec *e, uint64_t seed)
{
	struct agent_sync sync;
	agent_sync_init(&sync, e->sync);
	for (;;) {
		uint8_t c, answer[AGENT_SYNC_LEN + AGENT_HEADER + 4];
		size_t used, have = 0;
		struct pollfd p = { .fd = fd, .events = POLLIN };
		(void)!poll(&p, 1, 100);
		if (read(fd, &c, 1) != 1 || !agent_sync_find(&sync, &c, 1, &used))
			continue;
		while (have < AGENT_SYNC_LEN)
			have += read(fd, answer + have, 1) == 1;
		struct wr w = wr_init(answer, sizeof(answer));
		w.len = AGENT_SYNC_LEN;
		agent_put_hello(&w);
		seed++;
		state = seed;
		fprintf(stderr, "hostile: %llu\n", (unsigned long long)seed);
		if (rnd(64) == 0 || say(fd, answer, w.len))
			rave(fd, seed);
	}
}

int main(void)
{
	static struct agent_exec e;
	int ports[AGENT_EXTRAS];
	int ctl = setup_early() == 0 ? setup_control() : -1;
	for (unsigned i = 0; i < AGENT_EXTRAS; i++)
		ports[i] = setup_extra(i);
	if (ctl >= 0 && serve_greet(ctl, &e) == 0) {
		uint64_t seed = strtoull(e.strings, NULL, 10);
		if (seed != 0) {
			rave(ctl, seed);
		} else {
			/* The seed is 0: a lamb, but for its further ports. */
			uint8_t buf[AGENT_HEADER];
			struct wr w = wr_init(buf, sizeof(buf));
			agent_put(&w, AGENT_STARTED, AGENT_STDIN, NULL, 0);
			(void)!write(ctl, buf, w.len);
			for (unsigned i = 0; i < AGENT_EXTRAS; i++) {
				if (fork() == 0)
					extra(ports[i], &e, 1000000 * (i + 1));
			}
			for (;;)
				pause();
		}
	}
	/* What was said is taken before the machine goes. */
	struct pollfd last = { .fd = ctl, .events = 0 };
	(void)!poll(&last, 1, 2000);
	reboot(RB_AUTOBOOT);
	return 0;
}
