# SPDX-License-Identifier: MIT OR Apache-2.0
"""A piece of generated text."""

from __future__ import annotations

from typing import Optional


class Token(str):
    """The text of one token, as it is made.

    id       the token's id; None for text that was held back and comes out at the end
    logprob  its log-probability, when that was asked for, else None

    The text may be empty: some tokens are parts of a character, whose text comes with the last of them.
    """

    __slots__ = ("id", "logprob")

    id: Optional[int]
    logprob: Optional[float]

    def __new__(cls, text: str, id: Optional[int] = None, logprob: Optional[float] = None) -> "Token":  # noqa: A002
        self = super().__new__(cls, text)
        self.id = id
        self.logprob = logprob
        return self

    def __getnewargs__(self) -> tuple:
        return str(self), self.id, self.logprob
