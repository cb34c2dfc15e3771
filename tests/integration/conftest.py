"""One host with a libvirtd of its own for each module, and the agent on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.agent import Agent
from tests.lab.host import Host, Lab
from tests.lab.image import Image, build_image
from tests.lab.packages import LAB_PACKAGES, ensure_packages


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The kernel and initramfs of guests that obey; kept in tests/.cache."""
    ensure_packages(LAB_PACKAGES, tmp_path_factory.mktemp("packages") / "log")
    return build_image()


@pytest.fixture(scope="module")
def lab(image: Image) -> Iterator[Lab]:
    """A laboratory for one module."""
    assert image.kernel.exists()
    with Lab() as made:
        yield made


@pytest.fixture(scope="module")
def host(lab: Lab) -> Host:
    """The module's host."""
    return lab.host("kvm1")


@pytest.fixture
def agent(lab: Lab, host: Host) -> Iterator[Agent]:
    """The agent on the host; afterwards no guest and no option is left."""
    number = sum(1 for path in lab.shared.iterdir() if path.name.startswith("test-"))
    directory = lab.shared / f"test-{number}"
    directory.mkdir()
    made = Agent(host, directory)
    yield made
    made.configure("")
    remove_guests(host)


def remove_guests(host: Host) -> None:
    """Destroy and undefine whatever a test left."""
    for guest in host.virsh("list", "--name").splitlines():
        host.virsh("destroy", guest.strip())
    for guest in host.virsh("list", "--name", "--all").splitlines():
        host.virsh("undefine", "--managed-save", guest.strip())
