"""Full Debian 12 guests, with systemd and the network manager of one's choice, as disk images.

Each has the network of "site A": 10.10.0.5/24, configured the way its manager likes it. At any of
its addresses it tells what its network is, on TCP port REPORT_PORT; a connection to RESTART_PORT
restarts the service under test, as an administrator would by hand.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape, quoteattr

from tests.lab.image import Image, _load_order, build_image
from tests.lab.namespaces import LabError

#: What has to be installed, beside LAB_PACKAGES, to make these guests and their CDs.
DEBIAN_PACKAGES = ("e2fsprogs", "genisoimage", "kmod", "mmdebstrap", "systemd")

MAC = "52:54:00:0a:0a:05"
SITE_A = "10.10.0.5"
REPORT_PORT = 9999
RESTART_PORT = 9998

_BASE = "systemd,systemd-sysv,udev,dbus,python3,iproute2,kmod"
_SLIM = tuple(f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "man", "locale"))
_UNITS = "etc/systemd/system/"
_WANTED = _UNITS + "multi-user.target.wants/"

# A real id: with none, the first boot would enable whatever Debian enables by default.
_COMMON = {
    "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "etc/hostname": "guest\n",
    "etc/fstab": "/dev/vda / ext4 rw 0 1\n",
    "etc/resolv.conf": "nameserver 10.10.0.2\n",
    _UNITS + "report.socket": f"[Socket]\nListenStream={REPORT_PORT}\nAccept=yes\n",
    _UNITS + "report@.service": (
        "[Service]\nExecStart=/usr/local/sbin/report\nStandardOutput=socket\n"
    ),
    _UNITS + "restart.socket": f"[Socket]\nListenStream={RESTART_PORT}\nAccept=yes\n",
    _UNITS + "restart@.service": (
        "[Service]\nExecStart=/bin/systemctl restart vcs-net-reconfig.service\n"
    ),
    "usr/local/sbin/report": (
        "#!/bin/sh\n"
        "ip -o address show scope global | awk '{print \"address\", $4}'\n"
        "{ ip -4 route show default; ip -6 route show default; } | awk '{print \"gateway\", $3}'\n"
        "sed -n 's/nameserver/dns/p' /etc/resolv.conf\n"
        "echo status $(vcs-net-reconfig --status)\n"
        "journalctl -q -b -u vcs-net-reconfig -o cat -n 9 | sed 's/^/journal /'\n"
        "sed 's/^/boot /' /proc/sys/kernel/random/boot_id\n"
    ),
}

_STATIC = "Address=10.10.0.5/24\nGateway=10.10.0.1\n"
_KEYFILE = "etc/NetworkManager/system-connections/site-a.nmconnection"


class Manager(NamedTuple):
    """How a network manager gets into the image: packages, units, and site A's configuration."""

    packages: tuple[str, ...]
    enabled: str
    files: Mapping[str, str]


MANAGERS = {
    "networkd": Manager(
        (),
        "systemd-networkd.service",
        {"etc/systemd/network/10-site-a.network": f"[Match]\nName=en*\n\n[Network]\n{_STATIC}"},
    ),
    "networkmanager": Manager(
        ("network-manager",),
        "NetworkManager.service",
        {
            _KEYFILE: (
                "[connection]\nid=site-a\ntype=ethernet\n\n[ipv4]\nmethod=manual\n"
                "address1=10.10.0.5/24,10.10.0.1\n"
            )
        },
    ),
    "ifupdown": Manager(
        ("ifupdown",),
        "networking.service",
        {
            "etc/network/interfaces": (
                "source /etc/network/interfaces.d/*\n\nauto lo ens2\niface lo inet loopback\n"
                "iface ens2 inet static\n    address 10.10.0.5/24\n    gateway 10.10.0.1\n"
            )
        },
    ),
}

#: What no test looks at, and what costs time at each boot.
_MASKED = (
    *("dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-debug.mount"),
    *("proc-sys-fs-binfmt_misc.automount", "sys-kernel-tracing.mount"),
    *("sys-kernel-config.mount", "sys-fs-fuse-connections.mount"),
    *("e2scrub_reap.service", "kmod-static-nodes.service", "systemd-binfmt.service"),
    *("systemd-firstboot.service", "systemd-pstore.service", "systemd-random-seed.service"),
    *("systemd-sysusers.service", "systemd-update-utmp.service", "getty@tty1.service"),
    *("systemd-logind.service", "apt-daily.timer", "apt-daily-upgrade.timer"),
    *("NetworkManager-wait-online.service", "systemd-networkd-wait-online.service"),
)
#: Rules of udev that such a guest needs; each of the others costs time at each boot.
_RULES = (
    *(
        "50-udev-default",
        "60-block",
        "60-cdrom_id",
        "60-persistent-storage",
        "73-special-net-names",
    ),
    *("75-net-description", "80-drivers", "80-net-setup-link", "80-ifupdown", "84-nm", "85-nm"),
    *("90-nm", "99-systemd"),
)
_QUICK = (
    "console=ttyS0 root=/dev/vda rw quiet mitigations=off nokaslr audit=0 apparmor=0"
    " cryptomgr.notests rcupdate.rcu_expedited=1 tsc=reliable no_timer_check i8042.noaux"
)

_INIT = """\
#!/bin/sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev
$b mount -t proc proc /proc
while read -r module; do $b insmod "/modules/$module"; done < /modules/order
while [ ! -b /dev/vda ]; do $b sleep 0.1; done
$b mount -t ext4 -o rw /dev/vda /root
$b umount /proc
$b mount -o move /dev /root/dev
exec $b switch_root /root /sbin/init
"""


def build_disk(manager: str, disk: Path, install: Callable[[Path], object]) -> Image:
    """Make a disk with a guest on it; return what it boots with.

    Args:
        manager: one of MANAGERS.
        disk: where to make the disk, a raw image.
        install: called with the guest's root folder, to put what is tested into it.

    Raises:
        LabError: a package could not be fetched, or a tool failed.
    """
    small = build_image()
    kernel = small.kernel.parent
    archive = _root_archive(manager, kernel.parent)
    with tempfile.TemporaryDirectory(prefix="kvmguest-root-") as scratch:
        root = Path(scratch, "root")
        root.mkdir()
        _do("tar", "--extract", f"--file={archive}", f"--directory={root}", "--exclude=./dev/*")
        _furnish(root, MANAGERS[manager])
        _add_modules(root, kernel)
        install(root)
        _do("truncate", "--size=700M", str(disk))
        _do("mkfs.ext4", "-q", "-F", "-m0", "-O", "^metadata_csum", "-d", str(root), str(disk))
        return Image(small.kernel, _initramfs(kernel, disk.with_suffix(".initramfs")))


def document(name: str, image: Image, disk: Path, console: Path, *, drive: bool = True) -> str:
    """Return the domain XML of such a guest, its card on the bridge "sites".

    Args:
        name: the guest's name.
        image: what it boots, from build_disk.
        disk: its disk.
        console: file that receives its console.
        drive: it has an empty CD drive, "hda".
    """
    cdrom = "<disk type='file' device='cdrom'><target dev='hda' bus='ide'/><readonly/></disk>"
    return f"""\
<domain type='qemu'>
  <name>{escape(name)}</name>
  <memory unit='MiB'>256</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>{escape(str(image.kernel))}</kernel>
    <initrd>{escape(str(image.initramfs))}</initrd>
    <cmdline>{_QUICK}</cmdline>
  </os>
  <features><acpi/><apic/></features>
  <cpu mode='custom' match='exact'><model fallback='allow'>qemu64</model></cpu>
  <devices>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    <serial type='file'><source path={quoteattr(str(console))}/></serial>
    <interface type='bridge'>
      <mac address='{MAC}'/><source bridge='sites'/><model type='virtio'/>
      <address type='pci' domain='0' bus='0' slot='2' function='0'/>
    </interface>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw' cache='unsafe'/>
      <source file={quoteattr(str(disk))}/><target dev='vda' bus='virtio'/>
    </disk>
    {cdrom if drive else ""}
  </devices>
</domain>
"""


def _root_archive(manager: str, cache: Path) -> Path:
    """Return the manager's root file system as packages leave it; made once, then kept."""
    packages = ",".join([_BASE, *MANAGERS[manager].packages])
    recipe = hashlib.sha256(packages.encode()).hexdigest()[:16]
    archive = cache / f"debian-{manager}-{recipe}.tar"
    with (cache / f"debian-{manager}.lock").open("w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.exists():
            unfinished = archive.with_suffix(".new.tar")
            no_more = "--aptopt=APT::Install-Recommends false"
            options = ("--mode=root", "--variant=minbase", no_more, *_SLIM)
            _do("mmdebstrap", *options, f"--include={packages}", "bookworm", str(unfinished))
            unfinished.rename(archive)
    return archive


def _furnish(root: Path, manager: Manager) -> None:
    for name, text in {**_COMMON, **manager.files}.items():
        path = root / name
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600 if name == _KEYFILE else 0o755 if "sbin" in name else 0o644)
    units = [other.enabled for other in MANAGERS.values()]
    present = [unit for unit in units if (root / "lib/systemd/system" / unit).exists()]
    _do("systemctl", f"--root={root}", "disable", "--quiet", *present)
    _do("systemctl", f"--root={root}", "enable", "--quiet", manager.enabled)
    for unit in _MASKED:
        (root / _UNITS / unit).unlink(missing_ok=True)
        (root / _UNITS / unit).symlink_to("/dev/null")
    for unit in ("report.socket", "restart.socket"):
        link = root / _UNITS / "sockets.target.wants" / unit
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(f"../{unit}")
    rules = root / "lib/udev/rules.d"
    for rule in rules.glob("*.rules"):
        if not rule.name.startswith(_RULES):
            rule.unlink()
    (root / "lib/udev/hwdb.bin").unlink(missing_ok=True)


def _add_modules(root: Path, kernel: Path) -> None:
    version = kernel.name.removeprefix("linux-image-")
    folder = root / "lib/modules" / version
    folder.mkdir(parents=True)
    for name in _load_order(kernel / "modules"):
        shutil.copy(kernel / "modules" / name, folder / name)
    _do("depmod", f"--basedir={root}", version)


def _initramfs(kernel: Path, result: Path) -> Path:
    """Make what finds the root disk; everything else is the guest's own business."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for folder in ("bin", "dev", "modules", "proc", "root"):
            (root / folder).mkdir()
        shutil.copy("/bin/busybox", root / "bin/busybox")
        (root / "bin/sh").symlink_to("busybox")
        (root / "init").write_text(_INIT, encoding="ascii")
        (root / "init").chmod(0o755)
        modules = [
            name
            for name in _load_order(kernel / "modules")
            if name.startswith("virtio") and name != "virtio_net.ko"
        ]
        for name in modules:
            shutil.copy(kernel / "modules" / name, root / "modules" / name)
        (root / "modules/order").write_text("".join(f"{name}\n" for name in modules))
        names = "".join(f"{path.relative_to(root)}\n" for path in sorted(root.rglob("*")))
        pack = ["cpio", "--quiet", "--create", "--format=newc", "--owner=0:0"]
        archive = subprocess.run(
            pack, input=names.encode(), cwd=root, capture_output=True, check=True
        )
        result.write_bytes(archive.stdout)
    return result


def _do(*command: str) -> None:
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        raise LabError(f"{' '.join(command)}: {done.stderr.strip()[-2000:]}")
