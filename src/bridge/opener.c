/* SPDX-License-Identifier: Apache-2.0 */
#include "bridge/opener.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/if_tun.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NAME_MAX_LEN = 32, PAGE = 4096 };

#define LOAD(field)	   BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define IS(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), (yes), (no))

int opener_install(void)
{
	/* The lower half of an argument comes first: this is x86. */
	struct sock_filter code[] = { LOAD(arch), IS(AUDIT_ARCH_X86_64, 0, 6), LOAD(nr), IS(SYS_open, 5, 0),
		IS(SYS_openat, 4, 0), IS(SYS_ioctl, 0, 2), LOAD(args[1]), IS((uint32_t)TUNSETIFF, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF) };
	struct sock_fprog program = { .len = sizeof(code) / sizeof(*code), .filter = code };
	long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
	return fd < 0 ? -errno : (int)fd;
}

/* What stands at `at` in its memory, as far as that page goes; always ended. */
static void read_name(pid_t pid, uint64_t at, char ret[NAME_MAX_LEN + 1])
{
	size_t len = PAGE - (size_t)(at % PAGE);
	struct iovec to = { .iov_base = ret, .iov_len = len < NAME_MAX_LEN ? len : NAME_MAX_LEN };
	struct iovec from = { .iov_base = (void *)(uintptr_t)at, .iov_len = to.iov_len };
	ssize_t n = process_vm_readv(pid, &to, 1, &from, 1, 0);
	ret[n > 0 ? n : 0] = '\0';
}

static const struct opener_file *find(const struct opener_file *files, const char *path)
{
	static const char dir[] = "/fd/";
	if (strncmp(path, dir, sizeof(dir) - 1) != 0)
		return NULL;
	while (files->name != NULL && strcmp(files->name, path + sizeof(dir) - 1) != 0)
		files++;
	return files->name == NULL ? NULL : files;
}

static const char *name_of(const struct seccomp_notif *n, char buf[NAME_MAX_LEN + 1])
{
	static const char *const devices[][2] = { { "/dev/net/tun", "/fd/tap" }, { "/dev/kvm", "/fd/kvm" } };
	read_name((pid_t)n->pid, n->data.args[n->data.nr == SYS_openat ? 1 : 0], buf);
	for (unsigned i = 0; i < sizeof(devices) / sizeof(*devices); i++) {
		if (strcmp(buf, devices[i][0]) == 0)
			return devices[i][1];
	}
	return buf;
}

void opener_answer(int listener, const struct opener_file *files)
{
	char buf[NAME_MAX_LEN + 1];
	struct seccomp_notif n = { 0 };
	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &n) != 0)
		return;
	struct seccomp_notif_resp answer = { .id = n.id };
	if (n.data.nr != SYS_ioctl) {
		const struct opener_file *f = find(files, name_of(&n, buf));
		struct seccomp_notif_addfd add = { .id = n.id,
			.flags = SECCOMP_ADDFD_FLAG_SEND,
			.srcfd = f == NULL ? 0 : (uint32_t)f->fd,
			.newfd_flags = O_CLOEXEC };
		if (f != NULL && ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add) >= 0)
			return;
		answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
	}
	/* It may have been killed meanwhile. */
	(void)ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
}
