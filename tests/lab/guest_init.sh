#!/bin/sh
# All that runs inside a laboratory guest. Words on the kernel's command line choose what it does:
# deaf, writer, cd, tag=WORD, load=MIB (see guest.py).
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module"; done </modules/order
echo 1 >/proc/sys/kernel/sysrq                # send-key Alt+SysRq+C and inject-nmi make it panic
echo 1 >/proc/sys/kernel/unknown_nmi_panic

tag=none load=0 deaf='' writer='' cd=''
read -r words </proc/cmdline
for word in $words; do
    case $word in
        tag=* | load=*) eval "${word%%=*}='${word#*=}'" ;;
        deaf | writer | cd) eval "$word=yes" ;;
    esac
done

obey() { # $1: the power button's device
    dd bs=24 count=1 <"$1" >/dev/null 2>&1 # sizeof(struct input_event)
    echo 'guest: power button'
    poweroff -f
}

doze() { # $1: the keyboard's device
    while dd bs=24 count=1 <"$1" >/dev/null 2>&1; do
        echo 'guest: suspending'
        echo mem >/sys/power/state
        echo 'guest: awake'
        sleep 1 # what is left of that key
    done
}

# Sector 0 of the disk is one line, "TAG BOOT-ID COUNT FOREIGN": who writes, which start of it, how many beats,
# and how often it found another's line where its own should have been. A close of a block device by its last
# user flushes and forgets it, so every write and every read goes to the disk.
beat() {
    newline='
'
    read -r boot </proc/sys/kernel/random/boot_id
    count=0 foreign=0 mine=''
    while :; do
        if [ "$mine" ] && read -r seen </dev/vda && [ "$seen" != "$mine" ]; then
            foreign=$((foreign + 1))
            echo "guest: another writer: $seen"
        fi
        count=$((count + 1))
        mine="$tag $boot $count $foreign"
        printf '%-512s' "$mine$newline" 1<>/dev/vda
        sleep 0.04 # and 10 ms for the beat itself
    done
}

dirty() { # $1: so many MiB of memory, not zero, and overwritten for ever (with what was there)
    mount -t tmpfs -o size=90% tmpfs /mem
    yes | dd of=/mem/load bs=64k count=$(($1 * 16)) iflag=fullblock 2>/dev/null
    echo 'guest: loaded'
    while :; do dd if=/mem/load of=/mem/load bs=1M conv=notrunc 2>/dev/null; done
}

for name in /sys/class/input/event*/device/name; do
    read -r what <"$name"
    event=${name#/sys/class/input/}
    event=/dev/input/${event%%/*}
    case $what in
        'Power Button') [ "$deaf" ] || obey "$event" & ;;
        *eyboard*) doze "$event" & ;;
    esac
done
[ ! "$writer" ] || beat &
[ "$load" = 0 ] || dirty "$load" &
if [ "$cd" ] && mount -t iso9660 -o ro /dev/sr0 /cd; then
    for file in /cd/*; do
        echo "guest: cd: ${file#/cd/}"
        cat "$file"
    done
fi
echo "guest: ready $tag"
while :; do sleep 3600; done
