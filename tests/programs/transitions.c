/* Transitions: random changes of credentials, each checked against what credentials(7), capabilities(7), setuid(2) and their kin say.
 *
 *	transitions DIRECTORY ROUNDS STEPS
 *
 * Begins as root.  Each round is a child that makes STEPS calls.  The model is all of this file: after each call, result, error and
 * all that can be asked must be what the model says.  DIRECTORY has this program as `plain`, and as `of_root`, which is
 * set-user-ID and root's.  Who executes one of them tells it what the model says, and it goes on. */
#include "check.h"

#include <linux/capability.h>
#include <linux/securebits.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

enum { REAL, EFFECTIVE, SAVED, FILES, MOST = 4 };

typedef unsigned long long set;

struct who {
	unsigned user[4], group[4], groups[MOST], count;
	set permitted, effective, inheritable, bounding, ambient;
	unsigned securebits, no_new_privs;
};

struct run {
	const char *directory;
	unsigned random, step, steps;
	struct who model;
};

#define BIT(capability) (1ull << (capability))
#define ALL (BIT(CAP_LAST_CAP + 1) - 1)
#define KEEP (~0u)
#define LOCKS (SECURE_ALL_BITS << 1)
static const set of_files = BIT(CAP_CHOWN) | BIT(CAP_MKNOD) | BIT(CAP_DAC_OVERRIDE) | BIT(CAP_DAC_READ_SEARCH) | BIT(CAP_FOWNER) |
			    BIT(CAP_FSETID) | BIT(CAP_LINUX_IMMUTABLE) | BIT(CAP_MAC_OVERRIDE);

static bool has(const struct who *who, int capability)
{
	return who->effective & BIT(capability);
}

static unsigned draw(struct run *run, unsigned below)
{
	run->random = run->random * 1664525 + 1013904223;
	return (run->random >> 16) % below;
}

/* -- the model: each returns 0, a number that is told, or minus the error ------------------------ */

/* "Effect of user ID changes on capabilities" */
static void users_changed(struct who *who, const struct who *was)
{
	bool had_root = !was->user[REAL] || !was->user[EFFECTIVE] || !was->user[SAVED];
	bool has_root = !who->user[REAL] || !who->user[EFFECTIVE] || !who->user[SAVED];

	who->user[FILES] = who->user[EFFECTIVE];
	if (who->securebits & issecure_mask(SECURE_NO_SETUID_FIXUP))
		return;
	if (had_root && !has_root) {
		who->ambient = 0;
		if (!(who->securebits & issecure_mask(SECURE_KEEP_CAPS)))
			who->permitted = who->effective = 0;
	}
	if (!was->user[EFFECTIVE] && who->user[EFFECTIVE])
		who->effective = 0;
	if (was->user[EFFECTIVE] && !who->user[EFFECTIVE])
		who->effective = who->permitted;
}

static bool is_one_of(const unsigned *ids, unsigned id, bool saved_too)
{
	return id == ids[REAL] || id == ids[EFFECTIVE] || (saved_too && id == ids[SAVED]);
}

static int set_one(unsigned *ids, unsigned id, bool may)
{
	if (id == KEEP)
		return -EINVAL;
	if (may)
		ids[REAL] = ids[SAVED] = id;
	else if (id != ids[REAL] && id != ids[SAVED])
		return -EPERM;
	ids[EFFECTIVE] = ids[FILES] = id;
	return 0;
}

static int set_two(unsigned *ids, unsigned real, unsigned effective, bool may)
{
	unsigned before = ids[REAL];

	if (real != KEEP && !may && !is_one_of(ids, real, false))
		return -EPERM;
	if (effective != KEEP && !may && !is_one_of(ids, effective, true))
		return -EPERM;
	if (real != KEEP)
		ids[REAL] = real;
	if (effective != KEEP)
		ids[EFFECTIVE] = effective;
	if (real != KEEP || (effective != KEEP && effective != before))
		ids[SAVED] = ids[EFFECTIVE];
	ids[FILES] = ids[EFFECTIVE];
	return 0;
}

static int set_three(unsigned *ids, const unsigned *asked, bool may)
{
	bool same_effective = asked[1] == KEEP || (asked[1] == ids[EFFECTIVE] && asked[1] == ids[FILES]);

	if ((asked[0] == KEEP || asked[0] == ids[REAL]) && same_effective && (asked[2] == KEEP || asked[2] == ids[SAVED]))
		return 0; /* nothing changes, not even the file system's */
	for (int i = 0; i < 3; i++)
		if (asked[i] != KEEP && !may && !is_one_of(ids, asked[i], true))
			return -EPERM;
	for (int i = 0; i < 3; i++)
		if (asked[i] != KEEP)
			ids[i] = asked[i];
	ids[FILES] = ids[EFFECTIVE];
	return 1;
}

static int set_files(unsigned *ids, unsigned id, bool may)
{
	int before = (int)ids[FILES];

	if (id != KEEP && (may || is_one_of(ids, id, true) || id == ids[FILES]))
		ids[FILES] = id;
	return before;
}

static int model_setfsuid(struct who *who, unsigned id)
{
	int before = set_files(who->user, id, has(who, CAP_SETUID));

	if (who->securebits & issecure_mask(SECURE_NO_SETUID_FIXUP))
		return before;
	if (!before && who->user[FILES])
		who->effective &= ~of_files;
	if (before && !who->user[FILES])
		who->effective |= who->permitted & of_files;
	return before;
}

static int model_capset(struct who *who, set effective, set permitted, set inheritable)
{
	effective &= ALL, permitted &= ALL, inheritable &= ALL;
	if (!has(who, CAP_SETPCAP) && inheritable & ~(who->inheritable | who->permitted))
		return -EPERM;
	if (inheritable & ~(who->inheritable | who->bounding) || permitted & ~who->permitted || effective & ~permitted)
		return -EPERM;
	who->effective = effective, who->permitted = permitted, who->inheritable = inheritable;
	who->ambient &= permitted & inheritable;
	return 0;
}

static int model_securebits(struct who *who, unsigned bits)
{
	unsigned changed = who->securebits ^ bits, locked = who->securebits & LOCKS;

	if (changed & locked >> 1 || locked & ~bits || bits & ~(unsigned)(SECURE_ALL_BITS | LOCKS) || !has(who, CAP_SETPCAP))
		return -EPERM;
	who->securebits = bits;
	return 0;
}

static int model_keepcaps(struct who *who, unsigned value)
{
	if (value > 1)
		return -EINVAL;
	if (who->securebits & issecure_mask(SECURE_KEEP_CAPS_LOCKED))
		return -EPERM;
	who->securebits &= ~(unsigned)issecure_mask(SECURE_KEEP_CAPS);
	who->securebits |= value ? issecure_mask(SECURE_KEEP_CAPS) : 0;
	return 0;
}

static int model_ambient(struct who *who, unsigned what, unsigned capability)
{
	set bit = capability <= CAP_LAST_CAP ? BIT(capability) : 0;

	if (what == PR_CAP_AMBIENT_CLEAR_ALL)
		return who->ambient = 0, capability ? -EINVAL : 0;
	if (!bit)
		return -EINVAL;
	if (what == PR_CAP_AMBIENT_LOWER)
		return who->ambient &= ~bit, 0;
	if (who->securebits & issecure_mask(SECURE_NO_CAP_AMBIENT_RAISE) || !(who->permitted & who->inheritable & bit))
		return -EPERM;
	return who->ambient |= bit, 0;
}

static int model_drop(struct who *who, unsigned capability)
{
	if (!has(who, CAP_SETPCAP))
		return -EPERM;
	if (capability > CAP_LAST_CAP)
		return -EINVAL;
	return who->bounding &= ~BIT(capability), 0;
}

/* "Transformation of capabilities during execve()", "Capabilities and execution of programs by root" */
static void model_execute(struct who *who, bool of_root)
{
	unsigned effective = of_root && !who->no_new_privs ? 0 : who->user[EFFECTIVE];
	bool changes = effective != who->user[EFFECTIVE] || !(who->group[EFFECTIVE] == who->group[FILES]);
	bool is_root = !(who->securebits & issecure_mask(SECURE_NOROOT)) && (!effective || !who->user[REAL]);
	set permitted = is_root ? who->inheritable | who->bounding : 0;

	for (unsigned i = 0; i < who->count; i++)
		if (who->groups[i] == who->group[EFFECTIVE])
			changes = effective != who->user[EFFECTIVE];
	if ((changes || permitted & ~who->permitted) && who->no_new_privs) {
		effective = who->user[REAL];
		who->group[EFFECTIVE] = who->group[REAL];
		permitted &= who->permitted;
	}
	bool all = is_root && !(of_root && !who->no_new_privs ? 0 : who->user[EFFECTIVE]);
	if (changes)
		who->ambient = 0;
	who->permitted = permitted | who->ambient;
	who->effective = all ? who->permitted : who->ambient;
	who->user[EFFECTIVE] = who->user[SAVED] = who->user[FILES] = effective;
	who->group[SAVED] = who->group[FILES] = who->group[EFFECTIVE];
	who->securebits &= ~(unsigned)issecure_mask(SECURE_KEEP_CAPS);
}

/* -- what is --------------------------------------------------------------------------------- */

static struct who ask(void)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2];
	struct who who = {0};

	CHECK(syscall(SYS_getresuid, &who.user[0], &who.user[1], &who.user[2]) == 0);
	CHECK(syscall(SYS_getresgid, &who.group[0], &who.group[1], &who.group[2]) == 0);
	CHECK(syscall(SYS_capget, &header, data) == 0);
	CHECK((int)(who.count = (unsigned)syscall(SYS_getgroups, MOST, who.groups)) >= 0);
	who.user[FILES] = (unsigned)syscall(SYS_setfsuid, -1);
	who.group[FILES] = (unsigned)syscall(SYS_setfsgid, -1);
	who.permitted = data[0].permitted | (set)data[1].permitted << 32;
	who.effective = data[0].effective | (set)data[1].effective << 32;
	who.inheritable = data[0].inheritable | (set)data[1].inheritable << 32;
	for (int one = 0; one <= CAP_LAST_CAP; one++) {
		who.bounding |= prctl(PR_CAPBSET_READ, one) == 1 ? BIT(one) : 0;
		who.ambient |= prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, one, 0, 0) == 1 ? BIT(one) : 0;
	}
	who.securebits = (unsigned)prctl(PR_GET_SECUREBITS);
	who.no_new_privs = (unsigned)prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
	return who;
}

static void show(const char *what, const struct who *who)
{
	printf("%s: users %u %u %u %u groups %u %u %u %u,", what, who->user[0], who->user[1], who->user[2], who->user[3],
	       who->group[0], who->group[1], who->group[2], who->group[3]);
	for (unsigned i = 0; i < who->count; i++)
		printf(" %u", who->groups[i]);
	printf(" sets p %llx e %llx i %llx b %llx a %llx bits %x %u\n", who->permitted, who->effective, who->inheritable, who->bounding,
	       who->ambient, who->securebits, who->no_new_privs);
}

static void compare(const struct run *run, const char *name, const struct who *was, int expected, int found)
{
	struct who is = ask();

	if (expected == found && !memcmp(&is, &run->model, sizeof is))
		return;
	printf("step %u, %s: %d, where the model says %d\n", run->step, name, found, expected);
	show("before", was);
	show("is", &is);
	show("model", &run->model);
	fflush(stdout);
	_exit(1);
}

/* -- a step ---------------------------------------------------------------------------------- */

static unsigned draw_id(struct run *run)
{
	static const unsigned ids[] = {0, 0, 1, 7, 1000, 70000, KEEP};
	return ids[draw(run, sizeof ids / sizeof *ids)];
}

static set draw_set(struct run *run)
{
	static const set sets[] = {0, ALL, BIT(CAP_SETUID), BIT(CAP_SETUID) | BIT(CAP_SETGID) | BIT(CAP_SETPCAP), BIT(CAP_FOWNER), ~0ull};
	return sets[draw(run, sizeof sets / sizeof *sets)];
}

static void change_user(struct run *run, unsigned kind, const unsigned *asked)
{
	static const char *const names[] = {"setuid", "setreuid", "setresuid", "setfsuid"};
	struct who was = run->model, *who = &run->model;
	bool may = has(who, CAP_SETUID);
	int expected = 0, found = 0;

	if (kind == 0)
		expected = set_one(who->user, asked[0], may), found = (int)syscall(SYS_setuid, asked[0]);
	else if (kind == 1)
		expected = set_two(who->user, asked[0], asked[1], may), found = (int)syscall(SYS_setreuid, asked[0], asked[1]);
	else if (kind == 2)
		expected = set_three(who->user, asked, may), found = (int)syscall(SYS_setresuid, asked[0], asked[1], asked[2]);
	else
		expected = model_setfsuid(who, asked[0]), found = (int)syscall(SYS_setfsuid, asked[0]);
	if (kind == 3) {
		compare(run, names[kind], &was, expected, found);
		return;
	}
	if (expected >= 0 && !(kind == 2 && !expected))
		users_changed(who, &was);
	compare(run, names[kind], &was, expected < 0 ? expected : 0, found ? -errno : 0);
}

static void change_group(struct run *run, unsigned kind, const unsigned *asked)
{
	static const char *const names[] = {"setgid", "setregid", "setresgid", "setfsgid"};
	struct who was = run->model, *who = &run->model;
	bool may = has(who, CAP_SETGID);
	int expected = 0, found = 0;

	if (kind == 0)
		expected = set_one(who->group, asked[0], may), found = (int)syscall(SYS_setgid, asked[0]);
	else if (kind == 1)
		expected = set_two(who->group, asked[0], asked[1], may), found = (int)syscall(SYS_setregid, asked[0], asked[1]);
	else if (kind == 2)
		expected = set_three(who->group, asked, may), found = (int)syscall(SYS_setresgid, asked[0], asked[1], asked[2]);
	else
		expected = set_files(who->group, asked[0], may), found = (int)syscall(SYS_setfsgid, asked[0]);
	if (kind == 3)
		compare(run, names[kind], &was, expected, found);
	else
		compare(run, names[kind], &was, expected < 0 ? expected : 0, found ? -errno : 0);
}

static void change_groups(struct run *run)
{
	struct who was = run->model, *who = &run->model;
	unsigned count = draw(run, 4), groups[MOST] = {0};
	int expected = has(who, CAP_SETGID) ? 0 : -EPERM;

	for (unsigned i = 0; i < count; i++)
		groups[i] = i ? groups[i - 1] + draw(run, 9) : draw(run, 9);
	if (!expected)
		memcpy(who->groups, groups, sizeof groups), who->count = count;
	compare(run, "setgroups", &was, expected, syscall(SYS_setgroups, count, groups) ? -errno : 0);
}

static void change_sets(struct run *run)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2];
	struct who was = run->model;
	set effective = draw_set(run), permitted = draw_set(run), inheritable = draw_set(run);

	for (int i = 0; i < 2; i++)
		data[i] = (struct __user_cap_data_struct){(unsigned)(effective >> 32 * i), (unsigned)(permitted >> 32 * i),
							  (unsigned)(inheritable >> 32 * i)};
	int expected = model_capset(&run->model, effective, permitted, inheritable);
	compare(run, "capset", &was, expected, syscall(SYS_capset, &header, data) ? -errno : 0);
}

static void change_more(struct run *run)
{
	static const unsigned bits[] = {0, 1, 4, 5, 16, 32, 64, 128, 1 << 20};
	static const unsigned capabilities[] = {CAP_SETUID, CAP_SETGID, CAP_SETPCAP, CAP_FOWNER, CAP_LAST_CAP + 1};
	struct who was = run->model, *who = &run->model;
	unsigned kind = draw(run, 9), capability = capabilities[draw(run, 5)], value = bits[draw(run, 9)], what = 2 + draw(run, 3);

	if (kind < 2)
		compare(run, "securebits", &was, model_securebits(who, value), prctl(PR_SET_SECUREBITS, value) ? -errno : 0);
	else if (kind < 4)
		compare(run, "keepcaps", &was, model_keepcaps(who, value), prctl(PR_SET_KEEPCAPS, value) ? -errno : 0);
	else if (kind < 6 && what == PR_CAP_AMBIENT_CLEAR_ALL)
		compare(run, "ambient", &was, model_ambient(who, what, 0), prctl(PR_CAP_AMBIENT, what, 0, 0, 0) ? -errno : 0);
	else if (kind < 6)
		compare(run, "ambient", &was, model_ambient(who, what, capability),
			prctl(PR_CAP_AMBIENT, what, capability, 0, 0) ? -errno : 0);
	else if (kind < 8)
		compare(run, "bounding", &was, model_drop(who, capability), prctl(PR_CAPBSET_DROP, capability) ? -errno : 0);
	else if (draw(run, 3) == 0) {
		who->no_new_privs = 1;
		compare(run, "no_new_privs", &was, 0, prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ? -errno : 0);
	}
}

static void execute(struct run *run, bool of_root)
{
	char path[4096], words[4][256], *const empty[] = {NULL};
	const unsigned char *bytes = (const unsigned char *)&run->model;

	model_execute(&run->model, of_root);
	snprintf(path, sizeof path, "%s/%s", run->directory, of_root ? "of_root" : "plain");
	snprintf(words[0], sizeof words[0], "%u", run->random);
	snprintf(words[1], sizeof words[1], "%u", run->step);
	snprintf(words[2], sizeof words[2], "%u", run->steps);
	for (size_t i = 0; i < sizeof run->model; i++)
		sprintf(words[3] + 2 * i, "%02x", bytes[i]);
	execve(path, (char *const[]){path, (char *)run->directory, words[0], words[1], words[2], words[3], NULL}, empty);
	printf("step %u: %s: %s\n", run->step, path, strerror(errno));
	_exit(1);
}

static void go_on(struct run *run)
{
	while (run->step < run->steps) {
		unsigned kind = draw(run, 10), asked[3] = {draw_id(run), draw_id(run), draw_id(run)};

		run->step++;
		if (kind < 3)
			change_user(run, draw(run, 4), asked);
		else if (kind < 5)
			change_group(run, draw(run, 4), asked);
		else if (kind < 6)
			change_groups(run);
		else if (kind < 7)
			change_sets(run);
		else if (kind < 9)
			change_more(run);
		else
			execute(run, draw(run, 3) > 0);
	}
	_exit(0);
}

static void begin_again(char **argv)
{
	struct run run = {.directory = argv[1]};
	unsigned char *bytes = (unsigned char *)&run.model;

	run.random = (unsigned)strtoul(argv[2], NULL, 10);
	run.step = (unsigned)strtoul(argv[3], NULL, 10);
	run.steps = (unsigned)strtoul(argv[4], NULL, 10);
	CHECK(strlen(argv[5]) == 2 * sizeof run.model);
	for (size_t i = 0; i < sizeof run.model; i++)
		CHECK(sscanf(argv[5] + 2 * i, "%2hhx", &bytes[i]) == 1);
	compare(&run, "execve", &run.model, 0, 0);
	go_on(&run);
}

int main(int argc, char **argv)
{
	if (argc == 6)
		begin_again(argv);
	CHECK(argc == 4);
	int rounds = atoi(argv[2]), steps = atoi(argv[3]), wrong = 0;
	for (int round = 0; round < rounds; round++) {
		struct run run = {.directory = argv[1], .random = (unsigned)round * 2654435761u, .steps = (unsigned)steps, .model = ask()};
		int status;

		fflush(stdout);
		pid_t child = fork();
		CHECK(child >= 0);
		if (!child)
			go_on(&run);
		CHECK(waitpid(child, &status, 0) == child);
		wrong += status != 0;
	}
	printf("%d of %d rounds of %d transitions are as the model says\n", rounds - wrong, rounds, steps);
	return wrong != 0;
}
