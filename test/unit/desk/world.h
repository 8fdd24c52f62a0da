/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_WORLD_H
#define TEST_WORLD_H

#include "api/fds.h"
#include "api/frame.h"
#include "ipc/ipc.h"
#include "policy/image.h"

#include <stdbool.h>
#include <sys/types.h>

/*
 * The desk as a process of its own between roles played by this program: main, switchd and the gate on one side,
 * clients of the control socket on the other.
 */
struct world {
	char dir[64], api[96];
	int listener;
	pid_t pid;
	struct frame_chan *chan[ROLE_COUNT];
	struct image {
		void *at;
		size_t len;
	} image, delta; /* what the gate was given last */
	struct policy *base, *policy;
	uint64_t base_number;
	unsigned n_bases;
	uint64_t generation;
	const char *file;   /* name of the policy file; NULL: 10-test.rules */
	unsigned n_doctors; /* times main was asked for its checks */
	bool hold_doctor;   /* the test answers */
	bool hold_policy;   /* the gate does not answer */
	uint32_t held_id;
	struct ipc_app app;
	struct ipc_block block;
	unsigned n_apps, n_grants, n_syns, n_sync_ends, n_vm_stops;
	struct ipc_vm vm;
	int stream;
	unsigned n_blocks;	    /* descriptors behind the stream */
	const struct api_fds *give; /* ride with the next calls; NULL: none */
	struct ipc_result charged, policy_result;
	unsigned n_charged, n_policy_results, n_released, n_ports;
	bool mortal;	  /* the desk may be gone when it is told something */
	bool other_agent; /* calls come from another process */
	int fail_type;	  /* this request is answered with an error */
	uid_t as;	  /* calls come from this user; 0: root */
	struct ipc_auth_peer auth_peer;
	struct ipc_auth_ask auth_ask;
	unsigned n_auth_asks;
	uint32_t auth_id;
	uint32_t cut; /* the number of the last IPC_GRANT_CUT */
	int polkit;   /* its answer: 0 or negative errno; 1: none for now */
};
extern struct world w;

/* A client's call while the roles are played. */
struct call {
	int fd;
	struct api_in in;
};

#define UNTIL(condition) \
	do { \
		while (!(condition)) \
			play(-1); \
	} while (0)

void lose_channel(enum role_id to);
void give_channel(enum role_id to);
void give_policy(const char *text);
void play(int extra_fd);
void start(const char *policy);
int end_desk(int signal);
int wait_desk(void);
/* For the whole program: users of our own in a private /etc. alice 1001 and bob 1002 may run, carol 1003 is an admin,
 * dave 1004 is nobody special, u01..u12 (1101..1112) may run. 1999 has no entry. False: not permitted here. */
bool private_users(void);
int world_setup(void **state);
int world_teardown(void **state);
void call_begin(struct call *c, const char *method, json_t *params, const char *flag);
json_t *call_next(struct call *c);
void call_end(struct call *c);
void expect_closed(struct call *c);
/* The gate holds a packet of w.app to this name, port 443/tcp. */
void ask_gate(uint32_t number, const char *name, int64_t patience_ms);
/* The parameters of the next reply, which is this event of Questions.Serve. */
json_t *event(struct call *c, const char *what);
json_t *answer_params(const json_t *q, const char *rule);
json_t *expect(const char *method, json_t *params);
void expect_error(const char *method, json_t *params, const char *error);
const char *str(const json_t *j, const char *key);
json_t *add(const char *line);
void attach(const char *app);
/* What the role auth says; `uid` 0: nobody has a session. */
void auth_says(bool polkit, bool logind, uid_t uid);
/* Main found this; NULL: that was all. */
void main_check(const char *name);
enum policy_answer judge(const char *name);

#endif
