#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""Connections to SQLite databases whose statements are watched."""

from collections.abc import Callable
import contextlib
import sqlite3
from typing import Any


def watched_connect(
    around: Callable[[str], contextlib.AbstractContextManager[None]],
) -> Callable[..., sqlite3.Connection]:
    """Return a function to use in place of :func:`sqlite3.connect`.

    :param around: called with each statement before it is executed; the
        context that it returns is left when the statement is done.
    """
    connect = sqlite3.connect

    def watched(
        *args: Any,
        factory: type[sqlite3.Connection] = sqlite3.Connection,
        **kwargs: Any,
    ) -> sqlite3.Connection:
        class Watched(factory):  # type: ignore[misc,valid-type]
            def execute(self, statement: str, *values: Any) -> Any:
                with around(statement):
                    return super().execute(statement, *values)

        return connect(*args, factory=Watched, **kwargs)

    return watched
