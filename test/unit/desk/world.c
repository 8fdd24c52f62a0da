/* SPDX-License-Identifier: Apache-2.0 */
#include "world.h"

#include "api/client.h"
#include "base/clock.h"
#include "base/log.h"
#include "desk/main.h"
#include "role/boot.h"
#include "role/conf.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE_MS = 30000 };

#ifdef DESK_UNCONFINED
int role_confine(struct role *r, const struct role_confine *c)
{
	(void)r;
	return chdir(c->root_dir) == 0 ? 0 : -errno;
}
#endif

struct world w;

static const char conf_fmt[] =
	"run_dir = %s\nstate_dir = %s\nguest_ipv4 = 100.64.0.0/20\nguest_ipv6 = fd73:6b69:7368::/48\n";

static void child(int main_fd)
{
	struct role r;
	log_open("desk", LOG_WARNING);
	int err = role_boot(ROLE_DESK, main_fd, &r);
	if (err == 0)
		err = desk_main(&r);
	_exit(err == 0 ? 0 : 1);
}

static int channel(enum role_id to)
{
	int pair[2];
	assert_int_equal(frame_pair(pair), 0);
	assert_int_equal(frame_chan_new(pair[0], &w.chan[to]), 0);
	return pair[1];
}

void give_channel(enum role_id to)
{
	int fd = channel(to);
	struct ipc_u32 id = { .v = to };
	assert_int_equal(ipc_send(w.chan[ROLE_MAIN], IPC_CHANNEL, 0, u32, &id, &fd, 1), 0);
	close(fd);
}

void lose_channel(enum role_id to)
{
	frame_chan_free(w.chan[to]);
	w.chan[to] = NULL;
}

/* A message to a desk that the test kills at any moment. */
static void sent(int rc)
{
	assert_true(rc == 0 || w.mortal);
}

void give_policy(const char *text)
{
	struct frame_chan *m = w.chan[ROLE_MAIN];
	assert_int_equal(frame_send(m, IPC_RELOAD, 0, NULL, 0, NULL, 0), 0);
	if (text != NULL) {
		int fd = memfd_create("rules", MFD_CLOEXEC);
		struct ipc_text name;
		ipc_text_set(&name, w.file == NULL ? "10-test.rules" : w.file);
		assert_int_equal(write(fd, text, strlen(text)), strlen(text));
		lseek(fd, 0, SEEK_SET);
		assert_int_equal(ipc_send(m, IPC_POLICY_FILE, 0, text, &name, &fd, 1), 0);
		close(fd);
	}
	sent(frame_send(m, IPC_POLICY_END, 1, NULL, 0, NULL, 0));
}

static void map(const struct frame *f, unsigned i, struct image *ret, size_t len)
{
	assert_true(i < f->n_fds);
	*ret = (struct image){ .at = mmap(NULL, len, PROT_READ, MAP_SHARED, f->fds[i], 0), .len = len };
	assert_ptr_not_equal(ret->at, MAP_FAILED);
}

static void unmap(struct image *i)
{
	if (i->at != NULL)
		munmap(i->at, i->len);
	*i = (struct image){ 0 };
}

static struct policy *opened(const void *bytes, size_t len)
{
	struct policy *p;
	struct policy_opening *o = policy_open(bytes, len);
	assert_non_null(o);
	assert_int_equal(policy_open_step(o, SIZE_MAX, &p), 0);
	policy_opening_free(o);
	return p;
}

/* As the gate does: a base, kept until another comes, and what is joined to it. */
static void take_policy(struct frame *f)
{
	struct ipc_policy p;
	assert_true(ipc_policy_get(f->body, f->len, &p));
	assert_true(p.generation > w.generation);
	policy_free(w.policy);
	unmap(&w.delta);
	if (p.len != 0) {
		policy_free(w.base);
		unmap(&w.image);
		map(f, 0, &w.image, p.len);
		w.base = opened(w.image.at, p.len);
		w.base_number = p.base;
		w.n_bases++;
	}
	assert_int_equal(p.base, w.base_number);
	size_t len = p.more_len + p.n_gone * sizeof(uint32_t);
	assert_int_equal(f->n_fds, (p.len != 0) + (len != 0));
	if (len != 0)
		map(f, p.len != 0, &w.delta, len);
	struct policy *more = p.more_len == 0 ? NULL : opened(w.delta.at, p.more_len);
	const uint32_t *gone = len == 0 ? NULL : (const uint32_t *)w.delta.at + p.more_len / sizeof(uint32_t);
	assert_int_equal(policy_join(w.base, more, gone, p.n_gone, &w.policy), 0);
	w.generation = p.generation;
	w.held_id = f->id;
	if (!w.hold_policy)
		sent(ipc_send_result(w.chan[ROLE_GATE], f->id, 0, 0, NULL));
}

static void answer(enum role_id from, const struct frame *f, uint32_t value)
{
	bool fail = w.fail_type == f->type;
	sent(ipc_send_result(w.chan[from], f->id, fail ? -EINVAL : 0, value, fail ? "it was told to fail" : NULL));
}

static void play_gate(struct frame *f)
{
	if (f->type == IPC_POLICY) {
		take_policy(f);
	} else if (f->type == IPC_APP_ADD) {
		assert_true(ipc_app_get(f->body, f->len, &w.app));
		w.n_apps++;
		answer(ROLE_GATE, f, 0);
	} else if (f->type == IPC_APP_DEL) {
		w.n_apps--;
		answer(ROLE_GATE, f, 0);
	} else if (f->type == IPC_GRANT_BLOCK) {
		assert_true(ipc_block_get(f->body, f->len, &w.block));
	} else if (f->type == IPC_RESULT) {
		assert_true(ipc_result_get(f->body, f->len, &w.charged));
		w.n_charged++;
	}
	struct ipc_u32 cut;
	if (f->type == IPC_GRANT_CUT && ipc_u32_get(f->body, f->len, &cut))
		w.cut = cut.v;
	w.n_grants += f->type == IPC_GRANT;
	w.n_syns += f->type == IPC_SYN;
	w.n_sync_ends += f->type == IPC_SYNC_END;
}

void main_check(const char *name)
{
	struct ipc_check k = { 0 };
	if (name == NULL) {
		assert_int_equal(frame_send(w.chan[ROLE_MAIN], IPC_CHECK_END, 0, NULL, 0, NULL, 0), 0);
		return;
	}
	snprintf(k.name, sizeof(k.name), "%s", name);
	ipc_text_set(&k.text, "nothing passes");
	ipc_text_set(&k.fix, "mend it");
	assert_int_equal(ipc_send(w.chan[ROLE_MAIN], IPC_CHECK, 0, check, &k, NULL, 0), 0);
}

static void play_main(struct frame *f)
{
	if (f->type == IPC_RESULT) {
		assert_true(ipc_result_get(f->body, f->len, &w.policy_result));
		w.n_policy_results++;
	} else if (f->type == IPC_DOCTOR) {
		w.n_doctors++;
		if (!w.hold_doctor) {
			main_check("offload");
			main_check(NULL);
		}
	} else if (f->type == IPC_VM_START) {
		assert_true(ipc_vm_get(f->body, f->len, &w.vm));
		assert_true(f->n_fds >= 1);
		w.stream = f->fds[0];
		w.n_blocks = f->n_fds - 1;
		for (unsigned i = 1; i < f->n_fds; i++)
			close(f->fds[i]);
		f->n_fds = 0;
		answer(ROLE_MAIN, f, 0);
	} else if (f->type == IPC_VM_STOP) {
		w.n_vm_stops++;
		struct ipc_vm_exit e = { 0 };
		assert_true(ipc_app_ref_get(f->body, f->len, &e.ref));
		assert_int_equal(ipc_send(w.chan[ROLE_MAIN], IPC_VM_EXITED, 0, vm_exit, &e, NULL, 0), 0);
	} else if (f->type != IPC_READY && f->type != IPC_VM_CLAIM) {
		w.n_released += f->type == IPC_LINK_RELEASE;
		answer(ROLE_MAIN, f, 0);
	}
}

static void play_auth(struct frame *f)
{
	if (f->type == IPC_AUTH_PEER) {
		assert_true(ipc_auth_peer_get(f->body, f->len, &w.auth_peer));
	} else if (f->type == IPC_AUTH_ASK) {
		assert_true(ipc_auth_ask_get(f->body, f->len, &w.auth_ask));
		w.n_auth_asks++;
		w.auth_id = f->id;
		if (w.polkit <= 0)
			assert_int_equal(ipc_send_result(w.chan[ROLE_AUTH], f->id, w.polkit, 0, NULL), 0);
	}
}

void auth_says(bool polkit, bool logind, uid_t uid)
{
	struct ipc_auth_state m = { .polkit = polkit, .logind = logind, .n = uid != 0, .uid = { uid } };
	assert_int_equal(ipc_send(w.chan[ROLE_AUTH], IPC_AUTH_STATE, 0, auth_state, &m, NULL, 0), 0);
}

static void play_one(enum role_id from)
{
	struct frame f;
	while (w.chan[from] != NULL && frame_recv(w.chan[from], &f) == 1) {
		if (from == ROLE_GATE)
			play_gate(&f);
		else if (from == ROLE_MAIN)
			play_main(&f);
		else if (from == ROLE_AUTH)
			play_auth(&f);
		else {
			w.n_ports += f.type == IPC_PORT_ADD;
			w.n_ports -= f.type == IPC_PORT_DEL;
			answer(from, &f, 1234);
		}
		frame_close_fds(&f);
	}
}

/* Plays the roles until something came or the patience ends. */
void play(int extra_fd)
{
	struct pollfd p[5];
	nfds_t n = 0;
	static const enum role_id roles[] = { ROLE_MAIN, ROLE_SWITCHD, ROLE_GATE, ROLE_AUTH };
	for (unsigned i = 0; i < 4; i++) {
		if (w.chan[roles[i]] != NULL)
			p[n++] = (struct pollfd){ .fd = frame_chan_fd(w.chan[roles[i]]), .events = POLLIN };
	}
	if (extra_fd >= 0)
		p[n++] = (struct pollfd){ .fd = extra_fd, .events = POLLIN };
	int got = poll(p, n, PATIENCE_MS);
	if (got <= 0)
		fail_msg("nothing came from the desk in %d ms", PATIENCE_MS);
	for (unsigned i = 0; i < 4; i++)
		play_one(roles[i]);
}

static void start_desk(void)
{
	char conf[512];
	w.pid = -1;
	int fd = channel(ROLE_MAIN);
	w.pid = fork();
	if (w.pid == 0) {
		for (int i = 3; i < 200; i++) {
			if (i != fd)
				close(i);
		}
		child(fd);
	}
	close(fd);
	int len = snprintf(conf, sizeof(conf), conf_fmt, w.dir, w.dir);
	struct frame_chan *m = w.chan[ROLE_MAIN];
	assert_int_equal(frame_send(m, IPC_CONFIG, 0, conf, (size_t)len, NULL, 0), 0);
	give_channel(ROLE_SWITCHD);
	give_channel(ROLE_GATE);
	give_channel(ROLE_AUTH);
	assert_int_equal(frame_send(m, IPC_START, 0, NULL, 0, NULL, 0), 0);
	assert_int_equal(frame_send(m, IPC_SOCKETS, 0, NULL, 0, &w.listener, 1), 0);
	w.n_sync_ends = w.n_policy_results = 0;
	w.generation = 0;
}

void start(const char *policy)
{
	start_desk();
	give_policy(policy);
	UNTIL(w.n_policy_results == 1 && w.n_sync_ends == 1);
	assert_int_equal(w.policy_result.err, 0);
}

/* Its end, while the roles are played; its exit status. */
int wait_desk(void)
{
	int status;
	/* It does not wait for the last words of others. */
	bool was = w.mortal;
	w.mortal = true;
	while (waitpid(w.pid, &status, WNOHANG) == 0) {
		for (enum role_id i = 0; i < ROLE_COUNT; i++)
			play_one(i);
		poll(NULL, 0, 1);
	}
	for (enum role_id i = 0; i < ROLE_COUNT; i++)
		lose_channel(i);
	w.mortal = was;
	w.pid = 0;
	return status;
}

int end_desk(int signal)
{
	if (signal == 0) {
		assert_int_equal(frame_send(w.chan[ROLE_MAIN], IPC_STOP, 0, NULL, 0, NULL, 0), 0);
	} else {
		kill(w.pid, signal);
		for (enum role_id i = 0; i < ROLE_COUNT; i++)
			lose_channel(i);
	}
	return wait_desk();
}

int world_setup(void **state)
{
	(void)state;
	memset(&w, 0, sizeof(w));
	w.stream = -1;
	strcpy(w.dir, "/tmp/sekisho-desk-XXXXXX");
	char store[96];
	if (mkdtemp(w.dir) == NULL)
		return -1;
	snprintf(store, sizeof(store), "%s/store", w.dir);
	struct conf conf;
	conf_defaults(&conf);
	if (mkdir(store, 0700) != 0 ||
		(geteuid() == 0 &&
			(chmod(w.dir, 0755) != 0 || chown(store, conf.uid_base + ROLE_DESK, (gid_t)-1) != 0)))
		return -1;
	snprintf(w.api, sizeof(w.api), "%s/api", w.dir);
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", w.api);
	w.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	return bind(w.listener, (struct sockaddr *)&sa, sizeof(sa)) == 0 && chmod(w.api, 0666) == 0 &&
			       listen(w.listener, 16) == 0
		     ? 0
		     : -1;
}

static bool private_file(const char *target, const char *text)
{
	char path[] = "/mnt/etc-XXXXXX";
	int fd = mkstemp(path);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && fchmod(fd, 0644) == 0 &&
		  mount(path, target, NULL, MS_BIND, NULL) == 0;
	if (fd >= 0)
		close(fd);
	/* Still linked, so that the desk does not take it for one that was replaced: its end is the namespace's. */
	return ok;
}

bool private_users(void)
{
	char passwd[2048] = "root:x:0:0::/root:/bin/sh\n", group[2048] = "root:x:0:\nsekisho:x:901:bob";
	static const char *const names[] = { "alice", "bob", "carol", "dave" };
	/* alice by her own group, bob by being named in it. */
	for (unsigned i = 0; i < 4; i++)
		snprintf(passwd + strlen(passwd), 100, "%s:x:%u:%u::/home/%s:/bin/sh\n", names[i], 1001 + i,
			i == 0 ? 901 : 1001 + i, names[i]);
	for (unsigned i = 1; i <= 12; i++) {
		snprintf(passwd + strlen(passwd), 100, "u%02u:x:%u:100::/:/bin/sh\n", i, 1100 + i);
		snprintf(group + strlen(group), 100, ",u%02u", i);
	}
	strcat(group, "\nsekisho-admin:x:902:carol\n");
	return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("tmpfs", "/mnt", "tmpfs", 0, NULL) == 0 && private_file("/etc/passwd", passwd) &&
	       private_file("/etc/group", group);
}

int world_teardown(void **state)
{
	(void)state;
	char cmd[128];
	if (w.pid > 0)
		end_desk(SIGKILL);
	policy_free(w.policy);
	policy_free(w.base);
	unmap(&w.image);
	unmap(&w.delta);
	close(w.listener);
	if (w.stream >= 0)
		close(w.stream);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", w.dir);
	return system(cmd);
}

void call_begin(struct call *c, const char *method, json_t *params, const char *flag)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", w.api);
	*c = (struct call){ .fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) };
	/* An agent is a process, and a user has an uid: another process connects for us. */
	bool other = w.other_agent || w.as != 0;
	pid_t agent = other ? fork() : 0;
	if (agent == 0 && other)
		_exit((w.as == 0 || setresuid(w.as, w.as, w.as) == 0) &&
					connect(c->fd, (struct sockaddr *)&sa, sizeof(sa)) == 0
				? 0
				: 1);
	int status = 0;
	if (agent > 0)
		assert_int_equal(waitpid(agent, &status, 0), agent);
	assert_int_equal(agent > 0 ? status : connect(c->fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	json_t *m = json_pack("{s:s, s:o*}", "method", method, "parameters", params);
	if (flag != NULL)
		json_object_set_new(m, flag, json_true());
	size_t len;
	char *text = api_print(m, &len);
	/* Whoever is turned away may find the door closed before he has spoken; the reason can be read all the same. */
	size_t sent = 0;
	if (w.give != NULL)
		assert_int_equal(api_fds_send(c->fd, text, 1, w.give, &sent), 0);
	assert_true(send(c->fd, text + sent, len - sent, MSG_NOSIGNAL) == (ssize_t)(len - sent) || errno == EPIPE);
	free(text);
	json_decref(m);
}

json_t *call_next(struct call *c)
{
	for (;;) {
		json_t *m;
		int got = api_in_next(&c->in, &m);
		assert_true(got >= 0);
		if (got == 1)
			return m;
		play(c->fd);
		char *p;
		size_t room;
		assert_int_equal(api_in_room(&c->in, &p, &room), 0);
		ssize_t n = recv(c->fd, p, room, MSG_DONTWAIT);
		if (n == 0)
			fail_msg("the desk closed the connection");
		if (n > 0)
			api_in_add(&c->in, (size_t)n);
	}
}

void call_end(struct call *c)
{
	close(c->fd);
	api_in_fini(&c->in);
}

/* The connection is ended by the desk; what came before the end is given up. */
void expect_closed(struct call *c)
{
	char buf[4096];
	for (;;) {
		ssize_t n = recv(c->fd, buf, sizeof(buf), MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno == ECONNRESET))
			return;
		if (n < 0)
			play(c->fd);
	}
}

void ask_gate(uint32_t number, const char *name, int64_t patience_ms)
{
	struct ipc_question q = { .number = number,
		.ref = w.app.ref,
		.proto = 6,
		.port = 443,
		.held_wall_ms = clock_wall_ms(),
		.gives_up_wall_ms = clock_wall_ms() + patience_ms };
	assert_true(name_from_text(name, strlen(name), &q.name));
	sent(ipc_send(w.chan[ROLE_GATE], IPC_QUESTION, 0, question, &q, NULL, 0));
}

json_t *event(struct call *c, const char *what)
{
	json_t *m = call_next(c);
	json_t *p = json_incref(json_object_get(m, "parameters"));
	json_decref(m);
	assert_string_equal(str(p, "event"), what);
	return p;
}

json_t *answer_params(const json_t *q, const char *rule)
{
	return json_pack("{s:s, s:s, s:s}", "id", str(q, "id"), "digest", str(q, "digest"), "rule", rule);
}

static json_t *call(const char *method, json_t *params)
{
	struct call c;
	call_begin(&c, method, params, NULL);
	json_t *m = call_next(&c);
	call_end(&c);
	return m;
}

json_t *expect(const char *method, json_t *params)
{
	json_t *m = call(method, params);
	if (json_object_get(m, "error") != NULL)
		fail_msg("%s: %s", method, json_dumps(m, 0));
	json_t *p = json_incref(json_object_get(m, "parameters"));
	json_decref(m);
	return p;
}

void expect_error(const char *method, json_t *params, const char *error)
{
	json_t *m = call(method, params);
	const char *got = json_string_value(json_object_get(m, "error"));
	if (got == NULL || strcmp(got, error) != 0)
		fail_msg("%s: expected %s, got %s", method, error, json_dumps(m, 0));
	json_decref(m);
}

const char *str(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));
	return s == NULL ? "" : s;
}

json_t *add(const char *line)
{
	json_t *p = expect("org.sekisho.Rules.Add", json_pack("{s:[s]}", "rules", line));
	json_t *one = json_incref(json_array_get(json_object_get(p, "added"), 0));
	assert_true(json_is_true(json_object_get(p, "in_force")));
	json_decref(p);
	return one;
}

void attach(const char *app)
{
	json_t *p = expect("org.sekisho.Apps.Attach", json_pack("{s:s, s:s}", "app", app, "port", "veth-x"));
	assert_string_equal(str(p, "app"), app);
	json_decref(p);
}

enum policy_answer judge(const char *name)
{
	struct name n;
	struct policy_verdict v;
	assert_true(name_from_text(name, strlen(name), &n));
	struct policy_request q = { .owner = getuid(),
		.app = "web",
		.name = &n,
		.proto = 6,
		.port = 443,
		.now_ms = clock_wall_ms() };
	policy_decide(w.policy, &q, &v);
	return v.answer;
}
