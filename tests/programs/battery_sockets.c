/* Battery of sockets: addresses that are paths, and descriptors that are passed on. */
#include "battery.h"

#include <signal.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

static struct sockaddr_un address;

static socklen_t name(const char *path)
{
	size_t length = strlen(path);

	memset(&address, 0, sizeof address);
	address.sun_family = AF_UNIX;
	MUST(length <= sizeof address.sun_path);
	memcpy(address.sun_path, path, length);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (length < sizeof address.sun_path));
}

static int make(int type) { return socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); }

static long bind_to(int fd, const char *path)
{
	socklen_t size = name(path);

	return bind(fd, (struct sockaddr *)&address, size);
}

static long connect_to(int fd, const char *path)
{
	socklen_t size = name(path);

	return connect(fd, (struct sockaddr *)&address, size);
}

static void streams(void)
{
	int server = make(SOCK_STREAM), other = make(SOCK_STREAM), client = make(SOCK_STREAM), late = make(SOCK_STREAM);
	struct stat s = {0};

	TRY(bind_to(server, P("stream")));
	TRY(bind_to(server, P("stream2")));
	TRY(bind_to(other, P("stream")));
	TRY(bind_to(other, P("file")));
	TRY(bind_to(other, P("none/stream")));
	TRY(bind_to(other, P("file/stream")));
	TRY(stat(P("stream"), &s));
	TRY(s.st_mode);
	SHUT(open(P("stream"), O_RDWR));
	TRY(connect_to(client, P("stream")));
	TRY(listen(server, 5));
	TRY(connect_to(client, P("stream")));
	SHUT(accept4(server, NULL, NULL, SOCK_CLOEXEC));
	TRY(connect_to(late, P("none")));
	TRY(connect_to(late, P("file")));
	TRY(connect_to(late, P("directory")));
	TRY(connect_to(late, P("file/x")));
	TRY(unlink(P("stream")));
	TRY(connect_to(late, P("stream")));
	close(server);
	close(other);
	close(client);
	close(late);
}

static long send_to(int fd, const char *path)
{
	socklen_t size = name(path);

	return sendto(fd, "to", 2, 0, (struct sockaddr *)&address, size);
}

static long send_message(int fd, const char *path, const char *text)
{
	struct iovec data = {(void *)(uintptr_t)text, strlen(text)};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};

	if (path) {
		message.msg_namelen = name(path);
		message.msg_name = &address;
	}
	return sendmsg(fd, &message, 0);
}

/* Several messages, each with an address of its own. */
static long send_messages(int fd, const char *const *paths, int count)
{
	static struct sockaddr_un to[4];
	struct iovec data[4];
	struct mmsghdr messages[4];
	long sent;

	memset(messages, 0, sizeof messages);
	for (int i = 0; i < count; i++) {
		data[i] = (struct iovec){"many", 4};
		messages[i].msg_hdr = (struct msghdr){.msg_iov = &data[i], .msg_iovlen = 1};
		if (!paths[i])
			continue;
		messages[i].msg_hdr.msg_namelen = name(paths[i]);
		to[i] = address;
		messages[i].msg_hdr.msg_name = &to[i];
	}
	sent = sendmmsg(fd, messages, (unsigned)count, 0);
	for (int i = 0; i < (int)sent; i++)
		TRY(messages[i].msg_len);
	return sent;
}

static void drain(int fd)
{
	char text[64];
	ssize_t n;

	while ((n = recv(fd, text, sizeof text - 1, MSG_DONTWAIT)) >= 0) {
		text[n] = 0;
		say("received", text);
	}
}

static void datagrams(void)
{
	int server = make(SOCK_DGRAM), client = make(SOCK_DGRAM);
	const char *const both[] = {strdup(P("datagram")), strdup(P("datagram"))};
	const char *const second_wrong[] = {both[0], strdup(P("none"))};
	const char *const first_wrong[] = {second_wrong[1], both[0]};

	TRY(bind_to(server, P("datagram")));
	TRY(send_to(client, P("datagram")));
	TRY(send_to(client, P("none")));
	TRY(send_to(client, P("file")));
	TRY(send_message(client, P("datagram"), "message"));
	TRY(send_message(client, P("none"), "message"));
	TRY(send_message(client, NULL, "message"));
	drain(server);
	TRY(send_messages(client, both, 2));
	drain(server);
	TRY(send_messages(client, second_wrong, 2));
	drain(server);
	TRY(send_messages(client, first_wrong, 2));
	drain(server);
	TRY(connect_to(client, P("datagram")));
	TRY(send(client, "connected", 9, 0));
	drain(server);
	TRY(unlink(P("datagram")));
	close(server);
	close(client);
}

/* A directory and a file are sent to another process, which walks on from there. */
static void give(int through, int fd)
{
	char control[CMSG_SPACE(sizeof fd)] = "";
	struct iovec data = {"x", 1};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);

	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(head), &fd, sizeof fd);
	MUST(sendmsg(through, &message, 0) == 1);
}

static int take(int through)
{
	char control[CMSG_SPACE(sizeof(int))], byte;
	struct iovec data = {&byte, 1};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	int fd;

	MUST(recvmsg(through, &message, MSG_CMSG_CLOEXEC) == 1 && CMSG_FIRSTHDR(&message));
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
	return fd;
}

static void show_link(const char *what, const char *link)
{
	char text[PATH_MAX];
	ssize_t n = readlink(link, text, sizeof text - 1);

	text[n < 0 ? 0 : n] = 0;
	say(what, text);
}

static void receive(int through)
{
	int directory = take(through), file;
	char link[64];
	struct stat s;

	snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
	show_link("received", link);
	TRY(fstatat(directory, "inner", &s, 0));
	TRY(fstatat(directory, "../file", &s, 0));
	TRY(fstatat(directory, "../..", &s, 0));
	TRY(fstatat(directory, "../../../beside", &s, 0));
	TRY(s.st_size);
	show_file("by proc", join(link, "/../file", ""));
	TRY(fchdir(directory));
	show_link("cwd", "/proc/self/cwd");
	show_file("by cwd", "../file");
	show_file("beside", "../../../beside");
	file = take(through);
	show_content("file", file);
	TRY(fchmod(file, 0644));
	snprintf(link, sizeof link, "/proc/self/fd/%d", file);
	show_link("received", link);
	SHUT(open(link, O_RDWR));
	fflush(stdout);
	_exit(0);
}

static void passing(void)
{
	int ends[2], directory, file, status;
	pid_t child;

	MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
	fflush(stdout);
	/* Before the directory is opened: nothing can be inherited. */
	child = fork();
	MUST(child >= 0);
	if (!child)
		receive(ends[1]);
	directory = OPEN(open(P("directory"), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	file = OPEN(open(P("file"), O_RDONLY | O_CLOEXEC));
	/* Before there is something to receive: the child writes to the same output. */
	fflush(stdout);
	give(ends[0], directory);
	give(ends[0], file);
	close(directory);
	close(file);
	MUST(waitpid(child, &status, 0) == child);
	TRY(status);
	close(ends[0]);
	close(ends[1]);
}

static void calls(void)
{
	signal(SIGPIPE, SIG_IGN);
	streams();
	datagrams();
	passing();
}

int main(int argc, char **argv) { return battery_run(argc, argv, calls); }
