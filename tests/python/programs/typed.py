"""Annotations of names that are only there for the type checker."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nowhere import Request


def workflow(_request: Request, settings: dict) -> dict | None:
    return None
