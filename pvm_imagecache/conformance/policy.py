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

"""The conformance suite of eviction policies."""

from collections.abc import Mapping
import dataclasses
import itertools
from typing import ClassVar
from typing import Final

from pvm_imagecache import plugins
from pvm_imagecache.conformance import cases
from pvm_imagecache.conformance.configuration import configuration
from pvm_imagecache.conformance.views import NOW
from pvm_imagecache.conformance.views import views
from pvm_imagecache.eviction import base as eviction_base
from pvm_imagecache.eviction import time_limit

_GIB: Final = 1 << 30


class PolicyConformance:
    """Tests that every eviction policy must pass; a mixin for a TestCase."""

    #: Name of the policy's entry point.
    policy: ClassVar[str] = ''
    #: Options of the policy: values by group and option name.
    options: ClassVar[Mapping[str, Mapping[str, object]]] = {}

    _made: eviction_base.EvictionPolicy | None = None

    def make_policy(self) -> eviction_base.EvictionPolicy:
        """Return the policy, loaded as nova-compute and the commands do.

        Override to test a policy that has no entry point.

        :returns: a policy with the options of the suite.
        """
        conf = configuration(
            {
                **self.options,
                'pvm_imagecache': {'eviction_policies': self.policy},
            }
        )
        (named,) = plugins.load_policies(conf)
        return named.policy

    def choose(
        self, view: eviction_base.CacheView
    ) -> list[eviction_base.Decision]:
        """Return the decisions of the policy about a snapshot.

        :param view: the snapshot.
        :returns: the decisions.
        :raises TimeLimitExceeded: if the policy does not answer in time.
        :raises AssertionError: if there are more decisions than images.
        """
        if self._made is None:
            self._made = self.make_policy()
        made = self._made
        decisions = time_limit.BoundedCall(
            lambda: list(
                itertools.islice(made.choose(view), len(view.images) + 1)
            )
        ).result()
        cases.case(self).assertLessEqual(
            len(decisions),
            len(view.images),
            'choose() must end, and return at most one decision for each '
            'image',
        )
        return decisions

    def test_it_can_be_loaded(self) -> None:
        """The policy is installed and follows the contract."""
        cases.case(self).assertTrue(
            self.policy, 'set "policy" to the name of the entry point'
        )
        found = {
            (each.namespace, each.name): each.error
            for each in plugins.installed()
        }
        key = (plugins.EVICTION, self.policy)
        cases.case(self).assertIn(
            key, found, 'no entry point of that name is installed'
        )
        cases.case(self).assertIsNone(found[key])
        self.make_policy()

    def test_it_returns_decisions(self) -> None:
        """It returns complete decisions about images of the view."""
        for view in views():
            known = {each.image_id for each in view.images}
            for decision in self.choose(view):
                cases.case(self).assertIsInstance(
                    decision, eviction_base.Decision
                )
                cases.case(self).assertIn(
                    decision.image_id,
                    known,
                    'only images of the view can be chosen',
                )
                cases.case(self).assertTrue(
                    decision.code and decision.reason,
                    'a decision needs a code and a human-readable reason',
                )

    def test_it_chooses_no_image_twice(self) -> None:
        """It returns at most one decision for each image."""
        for view in views(1):
            ids = [each.image_id for each in self.choose(view)]
            cases.case(self).assertEqual(len(set(ids)), len(ids))

    def test_it_chooses_no_vetoed_image(self) -> None:
        """It chooses no image that has a veto."""
        for view in views(2):
            vetoed = {
                each.image_id for each in view.images if each.veto is not None
            }
            cases.case(self).assertEqual(
                set(),
                vetoed & {each.image_id for each in self.choose(view)},
                'choose images of view.candidates() only',
            )

    def test_it_decides_by_the_view_alone(self) -> None:
        """It returns the same decisions for the same view."""
        for view in views(3):
            cases.case(self).assertEqual(
                self.choose(view),
                self.choose(view),
                'the same view must give the same decisions',
            )

    def test_the_order_of_images_does_not_matter(self) -> None:
        """Its choice does not depend on the order of the images."""
        for view in views(4):
            turned = dataclasses.replace(
                view, images=tuple(reversed(view.images))
            )
            cases.case(self).assertEqual(
                {each.image_id for each in self.choose(view)},
                {each.image_id for each in self.choose(turned)},
            )

    def test_a_shift_of_all_times_changes_nothing(self) -> None:
        """It decides by ages, not by dates."""
        for view in views(5):
            later = dataclasses.replace(
                view,
                now=view.now + 86400,
                images=tuple(
                    dataclasses.replace(
                        each,
                        ready_at=each.ready_at + 86400,
                        last_used_at=each.last_used_at + 86400,
                    )
                    for each in view.images
                ),
            )
            cases.case(self).assertEqual(
                [each.image_id for each in self.choose(view)],
                [each.image_id for each in self.choose(later)],
                'decide by ages, not dates: use no clock except view.now',
            )

    def test_it_chooses_nothing_of_an_empty_cache(self) -> None:
        """It accepts a cache without images."""
        for demand in (0, _GIB):
            cases.case(self).assertEqual(
                [],
                self.choose(eviction_base.CacheView(NOW, _GIB, 0, demand, ())),
            )
