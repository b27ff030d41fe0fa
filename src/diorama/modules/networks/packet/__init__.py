"""Packets: a TCP/IP stack in user space, on a virtual Ethernet."""
