"""The same host and agent as the integration tests have."""

from tests.integration.conftest import agent, host, image, lab

__all__ = ["agent", "host", "image", "lab"]
