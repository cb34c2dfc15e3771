#!/bin/bash
# Process 1 of a laboratory host. $1: its name, $2: its directory.
# Standard input is the lifeline: it is open as long as the test run that made the host is alive.
# At its end this process ends, and the kernel then kills all that is left in the pid namespace.
set -e
hostname "$1"
for own in etc var run; do mount --bind "$2/$own" "/$own"; done
umount --recursive --lazy /sys # the machine's control groups are not the host's business
mount -t sysfs sysfs /sys      # and this one shows the host's own network devices
ip link set lo up
echo up
exec >&2
while read -r _; do :; done
