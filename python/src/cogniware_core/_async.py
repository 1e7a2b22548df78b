# SPDX-License-Identifier: MIT OR Apache-2.0
"""Generations for asyncio. The event loop watches a file descriptor; no thread waits meanwhile."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, AsyncGenerator

from ._token import Token

if TYPE_CHECKING:
    from ._core import Generation


async def tokens(generation: "Generation") -> AsyncGenerator[Token, None]:
    """The tokens of a generation. Leaving early (break, an exception, the task's cancellation) cancels the work."""
    loop = asyncio.get_running_loop()
    news = asyncio.Event()

    def on_news() -> None:
        generation._clear_wakeup()
        news.set()

    descriptor = generation._wakeup()
    loop.add_reader(descriptor, on_news)
    try:
        ended = False
        while not ended:
            news.clear()
            made, ended = generation._drain()
            for token in made:
                yield token
            if not ended:
                await news.wait()
    finally:
        loop.remove_reader(descriptor)
        generation.cancel()
    generation._check()


async def result(generation: "Generation") -> str:
    """The whole text; what `await generation` gives."""
    async for _ in tokens(generation):
        pass
    return generation.text
