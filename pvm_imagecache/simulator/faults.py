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

"""Faults on demand: which request is hit by which, and how often.

What a fault does is up to the server; here is only the choice.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import re
import threading


class Action(enum.StrEnum):
    """What happens to a request that is hit."""

    # Wait `seconds`, then go on as usual.
    LATENCY = 'latency'
    # Answer `status` with `message`, do nothing.
    STATUS = 'status'
    VIOS_BUSY = 'vios_busy'
    # Answer 412, do nothing.
    PRECONDITION = 'precondition'
    # Reset the connection, do nothing.
    RESET_BEFORE = 'reset_before'
    # Reset the connection after `bytes` of the body were taken.
    RESET_AFTER_BYTES = 'reset_after_bytes'
    # Do the work, then wait `seconds` and reset the connection instead of
    # answering.
    LOSE_ANSWER = 'lose_answer'
    # Do the work, then answer `status` with `message`.
    FAIL_AFTER = 'fail_after'
    # Do the work, then answer `message` in place of the document.
    REPLACE_ANSWER = 'replace_answer'
    # End each copy of the update after `bytes`, with its disk as it is then;
    # go on as usual. With one of the two before, a VIOS that is rebooted.
    BREAK_COPIES = 'break_copies'
    # Answer as a full volume group does, do nothing.
    NO_SPACE = 'no_space'
    # Forget the session's token and answer 401.
    EXPIRE_SESSION = 'expire_session'
    # The same after `bytes` of the body were taken.
    EXPIRE_AFTER_BYTES = 'expire_after_bytes'
    # Wait `seconds`, then reset the connection, do nothing.
    HANG = 'hang'
    # After `bytes` of the body, take nothing for `seconds`, then go on.
    STALL_AFTER_BYTES = 'stall_after_bytes'


# Rules that let others hit the same request.
_ADDING = (Action.LATENCY, Action.BREAK_COPIES)
_MATCHES = ('kind', 'method', 'path_regex')


@dataclasses.dataclass
class Rule:
    """Hit `count` requests (None: all) that match, after `skip` others."""

    id: int
    action: Action
    match: dict[str, str]
    skip: int = 0
    count: int | None = None
    seconds: float = 0.0
    status: int = 500
    message: str = 'Unexpected error occurred (simulated).'
    bytes: int = 0
    # How many requests it matched, and hit, so far.
    matched: int = 0
    hits: int = 0

    def wants(self, kind: str, method: str, path: str) -> bool:
        """Whether a request is hit; counts it."""
        if self.match.get('kind', kind) != kind:
            return False
        if self.match.get('method', method).upper() != method:
            return False
        if not re.search(self.match.get('path_regex', ''), path):
            return False
        self.matched += 1
        if self.matched <= self.skip:
            return False
        if self.count is not None and self.hits >= self.count:
            return False
        self.hits += 1
        return True


class Faults:
    """The rules in force, oldest first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Rule] = []
        self._next = 1

    def add(self, wanted: collections.abc.Mapping[str, object]) -> int:
        """Add a rule from its JSON form; its id.

        :raises ValueError: when it makes no sense.
        """
        fields = dict(wanted)
        match = fields.pop('match', None) or {}
        fields.pop('id', None)
        if not isinstance(match, dict) or set(match) - set(_MATCHES):
            raise ValueError(f'match takes {", ".join(_MATCHES)}')
        try:
            re.compile(match.get('path_regex', ''))
        except re.error as exc:
            raise ValueError(f'path_regex: {exc}') from exc
        action = Action(str(fields.pop('action', None)))
        known = {field.name for field in dataclasses.fields(Rule)}
        unknown = set(fields) - (known - {'matched', 'hits'})
        if unknown:
            raise ValueError(f'unknown: {", ".join(sorted(unknown))}')
        with self._lock:
            rule = Rule(self._next, action, match, **fields)  # type: ignore[arg-type]
            self._next += 1
            self._rules.append(rule)
            return rule.id

    def remove(self, rule_id: int | None = None) -> None:
        """Remove a rule, or all of them."""
        with self._lock:
            self._rules = (
                []
                if rule_id is None
                else [rule for rule in self._rules if rule.id != rule_id]
            )

    def rules(self) -> list[dict[str, object]]:
        with self._lock:
            return [dataclasses.asdict(rule) for rule in self._rules]

    def hitting(self, kind: str, method: str, path: str) -> list[Rule]:
        """What adds to other rules, and the first rule that does not.

        Rules after that one do not see the request.
        """
        found = []
        with self._lock:
            for rule in self._rules:
                if not rule.wants(kind, method, path):
                    continue
                found.append(dataclasses.replace(rule))
                if rule.action not in _ADDING:
                    break
        return found
