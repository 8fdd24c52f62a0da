/* SPDX-License-Identifier: Apache-2.0 */
#include "api/client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct api_client {
	int fd;
	struct api_fds give;
	struct api_in in;
};

enum {
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_NO_SUCH = 3,
	EXIT_NOT_PERMITTED = 4,
	EXIT_CHANGED = 5,
	EXIT_UNREACHABLE = 6
};

int api_error_exit(const char *name)
{
	static const struct {
		const char *name;
		int code;
	} map[] = {
		{ "org.sekisho.BadRule", EXIT_USAGE },
		{ "org.varlink.service.InvalidParameter", EXIT_USAGE },
		{ "org.sekisho.NoSuchThing", EXIT_NO_SUCH },
		{ "org.sekisho.NotPermitted", EXIT_NOT_PERMITTED },
		{ "org.varlink.service.PermissionDenied", EXIT_NOT_PERMITTED },
		{ "org.sekisho.Changed", EXIT_CHANGED },
	};
	for (unsigned i = 0; i < sizeof(map) / sizeof(map[0]); i++) {
		if (strcmp(name, map[i].name) == 0)
			return map[i].code;
	}
	return EXIT_FAILED;
}

void api_error_fini(struct api_error *e)
{
	json_decref(e->params);
	e->params = NULL;
}

static int broken(struct api_error *e, int err)
{
	if (e != NULL) {
		*e = (struct api_error){ .exit_code = EXIT_UNREACHABLE };
		snprintf(e->text, sizeof(e->text),
			err == -EPIPE ? "the daemon closed the connection" : "the connection to the daemon failed: %s",
			strerror(-err));
	}
	return err;
}

static int refused(struct api_error *e, const json_t *message, const char *name)
{
	if (e == NULL)
		return -EREMOTEIO;
	*e = (struct api_error){ .exit_code = api_error_exit(name) };
	snprintf(e->name, sizeof(e->name), "%s", name);
	e->params = json_incref(json_object_get(message, "parameters"));
	const char *text = json_string_value(json_object_get(e->params, "text"));
	const char *parameter = json_string_value(json_object_get(e->params, "parameter"));
	if (text != NULL)
		snprintf(e->text, sizeof(e->text), "%s", text);
	else if (parameter != NULL)
		snprintf(e->text, sizeof(e->text), "the daemon does not accept the parameter %s (%s)", parameter, name);
	else
		snprintf(e->text, sizeof(e->text), "the daemon answered %s", name);
	return -EREMOTEIO;
}

int api_client_open(const char *path, struct api_client **ret)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	memcpy(sa.sun_path, path, strlen(path) + 1);
	struct api_client *c = calloc(1, sizeof(*c));
	if (c == NULL)
		return -ENOMEM;
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0 || connect(c->fd, (const struct sockaddr *)&sa, sizeof(sa)) != 0) {
		int err = -errno;
		api_client_close(c);
		return err;
	}
	*ret = c;
	return 0;
}

void api_client_close(struct api_client *c)
{
	if (c == NULL)
		return;
	if (c->fd >= 0)
		close(c->fd);
	api_in_fini(&c->in);
	free(c);
}

int api_client_fd(const struct api_client *c)
{
	return c->fd;
}

bool api_client_buffered(const struct api_client *c)
{
	return c->in.len > c->in.taken;
}

void api_client_give(struct api_client *c, const struct api_fds *fds)
{
	c->give = *fds;
}

static int send_all(int fd, const char *p, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		/* The daemon may have refused the caller and closed: what it said before that is still to be read. */
		if (n < 0)
			return errno == EPIPE || errno == ECONNRESET ? 0 : -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int client_send(struct api_client *c, const char *method, json_t *params, const char *flag)
{
	if (c->fd < 0) {
		json_decref(params);
		return -EBADF;
	}
	json_t *m = json_pack("{s:s, s:o}", "method", method, "parameters", params != NULL ? params : json_object());
	if (m != NULL && flag != NULL)
		json_object_set_new(m, flag, json_true());
	size_t len;
	char *text = m == NULL ? NULL : api_print(m, &len);
	size_t sent = 0;
	int err = text == NULL ? -EMSGSIZE : c->give.n > 0 ? api_fds_send(c->fd, text, len, &c->give, &sent) : 0;
	c->give.n = 0;
	if (err == 0)
		err = send_all(c->fd, text + sent, len - sent);
	free(text);
	json_decref(m);
	return err;
}

static int wait_readable(int fd, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int n = poll(&p, 1, timeout_ms);
	return n > 0 ? 0 : n == 0 || errno == EINTR ? -EAGAIN : -errno;
}

static int client_read(struct api_client *c)
{
	char *p;
	size_t room;
	int err = api_in_room(&c->in, &p, &room);
	if (err != 0)
		return err;
	ssize_t n = recv(c->fd, p, room, 0);
	if (n < 0)
		return errno == EINTR ? 0 : errno == ECONNRESET ? -EPIPE : -errno;
	if (n == 0)
		return -EPIPE;
	api_in_add(&c->in, (size_t)n);
	return 0;
}

/* One message: 1 more follow, 0 it is the last. */
static int message_take(json_t *m, json_t **ret_params, struct api_error *reterr)
{
	const char *error = json_string_value(json_object_get(m, "error"));
	if (error != NULL)
		return refused(reterr, m, error);
	json_t *params = json_object_get(m, "parameters");
	if (params != NULL && !json_is_object(params))
		return broken(reterr, -EBADMSG);
	if (ret_params != NULL)
		*ret_params = params != NULL ? json_incref(params) : json_object();
	return json_is_true(json_object_get(m, "continues")) ? 1 : 0;
}

int api_client_next(struct api_client *c, int timeout_ms, json_t **ret_params, struct api_error *reterr)
{
	for (;;) {
		json_t *m;
		int got = api_in_next(&c->in, &m);
		if (got < 0)
			return broken(reterr, got);
		if (got == 1) {
			got = message_take(m, ret_params, reterr);
			json_decref(m);
			return got;
		}
		int err = wait_readable(c->fd, timeout_ms);
		if (err == -EAGAIN)
			return err;
		if (err == 0)
			err = client_read(c);
		if (err != 0)
			return broken(reterr, err);
	}
}

int api_client_call(struct api_client *c, const char *method, json_t *params, json_t **ret_params,
	struct api_error *reterr)
{
	int err = client_send(c, method, params, NULL);
	if (err != 0)
		return broken(reterr, err);
	do
		err = api_client_next(c, -1, ret_params, reterr);
	while (err == -EAGAIN);
	if (err == 1) {
		if (ret_params != NULL)
			json_decref(*ret_params);
		return broken(reterr, -EPROTO);
	}
	return err;
}

int api_client_more(struct api_client *c, const char *method, json_t *params, struct api_error *reterr)
{
	int err = client_send(c, method, params, "more");
	return err == 0 ? 0 : broken(reterr, err);
}

/* Reads up to and including the zero byte, nothing after it: that belongs to the new protocol. */
static int read_exactly_one(struct api_client *c)
{
	char *p;
	size_t room;
	int err = api_in_room(&c->in, &p, &room);
	if (err != 0)
		return err;
	ssize_t n = recv(c->fd, p, room, MSG_PEEK);
	if (n <= 0)
		return n == 0 ? -EPIPE : errno == EINTR ? 0 : -errno;
	const char *end = memchr(p, '\0', (size_t)n);
	size_t take = end == NULL ? (size_t)n : (size_t)(end - p) + 1;
	n = recv(c->fd, p, take, 0);
	if (n <= 0)
		return n == 0 ? -EPIPE : errno == EINTR ? 0 : -errno;
	api_in_add(&c->in, (size_t)n);
	return end != NULL && (size_t)n == take ? 1 : 0;
}

int api_client_upgrade(struct api_client *c, const char *method, json_t *params, json_t **ret_params, int *ret_fd,
	struct api_error *reterr)
{
	int err = client_send(c, method, params, "upgrade");
	while (err == 0)
		err = read_exactly_one(c);
	if (err < 0)
		return broken(reterr, err);
	do
		err = api_client_next(c, -1, ret_params, reterr);
	while (err == -EAGAIN);
	if (err < 0)
		return err;
	*ret_fd = c->fd;
	c->fd = -1;
	return 0;
}
