"""What differs between engine releases, as one value per release.

Everything else in the double asks a Profile; no other file compares version numbers.
"""

from __future__ import annotations

from typing import NamedTuple

Release = tuple[int, int]


class Profile(NamedTuple):
    """One engine release, e.g. Profile((4, 4), "4.4.10.7-1.el8")."""

    release: Release
    full_version: str

    @property
    def name(self) -> str:
        return f"{self.release[0]}.{self.release[1]}"

    @property
    def numbers(self) -> tuple[int, int, int, int]:
        """Major, minor, build and revision as the API root shows them."""
        parts = self.full_version.split("-")[0].split(".")
        major, minor, build = (int(part) for part in parts[:3])
        return major, minor, build, 0

    @property
    def speaks_v4(self) -> bool:
        return self.release >= (4, 0)

    @property
    def speaks_v3(self) -> bool:
        return self.release < (4, 4)

    @property
    def has_old_path(self) -> bool:
        """Whether /api is served."""
        return not self.speaks_v4

    @property
    def has_new_path(self) -> bool:
        """Whether /ovirt-engine/api is served (in 3.3 by a rewrite to /api)."""
        return self.release >= (3, 3)

    @property
    def rewrites_new_path(self) -> bool:
        return self.release == (3, 3)

    @property
    def has_sso(self) -> bool:
        return self.speaks_v4

    @property
    def filters_non_admins(self) -> bool:
        """Whether a user without an administrator role is filtered without asking for it."""
        return self.release >= (4, 2)

    @property
    def maps_http_codes(self) -> bool:
        """Before 3.3 every refused request is a 400."""
        return self.release >= (3, 3)

    @property
    def skips_stop_when_down(self) -> bool:
        return self.release >= (3, 5)

    @property
    def filter_ignores_search(self) -> bool:
        return self.release <= (3, 5)

    @property
    def searches_hw_id(self) -> bool:
        return self.release >= (4, 3)

    @property
    def searches_vm_id(self) -> bool:
        return self.release >= (3, 6)

    @property
    def single_file_payload(self) -> bool:
        return self.release < (3, 3)

    @property
    def list_hides_payloads(self) -> bool:
        """Whether a list shows payloads only with All-Content."""
        return self.release >= (3, 6)

    @property
    def stores_next_run(self) -> bool:
        """Whether PUT on a running VM is kept for its next run instead of written at once."""
        return self.release >= (3, 5)

    @property
    def has_jobs(self) -> bool:
        return self.release >= (3, 6)

    @property
    def has_stop_reason(self) -> bool:
        return self.release >= (3, 5)

    @property
    def takes_reason_and_force(self) -> bool:
        """Whether shutdown and stop read <reason> and <force>."""
        return self.release >= (4, 4)

    @property
    def has_host_list_in_policy(self) -> bool:
        """Whether v3's placement_policy knows <hosts> beside <host>."""
        return self.release >= (3, 6)

    @property
    def has_hardware_information(self) -> bool:
        return self.release >= (3, 2)

    @property
    def has_reboot(self) -> bool:
        return self.release >= (3, 4)

    @property
    def has_reset(self) -> bool:
        return self.release >= (4, 4)

    @property
    def knows_kdumping(self) -> bool:
        return self.release >= (3, 3)

    @property
    def explains_scheduling(self) -> bool:
        """Whether a failed placement lists each host and its reason."""
        return self.release >= (3, 5)

    @property
    def names_status_in_refusal(self) -> bool:
        """Whether the status matrix is asked before 'VM is running'."""
        return self.release >= (3, 6)

    @property
    def has_affinity_groups(self) -> bool:
        return self.release >= (3, 5)

    @property
    def default_list_limit(self) -> int:
        """Rows of a list without max; 0 means all."""
        return 100 if self.release < (3, 6) else 0


_FULL_VERSIONS = (
    "3.1.0-55.el6",
    "3.2.5-1.el6",
    "3.3.5-1.el6",
    "3.4.4-1.el6",
    "3.5.6.2-1.el6",
    "3.6.9.2-1.el6",
    "4.0.6.3-1.el7",
    "4.1.9.1-1.el7",
    "4.2.8.2-1.el7",
    "4.3.10.4-1.el7",
    "4.4.10.7-1.el8",
    "4.5.7-1.el9",
)


def _profile(full_version: str) -> Profile:
    major, minor = full_version.split(".")[:2]
    return Profile((int(major), int(minor)), full_version)


PROFILES: dict[str, Profile] = {p.name: p for p in (_profile(text) for text in _FULL_VERSIONS)}
