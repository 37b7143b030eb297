"""Clients in Python."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import Sequence

import aiohttp
import httpx
import requests
import yarl

from tests.conformance.steps import HEADERS, Answer, Request

TIMEOUT_SECONDS = 60


def send_with_httpx(sent: Sequence[tuple[str, Request]]) -> list[Answer]:
    with httpx.Client(headers=dict(HEADERS), timeout=TIMEOUT_SECONDS) as client:
        found = [client.request(each.method, base + each.path, content=each.body or None) for base, each in sent]
    return [Answer(each.status_code, _media_type(each.headers["content-type"]), each.text) for each in found]


def send_with_requests(sent: Sequence[tuple[str, Request]]) -> list[Answer]:
    with requests.Session() as session:
        session.headers.update(dict(HEADERS))
        found = [
            session.request(each.method, base + each.path, data=each.body.encode() or None, timeout=TIMEOUT_SECONDS)
            for base, each in sent
        ]
    return [Answer(each.status_code, _media_type(each.headers["content-type"]), each.text) for each in found]


def send_with_aiohttp(sent: Sequence[tuple[str, Request]]) -> list[Answer]:
    async def send_all() -> list[Answer]:
        found = []
        timeout = aiohttp.ClientTimeout(TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(headers=dict(HEADERS), timeout=timeout) as session:
            for base, each in sent:
                url = yarl.URL(base + each.path, encoded=True)
                async with session.request(each.method, url, data=each.body.encode() or None) as answer:
                    found.append(Answer(answer.status, answer.content_type, await answer.text()))
        return found

    return asyncio.run(send_all())


def send_with_urllib(sent: Sequence[tuple[str, Request]]) -> list[Answer]:
    found = []
    for base, each in sent:
        request = urllib.request.Request(
            base + each.path, each.body.encode() or None, dict(HEADERS), method=each.method
        )
        try:
            answer = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            found.append(Answer(answer.status, answer.headers.get_content_type(), answer.read().decode()))
    return found


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0]
