/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/program.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* A file in memory: unlike pipes it can neither fill up nor be held open by a daemon that the program leaves behind. */
static int memory_file(const char *name, const char *text)
{
	int fd = memfd_create(name, MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	size_t len = text == NULL ? 0 : strlen(text), off = 0;
	while (off < len) {
		ssize_t n = write(fd, text + off, len - off);
		if (n < 0) {
			int err = -errno;
			close(fd);
			return err;
		}
		off += (size_t)n;
	}
	lseek(fd, 0, SEEK_SET);
	return fd;
}

static _Noreturn void child_run(const char *const *argv, const char *const *env, int in, int out)
{
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	for (; env != NULL && *env != NULL; env++) {
		char *copy = strdup(*env);
		if (copy == NULL || putenv(copy) != 0)
			_exit(126);
	}
	char *args[32];
	unsigned n = 0;
	for (; n < 31 && argv[n] != NULL; n++)
		args[n] = strdup(argv[n]);
	args[n] = NULL;
	if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
		_exit(126);
	execvp(args[0], args);
	_exit(errno == ENOENT ? 127 : 126);
}

int program_run(const char *const *argv, const char *const *env, const char *input, char *error, size_t error_len)
{
	int in = memory_file("in", input), out = memory_file("out", NULL), status = 0;
	pid_t pid = in < 0 || out < 0 ? -1 : fork();
	if (pid == 0)
		child_run(argv, env, in, out);
	int err = in < 0 ? in : out < 0 ? out : pid < 0 ? -errno : 0;
	while (err == 0 && waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			err = -errno;
	}
	if (error != NULL && error_len > 0) {
		ssize_t n = err == 0 ? pread(out, error, error_len - 1, 0) : 0;
		error[n < 0 ? 0 : n] = '\0';
	}
	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
	if (err != 0)
		return err;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}
