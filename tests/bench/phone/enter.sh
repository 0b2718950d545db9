#!/bin/sh
# enter.sh ROOT sh -c COMMAND: run a command in ROOT as an aarch64 device would.
# qemu-user is registered for aarch64 programs in user and mount namespaces of its own: nothing is
# left on this machine, and no privilege is needed (Linux 6.7 or later).
root=$1
shift
export root
exec unshare -Urm --propagation private /bin/sh -c '
    interpreter=$(sed -n "s#:[^:]*:[A-Z]*\$#:/usr/bin/qemu-aarch64-static:OF#p" /usr/lib/binfmt.d/qemu-aarch64.conf)
    mount -t binfmt_misc none /proc/sys/fs/binfmt_misc &&
    echo "$interpreter" >/proc/sys/fs/binfmt_misc/register &&
    mount --rbind /proc "$root/proc" &&
    mount --bind "$root/fake/cpuinfo" "$root/proc/cpuinfo" &&
    mount --rbind /dev "$root/dev" || exit 125
    cd "$root/data/local/tmp"
    exec /usr/sbin/chroot "$root" /system/bin/"$@"
' enter "$@"
