/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A large base is compiled by another process, for it takes half a second: a fork of this one, which inherits the rules
 * as they are, closes every socket, writes the image into a memfd made beforehand, seals it and ends. It can do nothing
 * else: it has this process's uid, root and system-call filter. The desk goes on meanwhile, with the base it has and
 * what is joined to it, so that a process that dies costs nothing but another try. One at a time; what came later is in
 * the next one.
 */
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "desk/build.h"
#include "desk/rule.h"
#include "policy/image.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LATEST_S = 60, NICE = 10, AGAIN_MS = 1000, BYTES_MAX = 256 << 20, ROWS_AT_ONCE = 8192 };

/* What the other process says at its end. */
struct outcome {
	int err;
	uint64_t len;
	struct policy_error error;
};

static struct {
	pid_t pid; /* 0: none */
	int pipe, memfd;
	int64_t again_ms; /* boot time; not before */
	bool told;	  /* what it said is in `said`; its end is yet to come */
	struct outcome said;
	bool checking; /* it has ended; the image is looked at, some rows between two events */
	struct policy_opening *opening;
} job;

static int image_write(int fd, const struct policy *p, uint64_t *ret_len)
{
	size_t len;
	const void *image = policy_image(p, &len);
	int err = len > BYTES_MAX ? -E2BIG : fd_write_all(fd, image, len);
	if (err == 0)
		err = fd_seal(fd);
	*ret_len = len;
	return err;
}

int base_memfd(struct base *b)
{
	uint64_t len = 0;
	if (b->fd >= 0)
		return b->fd;
	b->fd = fd_memory("policy");
	int err = b->fd < 0 ? b->fd : image_write(b->fd, b->policy, &len);
	b->len = (size_t)len;
	if (err == 0)
		return b->fd;
	log_msg(LOG_ERROR, "the policy cannot be handed to the gate: %s", strerror(-err));
	if (b->fd >= 0)
		close(b->fd);
	b->fd = -1;
	return -1;
}

/* Sockets first: a client whose connection the desk closes must not wait for this. */
static _Noreturn void child(const struct base *b, int pipe, int memfd)
{
	const struct itimerval latest = { .it_value.tv_sec = LATEST_S };
	struct outcome o = { .error.rule = SIZE_MAX };
	struct policy *p;
	if (dup2(pipe, STDIN_FILENO) < 0 || dup2(memfd, STDOUT_FILENO) < 0)
		_exit(1);
	close_range(STDERR_FILENO + 1, ~0U, 0);
	setitimer(ITIMER_REAL, &latest, NULL);
	(void)!setpriority(PRIO_PROCESS, 0, NICE);
	o.err = policy_compile(&b->in, &p, &o.error);
	if (o.err == 0)
		o.err = image_write(STDOUT_FILENO, p, &o.len);
	_exit(fd_write_all(STDIN_FILENO, &o, sizeof(o)) == 0 ? 0 : 1);
}

static void job_reap(struct desk *d)
{
	loop_del(d->role->loop, job.pipe);
	close(job.pipe);
	while (waitpid(job.pid, NULL, 0) < 0 && errno == EINTR)
		;
	job.pid = 0;
}

int compile_begin(struct desk *d, struct base *b)
{
	int fds[2] = { -1, -1 };
	if (compile_busy()) {
		base_free(b);
		return -EBUSY;
	}
	job.memfd = fd_memory("policy");
	int err = job.memfd < 0 ? job.memfd : pipe2(fds, O_CLOEXEC) == 0 ? 0 : -errno;
	if (err == 0)
		err = loop_add(d->role->loop, fds[0], EPOLLIN, DESK_COMPILED, 0);
	pid_t pid = err != 0 ? -1 : fork();
	if (pid == 0)
		child(b, fds[1], job.memfd);
	if (err == 0 && pid < 0) {
		err = -errno;
		loop_del(d->role->loop, fds[0]);
	}
	if (fds[1] >= 0)
		close(fds[1]);
	if (err == 0) {
		job.pid = pid;
		job.pipe = fds[0];
		job.told = false;
		d->base_coming = b;
		return 0;
	}
	if (fds[0] >= 0)
		close(fds[0]);
	if (job.memfd >= 0)
		close(job.memfd);
	base_free(b);
	return err;
}

bool compile_busy(void)
{
	return job.pid != 0 || job.checking;
}

void compile_forget(struct desk *d)
{
	base_free(d->base_coming);
	d->base_coming = NULL;
}

/* It is used where it lies. */
static int image_map(struct base *b, int fd, uint64_t len)
{
	if (len > BYTES_MAX || !fd_sealed(fd, len))
		return -EBADMSG;
	b->map = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);
	if (b->map == MAP_FAILED) {
		b->map = NULL;
		return -errno;
	}
	b->len = len;
	job.opening = policy_open(b->map, len);
	return job.opening == NULL ? -ENOMEM : 0;
}

void compile_event(struct desk *d)
{
	/* The pipe's end comes when the process has let go of its memory: waiting for it takes no time then. */
	if (!job.told) {
		job.told = true;
		if (read(job.pipe, &job.said, sizeof(job.said)) == (ssize_t)sizeof(job.said))
			return;
		job.said = (struct outcome){ .err = -ECHILD };
	}
	job_reap(d);
	job.checking = true;
	d->again = true;
	if (job.said.err == 0 && d->base_coming != NULL)
		job.said.err = image_map(d->base_coming, job.memfd, job.said.len);
}

/* What was compiled is whole, or is not to be used. */
static void image_checked(struct desk *d, int err)
{
	char error[512] = "";
	struct base *b = d->base_coming;
	if (err == -ECHILD)
		snprintf(error, sizeof(error), "the process that compiles the policy died");
	policy_opening_free(job.opening);
	job.opening = NULL;
	job.checking = false;
	if (err == 0 && b != NULL)
		b->fd = job.memfd;
	else
		close(job.memfd);
	d->base_coming = NULL;
	if (b != NULL && err != 0 && error[0] == '\0')
		base_error(b, &job.said.error, err, error);
	if (err != 0)
		job.again_ms = clock_boot_ms() + AGAIN_MS;
	files_compiled(d, b, err, error);
}

static void check_some(struct desk *d)
{
	int err = job.said.err;
	struct base *b = d->base_coming;
	if (err == 0 && b != NULL)
		err = policy_open_step(job.opening, ROWS_AT_ONCE, &b->policy);
	if (err == -EAGAIN)
		d->again = true;
	else
		image_checked(d, err);
}

void compile_tick(struct desk *d)
{
	const struct base *b = d->base;
	struct base *next;
	if (job.checking) {
		check_some(d);
		return;
	}
	if (b == NULL || job.pid != 0 || clock_boot_ms() < job.again_ms)
		return;
	if (b->n_touched + b->n_gone <= BASE_TOUCHED && b->env == d->env)
		return;
	job.again_ms = clock_boot_ms() + AGAIN_MS;
	int err = base_begin(d, d->rules, d->n_rules, d->docs, d->n_docs, &next);
	if (err == 0)
		err = compile_begin(d, next);
	if (err != 0)
		log_msg(LOG_WARNING, "the policy cannot be compiled beside: %s", strerror(-err));
}
