/* What the C library and ioctl(2) tell of the network interfaces: by getifaddrs(3), SIOCGIFCONF and the rest. */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static void show_address(const char *title, const struct sockaddr *address) {
	char text[INET6_ADDRSTRLEN] = "none";
	if (address && address->sa_family == AF_INET)
		inet_ntop(AF_INET, &((const struct sockaddr_in *)address)->sin_addr, text, sizeof text);
	else if (address && address->sa_family == AF_INET6)
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)address)->sin6_addr, text, sizeof text);
	printf(" %s %s", title, text);
}

static void list_by_netlink(const char *left_out) {
	struct ifaddrs *all;
	if (getifaddrs(&all)) {
		printf("getifaddrs: %s\n", strerror(errno));
		return;
	}
	for (struct ifaddrs *one = all; one; one = one->ifa_next) {
		if (!strcmp(one->ifa_name, left_out))
			continue;
		printf("%s flags %x family %d", one->ifa_name, one->ifa_flags & ~IFF_DYNAMIC,
				one->ifa_addr ? one->ifa_addr->sa_family : 0);
		if (one->ifa_addr && one->ifa_addr->sa_family != AF_PACKET) {
			show_address("address", one->ifa_addr);
			show_address("mask", one->ifa_netmask);
			if (one->ifa_flags & IFF_BROADCAST && one->ifa_addr->sa_family == AF_INET)
				show_address("broadcast", one->ifa_broadaddr);
		}
		printf("\n");
	}
	freeifaddrs(all);
}

static void list_by_ioctl(int fd, const char *left_out) {
	struct ifreq found[16];
	struct ifconf list = {.ifc_len = 0};
	int done = ioctl(fd, SIOCGIFCONF, &list);
	printf("room: %d\n", done ? -errno : list.ifc_len / (int)sizeof *found);
	list.ifc_len = sizeof found;
	list.ifc_req = found;
	if (ioctl(fd, SIOCGIFCONF, &list))
		printf("SIOCGIFCONF: %s\n", strerror(errno));
	for (int i = 0; i < list.ifc_len / (int)sizeof *found; i++)
		if (strcmp(found[i].ifr_name, left_out)) {
			printf("%s", found[i].ifr_name);
			show_address("has", &found[i].ifr_addr);
			printf("\n");
		}
}

static void ask(int fd, const char *name) {
	static const struct {
		const char *title;
		unsigned long command;
	} asked[] = {
		{"address", SIOCGIFADDR},     {"mask", SIOCGIFNETMASK}, {"broadcast", SIOCGIFBRDADDR}, {"flags", SIOCGIFFLAGS},
		{"mtu", SIOCGIFMTU},          {"metric", SIOCGIFMETRIC}, {"queue", SIOCGIFTXQLEN},      {"hardware", SIOCGIFHWADDR},
		{"destination", SIOCGIFDSTADDR},
	};
	for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
		struct ifreq request = {0};
		snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
		printf("%s %s:", name, asked[i].title);
		if (ioctl(fd, asked[i].command, &request)) {
			printf(" %s\n", strerror(errno));
			continue;
		}
		for (int at = 0; at < 16; at++)
			printf("%02x", ((unsigned char *)&request.ifr_addr)[at]);
		printf("\n");
	}
}

int main(int argc, char **argv) {
	const char *left_out = argc > 1 ? argv[1] : "";
	int kinds[] = {AF_INET, AF_INET6, AF_UNIX};
	list_by_netlink(left_out);
	for (int i = 0; i < 3; i++) {
		int fd = socket(kinds[i], SOCK_DGRAM, 0);
		if (fd < 0)
			continue;
		if (kinds[i] == AF_INET) {
			list_by_ioctl(fd, left_out);
			ask(fd, "lo");
			ask(fd, "eth0");
			ask(fd, "nope");
		}
		struct ifreq request = {.ifr_name = "eth0"};
		printf("%d: index %d", kinds[i], ioctl(fd, SIOCGIFINDEX, &request) ? -errno : request.ifr_ifindex);
		request = (struct ifreq){.ifr_ifindex = 3};
		printf(" name %s\n", ioctl(fd, SIOCGIFNAME, &request) ? strerror(errno) : request.ifr_name);
		close(fd);
	}
	printf("%u %u\n", if_nametoindex("eth0"), if_nametoindex("nope"));
	return 0;
}
