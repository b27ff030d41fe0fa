/* Registers: a system call changes the register of its result, and on x86-64 rcx and r11; no other.
 *
 * `registers TIMES` makes each of the calls below so many times with a pattern in every general
 * register that is not an argument, and compares all of them afterwards, arguments included. */
#include "check.h"
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#ifdef __x86_64__
enum { count = 15, result_register = 0 };
static const char *const names[count] = {
	"rax", "rdi", "rsi", "rdx", "r10", "r8", "r9", "rbx", "rbp", "r12", "r13", "r14", "r15", "rcx", "r11"};
enum { compared = 13 }; /* the kernel may destroy the last two */
#else
enum { count = 7, result_register = 0 };
static const char *const names[count] = {"eax", "ebx", "ecx", "edx", "esi", "edi", "ebp"};
enum { compared = 7 };
#endif

/* Load all registers from `in`, make the call, store all registers to `out`. */
void make_call(const long *in, long *out);

#ifdef __x86_64__
__asm__(".globl make_call\n"
	".type make_call, @function\n"
	"make_call:\n"
	"	push %rbx\n	push %rbp\n	push %r12\n	push %r13\n	push %r14\n	push %r15\n"
	"	push %rsi\n"
	"	push %rdi\n"
	"	mov %rdi, %rax\n"
	"	mov 8(%rax), %rdi\n	mov 16(%rax), %rsi\n	mov 24(%rax), %rdx\n	mov 32(%rax), %r10\n"
	"	mov 40(%rax), %r8\n	mov 48(%rax), %r9\n	mov 56(%rax), %rbx\n	mov 64(%rax), %rbp\n"
	"	mov 72(%rax), %r12\n	mov 80(%rax), %r13\n	mov 88(%rax), %r14\n	mov 96(%rax), %r15\n"
	"	mov (%rax), %rax\n"
	"	syscall\n"
	"	mov 8(%rsp), %rcx\n" /* destroyed by the call: free to use */
	"	mov %rax, (%rcx)\n"
	"	mov %rdi, 8(%rcx)\n	mov %rsi, 16(%rcx)\n	mov %rdx, 24(%rcx)\n	mov %r10, 32(%rcx)\n"
	"	mov %r8, 40(%rcx)\n	mov %r9, 48(%rcx)\n	mov %rbx, 56(%rcx)\n	mov %rbp, 64(%rcx)\n"
	"	mov %r12, 72(%rcx)\n	mov %r13, 80(%rcx)\n	mov %r14, 88(%rcx)\n	mov %r15, 96(%rcx)\n"
	"	pop %rdi\n	pop %rsi\n"
	"	pop %r15\n	pop %r14\n	pop %r13\n	pop %r12\n	pop %rbp\n	pop %rbx\n"
	"	ret\n"
	".size make_call, .-make_call\n");
#else
__asm__(".globl make_call\n"
	".type make_call, @function\n"
	"make_call:\n"
	"	push %ebx\n	push %esi\n	push %edi\n	push %ebp\n"
	"	mov 20(%esp), %eax\n"
	"	mov 4(%eax), %ebx\n	mov 8(%eax), %ecx\n	mov 12(%eax), %edx\n"
	"	mov 16(%eax), %esi\n	mov 20(%eax), %edi\n	mov 24(%eax), %ebp\n"
	"	mov (%eax), %eax\n"
	"	int $0x80\n"
	"	push %eax\n"
	"	mov 28(%esp), %eax\n"
	"	mov %ebx, 4(%eax)\n	mov %ecx, 8(%eax)\n	mov %edx, 12(%eax)\n"
	"	mov %esi, 16(%eax)\n	mov %edi, 20(%eax)\n	mov %ebp, 24(%eax)\n"
	"	pop %ecx\n"
	"	mov %ecx, (%eax)\n"
	"	pop %ebp\n	pop %edi\n	pop %esi\n	pop %ebx\n"
	"	ret\n"
	".size make_call, .-make_call\n");
#endif

static int damaged;

static long checked(const char *what, long number, int arguments, const long *argument)
{
	long in[count], out[count];

	for (int i = 0; i < count; i++)
		in[i] = (long)(0x5a5a0000u + (unsigned)i * 0x111u);
	in[result_register] = number;
	for (int i = 0; i < arguments; i++)
		in[1 + i] = argument[i];
	memset(out, 0, sizeof out);
	make_call(in, out);
	for (int i = 1; i < compared; i++) {
		if (out[i] == in[i])
			continue;
		damaged++;
		printf("%s: %s was %lx, is %lx\n", what, names[i], (unsigned long)in[i], (unsigned long)out[i]);
	}
	return out[result_register];
}

#define CALL(what, number, ...)                                                     \
	checked(what, number, (int)(sizeof((long[]){__VA_ARGS__}) / sizeof(long)), \
		(long[]){__VA_ARGS__})

static void round_of_calls(int null, int zero)
{
	static char text[] = "some text", buffer[64];
	struct iovec pieces[2] = {{text, 4}, {text + 4, 5}};
	long fd;

	checked("getppid", SYS_getppid, 0, NULL);
	checked("getpid", SYS_getpid, 0, NULL);
	fd = CALL("openat", SYS_openat, AT_FDCWD, (long)"/dev/null", O_RDWR, 0);
	CALL("openat", SYS_openat, AT_FDCWD, (long)"/nowhere/at/all", O_RDONLY, 0);
	CALL("openat", SYS_openat, AT_FDCWD, 1, O_RDONLY, 0);
	CALL("write", SYS_write, null, (long)text, 9);
	CALL("write", SYS_write, -1, (long)text, 9);
	CALL("writev", SYS_writev, null, (long)pieces, 2);
	CALL("read", SYS_read, zero, (long)buffer, sizeof buffer);
	CALL("access", SYS_access, (long)"/etc/passwd", R_OK);
	CALL("readlink", SYS_readlink, (long)"/proc/self/exe", (long)buffer, sizeof buffer);
	CALL("close", SYS_close, fd);
	CALL("unknown", 1999, 1, 2, 3, 4, 5, 6);
}

int main(int argc, char **argv)
{
	int times = argc > 1 ? atoi(argv[1]) : 1;
	int null = open("/dev/null", O_RDWR), zero = open("/dev/zero", O_RDONLY);

	CHECK(null >= 0 && zero >= 0);
	for (int i = 0; i < times; i++)
		round_of_calls(null, zero);
	printf("%d registers damaged\n", damaged);
	return damaged != 0;
}
