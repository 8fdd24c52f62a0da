/* SPDX-License-Identifier: Apache-2.0 */
#include "ofctl.h"

#include "ofp/msg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>

#include <cmocka.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000, ARGS_MAX = 16 };

static void keep(struct caught *c, const uint8_t *msg, size_t len)
{
	if (c->len + len > c->cap) {
		c->cap = (c->len + len) * 2;
		c->bytes = realloc(c->bytes, c->cap);
		assert_non_null(c->bytes);
	}
	memcpy(c->bytes + c->len, msg, len);
	c->len += len;
	c->n++;
}

void caught_free(struct caught *c)
{
	free(c->bytes);
	memset(c, 0, sizeof(*c));
}

const uint8_t *caught_next(const struct caught *c, size_t *at, size_t *ret_len)
{
	if (*at >= c->len)
		return NULL;
	const uint8_t *msg = c->bytes + *at;
	*ret_len = (size_t)(msg[2] << 8 | msg[3]);
	*at += *ret_len;
	return msg;
}

static void answer(int fd, const uint8_t *msg, size_t len, struct caught *c)
{
	uint8_t buf[OFP_MSG_MAX];
	struct wr w = wr_init(buf, sizeof(buf));
	struct ofp_header h;
	struct ofp_bundle b;

	assert_int_equal(ofp_read_header(msg, len, &h), 0);
	if (h.type == OFP_HELLO) {
		ofp_put_hello(&w, h.xid);
	} else if (h.type == OFP_FEATURES_REQUEST) {
		ofp_put_features_reply(&w, h.xid, &(struct ofp_features){ .datapath_id = 1, .n_tables = 254 });
	} else if (h.type == OFP_BARRIER_REQUEST) {
		ofp_put_plain(&w, OFP_BARRIER_REPLY, h.xid);
	} else if (h.type == OFP_ECHO_REQUEST) {
		ofp_put_echo(&w, OFP_ECHO_REPLY, h.xid, msg + 8, len - 8);
	} else {
		keep(c, msg, len);
		if (h.type == OFP_MULTIPART_REQUEST) {
			struct ofp_multipart mp;
			assert_int_equal(ofp_read_multipart(msg, len, &mp), 0);
			size_t at = ofp_begin_multipart_reply(&w, h.xid, (enum ofp_multipart_type)mp.type, false);
			if (mp.type == OFP_MP_METER_FEATURES)
				ofp_put_meter_features(&w, &(struct ofp_meter_features){ 0 });
			ofp_end(&w, at);
		} else if (h.type == OFP_BUNDLE_CONTROL) {
			assert_int_equal(ofp_read_bundle(msg, len, &b), 0);
			ofp_put_bundle(&w, h.xid, b.id, b.control + 1);
		}
	}
	assert_true(wr_ok(&w));
	if (w.len > 0)
		(void)!send(fd, buf, w.len, MSG_NOSIGNAL);
}

static void serve(int fd, struct caught *c)
{
	static uint8_t in[1 << 20];
	size_t have = 0;

	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
		ssize_t n = read(fd, in + have, sizeof(in) - have);
		if (n <= 0)
			return;
		have += (size_t)n;
		size_t at = 0;
		while (have - at >= OFP_HEADER_LEN) {
			size_t len = (size_t)(in[at + 2] << 8 | in[at + 3]);
			assert_true(len >= OFP_HEADER_LEN);
			if (have - at < len)
				break;
			answer(fd, in + at, len, c);
			at += len;
		}
		memmove(in, in + at, have - at);
		have -= at;
	}
}

static pid_t run(const char *const args[], const char *target, int out)
{
	const char *argv[ARGS_MAX] = { "ovs-ofctl", "-O", "OpenFlow15", "--no-names" };
	unsigned n = 4;

	for (unsigned i = 0; args[i] != NULL; i++) {
		assert_true(n < ARGS_MAX - 1);
		argv[n++] = strcmp(args[i], "SWITCH") == 0 ? target : args[i];
	}
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid != 0)
		return pid;
	if (out >= 0)
		dup2(out, 1);
	execvp("ovs-ofctl", (char *const *)(uintptr_t)argv);
	_exit(127);
}

static void reap(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

void ofctl_catch(const char *const args[], struct caught *ret)
{
	char dir[] = "/tmp/ofp-test.XXXXXX", target[64];
	struct sockaddr_un sun = { .sun_family = AF_UNIX };

	memset(ret, 0, sizeof(*ret));
	assert_non_null(mkdtemp(dir));
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/s", dir);
	snprintf(target, sizeof(target), "unix:%s/s", dir);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(listen(fd, 4), 0);
	pid_t pid = run(args, target, -1);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int ready = poll(&p, 1, PATIENCE_MS / 4);
	if (ready == 1) {
		int peer = accept(fd, NULL, NULL);
		assert_true(peer >= 0);
		serve(peer, ret);
		close(peer);
	}
	unlink(sun.sun_path);
	rmdir(dir);
	close(fd);
	reap(pid);
	assert_int_equal(ready, 1);
}

char *temp_file(const void *content, size_t len)
{
	char *name = strdup("/tmp/ofp-test.XXXXXX");

	assert_non_null(name);
	int fd = mkstemp(name);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, content, len), (ssize_t)len);
	close(fd);
	return name;
}

char *ofctl_print(const void *msgs, size_t len)
{
	char *in = temp_file(msgs, len), *out = temp_file("", 0);
	FILE *f = fopen(out, "r+");

	assert_non_null(f);
	reap(run((const char *const[]){ "ofp-parse", in, NULL }, "", fileno(f)));
	struct stat st;
	assert_int_equal(fstat(fileno(f), &st), 0);
	char *text = calloc(1, (size_t)st.st_size + 1);
	assert_non_null(text);
	rewind(f);
	assert_int_equal(fread(text, 1, (size_t)st.st_size, f), (size_t)st.st_size);
	fclose(f);
	unlink(in);
	unlink(out);
	free(in);
	free(out);
	return text;
}
