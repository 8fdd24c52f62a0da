/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connect BASE PORT: how long TCP connect() takes. Reads lines "N new" or "N same" from its standard input and answers
 * each with one line of N times in microseconds. "same" connects to BASE:PORT each time. "new" takes the next of 250
 * addresses from BASE on, then of 16 ports, so that no peer repeats (4,000 of them). A connection that fails, or takes
 * longer than two seconds, ends the program: a benchmark without its packets means nothing.
 */
#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { ADDRESSES = 250, PORTS = 16 };

static double now_us(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

/* Microseconds, or below 0. Ends the connection with a reset: nothing of it lingers. */
static double connect_once(uint32_t addr, uint16_t port)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(addr) };
	struct linger hard = { .l_onoff = 1 };
	struct timeval patience = { .tv_sec = 2 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)) != 0 ||
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) != 0)
		return -1;
	double began = now_us();
	bool ok = connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) == 0;
	double took = now_us() - began;
	if (!ok)
		perror("connect");
	close(fd);
	return ok ? took : -1;
}

int main(int argc, char **argv)
{
	char line[64], mode[8];
	unsigned n, next = 0;
	struct in_addr base;
	if (argc != 3 || inet_pton(AF_INET, argv[1], &base) != 1) {
		fprintf(stderr, "usage: connect ADDRESS PORT\n");
		return 2;
	}
	uint32_t first = ntohl(base.s_addr);
	unsigned port = (unsigned)atoi(argv[2]);
	while (fgets(line, sizeof(line), stdin) != NULL && sscanf(line, "%u %7s", &n, mode) == 2) {
		bool fresh = strcmp(mode, "new") == 0;
		for (unsigned i = 0; i < n; i++) {
			unsigned k = fresh ? next++ : 0;
			double took = connect_once(first + k % ADDRESSES, (uint16_t)(port + k / ADDRESSES % PORTS));
			if (took < 0)
				return 1;
			printf("%.1f ", took);
		}
		puts("");
		fflush(stdout);
	}
	return 0;
}
