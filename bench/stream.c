/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream up|down ADDRESS PORT MILLISECONDS: one TCP stream for so long; prints the bits per second that arrived. Down
 * leaves out the first fifth; up is counted whole, by what the other end (serve) says it has got.
 */
#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static char block[1 << 17];

static double now_s(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int64_t move(int fd, bool up, double until)
{
	int64_t total = 0;
	while (now_s() < until) {
		ssize_t n = up ? send(fd, block, sizeof(block), MSG_NOSIGNAL) : recv(fd, block, sizeof(block), 0);
		if (n <= 0)
			return -1;
		total += n;
	}
	return total;
}

/* Of a sent stream only what the other end says is counted. */
static int64_t arrived(int fd)
{
	char text[32] = { 0 };
	size_t len = 0;
	shutdown(fd, SHUT_WR);
	while (len < sizeof(text) - 1) {
		ssize_t n = recv(fd, text + len, sizeof(text) - 1 - len, 0);
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	return len == 0 ? -1 : atoll(text);
}

int main(int argc, char **argv)
{
	struct sockaddr_in sa = { .sin_family = AF_INET };
	if (argc != 5 || inet_pton(AF_INET, argv[2], &sa.sin_addr) != 1) {
		fprintf(stderr, "usage: stream up|down ADDRESS PORT MILLISECONDS\n");
		return 2;
	}
	bool up = strcmp(argv[1], "up") == 0;
	double length = atoi(argv[4]) / 1e3;
	sa.sin_port = htons((uint16_t)atoi(argv[3]));
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) != 0) {
		perror("connect");
		return 1;
	}
	double began = now_s();
	int64_t warm = move(fd, up, began + length / 5);
	double counted_from = up ? began : now_s();
	int64_t total = warm < 0 ? -1 : move(fd, up, began + length);
	if (up && total >= 0)
		total = arrived(fd);
	double took = now_s() - counted_from;
	if (total < 0) {
		fprintf(stderr, "stream: it broke\n");
		return 1;
	}
	printf("%.0f\n", (double)total * 8 / took);
	return 0;
}
