"""The laboratory: real libvirtd hosts in namespaces, and small QEMU guests, on one machine.

    from tests.lab.guest import READY, obedient, wait_for_console
    with Lab() as lab:                                    # tests.lab.host
        kvm1 = lab.host("kvm1")
        kvm1.define(obedient("web", build_image(), lab.shared / "web.log"))  # tests.lab.image
        kvm1.virsh("start", "web")
        wait_for_console(lab.shared / "web.log", READY)
        print(kvm1.run(["/path/to/bin/monitor", "web", "GuestName", "1", "web"]).returncode)

Two such hosts migrate guests to each other: lab.host("kvm2"), then in kvm1 virsh migrate --live web
qemu+tcp://kvm2/system, with or without --p2p; --unsafe if the guest has a disk.

Needs root and the Debian packages of packages.LAB_PACKAGES, and nothing outside of Python's own
library. The machine's own libvirtd is neither needed nor touched. Everything is in one directory,
/tmp/kvmlab-*, and ends with the process that made it, even if that is killed.
"""
