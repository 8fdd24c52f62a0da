/* SPDX-License-Identifier: Apache-2.0 */
#include "api/client.h"
#include "api/conn.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void feed(struct api_conn *c, const char *bytes, size_t len)
{
	while (len > 0) {
		char *p;
		size_t room;
		assert_int_equal(api_conn_room(c, &p, &room), 0);
		size_t n = room < len ? room : len;
		memcpy(p, bytes, n);
		api_conn_add(c, n);
		bytes += n;
		len -= n;
	}
}

#define FEED(c, literal) feed(c, literal, sizeof(literal))

static void expect_out(struct api_conn *c, const char *text)
{
	const char *p;
	size_t len = api_conn_out(c, &p);
	assert_int_equal(len, strlen(text) + 1);
	assert_string_equal(p, text);
	api_conn_sent(c, len);
}

static void test_calls_in_order(void **state)
{
	(void)state;
	struct api_conn *c;
	struct api_call call;
	assert_int_equal(api_conn_new(&c), 0);
	static const char two[] =
		"{\"method\":\"a.B.C\",\"parameters\":{\"x\":1}}\0{\"method\":\"a.B.D\",\"more\":true}";
	for (size_t i = 0; i < sizeof(two); i++) {
		feed(c, two + i, 1);
		if (i + 1 < strlen(two) + 1)
			assert_int_equal(api_conn_next(c, &call), 0);
	}
	assert_int_equal(api_conn_next(c, &call), 1);
	assert_string_equal(call.method, "a.B.C");
	assert_int_equal(json_integer_value(json_object_get(call.params, "x")), 1);
	assert_int_equal(api_conn_next(c, &call), 0);
	assert_true(api_conn_has_input(c));
	/* continues is for calls with `more` alone */
	assert_int_equal(api_conn_reply(c, NULL, true), -EPROTO);
	assert_int_equal(api_conn_reply(c, json_pack("{s:i}", "y", 2), false), 0);
	expect_out(c, "{\"parameters\":{\"y\":2}}");
	assert_int_equal(api_conn_next(c, &call), 1);
	assert_true(call.more);
	assert_int_equal(json_object_size(call.params), 0);
	assert_int_equal(api_conn_reply(c, NULL, true), 0);
	expect_out(c, "{\"parameters\":{},\"continues\":true}");
	assert_int_equal(api_conn_error(c, "org.sekisho.Limit", NULL), 0);
	expect_out(c, "{\"error\":\"org.sekisho.Limit\",\"parameters\":{}}");
	assert_int_equal(api_conn_reply(c, NULL, false), -EPROTO);
	api_conn_free(c);
}

static void expect_bad(const char *text, size_t len)
{
	struct api_conn *c;
	struct api_call call;
	assert_int_equal(api_conn_new(&c), 0);
	feed(c, text, len);
	assert_int_equal(api_conn_next(c, &call), -EBADMSG);
	api_conn_free(c);
}

static void test_bad_messages(void **state)
{
	(void)state;
	static const char *const bad[] = { "", "[]", "1", "{", "{\"method\":1}", "{}",
		"{\"method\":\"a\",\"method\":\"b\"}", "{\"method\":\"a\",\"parameters\":[]}",
		"{\"method\":\"a\",\"more\":1}", "{\"method\":\"a\",\"more\":true,\"upgrade\":true}",
		"{\"method\":\"\xff\"}", "{\"method\":\"a\\u0000b\"}" };
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		expect_bad(bad[i], strlen(bad[i]) + 1);
	char deep[256], method[300];
	snprintf(method, sizeof(method), "{\"method\":\"%0200d\"}", 0);
	expect_bad(method, strlen(method) + 1);
	memset(deep, 0, sizeof(deep));
	strcpy(deep, "{\"method\":\"a\",\"parameters\":{\"x\":");
	size_t n = strlen(deep);
	memset(deep + n, '[', API_DEPTH_MAX);
	memset(deep + n + API_DEPTH_MAX, ']', API_DEPTH_MAX);
	strcat(deep, "}}");
	expect_bad(deep, strlen(deep) + 1);
}

static void test_too_long(void **state)
{
	(void)state;
	struct api_in in = { 0 };
	size_t sum = 0, room;
	char *p;
	json_t *m;
	int err;
	while ((err = api_in_room(&in, &p, &room)) == 0) {
		memset(p, ' ', room);
		api_in_add(&in, room);
		sum += room;
		err = api_in_next(&in, &m);
		if (err != 0)
			break;
	}
	assert_int_equal(err, -EMSGSIZE);
	assert_in_range(sum, API_MESSAGE_MAX, API_MESSAGE_MAX + 1);
	api_in_fini(&in);
}

/* Who does not read is told apart before he costs more than the backlog. */
static void test_slow_reader(void **state)
{
	(void)state;
	struct api_conn *c;
	struct api_call call;
	assert_int_equal(api_conn_new(&c), 0);
	FEED(c, "{\"method\":\"a.B\",\"more\":true}");
	assert_int_equal(api_conn_next(c, &call), 1);
	int err = 0;
	size_t n = 0;
	static char text[1001];
	memset(text, 'x', 1000);
	for (; err == 0 && n < 2000; n++)
		err = api_conn_reply(c, json_pack("{s:s}", "t", text), true);
	assert_int_equal(err, -ENOBUFS);
	assert_in_range(n, 1000, 1050);
	api_conn_free(c);
}

static void test_service(void **state)
{
	(void)state;
	struct api_conn *c;
	struct api_call call;
	assert_int_equal(api_conn_new(&c), 0);
	FEED(c, "{\"method\":\"org.varlink.service.GetInterfaceDescription\",\"parameters\":{\"interface\":\"org.sekisho.Rules\"}}");
	assert_int_equal(api_conn_next(c, &call), 1);
	assert_int_equal(api_service(c, &call, "1"), 1);
	const char *p;
	size_t len = api_conn_out(c, &p);
	assert_non_null(strstr(p, "method Add(rules: []string"));
	api_conn_sent(c, len);
	FEED(c, "{\"method\":\"org.example.Nothing.Go\"}");
	assert_int_equal(api_conn_next(c, &call), 1);
	assert_int_equal(api_service(c, &call, "1"), 1);
	expect_out(c,
		"{\"error\":\"org.varlink.service.InterfaceNotFound\",\"parameters\":{\"interface\":\"org.example.Nothing\"}}");
	FEED(c, "{\"method\":\"org.sekisho.Rules.List\"}");
	assert_int_equal(api_conn_next(c, &call), 1);
	assert_int_equal(api_service(c, &call, "1"), 0);
	api_conn_free(c);
	for (unsigned i = 0; api_interface_name(i) != NULL; i++) {
		char head[128];
		snprintf(head, sizeof(head), "interface %s\n", api_interface_name(i));
		assert_non_null(strstr(api_interface_text(api_interface_name(i)), head));
	}
}

static void serve_once(int listener, const char *reply, size_t len)
{
	int fd = accept(listener, NULL, NULL);
	char buf[1000];
	if (fd < 0 || read(fd, buf, sizeof(buf)) <= 0 || write(fd, reply, len) != (ssize_t)len)
		_exit(1);
	/* Until the client goes. */
	while (read(fd, buf, sizeof(buf)) > 0)
		;
	_exit(0);
}

static pid_t serve(const char *reply, size_t len, char dir[32], char path[64])
{
	strcpy(dir, "/tmp/sekisho-api-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, 64, "%s/api", dir);
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	strcpy(sa.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 1), 0);
	pid_t pid = fork();
	if (pid == 0)
		serve_once(fd, reply, len);
	close(fd);
	return pid;
}

static void done(pid_t pid, const char *dir, const char *path)
{
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	unlink(path);
	rmdir(dir);
}

static void test_client_call(void **state)
{
	(void)state;
	char dir[32], path[64];
	static const char error[] = "{\"error\":\"org.sekisho.NotPermitted\",\"parameters\":{\"text\":\"no\"}}";
	pid_t pid = serve(error, sizeof(error), dir, path);
	struct api_client *c;
	struct api_error e;
	assert_int_equal(api_client_open(path, &c), 0);
	assert_int_equal(api_client_call(c, "org.sekisho.Apps.List", NULL, NULL, &e), -EREMOTEIO);
	assert_string_equal(e.text, "no");
	assert_int_equal(e.exit_code, 4);
	api_error_fini(&e);
	api_client_close(c);
	done(pid, dir, path);
	assert_int_equal(api_client_open(path, &c), -ENOENT);
}

static void test_client_more(void **state)
{
	(void)state;
	char dir[32], path[64];
	static const char replies[] = "{\"parameters\":{\"n\":1},\"continues\":true}\0{\"parameters\":{\"n\":2}}";
	pid_t pid = serve(replies, sizeof(replies), dir, path);
	struct api_client *c;
	struct api_error e;
	json_t *p;
	assert_int_equal(api_client_open(path, &c), 0);
	assert_int_equal(api_client_more(c, "a.B.C", NULL, &e), 0);
	assert_int_equal(api_client_next(c, -1, &p, &e), 1);
	assert_int_equal(json_integer_value(json_object_get(p, "n")), 1);
	json_decref(p);
	assert_int_equal(api_client_next(c, -1, &p, &e), 0);
	assert_int_equal(json_integer_value(json_object_get(p, "n")), 2);
	json_decref(p);
	api_client_close(c);
	done(pid, dir, path);
}

/* What follows the reply belongs to the new protocol and stays in the socket. */
static void test_client_upgrade(void **state)
{
	(void)state;
	char dir[32], path[64], got[8] = "";
	static const char reply[] = "{\"parameters\":{}}\0hello";
	pid_t pid = serve(reply, sizeof(reply) - 1, dir, path);
	struct api_client *c;
	struct api_error e;
	json_t *p;
	int fd;
	assert_int_equal(api_client_open(path, &c), 0);
	assert_int_equal(api_client_upgrade(c, "a.B.C", NULL, &p, &fd, &e), 0);
	json_decref(p);
	assert_int_equal(recv(fd, got, 5, MSG_WAITALL), 5);
	assert_string_equal(got, "hello");
	close(fd);
	api_client_close(c);
	done(pid, dir, path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calls_in_order),
		cmocka_unit_test(test_bad_messages),
		cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_slow_reader),
		cmocka_unit_test(test_service),
		cmocka_unit_test(test_client_call),
		cmocka_unit_test(test_client_more),
		cmocka_unit_test(test_client_upgrade),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
