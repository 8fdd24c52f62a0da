/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMU's microvm. Every channel is a listening socket made here and inherited: nothing in the jail opens or connects
 * anything, and QEMU accepts whoever comes after a keeper that died. virtiofsd's is connected by us and QEMU inherits
 * the connection, which lasts as long as both.
 */
#include "vm/backend.h"
#include "vm/jail.h"
#include "vm/process.h"
#include "vm/share.h"
#include "vm/tsc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	ARGS_MAX = 96,
	ARG_LEN = 1024,
	MEMORY_DEFAULT_MIB = 512,
	QEMU_FILES = 128,
	QEMU_THREADS = 128, /* its pool for disks alone has 64 */
	SHARE_FILES = 1000000,
	SHARE_THREADS = 128,
	FDS_MAX = 6 + VM_SOCKETS
};

/* Fixed by the order in which they are given to jail_spawn(). */
enum { FD_CTL = 3, FD_QMP, FD_SERIAL, FD_EXTRA };

#define NIC_NO_OFFLOAD \
	",csum=off,guest_csum=off,gso=off,guest_tso4=off,guest_tso6=off,guest_ufo=off,guest_ecn=off,host_tso4=off,host_tso6=off,host_ufo=off,host_ecn=off"

struct args {
	char *v[ARGS_MAX + 1];
	unsigned n;
	bool bad;
};

static void __attribute__((format(printf, 2, 3))) arg(struct args *a, const char *fmt, ...)
{
	char buf[ARG_LEN];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	if (n < 0 || n >= (int)sizeof(buf) || a->n == ARGS_MAX || (a->v[a->n] = strdup(buf)) == NULL) {
		a->bad = true;
		return;
	}
	a->v[++a->n] = NULL;
}

static void args_free(struct args *a)
{
	for (unsigned i = 0; i < a->n; i++)
		free(a->v[i]);
}

static void arg_machine(struct args *a, const struct vm_spec *s, unsigned mib)
{
	static const char *const plain[] = { "/usr/bin/qemu-system-x86_64", "-nodefaults", "-no-user-config",
		"-display", "none", "-no-reboot", "-bios", "/usr/share/qemu/qboot.rom", "-global",
		"virtio-mmio.force-legacy=false" };
	for (size_t i = 0; i < sizeof(plain) / sizeof(*plain); i++)
		arg(a, "%s", plain[i]);
	arg(a, "-M");
	arg(a, "microvm,accel=%s,pit=off,pic=off,memory-backend=mem", s->accel == VM_ACCEL_KVM ? "kvm" : "tcg");
	if (s->accel == VM_ACCEL_KVM) {
		arg(a, "-cpu");
		/* No virtualisation inside the guest: its code is the largest part of KVM that a guest can reach. */
		arg(a, "host,-svm,-vmx");
	}
	arg(a, "-m");
	arg(a, "%u", mib);
	arg(a, "-smp");
	arg(a, "%u", s->cpus == 0 ? 1 : s->cpus);
	arg(a, "-object");
	/* A file server must see it. Else it is its own, which costs less where a stored machine has nothing. */
	if (s->root.kind == VM_ROOT_HOST || s->shares.n > 0)
		arg(a, "memory-backend-memfd,id=mem,size=%uM,share=on", mib);
	else
		arg(a, "memory-backend-ram,id=mem,size=%uM", mib);
	arg(a, "-sandbox");
	arg(a, "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
}

static const char *root_word(const struct vm_root *r)
{
	switch (r->kind) {
	case VM_ROOT_HOST:
		return r->layer_fd >= 0 ? "hostroot sekisho.layer=disk" : "hostroot";
	case VM_ROOT_IMAGE:
		return r->layer_fd >= 0 ? "image sekisho.layer=disk" : "image";
	case VM_ROOT_NONE:
		break;
	}
	return "none";
}

static void arg_kernel(struct args *a, const struct vm_spec *s)
{
	char timing[128] = "";
	/* Calibration against the emulated timer fails at random on a loaded host, and then the boot hangs for ever; so
	 * does the watchdog's comparison, and then time is kept in jiffies. The counter is the host's own. mitigations:
	 * nothing speculates in TCG. */
	if (s->accel == VM_ACCEL_TCG)
		snprintf(timing, sizeof(timing), " tsc_early_khz=%u tsc=reliable no_timer_check mitigations=off",
			vm_tsc_khz());
	arg(a, "-kernel");
	arg(a, "/guest/vmlinux");
	arg(a, "-initrd");
	arg(a, "/guest/initramfs");
	arg(a, "-append");
	arg(a,
		"console=ttyS0 panic=-1 reboot=t quiet cryptomgr.notests noreplace-smp pci=off audit=0 apparmor=0 nokaslr 8250.nr_uarts=1 "
		"random.trust_cpu=1 sekisho.root=%s%s",
		root_word(&s->root), timing);
}

static void arg_share(struct args *a, const char *tag, int fd)
{
	if (fd < 0)
		return;
	arg(a, "-chardev");
	arg(a, "socket,id=%s,fd=%d", tag, fd);
	arg(a, "-device");
	arg(a, "vhost-user-fs-device,chardev=%s,tag=%s,queue-size=1024", tag, tag);
}

static void arg_devices(struct args *a, const struct vm_spec *s, int tap_fd)
{
	char mac[MAC_TEXT_MAX];
	arg(a, "-chardev");
	arg(a, "socket,id=con,fd=%d,server=on,wait=off", FD_SERIAL);
	arg(a, "-serial");
	arg(a, "chardev:con");
	arg(a, "-device");
	arg(a, "virtio-serial-device,max_ports=%d", 2 + AGENT_EXTRAS);
	arg(a, "-chardev");
	arg(a, "socket,id=ctl,fd=%d,server=on,wait=off", FD_CTL);
	arg(a, "-device");
	arg(a, "virtserialport,chardev=ctl,name=sekisho.ctl");
	for (unsigned i = 0; i < AGENT_EXTRAS; i++) {
		arg(a, "-chardev");
		arg(a, "socket,id=x%u,fd=%u,server=on,wait=off", i, FD_EXTRA + i);
		arg(a, "-device");
		arg(a, "virtserialport,chardev=x%u,name=sekisho.x%u", i, i);
	}
	arg(a, "-chardev");
	arg(a, "socket,id=qmp,fd=%d,server=on,wait=off", FD_QMP);
	arg(a, "-mon");
	arg(a, "chardev=qmp,mode=control");
	arg(a, "-device");
	arg(a, "virtio-rng-device");
	if (tap_fd >= 0 || s->blind_nic) {
		arg(a, "-netdev");
		if (tap_fd >= 0)
			arg(a, "tap,id=nic,fd=%d", tap_fd);
		else
			arg(a, "hubport,id=nic,hubid=0");
		arg(a, "-device");
		arg(a, "virtio-net-device,netdev=nic,mac=%s%s", mac_format(&s->mac, mac, sizeof(mac)),
			s->tso ? "" : NIC_NO_OFFLOAD);
	}
}

/* QEMU opens nothing: it duplicates what it was given. The guest knows a disk by its serial, not by its place. */
static void arg_block(struct args *a, const char *name, int fd, bool writable)
{
	arg(a, "-add-fd");
	arg(a, "fd=%d,set=%d", fd, fd);
	arg(a, "-blockdev");
	arg(a, "driver=raw,node-name=%s,read-only=%s,discard=unmap,file.driver=file,file.filename=/dev/fdset/%d,file.locking=off",
		name, writable ? "off" : "on", fd);
	arg(a, "-device");
	arg(a, "virtio-blk-device,drive=%s,serial=%s", name, name);
}

/* --- the file server
 * --------------------------------------------------------------------------------------------------------------- */

static int start_share(const struct vm_spec *s, int log, struct vm_proc *p, int *ret_conn, char *error)
{
	static const struct jail_bind binds[] = { { "/lib", "/lib", false }, { "/lib64", "/lib64", false },
		{ "/usr/lib", "/usr/lib", false }, { "/usr/lib64", "/usr/lib64", false },
		{ "/dev/null", "/dev/null", true }, { NULL, NULL, false } };
	int listen_fd = -1, conn = -1;
	int err = vm_share_sockets(s->dir, "share", &listen_fd, &conn);
	if (err != 0) {
		snprintf(error, VM_ERROR_MAX, "the file server's socket cannot be made in %.100s: %s", s->dir,
			strerror(-err));
		return err;
	}
	/* The server keeps a descriptor for every inode that the guest remembers: `find /usr` wants some hundred
	 * thousand. */
	struct args a = { 0 };
	static const char *const words[] = { "/usr/lib/qemu/virtiofsd", "--fd=3", "-f", "--rlimit-nofile=0", "-o",
		"sandbox=chroot", "-o", "source=/share", "-o", "cache=auto", "-o", "log_level=warn", "-o",
		"modcaps=-chown:-dac_override:-dac_read_search:-fsetid:-setgid:-setuid:-mknod:-setfcap" };
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		arg(&a, "%s", words[i]);
	struct jail j = { .uid = s->share_uid,
		.binds = binds,
		.host_tree = true,
		.chroots = true,
		.fds = &listen_fd,
		.n_fds = 1,
		.stderr_fd = log,
		.max_files = SHARE_FILES,
		.max_threads = SHARE_THREADS,
		.argv = a.v };
	err = a.bad ? -ENOMEM : jail_spawn(&j, s->dir, &p->share.pid, &p->share.pidfd, error);
	args_free(&a);
	close(listen_fd);
	if (err != 0)
		close(conn);
	else
		*ret_conn = conn;
	return err;
}

/* --- QEMU
 * --------------------------------------------------------------------------------------------------------------------------
 */

static gid_t kvm_group(const struct vm_spec *s)
{
	struct stat st;
	return s->accel == VM_ACCEL_KVM && stat("/dev/kvm", &st) == 0 ? st.st_gid : 0;
}

static unsigned add_blocks(struct args *a, const struct vm_root *r, int fds[FDS_MAX], unsigned n)
{
	if (r->kind == VM_ROOT_IMAGE) {
		arg_block(a, "image", FD_CTL + (int)n, false);
		fds[n++] = r->image_fd;
	}
	if (r->kind != VM_ROOT_NONE && r->layer_fd >= 0) {
		arg_block(a, "layer", FD_CTL + (int)n, true);
		fds[n++] = r->layer_fd;
	}
	return n;
}

static int start_vmm(const struct vm_spec *s, const struct vm_ends *e, const int share[2], struct vm_proc *p,
	char *error)
{
	const struct jail_bind binds[] = { { "/lib", "/lib", false }, { "/lib64", "/lib64", false },
		{ "/usr/lib", "/usr/lib", false }, { "/usr/lib64", "/usr/lib64", false },
		{ "/usr/share/qemu", "/usr/share/qemu", false }, { "/usr/share/seabios", "/usr/share/seabios", false },
		{ "/usr/bin/qemu-system-x86_64", "/usr/bin/qemu-system-x86_64", false },
		{ s->kernel->vmlinux, "/guest/vmlinux", false }, { s->kernel->initramfs, "/guest/initramfs", false },
		{ "/dev/null", "/dev/null", true }, { s->accel == VM_ACCEL_KVM ? "/dev/kvm" : NULL, "/dev/kvm", true },
		{ NULL, NULL, false } };
	unsigned mib = s->memory_mib == 0 ? MEMORY_DEFAULT_MIB : s->memory_mib;
	int fds[FDS_MAX], tap_fd = -1;
	unsigned n = VM_SOCKETS;
	memcpy(fds, e->fd, sizeof(e->fd));
	struct args a = { 0 };
	arg_machine(&a, s, mib);
	arg_kernel(&a, s);
	for (unsigned i = 0; i < 2; i++) {
		arg_share(&a, i == 0 ? "hostroot" : "shares", share[i] < 0 ? -1 : FD_CTL + (int)n);
		if (share[i] >= 0)
			fds[n++] = share[i];
	}
	if (s->tap_fd >= 0) {
		tap_fd = FD_CTL + (int)n;
		fds[n++] = s->tap_fd;
	}
	arg_devices(&a, s, tap_fd);
	unsigned before = n;
	n = add_blocks(&a, &s->root, fds, n);
	if (s->resume_fd > 0) {
		arg(&a, "-incoming");
		arg(&a, "fd:%d", FD_CTL + (int)n);
		fds[n++] = s->resume_fd;
	}
	/* The memory is a file (memfd) and counts against the file size limit; so does a disk, whose size its owner
	 * chose.
	 */
	uint64_t largest = n > before ? UINT64_MAX : (uint64_t)(mib + 64) << 20;
	struct jail j = { .uid = s->uid,
		.extra_gid = kvm_group(s),
		.binds = binds,
		.fds = fds,
		.n_fds = n,
		.stderr_fd = e->log,
		.max_files = QEMU_FILES,
		.max_file_size = largest,
		.max_threads = QEMU_THREADS,
		.argv = a.v };
	int err = a.bad ? -ENOMEM : jail_spawn(&j, s->dir, &p->vmm.pid, &p->vmm.pidfd, error);
	args_free(&a);
	return err;
}

static int start_machine(const struct vm_spec *spec, struct vm_proc *ret, char *error)
{
	struct vm_ends e;
	struct vm_proc p = { .vmm.pidfd = -1, .share.pidfd = -1, .shares.pidfd = -1 };
	error[0] = 0;
	int share[2] = { -1, -1 }, err = vm_ends_open(spec->dir, &e);
	if (err != 0)
		snprintf(error, VM_ERROR_MAX, "%.150s: %s", spec->dir, strerror(-err));
	if (err == 0 && spec->root.kind == VM_ROOT_HOST)
		err = start_share(spec, e.log, &p, &share[0], error);
	if (err == 0 && spec->shares.n > 0)
		err = vm_share_start(spec, e.log, &p.shares, &share[1], error);
	if (err == 0)
		err = start_vmm(spec, &e, share, &p, error);
	if (err == 0)
		err = vm_proc_note(&p);
	vm_ends_close(&e);
	for (unsigned i = 0; i < 2; i++) {
		if (share[i] >= 0)
			close(share[i]);
	}
	if (err != 0) {
		vm_kill(&p);
		if (error[0] == 0)
			snprintf(error, VM_ERROR_MAX, "the virtual machine cannot be started: %s", strerror(-err));
		return err;
	}
	*ret = p;
	return 0;
}

const struct vm_backend vm_qemu = { .name = "qemu", .start = start_machine };
