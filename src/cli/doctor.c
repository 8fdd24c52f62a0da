/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#if !defined(SEKISHO_VERSION) || !defined(SEKISHO_LIBEXECDIR)
#error "SEKISHO_VERSION and SEKISHO_LIBEXECDIR come from the build"
#endif

static int n_bad;

static void check(const struct cli *c, bool ok, const char *what, const char *text, const char *fix)
{
	n_bad += !ok;
	if (c->json) {
		json_t *o = json_pack("{s:s, s:b, s:s, s:s?}", "check", what, "ok", ok, "text", text, "fix",
			ok ? NULL : fix);
		cli_print_json(o);
		json_decref(o);
		return;
	}
	printf("%s%-4s%s %-22s %s\n", cli_paint(c, ok ? "allow" : "deny"), ok ? "ok" : "BAD", cli_plain(c), what, text);
	if (!ok && fix != NULL)
		printf("     → %s\n", fix);
}

/* What can be seen without a daemon. */
static void check_host(const struct cli *c)
{
	static const struct {
		const char *path, *what, *fix;
	} files[] = {
		{ "/usr/sbin/ovs-vswitchd", "Open vSwitch", "apt-get install openvswitch-switch" },
		{ "/usr/bin/qemu-system-x86_64", "QEMU", "apt-get install qemu-system-x86" },
		{ "/usr/lib/qemu/virtiofsd", "virtiofsd", "apt-get install qemu-system-common" },
		{ "/usr/sbin/nft", "nftables", "apt-get install nftables" },
		{ "/dev/net/tun", "tun device", "modprobe tun" },
	};
	struct stat st;
	for (unsigned i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		bool there = stat(files[i].path, &st) == 0;
		char text[128];
		snprintf(text, sizeof(text), "%s is %s", files[i].path, there ? "there" : "missing");
		check(c, there, files[i].what, text, files[i].fix);
	}
	/* The daemon opens it, not the caller. */
	bool kvm = stat("/dev/kvm", &st) == 0;
	check(c, true, "virtualisation",
		kvm ? "/dev/kvm is there; whether it boots a guest is tried at the first run"
		    : "no /dev/kvm: virtual machines run emulated, slowly",
		NULL);
}

/* Nothing is wrong without them. */
static void check_images(const struct cli *c)
{
	static const char *const tools[][2] = { { "/usr/bin/skopeo", "skopeo" }, { "/usr/bin/umoci", "umoci" },
		{ "/usr/bin/mkfs.erofs", "erofs-utils" }, { "/usr/sbin/mke2fs", "e2fsprogs" } };
	char text[256] = "what run --image needs is there";
	size_t at = 0;
	for (unsigned i = 0; i < sizeof(tools) / sizeof(tools[0]); i++) {
		if (access(tools[i][0], X_OK) != 0 && at < sizeof(text))
			at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s",
				at == 0 ? "run --image needs: apt-get install " : " ", tools[i][1]);
	}
	check(c, true, "images", text, NULL);
}

static void check_daemon(const struct cli *c)
{
	struct api_client *client;
	json_t *reply, *k;
	size_t i;
	if (api_client_open(c->socket, &client) != 0) {
		char text[256];
		snprintf(text, sizeof(text), "nothing listens on %s", c->socket);
		check(c, false, "daemon", text, "systemctl start sekishod (or run sekishod as root)");
		return;
	}
	struct api_error e = { 0 };
	if (api_client_call(client, "org.sekisho.Admin.Doctor", NULL, &reply, &e) != 0) {
		check(c, false, "daemon", e.text, "see the log of sekishod");
		api_error_fini(&e);
	} else {
		json_array_foreach(json_object_get(reply, "checks"), i, k)
		{
			char what[128], text[512], fix[512];
			check(c, json_is_true(json_object_get(k, "ok")), cli_text(k, "check", what, sizeof(what)),
				cli_text(k, "text", text, sizeof(text)), cli_text(k, "fix", fix, sizeof(fix)));
		}
		json_decref(reply);
	}
	api_client_close(client);
}

int cmd_doctor(struct cli *c, int argc, char **argv)
{
	if (argc != 1)
		return cli_usage("doctor", "\"%s\" is not expected here", argv[1]);
	check_host(c);
	check_images(c);
	check_daemon(c);
	return n_bad == 0 ? EXIT_DONE : EXIT_FAILED;
}

/* The tests are programs of their own; they take no daemon and touch none. */
int cmd_self_test(struct cli *c, int argc, char **argv)
{
	static char program[] = SEKISHO_LIBEXECDIR "/self-test";
	char **words = calloc((size_t)argc + 1, sizeof(*words));
	(void)c;
	if (words == NULL)
		return EXIT_FAILED;
	words[0] = program;
	for (int i = 1; i < argc; i++)
		words[i] = argv[i];
	execv(program, words);
	cli_error("cannot run %s: %s", program, strerror(errno));
	free(words);
	return EXIT_FAILED;
}

int cmd_version(struct cli *c, int argc, char **argv)
{
	if (argc != 1)
		return cli_usage("version", "\"%s\" is not expected here", argv[1]);
	if (c->json)
		printf("{\"version\":\"%s\"}\n", SEKISHO_VERSION);
	else
		puts("sekisho " SEKISHO_VERSION);
	return EXIT_DONE;
}
