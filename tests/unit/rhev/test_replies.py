"""What an answer means, by its status, its type and its fault."""

from __future__ import annotations

import pytest

from kvmguest import errors
from kvmguest.rhev.replies import check
from kvmguest.rhev.transport import Reply
from kvmguest.rhev.wire import Api

XML = "application/xml;charset=utf-8"
FAULT = b"<action><fault><detail>[Cannot stop VM. VM is not running.]</detail></fault></action>"
DENIED = b"<fault><detail>Query execution failed due to insufficient permissions.</detail></fault>"
V31, V44 = Api(3, (3, 1)), Api(4, (4, 4))


@pytest.mark.parametrize(
    ("status", "kind", "body", "api", "meaning"),
    [
        (409, XML, FAULT, V44, errors.WrongState),
        (400, XML, FAULT, V31, errors.WrongState),  # before 3.3 everything is a 400
        (400, XML, FAULT, V44, errors.OperationFailed),
        (400, XML, DENIED, V44, errors.Refused),
        (403, XML, FAULT, V44, errors.Refused),
        (404, "", b"", V44, errors.GuestNotFound),
        (404, XML, FAULT, V44, errors.GuestNotFound),
        (404, "text/html", b"<html>", V44, errors.Unreachable),
        (200, "text/html", b"<html>", V44, errors.Unreachable),
        (302, "text/html", b"<html>", V44, errors.Unreachable),
        (503, "text/html", b"<html>", V44, errors.Unreachable),
        (500, XML, FAULT, V44, errors.OperationFailed),
        (500, "", b"", V44, errors.OperationFailed),
        (204, "", b"", V44, errors.OperationFailed),
        (200, XML, b"<vm", V44, errors.OperationFailed),
    ],
)
def test_meanings(
    status: int, kind: str, body: bytes, api: Api, meaning: type[errors.BackendError]
) -> None:
    with pytest.raises(errors.BackendError) as caught:
        check(Reply(status, kind, body), "m:443", api, "admin@internal")
    assert type(caught.value) is meaning
