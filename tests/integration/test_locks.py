"""A disk that is in use elsewhere: https://github.com/ClusterLabs/resource-agents/issues/856."""

from __future__ import annotations

import fcntl
import hashlib
import os

import pytest

from tests.integration.agent import Agent
from tests.integration.conftest import remove_guests
from tests.lab.guest import bare
from tests.lab.host import Host, Lab

pytestmark = pytest.mark.hypervisor


def _with_disk(name: str, lab: Lab) -> str:
    disk = lab.shared / "disk"
    disk.write_bytes(b"\0" * 65536)
    return bare(
        name,
        extra="<disk type='file'><driver name='qemu' type='raw'/>"
        f"<source file='{disk}'/><target dev='vda' bus='virtio'/></disk>",
    )


def test_qemus_image_lock_is_named_as_runs_elsewhere(agent: Agent, host: Host, lab: Lab) -> None:
    host.define(_with_disk("first", lab))
    host.define(_with_disk("second", lab))
    assert agent.run("online", "first").code == 5
    online = agent.run("online", "second")
    assert online.code == 0
    assert "E second: start refused, it runs elsewhere or another host holds its disk" in online.log
    assert agent.monitor("second") == 100
    assert agent.monitor("first") == 110


def test_virtlockds_lease_is_named_as_runs_elsewhere(lab: Lab) -> None:
    locking = lab.host("kvm2", lock_manager=True)
    (lab.shared / "logs").mkdir()
    agent = Agent(locking, lab.shared / "logs")
    locking.define(_with_disk("web", lab))
    name = hashlib.sha256(os.fsencode(lab.shared / "disk")).hexdigest()
    with (lab.shared / "lockspace" / name).open("w", encoding="ascii") as lease:
        fcntl.lockf(lease, fcntl.LOCK_EX)  # as another host's virtlockd would hold it
        online = agent.run("online", "web")
        assert online.code == 0
        assert "E web: start refused, it runs elsewhere" in online.log
        assert agent.monitor("web") == 100
    assert agent.run("online", "web").code == 5
    remove_guests(locking)
