/* Credentials: makes the calls that its input names, and tells of each what came of it and who it is then.
 *
 * A line is the name of a call and its arguments; `exec` runs a file, itself if there is no other, which goes on with the
 * next line.  The system calls are made as they are: the C library keeps some of their mistakes from the kernel. */
#include "check.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#ifdef __i386__
#define NR(name) SYS_##name##32
#else
#define NR(name) SYS_##name
#endif

typedef long long number;

static const struct {
	const char *name;
	long call;
	int count;
} calls[] = {
	{"setuid", NR(setuid), 1},       {"setreuid", NR(setreuid), 2}, {"setresuid", NR(setresuid), 3},
	{"setfsuid", NR(setfsuid), 1},   {"setgid", NR(setgid), 1},     {"setregid", NR(setregid), 2},
	{"setresgid", NR(setresgid), 3}, {"setfsgid", NR(setfsgid), 1}, {"prctl", SYS_prctl, 5},
#ifdef __i386__
	{"setuid16", SYS_setuid, 1},       {"setresuid16", SYS_setresuid, 3}, {"setreuid16", SYS_setreuid, 2},
	{"setgid16", SYS_setgid, 1},       {"setfsuid16", SYS_setfsuid, 1},   {"getuid16", SYS_getuid, 0},
	{"geteuid16", SYS_geteuid, 0},     {"getgid16", SYS_getgid, 0},       {"getegid16", SYS_getegid, 0},
	{"setresgid16", SYS_setresgid, 3}, {"setfsgid16", SYS_setfsgid, 1},
#endif
};

static long set_groups(const number *arguments, int count)
{
	unsigned groups[32];

	for (int i = 0; i < count; i++)
		groups[i] = (unsigned)arguments[i];
	return syscall(NR(setgroups), count, groups);
}

/* Version, pid, then effective, permitted and inheritable set. */
static long set_capabilities(const number *arguments)
{
	struct __user_cap_header_struct header = {(unsigned)arguments[0], (int)arguments[1]};
	struct __user_cap_data_struct data[2];

	for (int i = 0; i < 2; i++)
		data[i] = (struct __user_cap_data_struct){(unsigned)(arguments[2] >> 32 * i), (unsigned)(arguments[3] >> 32 * i),
							  (unsigned)(arguments[4] >> 32 * i)};
	return syscall(SYS_capset, &header, data);
}

static long make(const char *name, const number *arguments, int count)
{
	if (!strcmp(name, "setgroups"))
		return set_groups(arguments, count);
	if (!strcmp(name, "capset"))
		return set_capabilities(arguments);
	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
		if (!strcmp(name, calls[i].name)) {
			CHECK(count <= calls[i].count);
			return syscall(calls[i].call, (long)arguments[0], (long)arguments[1], (long)arguments[2],
				       (long)arguments[3], (long)arguments[4]);
		}
	printf("unknown call %s\n", name);
	_exit(99);
}

static unsigned long long ambient(void)
{
	unsigned long long set = 0;

	for (int one = 0; one <= CAP_LAST_CAP; one++)
		if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, one, 0, 0) == 1)
			set |= 1ull << one;
	return set;
}

static unsigned long long bounding(void)
{
	unsigned long long set = 0;

	for (int one = 0; one <= CAP_LAST_CAP; one++)
		if (prctl(PR_CAPBSET_READ, one) == 1)
			set |= 1ull << one;
	return set;
}

static void tell(void)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2];
	unsigned id[6], groups[64];
	int count;

	CHECK(syscall(NR(getresuid), &id[0], &id[1], &id[2]) == 0);
	CHECK(syscall(NR(getresgid), &id[3], &id[4], &id[5]) == 0);
	CHECK(syscall(SYS_capget, &header, data) == 0);
	CHECK((count = (int)syscall(NR(getgroups), 64, groups)) >= 0);
	printf(" | %u %u %u %u | %u %u %u %u |", id[0], id[1], id[2], (unsigned)syscall(NR(setfsuid), -1), id[3], id[4], id[5],
	       (unsigned)syscall(NR(setfsgid), -1));
	for (int i = 0; i < count; i++)
		printf(" %u", groups[i]);
	printf(" | %llx %llx %llx %llx %llx | %x %d\n", data[0].effective | (unsigned long long)data[1].effective << 32,
	       data[0].permitted | (unsigned long long)data[1].permitted << 32,
	       data[0].inheritable | (unsigned long long)data[1].inheritable << 32, bounding(), ambient(),
	       (unsigned)prctl(PR_GET_SECUREBITS), prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	fflush(stdout);
}

int main(int argc, char **argv)
{
	char line[512];
	(void)argc;

	setvbuf(stdin, NULL, _IONBF, 0); /* the next program reads on */
	if (argc > 1) {
		printf("exec 0 0");
		tell();
	}
	while (fgets(line, sizeof line, stdin)) {
		char *rest = NULL, *name = strtok_r(line, " \n", &rest), *word;
		number arguments[32] = {0};
		int count = 0;

		if (!name)
			continue;
		if (!strcmp(name, "exec")) {
			char *file = strtok_r(NULL, " \n", &rest);
			execl(file ? file : argv[0], file ? file : argv[0], "on", NULL);
			printf("exec -1 %d", errno);
			tell();
			continue;
		}
		while ((word = strtok_r(NULL, " \n", &rest)) && count < 32)
			arguments[count++] = strtoll(word, NULL, 0);
		errno = 0;
		long result = make(name, arguments, count);
		printf("%s %ld %d", name, result, result == -1 ? errno : 0);
		tell();
	}
	return 0;
}
