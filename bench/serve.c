/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve PORT: the other end of the benchmarks, on every address. PORT..PORT+15 accept and say nothing; PORT+100 reads
 * to the end and answers with the number of bytes; PORT+101 sends for as long as anyone reads. Says "ready".
 */
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { QUIET = 16, SINK = QUIET, SOURCE, LISTENERS, KEPT = 256 };

static char block[1 << 17];

static int listen_on(uint16_t port)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(port) };
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
		bind(fd, (const struct sockaddr *)&sa, sizeof(sa)) != 0 || listen(fd, 1024) != 0) {
		perror("listen");
		exit(1);
	}
	return fd;
}

static void stream(int fd, bool source)
{
	long long total = 0;
	ssize_t n;
	while ((n = source ? send(fd, block, sizeof(block), MSG_NOSIGNAL) : recv(fd, block, sizeof(block), 0)) > 0)
		total += n;
	if (!source)
		dprintf(fd, "%lld", total);
}

static void take(int listener, unsigned kind)
{
	/* Closed only when many more came: by then the client's reset has ended it, so no FIN of ours disturbs the next
	 * connection. */
	static int kept[KEPT];
	static unsigned at;
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		return;
	if (kind < QUIET) {
		if (kept[at] != 0)
			close(kept[at]);
		kept[at] = fd;
		at = (at + 1) % KEPT;
		return;
	}
	if (fork() == 0) {
		stream(fd, kind == SOURCE);
		_exit(0);
	}
	close(fd);
}

int main(int argc, char **argv)
{
	struct pollfd p[LISTENERS];
	int port = argc == 2 ? atoi(argv[1]) : 0;
	if (port <= 0 || port > 60000) {
		fprintf(stderr, "usage: serve PORT\n");
		return 2;
	}
	signal(SIGCHLD, SIG_IGN);
	for (unsigned i = 0; i < LISTENERS; i++) {
		int offset = i < QUIET ? (int)i : (int)(100 + i - QUIET);
		p[i] = (struct pollfd){ .fd = listen_on((uint16_t)(port + offset)), .events = POLLIN };
	}
	puts("ready");
	fflush(stdout);
	for (;;) {
		if (poll(p, LISTENERS, -1) < 0)
			continue;
		for (unsigned i = 0; i < LISTENERS; i++) {
			if (p[i].revents != 0)
				take(p[i].fd, i);
		}
	}
}
