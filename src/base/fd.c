/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SEALS = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW };

int fd_write_all(int fd, const void *p, size_t len)
{
	const char *from = p;
	for (size_t done = 0; done < len;) {
		ssize_t n = write(fd, from + done, len - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	return 0;
}

int fd_memory(const char *name)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd < 0 ? -errno : fd;
}

int fd_seal(int fd)
{
	return fcntl(fd, F_ADD_SEALS, SEALS | F_SEAL_SEAL) == 0 ? 0 : -errno;
}

bool fd_sealed(int fd, size_t len)
{
	int seals = fcntl(fd, F_GET_SEALS);
	return len != 0 && seals >= 0 && (seals & SEALS) == SEALS && lseek(fd, 0, SEEK_END) == (off_t)len;
}

enum { CLOSERS = 1024, CLOSERS_HANG = 8 };
static pid_t closers[CLOSERS];
static unsigned n_closers;

static void closers_reap(void)
{
	for (unsigned i = 0; i < n_closers;) {
		if (waitpid(closers[i], NULL, WNOHANG) == 0)
			i++;
		else
			closers[i] = closers[--n_closers];
	}
}

bool fd_closers_free(void)
{
	closers_reap();
	return n_closers < CLOSERS_HANG;
}

void fd_close_aside(const int *fds, size_t n)
{
	closers_reap();
	pid_t parent = getpid();
	pid_t pid = n == 0 || n_closers == CLOSERS ? -1 : (pid_t)syscall(SYS_clone, FD_CLOSER_CLONE, 0, 0, 0, 0);
	if (pid > 0) {
		closers[n_closers++] = pid;
		return;
	}
	/* The table must not outlive its owner. */
	if (pid == 0 && (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent))
		_exit(1);
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
	if (pid == 0)
		_exit(0);
}
