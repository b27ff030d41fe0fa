/* test_memory.c - strings across page ends, partial reads, EFAULT told apart from a dead tracee. */
#include "../include/diorama.h"
#include "check.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096 };

int main(void) {
    char *map = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char buffer[2 * PAGE];
    munmap(map + 2 * PAGE, PAGE);
    memset(map, 'x', 2 * PAGE);
    strcpy(map + PAGE - 3, "across");
    pid_t child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    uint64_t base = (uint64_t)(uintptr_t)map, end = base + 2 * PAGE;

    CHECK_EQ(dio_memory_string(child, base + PAGE - 3, buffer, sizeof buffer), 6);
    CHECK_EQ(strcmp(buffer, "across"), 0);
    CHECK_EQ(dio_memory_string(child, end - 4, buffer, sizeof buffer), -EFAULT);
    CHECK_EQ(dio_memory_string(child, base, buffer, 100), -ENAMETOOLONG);
    CHECK_EQ(dio_memory_string(child, 0, buffer, sizeof buffer), -EFAULT);

    CHECK_EQ(dio_memory_read(child, end - 10, buffer, 100), 10);
    CHECK_EQ(dio_memory_read(child, end, buffer, 100), -EFAULT);
    CHECK_EQ(dio_memory_read(child, base, buffer, 0), 0);
    CHECK_EQ(dio_memory_write(child, end - 4, "123456", 6), 4);
    CHECK_EQ(dio_memory_read(child, end - 4, buffer, 4), 4);
    CHECK_EQ(memcmp(buffer, "1234", 4), 0);
    CHECK_EQ(dio_memory_write(child, end, "1", 1), -EFAULT);
    /* Code of the child is readable and must not be written behind the program's back. */
    CHECK_EQ(dio_memory_write(child, (uint64_t)(uintptr_t)&main, "1", 1), -EFAULT);

    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    CHECK_EQ(dio_memory_read(child, base, buffer, 1), -ESRCH);
    CHECK_EQ(dio_memory_write(child, base, "1", 1), -ESRCH);
    CHECK_EQ(dio_memory_string(child, base, buffer, 1), -ESRCH);
    return checks_report("memory");
}
