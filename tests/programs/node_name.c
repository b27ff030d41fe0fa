/* uname: the name of this machine. */
#include "check.h"
#include <sys/utsname.h>

int main(void)
{
	struct utsname names;

	CHECK(uname(&names) == 0);
	puts(names.nodename);
	return 0;
}
