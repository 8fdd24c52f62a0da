/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/unixctl.h"

#include "base/clock.h"
#include "ovsdb/stream.h"

#include <errno.h>
#include <jansson.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { PROTOCOL_ICMPV6 = 58, READ_CHUNK = 65536 };

struct request {
	struct request *next;
	uint32_t id;
	int64_t since_ms;
	size_t len, off;
	char text[];
};

struct unixctl {
	int fd;
	uint32_t last_id;
	unsigned n_queued;
	struct request *head, *tail; /* the head is on the wire */
	struct ovsdb_stream *in;
	json_t *reply;
	int err; /* sticky */
};

int unixctl_new(int fd, struct unixctl **ret)
{
	struct unixctl *u = calloc(1, sizeof(*u));
	if (u == NULL)
		return -ENOMEM;
	int err = ovsdb_stream_new(&u->in);
	if (err != 0) {
		free(u);
		return err;
	}
	u->fd = fd;
	*ret = u;
	return 0;
}

static void unixctl_pop(struct unixctl *u)
{
	struct request *q = u->head;
	u->head = q->next;
	if (u->head == NULL)
		u->tail = NULL;
	else
		u->head->since_ms = clock_boot_ms();
	u->n_queued--;
	free(q);
}

void unixctl_free(struct unixctl *u)
{
	if (u == NULL)
		return;
	while (u->head != NULL)
		unixctl_pop(u);
	ovsdb_stream_free(u->in);
	json_decref(u->reply);
	close(u->fd);
	free(u);
}

int unixctl_fd(const struct unixctl *u)
{
	return u->fd;
}

static char *request_text(const char *method, const char *const *args, uint32_t id)
{
	json_t *params = json_array();
	for (unsigned i = 0; args != NULL && args[i] != NULL && i < UNIXCTL_ARGS_MAX; i++)
		json_array_append_new(params, json_string(args[i]));
	json_t *m = json_pack("{s:s, s:o, s:i}", "method", method, "params", params, "id", (int)id);
	char *text = m == NULL ? NULL : json_dumps(m, JSON_COMPACT);
	json_decref(m);
	return text;
}

uint32_t unixctl_send(struct unixctl *u, const char *method, const char *const *args)
{
	if (u->n_queued == UNIXCTL_QUEUE_MAX)
		return 0;
	uint32_t id = u->last_id == INT32_MAX ? 1 : u->last_id + 1;
	char *text = request_text(method, args, id);
	size_t len = text == NULL ? 0 : strlen(text);
	struct request *q = text == NULL ? NULL : calloc(1, sizeof(*q) + len);
	if (q == NULL) {
		free(text);
		return 0;
	}
	q->id = id;
	q->len = len;
	q->since_ms = clock_boot_ms();
	memcpy(q->text, text, len);
	free(text);
	if (u->tail == NULL)
		u->head = q;
	else
		u->tail->next = q;
	u->tail = q;
	u->n_queued++;
	u->last_id = id;
	return id;
}

bool unixctl_wants_write(const struct unixctl *u)
{
	return u->head != NULL && u->head->off < u->head->len;
}

static int unixctl_write(struct unixctl *u)
{
	while (unixctl_wants_write(u)) {
		struct request *q = u->head;
		ssize_t n = send(u->fd, q->text + q->off, q->len - q->off, MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -EPIPE;
		q->off += (size_t)n;
	}
	return 0;
}

static int unixctl_read(struct unixctl *u)
{
	char buf[READ_CHUNK];
	for (;;) {
		ssize_t n = recv(u->fd, buf, sizeof(buf), 0);
		if (n == 0)
			return -EPIPE;
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -EPIPE;
		int err = ovsdb_stream_put(u->in, buf, (size_t)n);
		if (err != 0)
			return err;
	}
}

int unixctl_io(struct unixctl *u)
{
	if (u->err == 0)
		u->err = unixctl_write(u);
	if (u->err == 0)
		u->err = unixctl_read(u);
	return u->err;
}

bool unixctl_next(struct unixctl *u, struct unixctl_reply *ret)
{
	const char *text;
	size_t len;
	json_decref(u->reply);
	u->reply = NULL;
	int got = ovsdb_stream_next(u->in, &text, &len);
	if (got <= 0 || u->head == NULL) {
		/* Bytes that answer nothing, or no JSON: this is not vswitchd. */
		if (got != 0)
			u->err = -EPROTO;
		return false;
	}
	u->reply = json_loadb(text, len, 0, NULL);
	json_t *result = json_object_get(u->reply, "result"), *error = json_object_get(u->reply, "error");
	bool failed = json_is_string(error);
	if (!failed && !json_is_string(result)) {
		u->err = -EPROTO;
		return false;
	}
	const json_t *say = failed ? error : result;
	*ret = (struct unixctl_reply){ u->head->id, failed, json_string_value(say), json_string_length(say) };
	unixctl_pop(u);
	return true;
}

unsigned unixctl_queued(const struct unixctl *u)
{
	return u->n_queued;
}

int64_t unixctl_waiting_since(const struct unixctl *u)
{
	return u->head == NULL ? -1 : u->head->since_ms;
}

static int call_wait(struct unixctl *u, int timeout_ms, char **ret_text)
{
	int64_t deadline = clock_boot_ms() + timeout_ms;
	for (;;) {
		int err = unixctl_io(u);
		struct unixctl_reply r;
		if (unixctl_next(u, &r)) {
			char *text = ret_text == NULL ? NULL : strndup(r.text, r.len);
			if (ret_text != NULL && text == NULL)
				return -ENOMEM;
			if (ret_text != NULL)
				*ret_text = text;
			return r.failed ? -EREMOTEIO : 0;
		}
		int64_t left = deadline - clock_boot_ms();
		if (err != 0 || u->err != 0)
			return err != 0 ? err : u->err;
		if (left <= 0)
			return -ETIMEDOUT;
		struct pollfd p = { .fd = u->fd, .events = (short)(POLLIN | (unixctl_wants_write(u) ? POLLOUT : 0)) };
		if (poll(&p, 1, (int)left) < 0 && errno != EINTR)
			return -errno;
	}
}

int unixctl_call(const char *path, const char *method, const char *const *args, int timeout_ms, char **ret_text)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	struct unixctl *u = NULL;
	int err = connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) == 0 ? unixctl_new(fd, &u) : -errno;
	if (err != 0) {
		close(fd);
		return err;
	}
	err = unixctl_send(u, method, args) == 0 ? -ENOMEM : call_wait(u, timeout_ms, ret_text);
	unixctl_free(u);
	return err;
}

/* The number after `key` inside [p, end); false when it is not there. `base` 0 takes 0x too. */
static bool field_number(const char *p, const char *end, const char *key, uint32_t *ret)
{
	size_t n = strlen(key);
	for (; (size_t)(end - p) > n; p++) {
		if (memcmp(p, key, n) != 0)
			continue;
		char digits[16];
		size_t len = 0;
		for (p += n; p < end && len < sizeof(digits) - 1 && *p != ',' && *p != ')'; p++)
			digits[len++] = *p;
		digits[len] = '\0';
		char *stop;
		unsigned long v = strtoul(digits, &stop, 0);
		if (len == 0 || *stop != '\0' || v > UINT32_MAX)
			return false;
		*ret = (uint32_t)v;
		return true;
	}
	return false;
}

static bool field_addr(const char *p, const char *end, const char *key, struct addr *ret)
{
	size_t n = strlen(key);
	for (; (size_t)(end - p) > n; p++) {
		if (memcmp(p, key, n) != 0)
			continue;
		char text[ADDR_TEXT_MAX];
		size_t len = 0;
		for (p += n; p < end && len < sizeof(text) - 1 && *p != ',' && *p != ')'; p++)
			text[len++] = *p;
		text[len] = '\0';
		return addr_parse(text, ret);
	}
	return false;
}

static bool ct_ports(struct unixctl_ct *c, const char *p, const char *end)
{
	uint32_t a = 0, b = 0, type = 0, code = 0;
	if (c->protocol == IPPROTO_ICMP || c->protocol == PROTOCOL_ICMPV6) {
		if (!field_number(p, end, "id=", &a) || !field_number(p, end, "type=", &type) ||
			!field_number(p, end, "code=", &code))
			return false;
		c->sport = (uint16_t)a;
		c->dport = (uint16_t)((type & 0xff) << 8 | (code & 0xff));
		return true;
	}
	if (!field_number(p, end, "sport=", &a) || !field_number(p, end, "dport=", &b))
		return false;
	c->sport = (uint16_t)a;
	c->dport = (uint16_t)b;
	return true;
}

bool unixctl_ct_parse(const char *line, size_t len, struct unixctl_ct *ret)
{
	static const struct {
		const char *name;
		uint8_t protocol;
	} known[] = { { "tcp,", IPPROTO_TCP }, { "udp,", IPPROTO_UDP }, { "icmp,", IPPROTO_ICMP },
		{ "icmpv6,", PROTOCOL_ICMPV6 } };
	struct unixctl_ct c = { 0 };
	uint32_t v = 0;
	for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		size_t n = strlen(known[i].name);
		if (len > n && memcmp(line, known[i].name, n) == 0)
			c.protocol = known[i].protocol;
	}
	const char *orig = memmem(line, len, "orig=(", 6);
	const char *close = orig == NULL ? NULL : memchr(orig, ')', (size_t)(line + len - orig));
	if (c.protocol == 0 || close == NULL)
		return false;
	if (!field_addr(orig, close + 1, "src=", &c.src) || !field_addr(orig, close + 1, "dst=", &c.dst) ||
		c.src.len != c.dst.len || !ct_ports(&c, orig, close + 1))
		return false;
	if (field_number(close, line + len, ",zone=", &v))
		c.zone = (uint16_t)v;
	if (field_number(close, line + len, ",mark=", &v))
		c.mark = v;
	*ret = c;
	return true;
}

const char *unixctl_ct_tuple(const struct unixctl_ct *c, char *buf, size_t len)
{
	char src[ADDR_TEXT_MAX], dst[ADDR_TEXT_MAX], ports[64];
	const char *family = c->src.len == 4 ? "nw" : "ipv6";
	if (c->protocol == IPPROTO_ICMP || c->protocol == PROTOCOL_ICMPV6)
		snprintf(ports, sizeof(ports), "icmp_id=%u,icmp_type=%u,icmp_code=%u", c->sport,
			(unsigned)c->dport >> 8, (unsigned)c->dport & 0xff);
	else
		snprintf(ports, sizeof(ports), "ct_tp_src=%u,ct_tp_dst=%u", c->sport, c->dport);
	snprintf(buf, len, "ct_%s_src=%s,ct_%s_dst=%s,ct_nw_proto=%u,%s", family,
		addr_format(&c->src, src, sizeof(src)), family, addr_format(&c->dst, dst, sizeof(dst)), c->protocol,
		ports);
	return buf;
}
