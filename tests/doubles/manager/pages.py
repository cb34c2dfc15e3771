"""The HTML that comes from the proxy or the servlet container instead of the API."""

from __future__ import annotations

from http import HTTPStatus

from tests.doubles.manager.messages import Headers, Reply, html


def apache(status: int) -> Reply:
    """The proxy's own page: the engine is down, or nothing is mapped to this path."""
    phrase = HTTPStatus(status).phrase
    return html(
        status,
        '<!DOCTYPE HTML PUBLIC "-//IETF//DTD HTML 2.0//EN">\n'
        f"<html><head>\n<title>{status} {phrase}</title>\n</head><body>\n"
        f"<h1>{phrase}</h1>\n<p>The server could not answer this request.</p>\n</body></html>\n",
    )


def container(status: int, text: str = "") -> Reply:
    """The application server's error page; its title is always Error."""
    return html(
        status,
        "<html><head><title>Error</title></head>"
        f"<body>{text or HTTPStatus(status).phrase}</body></html>",
    )


def unauthorized(text: str = "", *, by_proxy: bool = False) -> Reply:
    headers: Headers = [("WWW-Authenticate", 'Basic realm="RESTAPI"')]
    page = apache(401) if by_proxy else container(401, text)
    return page._replace(headers=headers)
