/* Baseline: the least that a tracer written in C has to do for each action, on x86-64.
 *
 * baseline [-p] ACTION CALL COMMAND [ARG]...
 *
 * Stops at one system call, given by number, by a seccomp filter, and does one thing with it:
 *   pass      lets it run: one stop
 *   result    lets it run and reads its result: two stops
 *   skip      answers 7 in its place: one stop
 *   change    turns its third argument into O_CLOEXEC, and restores the register afterwards: two stops
 *   sequence  runs getpid and gettid in its place and then itself: by moving back the instruction pointer
 * -p puts the tracer and the program on one CPU. There is no error handling beyond giving up: one program, one
 * thread, no signals. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { syscall_stop = SIGTRAP | 0x80, syscall_length = 2, answer = 7 };

static pid_t program;

static void give_up(const char *what)
{
	perror(what);
	if (program > 0)
		kill(program, SIGKILL);
	exit(125);
}

static void install_filter(unsigned call)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {sizeof code / sizeof *code, code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
		give_up("seccomp");
}

static void get_registers(struct user_regs_struct *registers)
{
	if (ptrace(PTRACE_GETREGS, program, 0, registers) != 0)
		give_up("PTRACE_GETREGS");
}

static void set_registers(const struct user_regs_struct *registers)
{
	if (ptrace(PTRACE_SETREGS, program, 0, registers) != 0)
		give_up("PTRACE_SETREGS");
}

static int resume(enum __ptrace_request how)
{
	int status;

	if (ptrace(how, program, 0, 0) != 0)
		give_up("ptrace");
	if (waitpid(program, &status, __WALL) != program)
		give_up("waitpid");
	if (!WIFSTOPPED(status))
		exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	return status;
}

/* From a seccomp stop or an entry stop to the exit stop of the same call. */
static void to_exit(void)
{
	if (WSTOPSIG(resume(PTRACE_SYSCALL)) != syscall_stop)
		give_up("no exit stop");
}

static void see_result(void)
{
	struct user_regs_struct registers;

	to_exit();
	get_registers(&registers);
}

static void skip(void)
{
	struct user_regs_struct registers;

	get_registers(&registers);
	registers.orig_rax = (unsigned long long)-1;
	registers.rax = answer;
	set_registers(&registers);
}

static void change(void)
{
	struct user_regs_struct registers;
	unsigned long long before;

	get_registers(&registers);
	before = registers.rdx;
	registers.rdx = O_CLOEXEC;
	set_registers(&registers);
	to_exit();
	get_registers(&registers);
	registers.rdx = before;
	set_registers(&registers);
}

static void run_instead(unsigned long long number)
{
	struct user_regs_struct registers;

	get_registers(&registers);
	registers.orig_rax = number;
	set_registers(&registers);
	to_exit();
}

/* At an exit stop: have the system call instruction executed again, up to its entry stop. */
static void rewind_to(unsigned long long number)
{
	struct user_regs_struct registers;

	get_registers(&registers);
	registers.rip -= syscall_length;
	registers.rax = number;
	set_registers(&registers);
	to_exit(); /* the entry stop looks the same to waitpid */
}

static void sequence(unsigned call)
{
	run_instead(SYS_getpid);
	rewind_to(SYS_gettid);
	to_exit();
	rewind_to(call);
	resume(PTRACE_SYSCALL); /* the filter's stop for the call itself */
	to_exit();
}

static void act(const char *action, unsigned call)
{
	switch (action[0] == 's' ? action[1] : action[0]) {
	case 'p':
		break;
	case 'r':
		see_result();
		break;
	case 'k':
		skip();
		break;
	case 'c':
		change();
		break;
	case 'e':
		sequence(call);
		break;
	default:
		errno = EINVAL;
		give_up(action);
	}
}

static void start(char **command, unsigned call)
{
	int ready[2];
	char byte;

	if (pipe2(ready, O_CLOEXEC) != 0 || (program = fork()) < 0)
		give_up("fork");
	if (program == 0) {
		close(ready[1]);
		if (read(ready[0], &byte, 1) != 0)
			_exit(125);
		install_filter(call);
		execvp(command[0], command);
		_exit(127);
	}
	if (ptrace(PTRACE_SEIZE, program, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACESECCOMP | PTRACE_O_EXITKILL) != 0)
		give_up("PTRACE_SEIZE");
	close(ready[0]);
	close(ready[1]);
}

static void share_a_cpu(void)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET((size_t)sched_getcpu(), &one);
	if (sched_setaffinity(0, sizeof one, &one) != 0)
		give_up("sched_setaffinity");
}

int main(int argc, char **argv)
{
	const char *action;
	unsigned call;
	int status;

	if (argc > 1 && strcmp(argv[1], "-p") == 0) {
		share_a_cpu();
		argc--;
		argv++;
	}
	if (argc < 4) {
		fputs("usage: baseline [-p] ACTION CALL COMMAND [ARG]...\n", stderr);
		return 125;
	}
	action = argv[1];
	call = (unsigned)atoi(argv[2]);
	start(argv + 3, call);
	if (waitpid(program, &status, __WALL) != program)
		give_up("waitpid");
	while (WIFSTOPPED(status)) {
		if (status >> 8 == (SIGTRAP | PTRACE_EVENT_SECCOMP << 8))
			act(action, call);
		status = resume(PTRACE_CONT);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
