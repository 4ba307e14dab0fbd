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

"""Which images the pipeline chooses, and what broken policies cannot do."""

import dataclasses
import logging
import threading

import fixtures as fixtures_module
import hypothesis
from hypothesis import strategies as st

from pvm_imagecache.eviction import age
from pvm_imagecache.eviction import base as eviction_base
from pvm_imagecache.eviction import none
from pvm_imagecache.eviction import pipeline
from pvm_imagecache.eviction import time_limit
from pvm_imagecache.eviction import watermark
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.eviction import strategies


class PipelineTest(base.TestCase):
    def test_a_deploy_may_need_a_number_of_disks(self):
        asked = [
            pipeline.NamedPolicy('watermark', watermark.WatermarkPolicy(9, 9))
        ]
        images = [strategies.image(each, 5, 1) for each in 'abc']
        for wanted, chosen, lacking in ((1, 1, 0), (2, 2, 0), (4, 3, 1)):
            view = dataclasses.replace(
                strategies.view_of(*images, demand=1), demand_disks=wanted
            )
            for plan in (
                pipeline.plan(view, asked),
                pipeline.make_room(view),
            ):
                self.assertEqual(chosen, len(plan.choices))
                self.assertEqual(
                    (lacking, lacking), (plan.lacking, plan.lacking_disks)
                )

    @base.generated
    @hypothesis.given(strategies.views(), strategies.named_policies)
    def test_no_vetoed_image_is_chosen(self, view, asked):
        plan = pipeline.plan(view, asked)
        ids = [each.image.image_id for each in plan.choices]
        self.assertEqual(len(set(ids)), len(ids))
        for each in plan.choices:
            self.assertIn(each.image, view.images)
            self.assertIsNone(each.image.veto)
        self.assertEqual((), plan.faults)

    @base.generated
    @hypothesis.given(
        strategies.views(strategies.positive_demand),
        strategies.named_policies,
    )
    def test_no_more_is_chosen_than_a_deploy_needs(self, view, asked):
        plan = pipeline.plan(view, asked)
        self.assertEqual(max(0, view.demand - plan.freed), plan.lacking)
        for each in plan.choices[-1:]:
            if each.image.capacity:
                self.assertLess(plan.freed - each.image.capacity, view.demand)

    @base.generated
    @hypothesis.given(strategies.views(), strategies.named_policies)
    def test_the_order_of_images_does_not_matter(self, view, asked):
        reverse = dataclasses.replace(view, images=view.images[::-1])
        self.assertEqual(
            pipeline.plan(view, asked), pipeline.plan(reverse, asked)
        )

    @base.generated
    @hypothesis.given(strategies.views())
    def test_the_last_resort_frees_the_demand(self, view):
        plan = pipeline.make_room(view)
        self.assertEqual(
            view.to_free(view.demand), [each.image for each in plan.choices]
        )
        self.assertEqual(max(0, view.demand - plan.freed), plan.lacking)

    @base.generated
    @hypothesis.given(
        strategies.views(strategies.no_demand),
        strategies.named_policies,
        st.integers(0, 60),
    )
    def test_the_limit_of_the_cache_applies_to_all_policies(
        self, view, policies, limit
    ):
        before = pipeline.plan(view, policies)
        after = pipeline.within_limit(before, view, limit)
        added = after.choices[len(before.choices) :]
        self.assertEqual(before.choices + added, after.choices)
        left = view.without({each.image.image_id for each in after.choices})
        size = strategies.size_of(left.images)
        if size > limit:
            self.assertEqual([], left.candidates())
        for each in added:
            self.assertEqual(('core', 'max-gib'), (each.policy, each.code))
            if size <= limit:
                self.assertGreater(size + each.image.capacity, limit)

    def test_each_policy_is_asked_about_the_rest(self):
        seen = []

        class Spy(none.NonePolicy):
            def choose(self, view):
                seen.append([each.image_id for each in view.images])
                return ()

        pipeline.plan(
            strategies.view_of(
                *(strategies.image(used, 1, used) for used in (10, 900))
            ),
            [
                pipeline.NamedPolicy('age', age.AgePolicy(500)),
                pipeline.NamedPolicy('spy', Spy()),
            ],
        )
        self.assertEqual([['900']], seen)

    def test_the_last_resort_states_its_reason(self):
        view = strategies.view_of(strategies.image('a', 5, 1), demand=1)
        (choice,) = pipeline.make_room(view).choices
        self.assertEqual(
            ('core', 'last-resort', 'no space for an instance disk'),
            (choice.policy, choice.code, choice.reason),
        )
        self.assertEqual(
            'last-resort: no space for an instance disk', choice.summary
        )

    def test_a_choice_is_summarized_with_its_policy(self):
        view = strategies.view_of(strategies.image('a', 5, 1))
        policies = [pipeline.NamedPolicy('mine', age.AgePolicy(60))]
        (choice,) = pipeline.plan(view, policies).choices
        self.assertEqual(
            'mine: not used for 16 min 39 s: the limit is 1 min',
            choice.summary,
        )


class _Policy(none.NonePolicy):
    """A policy of another distribution."""

    def __init__(self, choose):
        self.choose = choose


def decisions(*image_ids):
    return [
        eviction_base.Decision(each, 'code', 'reason') for each in image_ids
    ]


class BrokenPolicyTestCase(base.TestCase):
    view = strategies.view_of(
        strategies.image(10, 1, 10),
        strategies.image(20, 1, 20),
        strategies.image(30, 1, 30, eviction_base.Veto.PINNED),
    )

    def named(self, choose):
        return pipeline.NamedPolicy('bad', _Policy(choose), 'theirs 1.0')

    def plan(self, choose):
        return pipeline.plan(
            self.view,
            [
                self.named(choose),
                pipeline.NamedPolicy('age', age.AgePolicy(985)),
            ],
        )

    def errors_in_log(self):
        return self.useFixture(fixtures_module.FakeLogger(level=logging.ERROR))


class BrokenPolicyTest(BrokenPolicyTestCase):
    def test_it_is_skipped_and_the_others_are_asked(self):
        def at_the_call(view):
            raise RuntimeError('broken')

        def in_the_middle(view):
            yield from decisions('20')
            raise RuntimeError('broken')

        def endless(view):
            while True:
                yield from decisions('20')

        for choose in (
            at_the_call,
            in_the_middle,
            endless,
            lambda view: None,
            lambda view: 5,
            lambda view: ['20'],
            lambda view: [None],
            lambda view: [eviction_base.Decision('20', None, 'why')],
            lambda view: [eviction_base.Decision('20', 'code', ' ')],
            lambda view, more: (),
            lambda view: [*decisions('20'), 'nonsense'],
        ):
            plan = self.plan(choose)
            self.assertEqual(
                [('10', 'age')],
                [(each.image.image_id, each.policy) for each in plan.choices],
            )
            ((name, reason),) = plan.faults
            self.assertEqual('bad', name)
            self.assertTrue(reason)

    def test_its_error_is_logged_once(self):
        log = self.errors_in_log()

        def breaks(view):
            raise RuntimeError('the same again')

        policies = [self.named(breaks)]
        for _ in range(3):
            self.assertEqual(
                (('bad', 'RuntimeError: the same again'),),
                pipeline.plan(self.view, policies).faults,
            )
        self.assertEqual(
            'Eviction policy bad (from theirs 1.0) failed and was skipped: '
            'RuntimeError: the same again\n',
            log.output,
        )

    def test_an_exit_does_not_end_the_process(self):
        for error in (SystemExit('bye'), KeyboardInterrupt(), GeneratorExit()):

            def leaves(view, error=error):
                raise error

            plan = self.plan(leaves)
            self.assertEqual(
                (('bad', f'it raised {type(error).__name__}'),), plan.faults
            )
            self.assertEqual(1, len(plan.choices))

    def test_an_exit_of_a_decision_does_not_end_the_process(self):
        class Leaves(eviction_base.Decision):
            @property
            def code(self):
                raise SystemExit

            @code.setter
            def code(self, value):
                pass

        decision = object.__new__(Leaves)
        object.__setattr__(decision, 'image_id', 'a')
        ((_, reason),) = self.plan(lambda view: [decision]).faults
        self.assertEqual('it raised SystemExit', reason)

    def test_an_error_without_text_is_reported_by_its_class(self):
        class Unreadable(Exception):
            def __str__(self):
                raise ValueError

        for error, described in (
            (Unreadable(), 'Unreadable'),
            (RuntimeError(), 'RuntimeError'),
        ):

            def breaks(view, error=error):
                raise error

            self.assertEqual((('bad', described),), self.plan(breaks).faults)

    def test_an_error_is_shown_on_one_printable_line(self):
        def fails(view):
            raise ValueError('a\x1b[31m\n b' + 999 * 'x')

        ((_, reason),) = self.plan(fails).faults
        self.assertTrue(reason.startswith(r'ValueError: a\x1b[31m b'))
        self.assertLess(len(reason), 600)

    def test_a_reason_is_shown_on_one_line(self):
        def shouts(view):
            return [eviction_base.Decision('20', 'code', 'a\x1b[31m\n b')]

        self.assertEqual('a [31m b', self.plan(shouts).choices[0].reason)

    def test_a_change_of_its_view_does_not_affect_others(self):
        def takes_all(view):
            object.__setattr__(view, 'images', ())
            return []

        self.assertEqual(
            ['10'],
            [each.image.image_id for each in self.plan(takes_all).choices],
        )

    def test_decisions_about_other_images_are_ignored(self):
        for ids in (('30', '20', '20'), ('unknown', '20')):
            plan = self.plan(lambda view, ids=ids: decisions(*ids))
            self.assertEqual(
                [('20', 'bad'), ('10', 'age')],
                [(each.image.image_id, each.policy) for each in plan.choices],
            )
            self.assertEqual((), plan.faults)

    def test_two_policies_of_one_class_are_different(self):
        first, second = (self.named(decisions) for _ in range(2))
        self.assertNotEqual(first, second)
        self.assertIn("'bad'", repr(first))


class SlowPolicyTest(BrokenPolicyTestCase):
    LIMIT = 0.2
    MESSAGE = (
        'no result within 0.2 s; it is not asked again until the process is '
        'restarted or reloads its configuration'
    )

    def setUp(self):
        super().setUp()
        self.patch(time_limit, 'TIME_LIMIT', self.LIMIT)
        self.end = threading.Event()
        # Before the base class looks for threads.
        self.addCleanup(self.end.set)

    def loops(self, view):
        while not self.end.is_set():
            pass

    def sleeps(self, view):
        self.end.wait(base.PATIENCE)

    def catches_everything(self, view):
        while not self.end.is_set():
            try:
                raise SystemExit
            except BaseException:
                continue

    def never_yields(self, view):
        while not self.end.is_set():
            if not view.images:
                yield from decisions('20')

    def test_it_is_skipped_and_the_others_are_asked(self):
        for choose in (
            self.loops,
            self.sleeps,
            self.catches_everything,
            self.never_yields,
        ):
            plan = self.plan(choose)
            self.assertEqual(
                ['10'], [each.image.image_id for each in plan.choices]
            )
            self.assertEqual((('bad', self.MESSAGE),), plan.faults)

    def test_it_is_not_asked_again(self):
        asked = []

        def choose(view):
            asked.append(view)
            self.sleeps(view)

        policies = [self.named(choose)]
        for _ in range(3):
            self.assertEqual(
                (('bad', self.MESSAGE),),
                pipeline.plan(self.view, policies).faults,
            )
            # Nor after it has ended.
            self.end.set()
        self.assertEqual(1, len(asked))

    def test_it_is_asked_again_when_it_is_loaded_again(self):
        asked = []

        def choose(view):
            asked.append(view)
            self.sleeps(view)
            return []

        for faults in (1, 0):
            plan = pipeline.plan(self.view, [self.named(choose)])
            self.assertEqual(faults, len(plan.faults))
            self.assertEqual(2 - faults, len(asked))
            self.end.set()

    def test_it_is_logged_once_with_its_origin(self):
        log = self.errors_in_log()
        policies = [self.named(self.sleeps)]
        for _ in range(3):
            pipeline.plan(self.view, policies)
        self.assertEqual(
            'Eviction policy bad (from theirs 1.0) failed and was skipped: '
            f'{self.MESSAGE}\n',
            log.output,
        )

    def test_a_slow_policy_that_answers_in_time_is_heard(self):
        def choose(view):
            self.end.wait(self.LIMIT / 10)
            return decisions('20')

        plan = self.plan(choose)
        self.assertEqual((), plan.faults)
        self.assertEqual('20', plan.choices[0].image.image_id)

    def test_a_built_in_policy_is_called_directly(self):
        threads = []

        def choose(view):
            threads.append(threading.current_thread())
            return []

        policy = age.AgePolicy(1)
        policy.choose = choose
        pipeline.plan(self.view, [pipeline.NamedPolicy('age', policy)])
        self.plan(choose)
        self.assertIs(threading.current_thread(), threads[0])
        self.assertEqual('eviction-policy-bad', threads[1].name)


class _Protecting(none.NonePolicy):
    """Protects images by ID, and chooses others by ID."""

    def __init__(self, protected='', chosen=''):
        self._protected, self._chosen = protected, chosen

    def protects(self, view):
        return self._decisions(view, self._protected, 'golden')

    def choose(self, view):
        return self._decisions(
            view.without({each.image_id for each in view.images if each.veto}),
            self._chosen,
            'old',
        )

    @staticmethod
    def _decisions(view, wanted, code):
        return [
            eviction_base.Decision(each.image_id, code, f'it is {code}')
            for each in view.images
            if each.image_id in wanted
        ]


class ProtectionTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.view = strategies.view_of(
            *(strategies.image(each, 5, 1) for each in 'abcd')
        )

    def plan(self, *policies, view=None):
        return pipeline.plan(
            view or self.view,
            [
                pipeline.NamedPolicy(f'p{number}', each)
                for number, each in enumerate(policies)
            ],
        )

    @staticmethod
    def chosen(plan):
        return [(each.image.image_id, each.policy) for each in plan.choices]

    def test_no_other_policy_evicts_a_protected_image(self):
        for order in (1, -1):
            plan = self.plan(
                *[_Protecting('ab'), _Protecting('', 'bcd')][::order]
            )
            self.assertEqual(
                ['c', 'd'], [each for each, _ in self.chosen(plan)]
            )
            self.assertEqual(
                ['a', 'b'], [each.image_id for each in plan.protections]
            )
            self.assertEqual('golden', plan.protections[0].code)

    def test_the_policy_itself_may_evict_it(self):
        plan = self.plan(_Protecting('ab', 'a'), _Protecting('', 'abc'))
        self.assertEqual([('a', 'p0'), ('c', 'p1')], self.chosen(plan))

    def test_two_policies_protect_it_from_each_other(self):
        plan = self.plan(_Protecting('a', 'a'), _Protecting('a', 'a'))
        self.assertEqual([], self.chosen(plan))
        self.assertEqual(2, len(plan.protections))

    def test_a_policy_that_follows_candidates_respects_it(self):
        policy = watermark.WatermarkPolicy(1, 0)
        view = dataclasses.replace(self.view, pool_capacity=20, pool_free=0)
        plan = self.plan(_Protecting('ab'), policy, view=view)
        self.assertEqual({'c', 'd'}, {each for each, _ in self.chosen(plan)})

    def test_a_demand_does_not_evict_it(self):
        view = dataclasses.replace(self.view, demand=100)
        plan = self.plan(_Protecting('ab'), _Protecting('', 'abcd'), view=view)
        self.assertEqual(['c', 'd'], [each for each, _ in self.chosen(plan)])
        self.assertGreater(plan.lacking, 0)

    def test_the_limit_of_the_cache_does_not_evict_it(self):
        plan = pipeline.within_limit(
            self.plan(_Protecting('ab')), self.view, 0
        )
        self.assertEqual(
            {('c', 'core'), ('d', 'core')}, set(self.chosen(plan))
        )

    def test_the_last_resort_does_evict_it(self):
        view = dataclasses.replace(self.view, demand=20)
        self.assertEqual(4, len(pipeline.make_room(view).choices))

    def test_a_policy_that_cannot_protect_is_skipped(self):
        class Broken(_Protecting):
            def protects(self, view):
                raise KeyError('x')

        plan = self.plan(Broken('a', 'b'), _Protecting('c', 'd'))
        self.assertEqual([('d', 'p1')], self.chosen(plan))
        self.assertEqual((('p0', "KeyError: 'x'"),), plan.faults)

    def test_unknown_images_are_ignored(self):
        class Unknown(_Protecting):
            def protects(self, view):
                return [eviction_base.Decision('x', 'golden', 'it is')]

        self.assertEqual((), self.plan(Unknown()).protections)

    def test_an_image_is_protected_once_by_a_policy(self):
        class Twice(_Protecting):
            def protects(self, view):
                return 2 * [eviction_base.Decision('a', 'golden', 'it is')]

        self.assertEqual(
            ['a'], [each.image_id for each in self.plan(Twice()).protections]
        )

    def test_decisions_that_name_no_image_are_faults(self):
        class Strange(_Protecting):
            def protects(self, view):
                return [eviction_base.Decision([], 'golden', 'it is')]

        class Chooses(_Protecting):
            def choose(self, view):
                return [eviction_base.Decision({}, 'old', 'it is')]

        plan = self.plan(Strange(), Chooses(), _Protecting('c', 'd'))
        self.assertEqual([('d', 'p2')], self.chosen(plan))
        self.assertEqual(['p0', 'p1'], [name for name, _ in plan.faults])
        for _, reason in plan.faults:
            self.assertIn('names no image', reason)
