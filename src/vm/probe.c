/* SPDX-License-Identifier: Apache-2.0 */
/* Whether KVM boots a guest here. */
#include "agent/frame.h"
#include "base/clock.h"
#include "vm/backend.h"
#include "vm/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { PROBE_MS = 3000, KVM_API = 12, PROBE_MIB = 128, VERDICT_MAX = 1024 };

static bool kvm_opens(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return false;
	int vm = ioctl(fd, KVM_GET_API_VERSION, 0) == KVM_API ? ioctl(fd, KVM_CREATE_VM, 0) : -1;
	if (vm >= 0)
		close(vm);
	close(fd);
	return vm >= 0;
}

/* The agent's first frame within the limit is the proof. */
static bool says_hello(int fd)
{
	struct agent_in *in = calloc(1, sizeof(*in));
	int64_t end = clock_boot_ms() + PROBE_MS;
	int got = 0;
	struct agent_frame f = { 0 };
	while (in != NULL && got == 0) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		uint8_t buf[64];
		int64_t left = end - clock_boot_ms();
		if (left <= 0 || poll(&p, 1, (int)left) <= 0)
			break;
		ssize_t n = read(fd, buf, sizeof(buf));
		if (n <= 0)
			break;
		const uint8_t *at = buf;
		size_t len = (size_t)n;
		got = agent_in_take(in, &at, &len, &f);
	}
	free(in);
	return got == 1 && f.type == AGENT_HELLO;
}

static bool boots(const struct vm_spec *spec)
{
	char error[VM_ERROR_MAX];
	struct vm_spec s = { .kernel = spec->kernel,
		.dir = spec->dir,
		.uid = spec->uid,
		.accel = VM_ACCEL_KVM,
		.tap_fd = -1,
		.memory_mib = PROBE_MIB };
	struct vm_proc p;
	struct vm_channels c;
	bool ok = vm_start(&s, &p, error) == 0;
	if (ok) {
		ok = vm_connect(s.dir, &c) == 0 && says_hello(c.ctl);
		vm_channels_close(&c);
		vm_kill(&p);
	}
	vm_clean(s.dir);
	return ok;
}

bool vm_kvm_works(const struct vm_spec *spec)
{
	char path[VM_PATH_MAX], want[512];
	struct utsname u;
	if (!kvm_opens() || uname(&u) != 0 ||
		snprintf(path, sizeof(path), "%s.kvm", spec->kernel->vmlinux) >= (int)sizeof(path))
		return false;
	int len = snprintf(want, sizeof(want), "%.200s %.200s ", u.release, spec->kernel->version);
	uint8_t *was;
	size_t was_len;
	if (file_read(path, VERDICT_MAX, &was, &was_len) == 0) {
		bool known = was_len == (size_t)len + 2 && memcmp(was, want, (size_t)len) == 0,
		     yes = known && was[len] == 'y';
		free(was);
		if (known)
			return yes;
	}
	bool works = boots(spec);
	snprintf(want + len, sizeof(want) - (size_t)len, "%c\n", works ? 'y' : 'n');
	/* Not remembered: probed again next time, nothing worse. */
	if (file_write(path, want, (size_t)len + 2) != 0)
		unlink(path);
	return works;
}
