/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/root.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const tops[] = { "usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "opt" };

/* Readable or not, nothing of a guest's business: keys, identities, where the host's people and networks are, how root
 * is reached. */
static const char *const secrets[] = { "shadow", "gshadow", "shadow-", "gshadow-", "passwd-", "group-", "subuid",
	"subgid", "subuid-", "subgid-", "sudoers", "sudoers.d", "ssh", "NetworkManager", "netplan", "network",
	"wpa_supplicant", "wireguard", "openvpn", "ipsec.d", "ipsec.secrets", "swanctl", "machine-id", "krb5.keytab",
	"sekisho", "docker", "kubernetes", "rancher", "letsencrypt", "cups", "samba", "exports", "fstab", "crypttab",
	"hosts", "hostname", "resolv.conf", "cron.d", "cron.daily", "cron.hourly", "cron.monthly", "cron.weekly",
	"crontab", "polkit-1", "apt", "libvirt", "iscsi", "openvswitch", "lvm", "mtab", "credstore",
	"credstore.encrypted", "cloud", "aliases", "environment", "nftables.conf" };

static bool is_secret(const char *name)
{
	for (size_t i = 0; i < sizeof(secrets) / sizeof(*secrets); i++) {
		if (strcmp(name, secrets[i]) == 0)
			return true;
	}
	return false;
}

static int copy_link(const char *from, const char *to)
{
	char target[PATH_MAX];
	ssize_t n = readlink(from, target, sizeof(target) - 1);
	if (n < 0)
		return -errno;
	target[n] = 0;
	return symlink(target, to) == 0 ? 0 : -errno;
}

static int bind_on(const char *from, const char *to, bool is_dir)
{
	if (is_dir) {
		if (mkdir(to, 0755) != 0)
			return -errno;
	} else {
		int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		if (fd < 0)
			return -errno;
		close(fd);
	}
	return mount(from, to, NULL, MS_BIND, NULL) == 0 ? 0 : -errno;
}

/* What every user of the host may read: anything else would be refused to the file server anyhow, and its name is
 * nobody's business. */
static int show(const char *from, const char *to)
{
	struct stat st;
	if (lstat(from, &st) != 0)
		return errno == ENOENT ? 0 : -errno;
	if (S_ISLNK(st.st_mode))
		return copy_link(from, to);
	if (S_ISDIR(st.st_mode))
		return (st.st_mode & 05) == 05 ? bind_on(from, to, true) : 0;
	return S_ISREG(st.st_mode) && (st.st_mode & 04) ? bind_on(from, to, false) : 0;
}

static int show_etc(const char *dir)
{
	char to[PATH_MAX], from[PATH_MAX];
	snprintf(to, sizeof(to), "%.3000s/etc", dir);
	DIR *d = mkdir(to, 0755) == 0 ? opendir("/etc") : NULL;
	if (d == NULL)
		return -errno;
	int err = 0;
	for (struct dirent *e; err == 0 && (e = readdir(d)) != NULL;) {
		if (e->d_name[0] == '.' || is_secret(e->d_name))
			continue;
		snprintf(from, sizeof(from), "/etc/%s", e->d_name);
		snprintf(to, sizeof(to), "%.3000s/etc/%s", dir, e->d_name);
		err = show(from, to);
	}
	closedir(d);
	return err;
}

int vm_root_build(const char *dir)
{
	if (mount("sekisho", dir, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=4m,nr_inodes=8k") != 0)
		return -errno;
	int err = 0;
	for (size_t i = 0; err == 0 && i < sizeof(tops) / sizeof(*tops); i++) {
		char from[64], to[PATH_MAX];
		snprintf(from, sizeof(from), "/%s", tops[i]);
		snprintf(to, sizeof(to), "%.3000s/%s", dir, tops[i]);
		err = show(from, to);
	}
	if (err == 0)
		err = show_etc(dir);
	/* One call for the tmpfs and all that is mounted on it; the guest's own "ro" would be a courtesy. */
	struct mount_attr ro = { .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV };
	if (err == 0 && mount_setattr(AT_FDCWD, dir, AT_RECURSIVE, &ro, sizeof(ro)) != 0)
		err = -errno;
	return err;
}
