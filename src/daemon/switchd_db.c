/* SPDX-License-Identifier: Apache-2.0 */
/* The connection to the database, by way of ovsdb/bridge.h. */
#include "base/clock.h"
#include "daemon/switchd.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_CHUNK = 65536 };

void switchd_db_close(struct switchd *s)
{
	if (s->db_fd < 0)
		return;
	loop_del(s->role->loop, s->db_fd);
	close(s->db_fd);
	s->db_fd = -1;
	s->db_writing = false;
	s->bridge_ready = false;
}

void switchd_db_write(struct switchd *s)
{
	size_t len = 0;
	const void *p;
	while (s->db_fd >= 0 && (p = bridge_output(s->bridge, &len)) != NULL) {
		ssize_t n = send(s->db_fd, p, len, MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0 && errno != EINTR) {
			switchd_db_close(s);
			return;
		}
		if (n > 0)
			bridge_sent(s->bridge, (size_t)n);
	}
	bool writing = s->db_fd >= 0 && len > 0;
	if (s->db_fd < 0 || writing == s->db_writing)
		return;
	s->db_writing = writing;
	if (loop_mod(s->role->loop, s->db_fd, EPOLLIN | (writing ? EPOLLOUT : 0), EVENT_DB, 0) != 0)
		switchd_db_close(s);
}

void switchd_db_read(struct switchd *s)
{
	static char buf[READ_CHUNK];
	while (s->db_fd >= 0) {
		ssize_t n = recv(s->db_fd, buf, sizeof(buf), 0);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		int err = n <= 0 ? -EPIPE : bridge_input(s->bridge, buf, (size_t)n, clock_boot_ms());
		if (err != 0) {
			switchd_tell(s, LOG_WARNING,
				err == -EPIPE ? "the connection to OVSDB ended"
					      : "OVSDB speaks nonsense; connecting again");
			switchd_db_close(s);
		}
	}
}

void switchd_db_connected(struct switchd *s, int fd)
{
	s->db_fd = fd;
	if (loop_add(s->role->loop, fd, EPOLLIN, EVENT_DB, 0) != 0) {
		close(fd);
		s->db_fd = -1;
		return;
	}
	bridge_connected(s->bridge, clock_boot_ms());
	switchd_db_write(s);
}
