/* sockets COUNT ROW...: each kind of call as often as asked, between "begin" and "end", which wait for a line. */
#include "timing.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct sockaddr_in there;
static const struct sockaddr *const address = (const struct sockaddr *)&there;
static socklen_t size = sizeof there;
static int listener, one, other;

static void check(int result, const char *what)
{
	if (result < 0)
		give_up(what);
}

static int made(int type)
{
	int fd = socket(AF_INET, type, 0);

	check(fd, "socket");
	return fd;
}

static int bound(int type)
{
	int fd = made(type);

	there = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	check(bind(fd, address, size), "bind");
	check(getsockname(fd, (struct sockaddr *)&there, &size), "getsockname");
	return fd;
}

static void prepare(void)
{
	listener = bound(SOCK_STREAM);
	check(listen(listener, 128), "listen");
	one = made(SOCK_STREAM);
	check(connect(one, address, size), "connect");
	other = accept(listener, NULL, NULL);
	check(other, "accept");
}

static void prepare_datagrams(void) { one = bound(SOCK_DGRAM), other = made(SOCK_DGRAM); }

static void make(void) { close(made(SOCK_STREAM)); }

/* The end is a reset, so that no port is left to wait for the rest of a connection. */
static void join(int is_named)
{
	struct linger now = {1, 0};
	struct sockaddr_in from;
	socklen_t room = sizeof from;
	int client = made(SOCK_STREAM), server;

	check(connect(client, address, size), "connect");
	server = is_named ? accept(listener, (struct sockaddr *)&from, &room) : accept(listener, NULL, NULL);
	check(server, "accept");
	check(setsockopt(client, SOL_SOCKET, SO_LINGER, &now, sizeof now), "setsockopt");
	close(client);
	close(server);
}

static void join_named(void) { join(1); }

static void name(void)
{
	struct sockaddr_in found;
	socklen_t room = sizeof found;

	check(getsockname(one, (struct sockaddr *)&found, &room), "getsockname");
}

static void datagram(void) { check((int)sendto(other, "x", 1, 0, address, size), "sendto"); }

static void datagram_both(void)
{
	char byte;
	struct sockaddr_in from;
	socklen_t room = sizeof from;

	datagram();
	check((int)recvfrom(one, &byte, 1, 0, (struct sockaddr *)&from, &room), "recvfrom");
}

static void bytes(void)
{
	char byte;

	check((int)send(one, "x", 1, 0), "send");
	check((int)recv(other, &byte, 1, 0), "recv");
}

static void message(void)
{
	char byte;
	struct iovec piece = {"x", 1}, room = {&byte, 1};
	struct msghdr sent = {.msg_iov = &piece, .msg_iovlen = 1}, come = {.msg_iov = &room, .msg_iovlen = 1};

	check((int)sendmsg(one, &sent, 0), "sendmsg");
	check((int)recvmsg(other, &come, 0), "recvmsg");
}

static const struct {
	const char *name;
	void (*before)(void), (*once)(void);
} rows[] = {
	{"socket", prepare, make},
	{"connection", prepare, join_named},
	{"getsockname", prepare, name},
	{"sendto", prepare_datagrams, datagram},
	{"sendto_recvfrom", prepare_datagrams, datagram_both},
	{"send_recv", prepare, bytes},
	{"sendmsg_recvmsg", prepare, message},
};

static void tell(const char *what)
{
	char line[16];

	puts(what);
	fflush(stdout);
	if (!fgets(line, sizeof line, stdin))
		exit(1);
}

int main(int argc, char **argv)
{
	for (int arg = 2; arg < argc; arg++)
		for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
			if (strcmp(rows[i].name, argv[arg]))
				continue;
			rows[i].before();
			tell("begin");
			for (long count = atol(argv[1]); count > 0; count--)
				rows[i].once();
			tell("end");
		}
	return argc < 3;
}
