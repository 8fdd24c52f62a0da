/* SPDX-License-Identifier: Apache-2.0 */
/* Whether KVM boots a guest here. */
#include "vm/probe.h"

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

enum { KVM_API = 12, PROBE_MIB = 128, VERDICT_MAX = 1024 };

bool vm_kvm_opens(void)
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

int vm_probe_limit_ms(char was)
{
	enum { FIRST_MS = 3000, SLOW_MS = 10000 };
	return was == VM_PROBE_SLOW ? SLOW_MS : FIRST_MS;
}

char vm_probe_verdict(char was, enum vm_probe_end end)
{
	if (end == VM_PROBE_BOOTED)
		return VM_PROBE_YES;
	return end == VM_PROBE_SILENT && was != VM_PROBE_SLOW ? VM_PROBE_SLOW : VM_PROBE_NO;
}

/* The agent's first frame within the limit is the proof. */
static enum vm_probe_end says_hello(int fd, int limit_ms)
{
	struct agent_in *in = calloc(1, sizeof(*in));
	int64_t end = clock_boot_ms() + limit_ms;
	int got = 0;
	bool silent = false;
	struct agent_frame f = { 0 };
	while (in != NULL && got == 0) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		uint8_t buf[64];
		int64_t left = end - clock_boot_ms();
		silent = left <= 0 || poll(&p, 1, (int)left) <= 0;
		if (silent)
			break;
		ssize_t n = read(fd, buf, sizeof(buf));
		if (n <= 0)
			break;
		const uint8_t *at = buf;
		size_t len = (size_t)n;
		got = agent_in_take(in, &at, &len, &f);
	}
	free(in);
	return got == 1 && f.type == AGENT_HELLO ? VM_PROBE_BOOTED : silent ? VM_PROBE_SILENT : VM_PROBE_ENDED;
}

static enum vm_probe_end boot(const struct vm_backend *b, const struct vm_spec *spec, int limit_ms)
{
	char error[VM_ERROR_MAX];
	struct vm_spec s = { .kernel = spec->kernel,
		.dir = spec->dir,
		.uid = spec->uid,
		.firecracker = spec->firecracker,
		.bridge = spec->bridge,
		.accel = VM_ACCEL_KVM,
		.tap_fd = -1,
		.memory_mib = PROBE_MIB };
	struct vm_proc p;
	struct vm_channels c;
	enum vm_probe_end end = VM_PROBE_ENDED;
	if (b->start(&s, &p, error) == 0) {
		if (vm_connect(s.dir, &c) == 0)
			end = says_hello(c.ctl, limit_ms);
		vm_channels_close(&c);
		vm_kill(&p);
	}
	vm_clean(s.dir);
	return end;
}

bool vm_boots(const struct vm_backend *b, const struct vm_spec *spec)
{
	char path[VM_PATH_MAX], want[512];
	struct utsname u;
	if (!vm_kvm_opens() || uname(&u) != 0 ||
		snprintf(path, sizeof(path), "%s.%s", spec->kernel->vmlinux, b->name) >= (int)sizeof(path))
		return false;
	int len = snprintf(want, sizeof(want), "%.200s %.200s ", u.release, spec->kernel->version);
	uint8_t *text;
	size_t text_len;
	char was = 0;
	if (file_read(path, VERDICT_MAX, &text, &text_len) == 0) {
		if (text_len == (size_t)len + 2 && memcmp(text, want, (size_t)len) == 0)
			was = (char)text[len];
		free(text);
		if (was == VM_PROBE_YES || was == VM_PROBE_NO)
			return was == VM_PROBE_YES;
	}
	char verdict = vm_probe_verdict(was, boot(b, spec, vm_probe_limit_ms(was)));
	snprintf(want + len, sizeof(want) - (size_t)len, "%c\n", verdict);
	/* Not remembered: probed again next time, nothing worse. */
	if (file_write(path, want, (size_t)len + 2) != 0)
		unlink(path);
	return verdict == VM_PROBE_YES;
}
