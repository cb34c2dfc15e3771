"""What a laboratory host has in its own /etc and /var."""

from __future__ import annotations

import shutil
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_LIBVIRTD_CONF = """\
host_uuid = "{host_uuid}"
auth_unix_ro = "none"
auth_unix_rw = "none"
listen_tls = 0
listen_tcp = 1
listen_addr = "{address}"
auth_tcp = "none"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""

# As root, since disks lie in private directories. A host has no cgroups and no security modules.
_QEMU_CONF = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
stdio_handler = "file"
namespaces = []
cgroup_controllers = []
security_driver = "none"
migration_host = "{migration_address}"
"""

_LOCK_CONF = """\
file_lockspace_dir = "{lockspace}"
require_lease_for_disks = 1
"""


def furnish(directory: Path, shared: Path) -> None:
    """Make the directories that become the host's /etc and /var.

    Args:
        directory: gets the directories etc and var.
        shared: its file "hosts" becomes the host's /etc/hosts.
    """
    shutil.copytree("/etc", directory / "etc", symlinks=True)
    (directory / "etc/hosts").unlink(missing_ok=True)
    (directory / "etc/hosts").symlink_to(shared / "hosts")
    for folder in ("lib/libvirt", "cache/libvirt", "log/libvirt", "tmp"):
        (directory / "var" / folder).mkdir(parents=True)
    (directory / "var/run").symlink_to("/run")
    (directory / "var/lock").symlink_to("/run/lock")


def configure_libvirt(
    etc_libvirt: Path, *, address: str, migration_address: str, lockspace: Path | None
) -> None:
    """Write the configuration of libvirtd and of its QEMU driver.

    Args:
        etc_libvirt: the host's /etc/libvirt, as the packages have it.
        address: where libvirtd listens for other hosts.
        migration_address: where others are to send migration data.
        lockspace: virtlockd's leases; None for no lock manager.
    """
    for folder in ("qemu", "nwfilter"):  # the packages' network and filters: nobody needs them
        shutil.rmtree(etc_libvirt / folder, ignore_errors=True)
    libvirtd_conf = _LIBVIRTD_CONF.format(host_uuid=uuid.uuid4(), address=address)
    qemu_conf = _QEMU_CONF.format(migration_address=migration_address)
    if lockspace:
        lockspace.mkdir(exist_ok=True)
        lock_conf = _LOCK_CONF.format(lockspace=lockspace)
        (etc_libvirt / "qemu-lockd.conf").write_text(lock_conf, encoding="utf-8")
        qemu_conf += 'lock_manager = "lockd"\n'
    (etc_libvirt / "libvirtd.conf").write_text(libvirtd_conf, encoding="utf-8")
    (etc_libvirt / "qemu.conf").write_text(qemu_conf, encoding="utf-8")
