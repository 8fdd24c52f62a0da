/* SPDX-License-Identifier: Apache-2.0 */
#include "bridge/control.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { API_S = 5, ANSWER_MAX = 512 };

static int api_connect(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	const struct timeval limit = { .tv_sec = API_S };
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) != 0 ||
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) != 0 ||
		connect(fd, (const struct sockaddr *)&a, sizeof(a)) != 0) {
		int err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

/* Its answer is one line that matters: "HTTP/1.1 204". */
static int api_state(const char *path, const char *state)
{
	char text[256], answer[ANSWER_MAX];
	int fd = api_connect(path);
	if (fd < 0)
		return fd;
	int len = snprintf(text, sizeof(text),
		"PATCH /vm HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n"
		"{\"state\":\"%s\"}",
		strlen(state) + 12, state);
	ssize_t n = send(fd, text, (size_t)len, MSG_NOSIGNAL) == len ? recv(fd, answer, sizeof(answer) - 1, 0) : -1;
	close(fd);
	answer[n > 0 ? n : 0] = '\0';
	return strncmp(answer, "HTTP/1.1 2", 10) == 0 ? 0 : -EIO;
}

static void answer(int keeper, int err)
{
	const char *text = err == 0 ? "{\"return\": {}, \"id\": \"pause\"}\n" : "{\"error\": {}, \"id\": \"pause\"}\n";
	/* It reads or it is gone. */
	(void)!send(keeper, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
}

static bool line_ended(struct control *c, int keeper, const char *api)
{
	c->line[c->len] = '\0';
	c->len = 0;
	if (strstr(c->line, "\"execute\":\"quit\"") != NULL)
		return false;
	if (strstr(c->line, "\"execute\":\"stop\"") != NULL)
		answer(keeper, api_state(api, "Paused"));
	if (strstr(c->line, "\"execute\":\"cont\"") != NULL)
		answer(keeper, api_state(api, "Resumed"));
	return true;
}

bool control_take(struct control *c, int keeper, const char *api, const char *p, size_t len)
{
	bool goes_on = true;
	for (size_t i = 0; goes_on && i < len; i++) {
		if (p[i] == '\n')
			goes_on = line_ended(c, keeper, api);
		else if (c->len < sizeof(c->line) - 1)
			c->line[c->len++] = p[i];
	}
	return goes_on;
}
