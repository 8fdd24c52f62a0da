/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/netlink.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { ANSWER_MAX = 65536, ANSWER_SECONDS = 5 };

int nl_open(int protocol)
{
	struct sockaddr_nl sa = { .nl_family = AF_NETLINK };
	struct timeval patience = { .tv_sec = ANSWER_SECONDS };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
	if (fd < 0)
		return -errno;
	if (bind(fd, (const struct sockaddr *)&sa, sizeof(sa)) != 0 ||
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) != 0) {
		int err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

static void nl_append(struct nl_request *q, const void *data, size_t len)
{
	size_t room = NL_REQUEST_MAX - q->len, aligned = NLMSG_ALIGN(len);
	if (q->overflow || aligned > room) {
		q->overflow = true;
		return;
	}
	if (len > 0)
		memcpy(q->bytes + q->len, data, len);
	memset(q->bytes + q->len + len, 0, aligned - len);
	q->len += aligned;
}

void nl_begin(struct nl_request *q, uint16_t type, uint16_t flags, const void *header, size_t header_len)
{
	struct nlmsghdr h = { .nlmsg_type = type, .nlmsg_flags = (uint16_t)(flags | NLM_F_REQUEST), .nlmsg_seq = 1 };
	q->len = 0;
	q->overflow = false;
	nl_append(q, &h, sizeof(h));
	nl_append(q, header, header_len);
}

void nl_put(struct nl_request *q, uint16_t type, const void *data, size_t len)
{
	struct nlattr a = { .nla_len = (uint16_t)(sizeof(a) + len), .nla_type = type };
	nl_append(q, &a, sizeof(a));
	nl_append(q, data, len);
}

void nl_put_u32(struct nl_request *q, uint16_t type, uint32_t v)
{
	nl_put(q, type, &v, sizeof(v));
}

void nl_put_text(struct nl_request *q, uint16_t type, const char *text)
{
	nl_put(q, type, text, strlen(text) + 1);
}

size_t nl_nest(struct nl_request *q, uint16_t type)
{
	size_t at = q->len;
	struct nlattr a = { .nla_type = type };
	nl_append(q, &a, sizeof(a));
	return at;
}

void nl_end(struct nl_request *q, size_t nest)
{
	uint16_t len = (uint16_t)(q->len - nest);
	if (!q->overflow)
		memcpy(q->bytes + nest, &len, sizeof(len));
}

const uint8_t *nl_find(const uint8_t *attrs, size_t len, uint16_t type, size_t *ret_len)
{
	struct nlattr a;
	while (len >= sizeof(a)) {
		memcpy(&a, attrs, sizeof(a));
		if (a.nla_len < sizeof(a) || a.nla_len > len)
			return NULL;
		if ((a.nla_type & NLA_TYPE_MASK) == type) {
			*ret_len = a.nla_len - sizeof(a);
			return attrs + sizeof(a);
		}
		size_t step = NLA_ALIGN(a.nla_len);
		if (step > len)
			return NULL;
		attrs += step;
		len -= step;
	}
	return NULL;
}

uint32_t nl_u32(const uint8_t *p)
{
	uint32_t v = 0;
	if (p != NULL)
		memcpy(&v, p, sizeof(v));
	return v;
}

/* One datagram of the answer: 1 when it was the last, 0 when more follow, negative errno. */
static int nl_answer(const uint8_t *buf, size_t len, nl_visit *visit, void *arg)
{
	struct nlmsghdr h;
	while (len >= sizeof(h)) {
		memcpy(&h, buf, sizeof(h));
		if (h.nlmsg_len < sizeof(h) || h.nlmsg_len > len)
			return -EPROTO;
		const uint8_t *body = buf + NLMSG_HDRLEN;
		size_t body_len = h.nlmsg_len - NLMSG_HDRLEN;
		if (h.nlmsg_type == NLMSG_DONE)
			return 1;
		if (h.nlmsg_type == NLMSG_ERROR) {
			int err = body_len < sizeof(int) ? -EPROTO : (int)nl_u32(body);
			return err == 0 ? 1 : err;
		}
		int err = visit == NULL ? 0 : visit(arg, h.nlmsg_type, body, body_len);
		if (err < 0)
			return err;
		size_t step = NLMSG_ALIGN(h.nlmsg_len);
		if (step >= len)
			break;
		buf += step;
		len -= step;
	}
	return 0;
}

int nl_talk(int fd, struct nl_request *q, nl_visit *visit, void *arg)
{
	static uint8_t buf[ANSWER_MAX];
	struct nlmsghdr h;
	if (q->overflow)
		return -EMSGSIZE;
	memcpy(&h, q->bytes, sizeof(h));
	h.nlmsg_len = (uint32_t)q->len;
	/* A dump ends with DONE, everything else with an acknowledgement. */
	if ((h.nlmsg_flags & NLM_F_DUMP) != NLM_F_DUMP)
		h.nlmsg_flags |= NLM_F_ACK;
	memcpy(q->bytes, &h, sizeof(h));
	if (send(fd, q->bytes, q->len, 0) < 0)
		return -errno;
	int end = 0;
	while (end == 0) {
		ssize_t n = recv(fd, buf, sizeof(buf), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		end = nl_answer(buf, (size_t)n, visit, arg);
	}
	return end < 0 ? end : 0;
}
