"""A plain HTTP client for the tests of the manager's double: it sends what the test says."""

from __future__ import annotations

import urllib.parse
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import requests

from tests.doubles.manager import Manager

if TYPE_CHECKING:
    from typing_extensions import Self

XML = "application/xml"


class Client:
    """One session with a Manager: HTTP Basic with every request unless a header says otherwise.

    Args:
        version: of the API, sent as the Version header; 0 sends none.
        url: another base than the manager's own.
    """

    def __init__(
        self,
        manager: Manager,
        version: int = 0,
        *,
        user: tuple[str, str] | None = None,
        url: str = "",
    ) -> None:
        self.manager = manager
        self.url = url or manager.url
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = manager.ca_file
        self.session.auth = user or (manager.user_name, manager.password)
        self.session.headers["Accept"] = XML
        if version:
            self.session.headers["Version"] = str(version)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()

    def send(
        self, method: str, path: str, body: str | None = None, **headers: str
    ) -> requests.Response:
        """Header names are written with underscores; path is below the base, or a whole path."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            names.setdefault("Content-Type", XML)
        root = self.manager.root if path.startswith("/ovirt-engine") else self.url
        return self.session.request(
            method,
            root + path,
            data=None if body is None else body.encode(),
            headers=names,
            timeout=10,
        )

    def get(self, path: str = "", **headers: str) -> requests.Response:
        return self.send("GET", path, **headers)

    def xml(self, path: str = "", **headers: str) -> ET.Element:
        reply = self.get(path, **headers)
        assert reply.status_code == 200, reply.text
        return ET.fromstring(reply.content)  # noqa: S314 - our own server

    def vm(self, name: str, **headers: str) -> ET.Element:
        return self.xml(f"/vms/{self.manager.vm(name).id}", **headers)

    def names(self, search: str, **headers: str) -> list[str]:
        """The names of the VMs a search finds."""
        quoted = urllib.parse.quote(search, safe="")
        return [vm.findtext("name") or "" for vm in self.xml(f"/vms?search={quoted}", **headers)]

    def act(self, name: str, verb: str, inside: str = "", **headers: str) -> requests.Response:
        path = f"/vms/{self.manager.vm(name).id}/{verb}"
        return self.send("POST", path, f"<action>{inside}</action>", **headers)

    def fence(self, host: str, kind: str) -> requests.Response:
        path = f"/hosts/{self.manager.host(host).id}/fence"
        return self.send("POST", path, f"<action><fence_type>{kind}</fence_type></action>")

    def put(self, name: str, inside: str, **headers: str) -> requests.Response:
        path = f"/vms/{self.manager.vm(name).id}"
        return self.send("PUT", path, f"<vm>{inside}</vm>", **headers)


def detail(reply: requests.Response) -> str:
    """The detail of the fault in a reply, wherever it is."""
    found = ET.fromstring(reply.content).find(".//detail")  # noqa: S314 - our own server
    return "" if found is None else found.text or ""


def status(vm: ET.Element) -> str | None:
    """The status word of either version; None where there is no status."""
    found = vm.find("status")
    if found is None:
        return None
    return found.findtext("state") or found.text


def host_id(vm: ET.Element) -> str | None:
    found = vm.find("host")
    return None if found is None else found.get("id")
