/* Time zone: its abbreviation at the beginning of 2020, from the file that TZ names. */
#include "check.h"

int main(void)
{
	time_t when = 1577836800;
	char text[64];

	CHECK(strftime(text, sizeof text, "%H:%M %Z", localtime(&when)) > 0);
	puts(text);
	return 0;
}
