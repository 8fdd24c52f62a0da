/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NAMES_SERVERS_H
#define NAMES_SERVERS_H

#include <stdbool.h>
#include <stddef.h>

/* Whom to ask upstream: the `resolver` key of sekishod.conf(5), and for `system` the host's resolv.conf(5). Text in,
 * text out, no files. */
enum { SERVERS_MAX = 8, SERVER_TEXT_MAX = 320 };

struct servers {
	bool recursive; /* no forwarder: from the root */
	bool tls;
	unsigned n;
	char at[SERVERS_MAX][SERVER_TEXT_MAX]; /* ADDR@PORT or ADDR@PORT#NAME, checked, as unbound.conf(5) wants them */
};

/* "recursive", "forward:ADDR[@PORT],…", "tls:ADDR[@PORT]#NAME,…", or "system" with the text of resolv.conf (none:
 * 127.0.0.1, as libc does). False: malformed or more than SERVERS_MAX (of resolv.conf, the lines that cannot be used
 * are passed over). */
bool servers_parse(const char *key, const char *resolv_conf, size_t len, struct servers *ret);

/* The configuration of libunbound, NUL-ended, for these servers; its length, 0 when `cap` is too small. With `validate`
 * DNSSEC is checked from the root's keys in the file `anchors`, NULL: from those built in; `cert_bundle` is the file of
 * trusted authorities (with tls). */
size_t servers_unbound_conf(const struct servers *s, bool validate, const char *anchors, const char *cert_bundle,
	char *buf, size_t cap);

#endif
