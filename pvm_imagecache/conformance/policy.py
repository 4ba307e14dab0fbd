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

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import itertools
from typing import Any
from typing import ClassVar
from typing import Final

from oslo_config import cfg
from oslo_config import types as option_types

from pvm_imagecache import exceptions
from pvm_imagecache import plugins
from pvm_imagecache.conf import types
from pvm_imagecache.conformance import cases
from pvm_imagecache.conformance import views as views_module
from pvm_imagecache.conformance.configuration import configuration
from pvm_imagecache.eviction import base as eviction_base
from pvm_imagecache.eviction import time_limit

_GIB: Final = 1 << 30
#: Snapshots of each test.
_VIEWS: Final = 100
#: Ten years, so that no age by another clock is about the same.
_LONG: Final = 3653 * 86400.0
#: Characters of a reason that is still readable in a table or a log.
_LONGEST_REASON: Final = 300

_Method = Callable[[eviction_base.CacheView], Iterable[eviction_base.Decision]]


class PolicyConformance:
    """Tests that every eviction policy must pass; a mixin for a TestCase.

    The policy is called without any protection, so that coverage and
    debuggers see it. Before that, each snapshot is given to it once with the
    time limit of operation: a policy that hangs fails its suite.
    """

    #: Name of the policy's entry point.
    policy: ClassVar[str] = ''
    #: Options of the policy: values by group and option name. With them, the
    #: policy must evict something, unless ``chooses`` is False.
    options: ClassVar[Mapping[str, Mapping[str, object]]] = {}
    #: Other values of mutable options, with which it decides differently.
    changed_options: ClassVar[Mapping[str, Mapping[str, object]]] = {}
    #: Options that must be refused, each as in ``options``. Numbers outside
    #: the bounds of an option, and text instead of a number, are tried by
    #: default.
    invalid_options: ClassVar[
        Sequence[Mapping[str, Mapping[str, object]]]
    ] = ()
    #: Whether the policy ever chooses an image. False for one that only
    #: protects images.
    chooses: ClassVar[bool] = True
    #: Names of the images in the snapshots, if the policy depends on names.
    image_names: ClassVar[Sequence[str]] = ()
    #: Projects of the images in the snapshots.
    image_projects: ClassVar[Sequence[str]] = ()
    #: Tags of the images in the snapshots.
    image_tags: ClassVar[Sequence[str]] = ()
    #: Properties of the images in the snapshots: values by name.
    image_properties: ClassVar[Mapping[str, Sequence[str]]] = {}

    _made: eviction_base.EvictionPolicy | None = None

    def make_policy(
        self, options: Mapping[str, Mapping[str, object]] | None = None
    ) -> eviction_base.EvictionPolicy:
        """Return the policy, loaded as nova-compute and the commands do.

        Override to test a policy that has no entry point.

        :param options: of the policy; those of the suite by default.
        :returns: the policy.
        """
        return self._load(self._conf(options))

    def views(self, seed: int = 0) -> Iterator[eviction_base.CacheView]:
        """Generate the snapshots that the policy is tested with.

        :param seed: as for :func:`.views.views`.
        :returns: the snapshots.
        """
        return views_module.views(
            seed,
            _VIEWS,
            vocabulary=views_module.Vocabulary(
                self.image_names,
                self.image_projects,
                self.image_tags,
                self.image_properties,
            ),
        )

    def choose(
        self, view: eviction_base.CacheView
    ) -> list[eviction_base.Decision]:
        """Return the decisions of the policy about a snapshot.

        :param view: the snapshot.
        :returns: the decisions.
        :raises TimeLimitExceeded: if the policy does not answer in time.
        :raises AssertionError: if there are more decisions than images, or
            other ones at the next call.
        """
        return self._asked(self._policy().choose, view)

    def protects(
        self, view: eviction_base.CacheView
    ) -> list[eviction_base.Decision]:
        """Return what the policy protects in a snapshot.

        :param view: the snapshot.
        :returns: the decisions.
        :raises TimeLimitExceeded: if the policy does not answer in time.
        :raises AssertionError: as for :meth:`choose`.
        """
        return self._asked(self._policy().protects, view)

    def _policy(self) -> eviction_base.EvictionPolicy:
        if self._made is None:
            self._made = self.make_policy()
        return self._made

    def _conf(
        self, options: Mapping[str, Mapping[str, object]] | None = None
    ) -> types.Conf:
        return configuration(
            {
                **(self.options if options is None else options),
                'pvm_imagecache': {'eviction_policies': self.policy},
            }
        )

    @staticmethod
    def _load(conf: types.Conf) -> eviction_base.EvictionPolicy:
        (named,) = plugins.load_policies(conf)
        return named.policy

    def _asked(
        self, method: _Method, view: eviction_base.CacheView
    ) -> list[eviction_base.Decision]:
        test = cases.case(self)
        name = getattr(method, '__name__', 'the method')

        def ask() -> list[eviction_base.Decision]:
            answer = method(dataclasses.replace(view))
            test.assertIsInstance(
                answer,
                Iterable,
                f'{name}() must return an iterable of decisions',
            )
            return list(itertools.islice(answer, len(view.images) + 1))

        fenced = time_limit.BoundedCall(ask).result()
        decisions = ask()
        test.assertLessEqual(
            len(decisions),
            len(view.images),
            f'{name}() must come to an end, and return at most one decision '
            'for each image of the view',
        )
        test.assertEqual(
            fenced,
            decisions,
            'the same view must give the same decisions: keep no state '
            'between calls, and use no random numbers',
        )
        return decisions

    def _check(
        self,
        decisions: Iterable[eviction_base.Decision],
        view: eviction_base.CacheView,
    ) -> None:
        """Check that decisions are complete, each about another image."""
        test = cases.case(self)
        known = {each.image_id for each in view.images}
        for each in decisions:
            test.assertIsInstance(
                each,
                eviction_base.Decision,
                'a policy must return decisions',
            )
            test.assertIn(
                each.image_id,
                known,
                'choose() and protects() can name images of the view only',
            )
            test.assertTrue(
                isinstance(each.code, str)
                and eviction_base.CODE.fullmatch(each.code),
                f'the code {each.code!r} must be lowercase words with hyphens',
            )
            test.assertNotIn(
                each.code,
                eviction_base.RESERVED_CODES,
                'this code has a meaning of its own: use another one',
            )
            test.assertTrue(
                isinstance(each.reason, str)
                and each.reason.strip()
                and each.reason.isprintable()
                and len(each.reason) <= _LONGEST_REASON,
                f'the reason {each.reason!r} must be text on one line, of '
                f'at most {_LONGEST_REASON} characters',
            )

    def test_it_can_be_loaded(self) -> None:
        """The policy is installed and follows the contract."""
        test = cases.case(self)
        test.assertTrue(
            self.policy, 'set "policy" to the name of the entry point'
        )
        found = {
            (each.namespace, each.name): each.error
            for each in plugins.installed()
        }
        key = (plugins.EVICTION, self.policy)
        test.assertIn(key, found, 'no entry point of that name is installed')
        test.assertIsNone(found[key])
        self.make_policy()

    def test_it_returns_decisions(self) -> None:
        """It returns complete decisions about images of the view."""
        for view in self.views():
            self._check(self.choose(view), view)

    def test_it_chooses_no_image_twice(self) -> None:
        """It returns at most one decision for each image."""
        for view in self.views(1):
            for method in (self.choose, self.protects):
                ids = [each.image_id for each in method(view)]
                cases.case(self).assertEqual(
                    len(set(ids)), len(ids), 'one decision for each image'
                )

    def test_it_chooses_no_vetoed_image(self) -> None:
        """It chooses no image that has a veto."""
        for view in self.views(2):
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
        views = list(self.views(3))
        before = [(self.choose(each), self.protects(each)) for each in views]
        for view, known in reversed(list(zip(views, before, strict=True))):
            cases.case(self).assertEqual(
                known,
                (self.choose(view), self.protects(view)),
                'the same view must give the same decisions, whatever was '
                'asked before',
            )

    def test_the_order_of_images_does_not_matter(self) -> None:
        """Its choice does not depend on the order of the images."""
        for view in self.views(4):
            turned = dataclasses.replace(
                view, images=tuple(reversed(view.images))
            )
            for method in (self.choose, self.protects):
                cases.case(self).assertEqual(
                    {each.image_id for each in method(view)},
                    {each.image_id for each in method(turned)},
                    'the order of the images must not matter',
                )

    def test_a_shift_of_all_times_changes_nothing(self) -> None:
        """It decides by ages, not by dates or by a clock of its own."""
        for view in self.views(5):
            for seconds in (86400, -_LONG, _LONG):
                later = views_module.shifted(view, seconds)
                for method in (self.choose, self.protects):
                    cases.case(self).assertEqual(
                        [each.image_id for each in method(view)],
                        [each.image_id for each in method(later)],
                        'decide by ages, not dates: use no clock except '
                        'view.now',
                    )

    def test_it_chooses_nothing_of_an_empty_cache(self) -> None:
        """It accepts a cache without images."""
        for demand, disks in ((0, 0), (_GIB, 0), (1, 3)):
            view = eviction_base.CacheView(
                views_module.NOW, _GIB, 0, demand, (), demand_disks=disks
            )
            for method in (self.choose, self.protects):
                cases.case(self).assertEqual([], method(view))

    def test_it_decides_something(self) -> None:
        """With the options of the suite, it evicts or protects images."""
        test = cases.case(self)
        chosen = sum(len(self.choose(view)) for view in self.views(6))
        protected = sum(len(self.protects(view)) for view in self.views(6))
        if self.chooses:
            test.assertGreater(
                chosen,
                0,
                'it never chose an image: set "options", "image_names" and '
                'the like so that it does, or "chooses" to False',
            )
        else:
            test.assertEqual(
                0, chosen, 'it chose images: remove "chooses = False"'
            )
        if self._overrides_protects():
            test.assertGreater(
                protected,
                0,
                'protects() never protected an image: set "options", '
                '"image_names" and the like so that it does',
            )

    def test_it_protects_known_images(self) -> None:
        """What it protects are complete decisions about images."""
        for view in self.views(7):
            self._check(self.protects(view), view)

    def test_it_answers_a_demand(self) -> None:
        """It accepts any demand, and a larger one too."""
        for view in self.views(8):
            for demand, disks in (
                (1, 0),
                (_GIB, 0),
                (1, 2),
                (1 << 50, 10_000),
            ):
                asked = dataclasses.replace(
                    view, demand=demand, demand_disks=disks
                )
                self._check(self.choose(asked), asked)

    def test_it_can_be_made_again(self) -> None:
        """A reload of the configuration makes it again."""
        conf = self._conf()
        if type(self).make_policy is not PolicyConformance.make_policy:
            return
        self._load(conf)
        self._load(conf)

    def test_changed_options_are_used(self) -> None:
        """Mutable options apply after a reload of the configuration."""
        if not self.changed_options:
            return
        test = cases.case(self)
        conf = self._conf()
        self._load(conf)
        for group, values in self.changed_options.items():
            for name in values:
                test.assertTrue(
                    _options_of(conf)[group][name].mutable,
                    f'[{group}] {name} is in "changed_options", but is not '
                    'declared mutable=True',
                )
        before, after = (
            self.make_policy(each)
            for each in (
                self.options,
                {
                    group: {
                        **self.options.get(group, {}),
                        **self.changed_options.get(group, {}),
                    }
                    for group in {**self.options, **self.changed_options}
                },
            )
        )
        test.assertTrue(
            any(
                self._asked(one, view) != self._asked(other, view)
                for view in self.views(9)
                for one, other in (
                    (before.choose, after.choose),
                    (before.protects, after.protects),
                )
            ),
            'it decides the same with "options" and "changed_options"',
        )

    def test_invalid_options_are_refused(self) -> None:
        """An invalid value is refused when the policy is made."""
        if type(self).make_policy is not PolicyConformance.make_policy:
            return
        conf = self._conf()
        self._load(conf)
        for invalid in (
            *self.invalid_options,
            *_invalid_numbers(_options_of(conf)),
        ):
            options = {
                group: {
                    **self.options.get(group, {}),
                    **invalid.get(group, {}),
                }
                for group in {**self.options, **invalid}
            }
            try:
                self._load(self._conf(options))
            except exceptions.ConfigurationError as error:
                cases.case(self).assertTrue(
                    any(
                        name in str(error)
                        for values in invalid.values()
                        for name in values
                    ),
                    f'the error for {invalid} must name the option: {error}',
                )
            except exceptions.PluginError as error:
                cases.case(self).fail(
                    f'{invalid} must raise ConfigurationError: {error}'
                )
            else:
                cases.case(self).fail(
                    f'{invalid} must be refused: read all options in '
                    'from_conf, and check what oslo.config does not'
                )

    def _overrides_protects(self) -> bool:
        return (
            type(self._policy()).protects
            is not eviction_base.EvictionPolicy.protects
        )


def _options_of(conf: Any) -> dict[str, dict[str, cfg.Opt]]:
    """Return the options of plugins that are registered, by group."""
    return {
        name: {key: each['opt'] for key, each in group._opts.items()}
        for name, group in conf._groups.items()
        if name.startswith('pvm_imagecache_')
    }


def _invalid_numbers(
    options: Mapping[str, Mapping[str, cfg.Opt]],
) -> Iterator[dict[str, dict[str, object]]]:
    """Yield values that the types of numeric options do not allow."""
    for group, found in options.items():
        for name, option in found.items():
            kind = option.type
            if not isinstance(kind, option_types.Number):
                continue
            yield {group: {name: 'many'}}
            if kind.min is not None:
                yield {group: {name: kind.min - 1}}
            if kind.max is not None:
                yield {group: {name: kind.max + 1}}
