/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Firecracker, configured by one file and started by sekisho-bridge (src/bridge), which lives in the same jail and
 * makes its channels look like QEMU's. Not Firecracker's own jailer: that closes every descriptor, so tap, image and
 * layer would have to be files its uid can open, in a chroot on a disk; ours gives the same (uid, namespaces, no
 * capability, limits) and Firecracker filters its own system calls either way.
 */
#include "vm/backend.h"
#include "vm/jail.h"
#include "vm/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	MEMORY_DEFAULT_MIB = 512,
	FILES = 128,
	THREADS = 96, /* one per processor, two of its own, ours */
	FDS_MAX = VM_SOCKETS + 6,
	FIRST_FD = 3,
	WORDS_MAX = 8,
	CONFIG_MAX = 4096,
	VERSION_S = 5,
	VERSION_MINOR_MIN = 8
};

/* --- is it there */

static bool read_all(int fd, char *buf, size_t cap)
{
	size_t len = 0;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	while (len < cap - 1 && poll(&p, 1, VERSION_S * 1000) > 0) {
		ssize_t n = read(fd, buf + len, cap - 1 - len);
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	buf[len] = '\0';
	return len > 0;
}

static int ask_version(const char *program, char *buf, size_t cap)
{
	int out[2];
	if (pipe2(out, O_CLOEXEC) != 0)
		return -errno;
	pid_t pid = fork();
	if (pid == 0) {
		char *const argv[] = { "firecracker", "--version", NULL };
		char *const env[] = { NULL };
		if (dup2(out[1], 1) >= 0)
			execve(program, argv, env);
		_exit(127);
	}
	close(out[1]);
	bool said = pid > 0 && read_all(out[0], buf, cap);
	close(out[0]);
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	return said ? 0 : -ENOEXEC;
}

/* "Firecracker v1.12.1". 1.8 was the first with ACPI tables, without which Debian's kernel finds no device. */
static int check_version(const char *said, char *error)
{
	unsigned major, minor;
	if (sscanf(said, "Firecracker v%u.%u.", &major, &minor) != 2) {
		snprintf(error, VM_ERROR_MAX, "Firecracker does not say its version");
		return -ENOEXEC;
	}
	if (major == 1 && minor >= VERSION_MINOR_MIN)
		return 0;
	snprintf(error, VM_ERROR_MAX, "Firecracker is %u.%u; 1.%d or a later 1.x is needed", major, minor,
		VERSION_MINOR_MIN);
	return -ENOTSUP;
}

int vm_firecracker_there(const char *program, char *error)
{
	static struct {
		struct timespec changed;
		int err;
		char error[VM_ERROR_MAX];
	} last;
	char said[128] = "";
	struct stat st;
	if (program == NULL || stat(program, &st) != 0) {
		snprintf(error, VM_ERROR_MAX, "there is no Firecracker here");
		return -ENOENT;
	}
	if (memcmp(&last.changed, &st.st_ctim, sizeof(last.changed)) != 0) {
		last.changed = st.st_ctim;
		last.err = ask_version(program, said, sizeof(said));
		snprintf(last.error, sizeof(last.error), "%.100s cannot be run", program);
		if (last.err == 0)
			last.err = check_version(said, last.error);
	}
	if (last.err != 0)
		memcpy(error, last.error, VM_ERROR_MAX);
	return last.err;
}

static int fits(const struct vm_spec *s, char *error)
{
	int err = vm_firecracker_there(s->firecracker, error);
	if (err != 0)
		return err;
	const char *reason = NULL;
	if (s->root.kind == VM_ROOT_HOST)
		reason = "the host's directories need virtiofs, which Firecracker has not; give it an image (--image)";
	else if (s->shares.n > 0)
		reason = "lent directories need virtiofs, which Firecracker has not";
	else if (s->tap_fd >= 0 && !s->tso)
		reason = "Firecracker wants segmentation offload, which this switch does not carry";
	if (reason != NULL)
		snprintf(error, VM_ERROR_MAX, "%s", reason);
	return reason == NULL ? 0 : -EOPNOTSUPP;
}

/* --- what it is told */

/* No virtualisation inside the guest, as for QEMU. */
static const char cpu_config[] =
	"{\"cpuid_modifiers\":[{\"leaf\":\"0x1\",\"subleaf\":\"0x0\",\"flags\":0,\"modifiers\":"
	"[{\"register\":\"ecx\",\"bitmap\":\"0bxxxxxxxxxxxxxxxxxxxxxxxxxx0xxxxx\"}]},"
	"{\"leaf\":\"0x80000001\",\"subleaf\":\"0x0\",\"flags\":0,\"modifiers\":"
	"[{\"register\":\"ecx\",\"bitmap\":\"0bxxxxxxxxxxxxxxxxxxxxxxxxxxxxx0xx\"}]}]}";

static unsigned memory_mib(const struct vm_spec *s)
{
	return s->memory_mib == 0 ? MEMORY_DEFAULT_MIB : s->memory_mib;
}

static const char *root_word(const struct vm_root *r)
{
	if (r->kind != VM_ROOT_IMAGE)
		return "none";
	return r->layer_fd >= 0 ? "image sekisho.layer=disk" : "image";
}

static const char *drives(const struct vm_root *r)
{
	static const char both[] =
		"{\"drive_id\":\"image\",\"path_on_host\":\"/fd/image\",\"is_root_device\":false,\"is_read_only\":true},"
		"{\"drive_id\":\"layer\",\"path_on_host\":\"/fd/layer\",\"is_root_device\":false,\"is_read_only\":false}";
	static const char image[] =
		"{\"drive_id\":\"image\",\"path_on_host\":\"/fd/image\",\"is_root_device\":false,\"is_read_only\":true}";
	if (r->kind != VM_ROOT_IMAGE)
		return "";
	return r->layer_fd >= 0 ? both : image;
}

/* The guest knows the disks by their order: Firecracker's have no serial of ours. */
static int config_write(const struct vm_spec *s, char *buf, size_t cap)
{
	char nic[160] = "", mac[MAC_TEXT_MAX];
	if (s->tap_fd >= 0)
		snprintf(nic, sizeof(nic), "{\"iface_id\":\"nic\",\"guest_mac\":\"%s\",\"host_dev_name\":\"tap\"}",
			mac_format(&s->mac, mac, sizeof(mac)));
	int n = snprintf(buf, cap,
		"{\"boot-source\":{\"kernel_image_path\":\"/guest/vmlinux\",\"initrd_path\":\"/guest/initramfs\","
		"\"boot_args\":\"console=ttyS0 panic=-1 reboot=k quiet cryptomgr.notests pci=off audit=0 apparmor=0 nokaslr "
		"8250.nr_uarts=1 i8042.noaux i8042.nomux i8042.dumbkbd random.trust_cpu=1 sekisho.port=vsock "
		"sekisho.root=%s\"},\"drives\":[%s],\"machine-config\":{\"vcpu_count\":%u,\"mem_size_mib\":%u},"
		"\"cpu-config\":\"/fd/cpu\",\"network-interfaces\":[%s],\"entropy\":{},"
		"\"vsock\":{\"guest_cid\":3,\"uds_path\":\"/run/s\"}}",
		root_word(&s->root), drives(&s->root), s->cpus == 0 ? 1 : s->cpus, memory_mib(s), nic);
	return n < 0 || (size_t)n >= cap ? -E2BIG : n;
}

static int file_of(const char *text, size_t len)
{
	int fd = memfd_create("config", MFD_CLOEXEC);
	if (fd >= 0 && (write(fd, text, len) != (ssize_t)len || lseek(fd, 0, SEEK_SET) != 0)) {
		close(fd);
		return -EIO;
	}
	return fd < 0 ? -errno : fd;
}

/* --- the start */

/* What the bridge is given: the sockets, then whatever Firecracker shall open by name. */
struct gift {
	int fds[FDS_MAX];
	unsigned n, n_words;
	char text[WORDS_MAX][32];
	char *argv[WORDS_MAX + 3];
};

static void give(struct gift *g, const char *name, int fd)
{
	if (fd < 0)
		return;
	snprintf(g->text[g->n_words], sizeof(g->text[0]), "%s=%u", name, FIRST_FD + g->n);
	g->argv[2 + g->n_words] = g->text[g->n_words];
	g->n_words++;
	g->fds[g->n++] = fd;
}

/* What is made here and closed again when the bridge has it. */
struct made {
	int config, cpu, kvm;
};

static int spawn(const struct vm_spec *s, const struct vm_ends *e, const struct made *m, struct vm_proc *p, char *error)
{
	const struct jail_bind binds[] = { { s->bridge, "/sekisho-bridge", false },
		{ s->firecracker, "/firecracker", false }, { s->kernel->vmlinux, "/guest/vmlinux", false },
		{ s->kernel->initramfs, "/guest/initramfs", false }, { "/dev/null", "/dev/null", true },
		{ "/dev/urandom", "/dev/urandom", true }, { NULL, NULL, false } };
	struct gift g = { .n = VM_SOCKETS, .argv = { "/sekisho-bridge", "/firecracker" } };
	memcpy(g.fds, e->fd, sizeof(e->fd));
	give(&g, "config", m->config);
	give(&g, "cpu", m->cpu);
	give(&g, "kvm", m->kvm);
	give(&g, "tap", s->tap_fd);
	if (s->root.kind == VM_ROOT_IMAGE) {
		give(&g, "image", s->root.image_fd);
		give(&g, "layer", s->root.layer_fd);
	}
	struct jail j = { .uid = s->uid,
		.binds = binds,
		.scratch = true,
		.fds = g.fds,
		.n_fds = g.n,
		.stderr_fd = e->log,
		.max_files = FILES,
		/* A layer is a file whose size its owner chose; some versions keep the memory in one, too. */
		.max_file_size = s->root.kind == VM_ROOT_IMAGE && s->root.layer_fd >= 0
				       ? UINT64_MAX
				       : (uint64_t)(memory_mib(s) + 64) << 20,
		.max_threads = THREADS,
		.argv = g.argv };
	return jail_spawn(&j, s->dir, &p->vmm.pid, &p->vmm.pidfd, error);
}

static void made_close(const struct made *m)
{
	const int fds[] = { m->config, m->cpu, m->kvm };
	for (unsigned i = 0; i < sizeof(fds) / sizeof(*fds); i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
}

static int make(const struct vm_spec *s, struct made *m)
{
	char text[CONFIG_MAX];
	int len = config_write(s, text, sizeof(text));
	m->config = len < 0 ? len : file_of(text, (size_t)len);
	m->cpu = file_of(cpu_config, sizeof(cpu_config) - 1);
	m->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (m->kvm < 0)
		return -errno;
	return m->config < 0 ? m->config : m->cpu < 0 ? m->cpu : 0;
}

static int start_machine(const struct vm_spec *s, struct vm_proc *ret, char *error)
{
	struct vm_ends e;
	struct made m;
	struct vm_proc p = { .vmm.pidfd = -1, .share.pidfd = -1, .shares.pidfd = -1 };
	error[0] = 0;
	int err = vm_ends_open(s->dir, &e), made = make(s, &m);
	if (err == 0)
		err = made;
	if (err == 0)
		err = spawn(s, &e, &m, &p, error);
	if (err == 0)
		err = vm_proc_note(&p);
	vm_ends_close(&e);
	made_close(&m);
	if (err != 0) {
		vm_kill(&p);
		if (error[0] == 0)
			snprintf(error, VM_ERROR_MAX, "the virtual machine cannot be started: %s", strerror(-err));
		return err;
	}
	*ret = p;
	return 0;
}

const struct vm_backend vm_firecracker = { .name = "firecracker", .fits = fits, .start = start_machine };
