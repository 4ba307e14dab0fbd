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

"""Decide which images are evicted, and why, from a snapshot of the cache.

The snapshot contains the vetoes of the core. The policies are asked in
order, each about the images that the policies before it did not choose.
Nothing is read or removed here; the only state is which policies failed.
"""

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import itertools
from typing import Final

from oslo_log import log as logging

from pvm_imagecache import text
from pvm_imagecache.eviction import base
from pvm_imagecache.eviction import time_limit
from pvm_imagecache.system import warn_once

LOG = logging.getLogger(__name__)

#: The policy that evictions of :func:`make_room` are attributed to. It is
#: built in and cannot be configured.
CORE: Final = 'core'


class NamedPolicy:
    """A loaded policy with its name, origin and failures.

    A policy that exceeded the time limit is not asked again by this object.
    Loading the policies again, at a restart or when the configuration is
    reloaded, makes a new one.

    :param name: of the entry point, as in ``eviction_policies``.
    :param policy: the policy itself.
    :param origin: name and version of its distribution; '' if unknown.
    """

    def __init__(
        self, name: str, policy: base.EvictionPolicy, origin: str = ''
    ) -> None:
        self.name = name
        self.policy = policy
        self.origin = origin
        self._timed_out: str | None = None
        self._failures = warn_once.WarnOnce(LOG)

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.name!r}, {self.policy!r})'

    def ask(self, view: base.CacheView) -> list[base.Decision]:
        """Return the decisions of the policy to evict images.

        A policy of another distribution is called with a time limit, see
        :mod:`~pvm_imagecache.eviction.time_limit`.

        :param view: the snapshot; the policy gets a copy.
        :returns: at most one decision for each image of the view. Codes and
            reasons are printable and on one line.
        :raises TimeLimitExceeded: if the policy does not answer in time, or
            did not at an earlier call; then it is not called.
        :raises TypeError: if it returns anything else than decisions.
        :raises ValueError: if a decision lacks a code or a reason, or there
            are more decisions than images.
        :raises Exception: any error that the policy raises.
        """
        return self._call(lambda: _decisions(self.policy.choose, view))

    def ask_protected(self, view: base.CacheView) -> list[base.Decision]:
        """Return the decisions of the policy to protect images.

        :param view: as for :meth:`ask`.
        :returns: as :meth:`ask` does.
        :raises Exception: as :meth:`ask` does.
        """
        return self._call(lambda: _decisions(self.policy.protects, view))

    def _call(
        self, function: Callable[[], list[base.Decision]]
    ) -> list[base.Decision]:
        if self._timed_out:
            raise time_limit.TimeLimitExceeded(self._timed_out)
        if self._is_built_in:
            return function()
        try:
            return time_limit.BoundedCall(
                function, name=f'eviction-policy-{self.name}'
            ).result()
        except time_limit.TimeLimitExceeded as error:
            self._timed_out = (
                f'{error}; it is not asked again until the process is '
                'restarted or reloads its configuration'
            )
            raise time_limit.TimeLimitExceeded(self._timed_out) from error

    def report(self, error: Exception) -> str:
        """Log an error of the policy, the same error once.

        :param error: what :meth:`ask` raised.
        :returns: the error as text, on one line.
        """
        described = _describe(error)
        origin = f' (from {self.origin})' if self.origin else ''
        if self._failures.log(
            f'Eviction policy {self.name}{origin} failed and was skipped: '
            f'{described}',
            level=logging.ERROR,
        ):
            LOG.debug('Traceback of the policy', exc_info=error)
        return described

    @property
    def _is_built_in(self) -> bool:
        """Whether the policy is one of this project, which all end."""
        return type(self.policy).__module__.startswith(f'{__package__}.')


@dataclasses.dataclass(frozen=True)
class Choice:
    """An image to evict.

    :ivar image: the image.
    :ivar policy: name of the policy that chose it, or :data:`CORE`.
    :ivar code: machine-readable reason.
    :ivar reason: human-readable reason.
    """

    image: base.CachedImage
    policy: str
    code: str
    reason: str

    @property
    def summary(self) -> str:
        """Policy and reason, for logs and the history.

        For evictions of the core, which is no policy, the code and the
        reason.
        """
        chosen_by = self.code if self.policy == CORE else self.policy
        return f'{chosen_by}: {self.reason}'


@dataclasses.dataclass(frozen=True)
class Protection:
    """An image that a policy protects from the others.

    :ivar image_id: ID of the image.
    :ivar policy: name of the policy.
    :ivar code: machine-readable reason.
    :ivar reason: human-readable reason.
    """

    image_id: str
    policy: str
    code: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """The images to evict.

    :ivar choices: in the order in which they are evicted.
    :ivar lacking: bytes of the demand that the evictions do not free; at
        least 1 if disks are lacking.
    :ivar faults: name of each policy that was skipped, and its error.
    :ivar lacking_disks: number of disks of the demand that they do not
        remove.
    :ivar protections: the images that policies protect, in their order.
    """

    choices: tuple[Choice, ...] = ()
    lacking: int = 0
    faults: tuple[tuple[str, str], ...] = ()
    lacking_disks: int = 0
    protections: tuple[Protection, ...] = ()

    @property
    def freed(self) -> int:
        """Bytes that the evictions free."""
        return sum(each.image.capacity for each in self.choices)


def plan(view: base.CacheView, policies: Sequence[NamedPolicy]) -> Plan:
    """Ask the policies which images to evict.

    First all policies are asked which images they protect: the others cannot
    choose these. A policy that fails, or breaks its contract, is skipped; the
    others are asked. Decisions about images that are unknown, vetoed or
    chosen before are ignored.

    :param view: the snapshot. If it has a ``demand``, no more images are
        chosen than satisfy it.
    :param policies: in the order in which they are asked.
    :returns: the images to evict.
    """
    wanted = view.demand
    choices: list[Choice] = []
    faults: dict[str, str] = {}
    protections = _protections(view, policies, faults)
    for named in policies:
        if wanted and not view.demand:
            break
        if named.name in faults:
            continue
        try:
            chosen = list(_choices(_seen_by(view, named, protections), named))
        except Exception as error:
            faults[named.name] = named.report(error)
            continue
        choices += chosen
        view = view.without({each.image.image_id for each in chosen})
    return Plan(
        tuple(choices),
        view.demand,
        tuple(faults.items()),
        view.demand_disks,
        protections,
    )


def _protections(
    view: base.CacheView,
    policies: Sequence[NamedPolicy],
    faults: dict[str, str],
) -> tuple[Protection, ...]:
    """Ask the policies which images they protect, and keep their errors."""
    known = {each.image_id for each in view.images}
    found: list[Protection] = []
    for named in policies:
        try:
            decisions = named.ask_protected(view)
        except Exception as error:
            faults[named.name] = named.report(error)
            continue
        of_image: dict[str, base.Decision] = {}
        for each in decisions:
            of_image.setdefault(each.image_id, each)
        found += [
            Protection(each.image_id, named.name, each.code, each.reason)
            for each in of_image.values()
            if each.image_id in known
        ]
    return tuple(found)


def _seen_by(
    view: base.CacheView,
    named: NamedPolicy,
    protections: Sequence[Protection],
) -> base.CacheView:
    """Return a view in which the images that others protect have a veto."""
    kept = {each.image_id for each in protections if each.policy != named.name}
    if not kept:
        return view
    return _with_veto(view, kept)


def _with_veto(view: base.CacheView, kept: Collection[str]) -> base.CacheView:
    return dataclasses.replace(
        view,
        images=tuple(
            dataclasses.replace(each, veto=base.Veto.PROTECTED)
            if each.image_id in kept and each.veto is None
            else each
            for each in view.images
        ),
    )


def make_room(view: base.CacheView) -> Plan:
    """Choose images as a last resort, without asking policies.

    For a deploy that would have space for its instance disk if there were
    no cache. Protections by policies do not count here.

    :param view: the snapshot; its ``demand`` is what is to be freed.
    :returns: the least recently used images without a veto.
    """
    chosen = view.to_free(view.demand)
    after = view.without({each.image_id for each in chosen})
    return Plan(
        tuple(
            Choice(each, CORE, 'last-resort', 'no space for an instance disk')
            for each in chosen
        ),
        after.demand,
        lacking_disks=after.demand_disks,
    )


def within_limit(plan: Plan, view: base.CacheView, limit: int) -> Plan:
    """Extend a plan until the cache is not larger than allowed.

    :param plan: the plan.
    :param view: the snapshot of the plan.
    :param limit: bytes that the disks of all images may occupy together.
    :returns: the plan, and more images without a veto that no policy
        protects, in the order of :meth:`.base.CacheView.candidates`.
    """
    view = _with_veto(view, {each.image_id for each in plan.protections})
    view = view.without({each.image.image_id for each in plan.choices})
    surplus = sum(each.capacity for each in view.images) - limit
    reason = f'the cache is larger than max_gib, {text.size(limit)}'
    return dataclasses.replace(
        plan,
        choices=(
            *plan.choices,
            *(
                Choice(each, CORE, 'max-gib', reason)
                for each in (view.to_free(surplus) if surplus > 0 else ())
            ),
        ),
    )


def _choices(view: base.CacheView, named: NamedPolicy) -> Iterator[Choice]:
    images = {each.image_id: each for each in view.images}
    demand, freed, count = view.demand, 0, 0
    for decision in named.ask(view):
        image = images.pop(decision.image_id, None)
        if image is None or image.veto is not None:
            LOG.debug(
                'Ignoring the decision of policy %(policy)s about image '
                '%(image)s: %(why)s',
                {
                    'policy': named.name,
                    'image': decision.image_id,
                    'why': image.veto if image else 'unknown or chosen before',
                },
            )
            continue
        if demand and freed >= demand and count >= view.demand_disks:
            return
        freed += image.capacity
        count += 1
        yield Choice(image, named.name, decision.code, decision.reason)


def _decisions(
    call: Callable[[base.CacheView], Iterable[base.Decision]],
    view: base.CacheView,
) -> list[base.Decision]:
    """Call a method of a policy and check its decisions."""
    # Bounds a generator that repeats itself forever.
    limit = len(view.images) + 1
    decisions = [
        _checked(each)
        for each in itertools.islice(call(dataclasses.replace(view)), limit)
    ]
    if len(decisions) == limit:
        raise ValueError('more decisions than images')
    return decisions


def _checked(decision: object) -> base.Decision:
    """Copy a decision, with code and reason safe to show."""
    if not isinstance(decision, base.Decision):
        raise TypeError(f'{decision!r} is not a Decision')
    if not isinstance(decision.image_id, str):
        raise TypeError(f'{decision!r} names no image')
    code, reason = _plain(decision.code), _plain(decision.reason)
    if not code or not reason:
        raise ValueError(f'{decision!r} lacks a code or a reason')
    return base.Decision(decision.image_id, code, reason)


def _describe(error: Exception) -> str:
    """Return an error as text; the errors of this project speak for it."""
    if isinstance(
        error, time_limit.TimeLimitExceeded | time_limit.ExitedError
    ):
        return text.one_line(error)
    return text.foreign_error(error)


def _plain(value: object) -> str:
    """Return text that is safe on one line of a terminal; '' if not text."""
    if not isinstance(value, str):
        return ''
    return ' '.join(
        ''.join(each if each.isprintable() else ' ' for each in value).split()
    )
