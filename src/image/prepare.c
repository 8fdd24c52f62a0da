/* SPDX-License-Identifier: Apache-2.0 */
#include "image/prepare.h"

#include "image/box.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

enum { N_FILES = 1000000, REFERENCE_MAX = PATH_MAX + 600 };

/* What the box's first process ends with. */
enum step { STEP_DONE, STEP_COPY, STEP_CONFIG, STEP_NETWORK, STEP_UNPACK, STEP_PACK, STEP_FULL };

struct job {
	const struct image_source *source;
	char reference[REFERENCE_MAX]; /* as seen in the box */
	bool policy;		       /* there is one for signatures */
};

static enum step copy_in(const struct job *j)
{
	const char *const argv[] = { "skopeo", "copy", "--quiet", j->reference, "oci:/work/oci:x",
		j->policy ? NULL : "--insecure-policy", NULL };
	return box_tool(argv, -1) == 0 ? STEP_DONE : STEP_COPY;
}

static enum step write_config(void)
{
	static const char *const argv[] = { "skopeo", "inspect", "--config", "--raw", "oci:/work/oci:x", NULL };
	int fd = open("/out/config.json", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	bool ok = fd >= 0 && box_tool(argv, fd) == 0;
	if (fd >= 0)
		close(fd);
	return ok ? STEP_DONE : STEP_CONFIG;
}

static enum step unpack(const struct box *b)
{
	static const char *const mapped[] = { "umoci", "--log=error", "raw", "unpack", "--image", "/work/oci:x",
		"/work/root", NULL };
	static const char *const single[] = { "umoci", "--log=error", "raw", "unpack", "--rootless", "--image",
		"/work/oci:x", "/work/root", NULL };
	const char *const *argv = b->all_ids ? mapped : single;
	return box_tool(argv, -1) == 0 ? STEP_DONE : STEP_UNPACK;
}

static enum step pack(const struct box *b)
{
	const char *const argv[] = { "mkfs.erofs", "-zlz4", "--quiet", "/out/image.erofs", "/work/root",
		b->all_ids ? NULL : "--all-root", NULL };
	return box_tool(argv, -1) == 0 ? STEP_DONE : STEP_PACK;
}

static int inside(const struct box *b, void *arg)
{
	const struct job *j = arg;
	enum step end = STEP_DONE;
	if ((mkdir("/work/tmp", 0700) != 0) || (!j->source->registry && box_offline() != 0))
		return STEP_NETWORK;
	end = copy_in(j);
	/* From here on only what came is looked at. */
	if (end == STEP_DONE && j->source->registry && box_offline() != 0)
		end = STEP_NETWORK;
	if (end == STEP_DONE)
		end = write_config();
	if (end == STEP_DONE)
		end = unpack(b);
	if (end == STEP_DONE)
		end = pack(b);
	return end != STEP_DONE && box_full() ? STEP_FULL : (int)end;
}

/* What of the caller's environment and files the fetching of an image heeds. */
struct heeded {
	char auth[PATH_MAX], policy[PATH_MAX], registries[PATH_MAX];
};

static void bind(struct box *b, const char *from, const char *to, bool writable)
{
	if (from != NULL && from[0] == '/')
		b->binds[b->n_binds++] = (struct box_bind){ from, to, writable };
}

static void heed(struct box *b, struct heeded *h)
{
	const char *home = getenv("HOME"), *runtime = getenv("XDG_RUNTIME_DIR"), *auth = getenv("REGISTRY_AUTH_FILE");
	home = home == NULL ? "" : home;
	if (auth != NULL)
		snprintf(h->auth, sizeof(h->auth), "%s", auth);
	else
		snprintf(h->auth, sizeof(h->auth), "%s/containers/auth.json", runtime == NULL ? "" : runtime);
	if (auth == NULL && access(h->auth, R_OK) != 0)
		snprintf(h->auth, sizeof(h->auth), "%s/.docker/config.json", home);
	snprintf(h->policy, sizeof(h->policy), "%s/.config/containers/policy.json", home);
	snprintf(h->registries, sizeof(h->registries), "%s/.config/containers/registries.conf", home);
	bind(b, h->auth, "/auth.json", false);
	bind(b, h->policy, "/home/.config/containers/policy.json", false);
	bind(b, h->registries, "/home/.config/containers/registries.conf", false);
	bind(b, getenv("SSL_CERT_FILE"), "/ca.pem", false);
}

/* The tools get an environment of their own. In the box's process alone: run between fork and its root. */
static void own_environment(void)
{
	static const char *const kept[] = { "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY",
		"NO_PROXY" };
	const char *values[sizeof(kept) / sizeof(kept[0])];
	for (unsigned i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		values[i] = getenv(kept[i]);
	bool ca = getenv("SSL_CERT_FILE") != NULL;
	clearenv();
	for (unsigned i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
		if (values[i] != NULL)
			setenv(kept[i], values[i], 1);
	}
	setenv("PATH", "/usr/bin:/usr/sbin:/bin:/sbin", 1);
	setenv("HOME", "/home", 1);
	setenv("TMPDIR", "/work/tmp", 1);
	setenv("LC_ALL", "C", 1);
	if (access("/auth.json", R_OK) == 0)
		setenv("REGISTRY_AUTH_FILE", "/auth.json", 1);
	if (ca)
		setenv("SSL_CERT_FILE", "/ca.pem", 1);
}

static int inside_clean(const struct box *b, void *arg)
{
	own_environment();
	return inside(b, arg);
}

static void explain(const struct image_source *s, enum step end, uint64_t space, const char *said, char *error)
{
	const char *what = "";
	/* A tool may have tidied up behind itself. */
	if (strstr(said, "no space left on device") != NULL)
		end = STEP_FULL;
	switch (end) {
	case STEP_COPY:
		what = s->registry ? "it cannot be fetched" : "it cannot be read";
		break;
	case STEP_CONFIG:
		what = "its configuration cannot be read";
		break;
	case STEP_UNPACK:
		what = "it cannot be unpacked";
		break;
	case STEP_PACK:
		what = "it cannot be packed again";
		break;
	case STEP_FULL:
		snprintf(error, IMAGE_ERROR_MAX,
			"the image does not fit into the %llu MiB of memory it may be unpacked in (--space)",
			(unsigned long long)(space >> 20));
		return;
	case STEP_NETWORK:
	case STEP_DONE:
		what = "the box to unpack in cannot be made";
		break;
	}
	snprintf(error, IMAGE_ERROR_MAX, "%s: %s", what, said);
}

static void make_box(struct box *b, const struct image_limits *limits, const char *box_dir, const char *out)
{
	struct sysinfo si;
	uint64_t half = sysinfo(&si) == 0 ? (uint64_t)si.totalram * si.mem_unit / 2 : 0;
	*b = (struct box){ .dir = box_dir,
		.space = limits->space != 0 ? limits->space : half,
		.n_files = limits->n_files != 0 ? limits->n_files : N_FILES };
	bind(b, out, "/out", true);
}

int image_unpack(const struct image_source *s, const struct image_limits *limits, const char *dir, char *error)
{
	char box_dir[PATH_MAX], said[BOX_SAID_MAX];
	struct heeded h;
	struct box b;
	struct job j = { .source = s };
	struct stat st;
	snprintf(box_dir, sizeof(box_dir), "%.3000s/box", dir);
	if (!s->registry && stat(s->path, &st) != 0) {
		snprintf(error, IMAGE_ERROR_MAX, "%.1000s: %s", s->path, strerror(errno));
		return -errno;
	}
	if (mkdir(box_dir, 0700) != 0) {
		snprintf(error, IMAGE_ERROR_MAX, "%.1000s: %s", box_dir, strerror(errno));
		return -errno;
	}
	make_box(&b, limits, box_dir, dir);
	heed(&b, &h);
	if (s->registry) {
		snprintf(j.reference, sizeof(j.reference), "docker:%s", s->path);
	} else {
		bind(&b, s->path, "/in", false);
		snprintf(j.reference, sizeof(j.reference), "%s:/in%s%s", s->transport, s->tag[0] == 0 ? "" : ":",
			s->tag);
	}
	j.policy = access("/etc/containers/policy.json", R_OK) == 0 || access(h.policy, R_OK) == 0;
	int end = STEP_DONE;
	int err = box_run(&b, inside_clean, &j, &end, said);
	rmdir(box_dir);
	if (err == 0 && end == STEP_DONE)
		return 0;
	if (err != 0)
		snprintf(error, IMAGE_ERROR_MAX, "%s", said);
	else
		explain(s, (enum step)end, b.space, said, error);
	return err != 0 ? err : -EBADMSG;
}
