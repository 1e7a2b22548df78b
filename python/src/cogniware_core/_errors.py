# SPDX-License-Identifier: MIT OR Apache-2.0
"""What goes wrong: one class a status, below `Error`, and below Python's own class for it where there is one."""

from __future__ import annotations

import enum
from typing import Any, Dict, Type

from ._core import ErrorCategory, status_name


class Status(enum.IntEnum):
    """The number of an error, as in C (`CW_ERROR_*`)."""

    OK = 0
    INVALID_ARGUMENT = 1
    NOT_FOUND = 2
    ALREADY_EXISTS = 3
    OUT_OF_MEMORY = 4
    QUOTA_EXCEEDED = 5
    NOT_OWNER = 6
    NOT_INITIALIZED = 7
    UNSUPPORTED = 8
    NO_DEVICE = 9
    DEVICE_LOST = 10
    DRIVER = 11
    IO = 12
    FORMAT = 13
    CANCELLED = 14
    TIMEOUT = 15
    BUSY = 16
    CALLBACK = 17
    PANIC = 18
    INTERNAL = 19
    BUFFER_TOO_SMALL = 20


class Error(Exception):
    """A call that failed. `str(error)` is the whole message, for people; the rest is for programs.

    status       a `Status` (a plain int for a number that this version does not know)
    name         the status as a short stable word, such as "quota_exceeded"
    category     an `ErrorCategory`: what part of the work it belongs to
    advice       what would help, also at the end of the message; may be empty
    call         the call of the driver or the operating system that refused, with its arguments; may be empty
    function     the function of the C interface that failed, with its arguments; may be empty
    driver_code  the raw code of the device's driver behind the error, or 0
    """

    status: int
    name: str
    category: ErrorCategory
    advice: str
    call: str
    function: str
    driver_code: int

    def __init__(
        self,
        message: str = "",
        status: int = Status.INTERNAL,
        driver_code: int = 0,
        category: ErrorCategory = ErrorCategory.ARGUMENT,
        advice: str = "",
        call: str = "",
        function: str = "",
    ):
        super().__init__(message)
        try:
            self.status = Status(status)
        except ValueError:
            self.status = status
        self.name = status_name(int(status))
        self.category = category
        self.advice = advice
        self.call = call
        self.function = function
        self.driver_code = driver_code

    def __reduce__(self) -> tuple:
        state = (str(self), int(self.status), self.driver_code, self.category, self.advice, self.call, self.function)
        return type(self), state


class InvalidArgumentError(Error, ValueError):
    """An argument is out of its domain."""


class NotFoundError(Error, LookupError):
    """No object has this id, name or path."""


class AlreadyExistsError(Error):
    """An object with this id exists already."""


class OutOfMemoryError(Error, MemoryError):
    """The device or the host has no memory left."""


class QuotaExceededError(Error, MemoryError):
    """The tenant's own limit would be exceeded; nothing was allocated."""


class NotOwnerError(Error, PermissionError):
    """The pointer, stream or node belongs to nobody here or to another tenant."""


class NotInitializedError(Error):
    """The system, kernel, driver or bridge is not initialised or was shut down."""


class UnsupportedError(Error, NotImplementedError):
    """This device, driver or build cannot do it."""


class NoDeviceError(Error):
    """There is no such device, or its driver is not installed."""


class DeviceLostError(Error):
    """The device stopped answering."""


class DriverError(Error):
    """The device's driver answered an error that has no status of its own."""


class SystemIOError(Error, OSError):
    """The operating system refused."""


class FormatError(Error, ValueError):
    """A file or text does not follow its format."""


class CancelledError(Error):
    """The work was cancelled before it finished."""


class TimeoutError(Error, TimeoutError):  # noqa: A001 (it is one of these too)
    """The work did not finish in time."""


class BusyError(Error):
    """The object is in use."""


class CallbackError(Error):
    """A function of the application failed; the message is its own."""


class InternalError(Error, RuntimeError):
    """A bug in Cogniware."""


_CLASSES: Dict[int, Type[Error]] = {
    Status.INVALID_ARGUMENT: InvalidArgumentError,
    Status.NOT_FOUND: NotFoundError,
    Status.ALREADY_EXISTS: AlreadyExistsError,
    Status.OUT_OF_MEMORY: OutOfMemoryError,
    Status.QUOTA_EXCEEDED: QuotaExceededError,
    Status.NOT_OWNER: NotOwnerError,
    Status.NOT_INITIALIZED: NotInitializedError,
    Status.UNSUPPORTED: UnsupportedError,
    Status.NO_DEVICE: NoDeviceError,
    Status.DEVICE_LOST: DeviceLostError,
    Status.DRIVER: DriverError,
    Status.IO: SystemIOError,
    Status.FORMAT: FormatError,
    Status.CANCELLED: CancelledError,
    Status.TIMEOUT: TimeoutError,
    Status.BUSY: BusyError,
    Status.CALLBACK: CallbackError,
    Status.PANIC: InternalError,
    Status.INTERNAL: InternalError,
    Status.BUFFER_TOO_SMALL: InternalError,
}


def make(message: str, status: int, *details: Any) -> Error:
    """The exception for a status; called by the extension module."""
    return _CLASSES.get(status, Error)(message, status, *details)
