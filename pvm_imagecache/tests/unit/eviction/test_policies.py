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

"""What policies choose, held against what they promise."""

import dataclasses
import logging
import threading

import fixtures as fixtures_module
import hypothesis
from hypothesis import strategies

from pvm_imagecache import exceptions
from pvm_imagecache import fixtures
from pvm_imagecache import plugins
from pvm_imagecache.eviction import age
from pvm_imagecache.eviction import base as eviction_base
from pvm_imagecache.eviction import lru
from pvm_imagecache.eviction import none
from pvm_imagecache.eviction import pipeline
from pvm_imagecache.eviction import time_limit
from pvm_imagecache.eviction import watermark
from pvm_imagecache.tests.unit import base

NOW = 1000.0
times = strategies.floats(0, NOW)
vetoes = strategies.sampled_from([None, None, None, *eviction_base.Veto])


demands = strategies.integers(0, 40)


@strategies.composite
def views(draw, demand=demands):
    """Small figures: only how they compare matters."""
    images = tuple(
        eviction_base.CachedImage(
            image_id=f'image{number}',
            disk_name=f'i_{number}',
            capacity=draw(strategies.integers(0, 9)),
            ready_at=0.0,
            last_used_at=draw(times),
            hits=0,
            veto=draw(vetoes),
        )
        for number in range(draw(strategies.integers(0, 12)))
    )
    images = tuple(draw(strategies.permutations(images)))
    cached = sum(each.capacity for each in images)
    free = draw(strategies.integers(0, 20))
    others = draw(strategies.integers(0, 20))
    return eviction_base.CacheView(
        now=NOW,
        pool_free=free,
        demand=draw(demand),
        images=images,
        pool_capacity=draw(
            strategies.sampled_from([0, cached + free + others])
        ),
    )


limits = strategies.one_of(strategies.none(), strategies.integers(1, 40))
policies = strategies.one_of(
    strategies.builds(age.AgePolicy, times),
    strategies.builds(lru.LRUPolicy, limits, limits),
    strategies.builds(
        watermark.WatermarkPolicy,
        strategies.floats(50, 100),
        strategies.floats(0, 50),
    ),
    strategies.builds(none.NonePolicy),
)
named = strategies.lists(policies, max_size=4).map(
    lambda made: [
        pipeline.NamedPolicy(f'policy{number}', each)
        for number, each in enumerate(made)
    ]
)
no_demand = strategies.just(0)


def chosen(policy, view):
    """The images that a policy chooses, in its order."""
    by_id = {each.image_id: each for each in view.images}
    return [by_id[each.image_id] for each in policy.choose(view)]


def size_of(found):
    return sum(each.capacity for each in found)


class ViewTest(base.TestCase):
    @base.generated
    @hypothesis.given(views(), strategies.integers(0, 60))
    def test_to_free(self, view, size):
        found = view.to_free(size)
        self.assertTrue(all(each.veto is None for each in found))
        if size_of(found) < size:
            self.assertEqual(len(view.candidates()), len(found))
        for each in found:
            if size_of(found) >= size:
                self.assertLess(size_of(found) - each.capacity, size)

    @base.generated
    @hypothesis.given(views())
    def test_the_order_does_not_matter(self, view):
        turned = dataclasses.replace(view, images=view.images[::-1])
        self.assertEqual(view.candidates(), turned.candidates())

    def test_the_least_recently_used_go(self):
        view = eviction_base.CacheView(
            NOW,
            100,
            0,
            0,
            tuple(
                eviction_base.CachedImage(
                    str(used), '', 5, 0.0, float(used), 0
                )
                for used in (3, 1, 2)
            ),
        )
        self.assertEqual(
            ['1', '2'], [each.image_id for each in view.to_free(6)]
        )

    def test_one_that_is_large_enough_alone(self):
        small, large = (
            eviction_base.CachedImage(str(size), '', size, 0.0, float(size), 0)
            for size in (2, 20)
        )
        view = eviction_base.CacheView(NOW, 100, 0, 0, (large, small))
        self.assertEqual([large], view.to_free(10))
        self.assertEqual([small], view.to_free(2))

    @base.generated
    @hypothesis.given(views())
    def test_without(self, view):
        gone = view.images[:2]
        left = view.without({each.image_id for each in gone})
        self.assertEqual(view.pool_free + size_of(gone), left.pool_free)
        self.assertEqual(max(0, view.demand - size_of(gone)), left.demand)
        self.assertEqual(view.images[2:], left.images)


class PolicyTest(base.TestCase):
    @base.generated
    @hypothesis.given(views(no_demand), times)
    def test_age(self, view, limit):
        self.assertEqual(
            {
                each.image_id
                for each in view.images
                if each.veto is None and NOW - each.last_used_at > limit
            },
            {each.image_id for each in chosen(age.AgePolicy(limit), view)},
        )

    @base.generated
    @hypothesis.given(views(no_demand), limits, limits)
    def test_lru(self, view, count, size):
        found = chosen(lru.LRUPolicy(count, size), view)
        left = [each for each in view.images if each not in found]

        def fits(images):
            return (count is None or len(images) <= count) and (
                size is None or size_of(images) <= size
            )

        if not fits(left):
            self.assertEqual(len(view.candidates()), len(found))
        elif found and found[-1].capacity <= (size or 0):
            self.assertFalse(fits([*left, found[-1]]))
        if count is None and size is None:
            self.assertEqual([], found)

    def test_lru_one_above_the_limit_takes_no_other_with_it(self):
        view = eviction_base.CacheView(
            NOW,
            100,
            0,
            0,
            tuple(
                eviction_base.CachedImage(name, '', size, 0.0, used, 0)
                for name, size, used in (
                    ('small', 3, 1.0),
                    ('large', 20, 3.0),
                    ('other', 4, 2.0),
                )
            ),
        )
        self.assertEqual(
            ['large'],
            [each.image_id for each in chosen(lru.LRUPolicy(None, 10), view)],
        )

    @base.generated
    @hypothesis.given(
        views(no_demand),
        strategies.integers(50, 100),
        strategies.integers(0, 50),
    )
    def test_watermark(self, view, high, low):
        found = chosen(watermark.WatermarkPolicy(high, low), view)
        if view.pool_capacity == 0 or (
            100 * view.pool_used <= high * view.pool_capacity
        ):
            self.assertEqual([], found)
            return
        mark = view.pool_capacity * low // 100
        used = view.pool_used - size_of(found)
        if used > mark:
            self.assertEqual(len(view.candidates()), len(found))
        for each in found:
            self.assertTrue(used > mark or used + each.capacity > mark)

    @base.generated
    @hypothesis.given(
        views(strategies.integers(1, 40)),
        strategies.sampled_from(
            [
                lru.LRUPolicy(None, None),
                lru.LRUPolicy(1, 1),
                watermark.WatermarkPolicy(100, 100),
            ]
        ),
    )
    def test_a_deploy_gets_what_it_needs(self, view, policy):
        self.assertEqual(view.to_free(view.demand), chosen(policy, view))


class PipelineTest(base.TestCase):
    @base.generated
    @hypothesis.given(views(), named)
    def test_no_veto_is_broken(self, view, asked):
        plan = pipeline.plan(view, asked)
        ids = [each.image.image_id for each in plan.choices]
        self.assertEqual(len(set(ids)), len(ids))
        for each in plan.choices:
            self.assertIn(each.image, view.images)
            self.assertIsNone(each.image.veto)
        self.assertEqual((), plan.faults)

    @base.generated
    @hypothesis.given(views(strategies.integers(1, 40)), named)
    def test_no_more_than_a_deploy_needs(self, view, asked):
        plan = pipeline.plan(view, asked)
        self.assertEqual(max(0, view.demand - plan.freed), plan.lacking)
        for each in plan.choices[-1:]:
            if each.image.capacity:
                self.assertLess(plan.freed - each.image.capacity, view.demand)

    @base.generated
    @hypothesis.given(views(), named)
    def test_the_order_of_the_feed_does_not_matter(self, view, asked):
        turned = dataclasses.replace(view, images=view.images[::-1])
        self.assertEqual(
            pipeline.plan(view, asked), pipeline.plan(turned, asked)
        )

    @base.generated
    @hypothesis.given(views())
    def test_the_last_resort(self, view):
        plan = pipeline.make_room(view)
        self.assertEqual(
            view.to_free(view.demand), [each.image for each in plan.choices]
        )
        self.assertEqual(max(0, view.demand - plan.freed), plan.lacking)

    def test_each_is_asked_about_what_is_left(self):
        seen = []

        class Spy(none.NonePolicy):
            def choose(self, view):
                seen.append([each.image_id for each in view.images])
                return ()

        images = tuple(
            eviction_base.CachedImage(str(used), '', 1, 0.0, float(used), 0)
            for used in (10, 900)
        )
        pipeline.plan(
            eviction_base.CacheView(NOW, 100, 0, 0, images),
            [
                pipeline.NamedPolicy('age', age.AgePolicy(500)),
                pipeline.NamedPolicy('spy', Spy()),
            ],
        )
        self.assertEqual([['900']], seen)


class _Bad(none.NonePolicy):
    def __init__(self, choose):
        self.choose = choose


class FencedTest(base.TestCase):
    """A policy that is broken has no say, and keeps no other from it."""

    view = eviction_base.CacheView(
        NOW,
        100,
        0,
        0,
        tuple(
            eviction_base.CachedImage(
                str(used), '', 1, 0.0, float(used), 0, veto=veto
            )
            for used, veto in (
                (10, None),
                (20, None),
                (30, eviction_base.Veto.PINNED),
            )
        ),
    )

    def _plan(self, choose):
        return pipeline.plan(
            self.view,
            [
                pipeline.NamedPolicy('bad', _Bad(choose)),
                pipeline.NamedPolicy('age', age.AgePolicy(985)),
            ],
        )

    def _decisions(self, *ids):
        return [eviction_base.Decision(each, 'code', 'reason') for each in ids]

    def test_what_has_no_say(self):
        def at_once(view):
            raise RuntimeError('broken')

        def in_the_middle(view):
            yield from self._decisions('20')
            raise RuntimeError('broken')

        def endless(view):
            while True:
                yield from self._decisions('20')

        for choose in (
            at_once,
            in_the_middle,
            endless,
            lambda view: None,
            lambda view: 5,
            lambda view: ['20'],
            lambda view: [None],
            lambda view: [eviction_base.Decision('20', None, 'why')],
            lambda view: [eviction_base.Decision('20', 'code', ' ')],
            lambda view, more: (),
            lambda view: [*self._decisions('20'), 'nonsense'],
        ):
            plan = self._plan(choose)
            self.assertEqual(
                [('10', 'age')],
                [(each.image.image_id, each.policy) for each in plan.choices],
            )
            ((name, reason),) = plan.faults
            self.assertEqual('bad', name)
            self.assertTrue(reason)

    def test_one_that_never_ends(self):
        def loops(view):
            while True:
                pass

        def on_one_line(view):
            while True:
                pass

        def catches(view):
            while True:
                try:
                    self.assertTrue(view)
                except Exception:
                    continue

        def never_yields(view):
            while True:
                if not view.images:
                    yield from self._decisions('20')

        self.patch(time_limit.BoundedCall.__init__, '__defaults__', (0.2,))
        for choose in (loops, on_one_line, catches, never_yields):
            plan = self._plan(choose)
            self.assertEqual(
                ['10'], [each.image.image_id for each in plan.choices]
            )
            ((name, reason),) = plan.faults
            self.assertEqual('bad', name)
            self.assertIn('did not end within 0.2 seconds', reason)
            self.assertFalse(
                [
                    each
                    for each in threading.enumerate()
                    if each.name == 'eviction-policy'
                ]
            )

    def test_one_that_waits_is_left_behind_and_not_asked_again(self):
        self.patch(time_limit.BoundedCall.__init__, '__defaults__', (0.1,))
        self.patch(time_limit, '_GRACE', 0.1)
        go_on, asked = threading.Event(), []

        def waits(view):
            asked.append(view)
            go_on.wait()
            return ()

        named = [pipeline.NamedPolicy('bad', _Bad(waits))]
        self.addCleanup(go_on.set)
        self.assertIn(
            'did not end', pipeline.plan(self.view, named).faults[0][1]
        )
        go_on.set()
        self.assertIn(
            'not asked again', pipeline.plan(self.view, named).faults[0][1]
        )
        self.assertEqual(1, len(asked))
        for thread in threading.enumerate():
            if thread.name == 'eviction-policy':
                thread.join()

    def test_one_that_exits(self):
        for error in (SystemExit('bye'), KeyboardInterrupt(), GeneratorExit()):

            def leaves(view, error=error):
                raise error

            ((_, reason),) = self._plan(leaves).faults
            self.assertIn(type(error).__name__, reason)

    def test_its_error_is_logged_once(self):
        log = self.useFixture(fixtures_module.FakeLogger(level=logging.ERROR))

        def breaks(view):
            raise RuntimeError('the same again')

        named = [pipeline.NamedPolicy('bad', _Bad(breaks), 'theirs 1.0')]
        for _ in range(3):
            self.assertEqual(
                (('bad', 'RuntimeError: the same again'),),
                pipeline.plan(self.view, named).faults,
            )
        self.assertEqual(1, log.output.count('bad (from theirs 1.0) failed'))
        # The command shows what is logged, and no traceback.
        self.assertNotIn('Traceback', log.output)

    def test_words_are_shown_on_one_line(self):
        def shouts(view):
            return [eviction_base.Decision('20', 'code', 'a\x1b[31m\n b')]

        self.assertEqual('a [31m b', self._plan(shouts).choices[0].reason)

    def test_what_one_does_to_its_view_others_do_not_see(self):
        def takes_all(view):
            object.__setattr__(view, 'images', ())
            return []

        self.assertEqual(
            ['10'],
            [each.image.image_id for each in self._plan(takes_all).choices],
        )

    def test_what_can_not_go_is_left_out(self):
        for ids in (('30', '20', '20'), ('unknown', '20')):
            plan = self._plan(lambda view, ids=ids: self._decisions(*ids))
            self.assertEqual(
                [('20', 'bad'), ('10', 'age')],
                [(each.image.image_id, each.policy) for each in plan.choices],
            )
            self.assertEqual((), plan.faults)


class OptionsTest(base.TestCase):
    def _load(self, name, **options):
        conf = fixtures.configuration(
            {
                'pvm_imagecache': {'eviction_policies': name},
                f'pvm_imagecache_{name}': options,
            }
        )
        return plugins.load_policies(conf)[0].policy

    def test_age_is_that_of_nova(self):
        conf = fixtures.configuration(
            {
                'pvm_imagecache': {'eviction_policies': 'age'},
                'image_cache': {
                    'remove_unused_original_minimum_age_seconds': 77
                },
            }
        )
        policy = plugins.load_policies(conf)[0].policy
        self.assertEqual(77, policy._max_age)
        self.assertEqual(86400, self._load('age')._max_age)
        self.assertEqual(5, self._load('age', max_age=5)._max_age)

    def test_limits(self):
        policy = self._load('lru', max_gib=1.5)
        self.assertEqual(
            (None, 3 * base.GIB // 2), (policy._max_images, policy._max_bytes)
        )
        self.assertEqual(7, self._load('lru', max_images=7)._max_images)

    def test_marks(self):
        policy = self._load('watermark')
        self.assertEqual((90, 80), (policy._high, policy._low))
        policy = self._load('watermark', high=70, low=70)
        self.assertEqual((70, 70), (policy._high, policy._low))

    def test_what_makes_no_sense(self):
        for name, options in (
            ('age', {'max_age': -1}),
            ('age', {'max_age': 'old'}),
            ('lru', {'max_images': 0}),
            ('lru', {'max_gib': 0}),
            ('watermark', {'high': 101}),
            ('watermark', {'low': -1}),
            ('watermark', {'high': 70, 'low': 71}),
            ('watermark', {'low': 95}),
        ):
            error = self.assertRaises(
                exceptions.ConfigurationError, self._load, name, **options
            )
            self.assertIn(name, str(error))
