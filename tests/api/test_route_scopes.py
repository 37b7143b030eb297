"""Scopes of routes."""

from __future__ import annotations

import pytest
from fastapi import APIRouter

from service.api.route_scopes import RouteScopes


def test_route_without_declared_scope_is_refused() -> None:
    router = APIRouter()
    router.add_api_route("/v1/forgotten", lambda: None)
    with pytest.raises(TypeError, match="/v1/forgotten declares no scope"):
        RouteScopes(router.routes)
