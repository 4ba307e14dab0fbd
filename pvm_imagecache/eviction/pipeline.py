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

"""From a snapshot to the images that go, and why: a pure function.

The vetoes of the core are in the snapshot. The policies are asked in their
order, each about what those before it have left.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import itertools

from oslo_log import log as logging

from pvm_imagecache.eviction import base
from pvm_imagecache.eviction import time_limit

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class NamedPolicy:
    """A policy, and the name by which it was configured.

    :ivar origin: the distribution that it comes from.
    """

    name: str
    policy: base.EvictionPolicy
    origin: str = ''
    #: What was said of its errors.
    _told: set[str] = dataclasses.field(
        default_factory=set, compare=False, repr=False
    )
    #: Its questions that were not answered in time.
    _unanswered: list[base.CacheView] = dataclasses.field(
        default_factory=list, compare=False, repr=False
    )

    def ask(self, view: base.CacheView) -> list[base.Decision]:
        """What it answers, if it does so in time.

        One that did not is not asked again.

        :raises Exception: whatever it raises.
        """
        if self._unanswered:
            raise time_limit.TimeLimitExceeded(
                'it is not asked again, since it did not end before'
            )
        # One that repeats itself for ever is found out.
        most = len(view.images) + 1

        def choose() -> list[base.Decision]:
            return list(
                itertools.islice(
                    self.policy.choose(dataclasses.replace(view)), most
                )
            )

        try:
            decisions = (
                choose()
                if self._is_ours
                else time_limit.BoundedCall(choose).result()
            )
        except time_limit.TimeLimitExceeded:
            self._unanswered.append(view)
            raise
        if len(decisions) == most:
            raise ValueError('it named more images than there are')
        return decisions

    @property
    def _is_ours(self) -> bool:
        """Whether it is one of those that are known to end."""
        return type(self.policy).__module__.startswith(f'{__package__}.')

    def fault(self, error: Exception) -> str:
        """What is said of an error of it; logged once, as it comes again."""
        text = f'{type(error).__name__}: {error}'
        if text not in self._told:
            LOG.error(
                'Eviction policy %(name)s%(origin)s failed and has no '
                'say: %(error)s',
                {
                    'name': self.name,
                    'error': text,
                    'origin': self.origin and f' (from {self.origin})',
                },
            )
            LOG.debug('It failed here', exc_info=error)
        self._told.add(text)
        return text


@dataclasses.dataclass(frozen=True)
class Choice:
    """That an image goes: which policy said so, and why."""

    image: base.CachedImage
    policy: str
    code: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """What goes.

    :ivar lacking: bytes that a deploy waits for and would not get.
    :ivar faults: by name of a policy, why it had no say.
    """

    choices: tuple[Choice, ...] = ()
    lacking: int = 0
    faults: tuple[tuple[str, str], ...] = ()

    @property
    def freed(self) -> int:
        """Bytes that become free."""
        return sum(each.image.capacity for each in self.choices)


def plan(view: base.CacheView, policies: Sequence[NamedPolicy]) -> Plan:
    """Ask the policies which images go.

    Where a deploy needs room, no more go than give it that. A policy that
    fails, or answers with something else than the contract says, has no
    say; the others have.
    """
    wanted = view.demand
    choices: list[Choice] = []
    faults: list[tuple[str, str]] = []
    for named in policies:
        if wanted and not view.demand:
            break
        try:
            chosen = list(_choices(view, named))
        except Exception as error:
            faults.append((named.name, named.fault(error)))
            continue
        choices += chosen
        view = view.without({each.image.image_id for each in chosen})
    return Plan(tuple(choices), view.demand, tuple(faults))


def make_room(view: base.CacheView) -> Plan:
    """What goes as the last resort: so that no deploy fails for the cache."""
    chosen = view.to_free(view.demand)
    return Plan(
        tuple(
            Choice(
                each,
                'core',
                'last-resort',
                'a deploy would have failed for want of room',
            )
            for each in chosen
        ),
        view.without({each.image_id for each in chosen}).demand,
    )


def _choices(view: base.CacheView, named: NamedPolicy) -> Iterator[Choice]:
    images = {each.image_id: each for each in view.images}
    demand, freed = view.demand, 0
    for decision in named.ask(view):
        if not isinstance(decision, base.Decision):
            raise TypeError(f'{decision!r} is no Decision')
        code, reason = _plain(decision.code), _plain(decision.reason)
        if not code or not reason:
            raise ValueError(f'{decision!r} lacks a code or a reason')
        image = images.pop(decision.image_id, None)
        if image is None or image.veto is not None:
            LOG.debug(
                'Policy %(policy)s named %(image)s, which stays: %(veto)s',
                {
                    'policy': named.name,
                    'image': decision.image_id,
                    'veto': image.veto if image else 'not there',
                },
            )
            continue
        if demand and freed >= demand:
            return
        freed += image.capacity
        yield Choice(image, named.name, code, reason)


def _plain(text: object) -> str:
    """Words that can be shown on one line of a terminal; '' for none."""
    if not isinstance(text, str):
        return ''
    return ' '.join(
        ''.join(each if each.isprintable() else ' ' for each in text).split()
    )
