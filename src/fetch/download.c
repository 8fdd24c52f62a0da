/* SPDX-License-Identifier: Apache-2.0 */
#include "fetch/download.h"

#include "policy/list_parse.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CA_MAX = 4 << 20, CONNECT_MS = 15000, WHOLE_MS = 180000, SLOWEST = 256, SLOW_S = 20, TURN_MS = 1000 };

struct download {
	CURLM *multi;
	CURL *easy; /* NULL: idle */
	struct curl_slist *headers, *resolve;
	char *ca;
	size_t ca_len;
	char *body;
	size_t len, cap;
	bool too_long;
	struct ipc_list_tags tags;
	char text[DOWNLOAD_TEXT], error[CURL_ERROR_SIZE];
};

static int read_all(const char *path, char **ret, size_t *ret_len)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int err = fd < 0 || fstat(fd, &st) != 0 ? -errno : st.st_size > CA_MAX ? -EFBIG : 0;
	char *p = err == 0 ? malloc((size_t)st.st_size + 1) : NULL;
	ssize_t n = p == NULL ? -1 : read(fd, p, (size_t)st.st_size);
	if (err == 0 && n <= 0)
		err = p == NULL ? -ENOMEM : n < 0 ? -errno : -ENODATA;
	if (fd >= 0)
		close(fd);
	if (err != 0) {
		free(p);
		return err;
	}
	*ret = p;
	*ret_len = (size_t)n;
	return 0;
}

int download_new(const char *ca_file, char *error, struct download **ret)
{
	struct download *d = calloc(1, sizeof(*d));
	if (d == NULL)
		return -ENOMEM;
	int err = read_all(ca_file, &d->ca, &d->ca_len);
	if (err != 0)
		snprintf(error, DOWNLOAD_TEXT, "no certificate can be checked: %s: %s (package ca-certificates)",
			ca_file, strerror(-err));
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0 || (d->multi = curl_multi_init()) == NULL) {
		download_free(d);
		return -ENOMEM;
	}
	*ret = d;
	return err;
}

void download_stop(struct download *d)
{
	if (d->easy != NULL) {
		curl_multi_remove_handle(d->multi, d->easy);
		curl_easy_cleanup(d->easy);
	}
	curl_slist_free_all(d->headers);
	curl_slist_free_all(d->resolve);
	d->easy = NULL;
	d->headers = d->resolve = NULL;
}

void download_free(struct download *d)
{
	if (d == NULL)
		return;
	download_stop(d);
	if (d->multi != NULL)
		curl_multi_cleanup(d->multi);
	free(d->ca);
	free(d->body);
	free(d);
}

/* --- the URL --- */

static int url_parts(const char *url, char **host, char **port, char *error)
{
	CURLU *u = curl_url();
	char *scheme = NULL, *user = NULL;
	int err = u == NULL ? -ENOMEM : 0;
	*host = *port = NULL;
	if (err == 0 && (curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK ||
				curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
				curl_url_get(u, CURLUPART_HOST, host, 0) != CURLUE_OK ||
				curl_url_get(u, CURLUPART_PORT, port, CURLU_DEFAULT_PORT) != CURLUE_OK)) {
		snprintf(error, DOWNLOAD_TEXT, "this is no URL that can be fetched");
		err = -EINVAL;
	} else if (err == 0 && strcmp(scheme, "https") != 0) {
		snprintf(error, DOWNLOAD_TEXT, "only https is fetched, not %.20s", scheme);
		err = -EINVAL;
	} else if (err == 0 && curl_url_get(u, CURLUPART_USER, &user, 0) == CURLUE_OK) {
		snprintf(error, DOWNLOAD_TEXT, "an URL with a user name in it is not fetched");
		err = -EINVAL;
	}
	curl_free(scheme);
	curl_free(user);
	curl_url_cleanup(u);
	if (err != 0) {
		curl_free(*host);
		curl_free(*port);
		*host = *port = NULL;
	}
	return err;
}

int download_host(const char *url, char ret_host[NAME_TEXT_MAX], char *error)
{
	char *host, *port;
	struct in_addr v4;
	int err = url_parts(url, &host, &port, error);
	if (err != 0)
		return err;
	ret_host[0] = '\0';
	if (host[0] != '[' && inet_pton(AF_INET, host, &v4) != 1 && strlen(host) < NAME_TEXT_MAX)
		memcpy(ret_host, host, strlen(host) + 1);
	else if (strlen(host) >= NAME_TEXT_MAX)
		err = -EINVAL;
	curl_free(host);
	curl_free(port);
	return err;
}

/* --- what comes --- */

static size_t take_body(char *p, size_t size, size_t n, void *arg)
{
	struct download *d = arg;
	size_t more = size * n;
	if (more > LIST_BYTES_MAX - d->len) {
		d->too_long = true;
		return 0;
	}
	if (more > d->cap - d->len) {
		size_t cap = d->cap == 0 ? 1 << 20 : d->cap * 2;
		while (cap - d->len < more)
			cap *= 2;
		char *body = realloc(d->body, cap);
		if (body == NULL)
			return 0;
		d->body = body;
		d->cap = cap;
	}
	memcpy(d->body + d->len, p, more);
	d->len += more;
	return more;
}

/* Kept only when all of it is printable and fits: it goes back to the server as it came. */
static void keep_tag(char tag[IPC_LIST_TAG_LEN], const char *p, size_t len)
{
	while (len > 0 && (*p == ' ' || *p == '\t')) {
		p++;
		len--;
	}
	while (len > 0 && (p[len - 1] == '\r' || p[len - 1] == '\n' || p[len - 1] == ' '))
		len--;
	tag[0] = '\0';
	for (size_t i = 0; i < len; i++) {
		if (p[i] < 0x20 || p[i] > 0x7e)
			return;
	}
	if (len < IPC_LIST_TAG_LEN) {
		memcpy(tag, p, len);
		tag[len] = '\0';
	}
}

static size_t take_header(char *p, size_t size, size_t n, void *arg)
{
	static const char etag[] = "etag:", modified[] = "last-modified:";
	struct download *d = arg;
	size_t len = size * n;
	if (len >= sizeof(etag) && strncasecmp(p, etag, sizeof(etag) - 1) == 0)
		keep_tag(d->tags.etag, p + sizeof(etag) - 1, len - sizeof(etag) + 1);
	else if (len >= sizeof(modified) && strncasecmp(p, modified, sizeof(modified) - 1) == 0)
		keep_tag(d->tags.modified, p + sizeof(modified) - 1, len - sizeof(modified) + 1);
	return len;
}

/* --- begin --- */

static bool add_header(struct download *d, const char *name, const char *value)
{
	char line[IPC_LIST_TAG_LEN + 32];
	if (value[0] == '\0')
		return true;
	snprintf(line, sizeof(line), "%s: %s", name, value);
	struct curl_slist *l = curl_slist_append(d->headers, line);
	if (l != NULL)
		d->headers = l;
	return l != NULL;
}

/* So that libcurl asks nobody: "host:port:address,…". */
static bool give_addresses(struct download *d, const char *host, const char *port, const struct addr *addr, unsigned n)
{
	char line[NAME_TEXT_MAX + 16 + DOWNLOAD_ADDRS * (ADDR_TEXT_MAX + 3)], text[ADDR_TEXT_MAX];
	int len = snprintf(line, sizeof(line), "%s:%s:", host, port);
	for (unsigned i = 0; i < n && i < DOWNLOAD_ADDRS; i++)
		len += snprintf(line + len, sizeof(line) - (size_t)len, addr[i].len == 16 ? "%s[%s]" : "%s%s",
			i == 0 ? "" : ",", addr_format(&addr[i], text, sizeof(text)));
	d->resolve = n == 0 ? NULL : curl_slist_append(NULL, line);
	return n == 0 || d->resolve != NULL;
}

static bool set_options(struct download *d, const char *url)
{
	CURL *c = d->easy;
	struct curl_blob ca = { .data = d->ca, .len = d->ca_len, .flags = CURL_BLOB_NOCOPY };
	return curl_easy_setopt(c, CURLOPT_URL, url) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "https") == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_CAINFO, NULL) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_CAPATH, NULL) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_CAINFO_BLOB, &ca) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_PROXY, "") == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_FRESH_CONNECT, 1L) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_FORBID_REUSE, 1L) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)WHOLE_MS) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, (long)SLOWEST) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)SLOW_S) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)LIST_BYTES_MAX) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_USERAGENT, "sekisho/" SEKISHO_VERSION) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_HTTPHEADER, d->headers) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_RESOLVE, d->resolve) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_ERRORBUFFER, d->error) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take_body) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_WRITEDATA, d) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, take_header) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_HEADERDATA, d) == CURLE_OK;
}

int download_begin(struct download *d, const char *url, const struct ipc_list_tags *tags, const struct addr *addr,
	unsigned n_addr)
{
	char *host, *port;
	int err = url_parts(url, &host, &port, d->text);
	if (err != 0)
		return err;
	download_stop(d);
	d->len = 0;
	d->too_long = false;
	d->tags = (struct ipc_list_tags){ 0 };
	d->text[0] = d->error[0] = '\0';
	d->easy = curl_easy_init();
	bool ok = d->easy != NULL && add_header(d, "If-None-Match", tags->etag) &&
		  add_header(d, "If-Modified-Since", tags->modified) && give_addresses(d, host, port, addr, n_addr) &&
		  set_options(d, url) && curl_multi_add_handle(d->multi, d->easy) == CURLM_OK;
	curl_free(host);
	curl_free(port);
	if (!ok)
		download_stop(d);
	return ok ? 0 : -ENOMEM;
}

/* --- turn and end --- */

static enum download_state failed(struct download *d, CURLcode code)
{
	if (d->too_long || code == CURLE_FILESIZE_EXCEEDED)
		snprintf(d->text, sizeof(d->text), "it has more than %d MiB", LIST_BYTES_MAX >> 20);
	else
		snprintf(d->text, sizeof(d->text), "%s", d->error[0] != '\0' ? d->error : curl_easy_strerror(code));
	return DOWNLOAD_FAILED;
}

static enum download_state ended(struct download *d, CURLcode code)
{
	long status = 0;
	char *to = NULL;
	if (code != CURLE_OK)
		return failed(d, code);
	curl_easy_getinfo(d->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status == 200)
		return DOWNLOAD_DONE;
	if (status == 304)
		return DOWNLOAD_UNCHANGED;
	if (status >= 301 && status <= 308 && curl_easy_getinfo(d->easy, CURLINFO_REDIRECT_URL, &to) == CURLE_OK &&
		to != NULL && strlen(to) < sizeof(d->text)) {
		snprintf(d->text, sizeof(d->text), "%s", to);
		return DOWNLOAD_MOVED;
	}
	snprintf(d->text, sizeof(d->text), "the server answers with status %ld", status);
	return DOWNLOAD_FAILED;
}

enum download_state download_turn(struct download *d, int other_fd)
{
	struct curl_waitfd other = { .fd = other_fd, .events = CURL_WAIT_POLLIN };
	int running = 0, left;
	CURLMsg *m;
	if (d->easy == NULL)
		return DOWNLOAD_IDLE;
	if (curl_multi_poll(d->multi, &other, 1, TURN_MS, NULL) != CURLM_OK ||
		curl_multi_perform(d->multi, &running) != CURLM_OK) {
		snprintf(d->text, sizeof(d->text), "libcurl has no memory");
		return DOWNLOAD_FAILED;
	}
	while ((m = curl_multi_info_read(d->multi, &left)) != NULL) {
		if (m->msg == CURLMSG_DONE)
			return ended(d, m->data.result);
	}
	return DOWNLOAD_RUNS;
}

const char *download_body(const struct download *d, size_t *ret_len)
{
	*ret_len = d->len;
	return d->len == 0 ? "" : d->body;
}

const char *download_text(const struct download *d)
{
	return d->text;
}

const struct ipc_list_tags *download_tags(const struct download *d)
{
	return &d->tags;
}
