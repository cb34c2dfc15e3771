#!/bin/sh
# Makes a laboratory host a cluster node, at each of its boots. $1: the directory of this file.
set -e
here=$1
mount -t tmpfs -o mode=1777 tmpfs /dev/shm # libqb names its files there by process id
# Where Pacemaker would write if it wanted to reboot the machine; a node's panic is not the machine's.
[ ! -e /proc/sysrq-trigger ] || mount --bind /dev/null /proc/sysrq-trigger

mkdir -p /run/ocf /run/resource-agents /var/lib/corosync
mount --bind /usr/lib/ocf/resource.d /run/ocf
mount -t tmpfs -o mode=755 tmpfs /usr/lib/ocf/resource.d
for provider in /run/ocf/*; do ln -s "$provider" /usr/lib/ocf/resource.d/; done
mkdir /usr/lib/ocf/resource.d/lab
mount --bind "$here/ocf" /usr/lib/ocf/resource.d/lab
mount -t overlay -o "lowerdir=$here/fence:/usr/sbin" overlay /usr/sbin # Pacemaker looks nowhere else

install -d -o hacluster -g haclient -m 770 /var/log/pacemaker /var/log/pacemaker/bundles
install -d -o hacluster -g haclient -m 750 /var/lib/pacemaker /var/lib/pacemaker/cib \
    /var/lib/pacemaker/pengine /var/lib/pacemaker/blackbox /var/lib/pacemaker/cores
cib=/var/lib/pacemaker/cib/cib.xml
[ -e $cib ] || install -o hacluster -g haclient -m 600 /etc/corosync/first-cib.xml $cib

# On a busy machine a node that gets no time for 3 s counts as dead.
nice -n -19 setsid corosync -f </dev/null >>/var/log/corosync.log 2>&1 &
tries=100
until corosync-cpgtool >/dev/null 2>&1; do
    tries=$((tries - 1))
    [ $tries -gt 0 ] || exit 1
    sleep 0.1
done
export PCMK_logfacility=none PCMK_fail_fast=no PCMK_logfile=/var/log/pacemaker/pacemaker.log
setsid pacemakerd -f </dev/null >>/var/log/pacemakerd.log 2>&1 &
