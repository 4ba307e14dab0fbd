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

"""The conformance suite of pvm_imagecache, and tests of the policy."""

import unittest

from golden_images import patterns
from golden_images import policy
from pvm_imagecache import fixtures
from pvm_imagecache.eviction import base

GROUP = 'pvm_imagecache_golden_images'


class GoldenImagesTest(fixtures.PolicyConformance, unittest.TestCase):
    policy = 'golden-images'
    options = {GROUP: {'protected': 'golden-*', 'keep': 1}}
    changed_options = {GROUP: {'keep': 5}}
    invalid_options = [{GROUP: {'keep': 0}}]
    image_names = (
        'golden-debian-13',
        'debian-13-20261126',
        'debian-13-20261127',
        'aix-20261127',
        'nogroup',
    )


def image(name, created_at, **values):
    return base.CachedImage(
        image_id=name,
        name=name,
        disk_name='i_1',
        capacity=1 << 30,
        ready_at=0.0,
        last_used_at=0.0,
        hits=0,
        created_at=created_at,
        **values,
    )


class OwnTest(unittest.TestCase):
    def setUp(self):
        self.policy = policy.GoldenImages(['golden-*'], 2, [])
        self.view = base.CacheView(
            100.0,
            100 << 30,
            0,
            0,
            (
                image('debian-1', 1.0),
                image('debian-2', 2.0),
                image('debian-3', 3.0),
                image('debian-4', 4.0, veto=base.Veto.PINNED),
                image('golden-debian-0', 0.0),
                image('aix-1', None),
            ),
        )

    def test_the_newest_of_a_group_are_kept(self):
        self.assertEqual(
            ['debian-2', 'debian-1'],
            [each.image_id for each in self.policy.choose(self.view)],
        )

    def test_golden_images_are_protected(self):
        (found,) = self.policy.protects(self.view)
        self.assertEqual(
            ('golden-debian-0', 'golden', 'its name matches golden-*'),
            (found.image_id, found.code, found.reason),
        )

    def test_other_projects_cannot_displace_the_images_of_a_project(self):
        view = base.CacheView(
            100.0,
            100 << 30,
            0,
            0,
            (
                image('debian-1', 1.0, project_id='ops'),
                image('debian-8', 8.0, project_id='evil'),
                image('debian-9', 9.0, project_id='evil'),
                image('golden-1', 1.0, project_id='ops'),
                image('golden-2', 2.0, project_id='evil'),
            ),
        )
        trusting = policy.GoldenImages(['golden-*'], 2, ['ops'])
        self.assertEqual([], list(trusting.choose(view)))
        self.assertEqual(
            ['golden-1'], [each.image_id for each in trusting.protects(view)]
        )


class PatternsTest(unittest.TestCase):
    def test_a_star_stands_for_any_characters(self):
        for pattern, name, expected in (
            ('a', 'a', True),
            ('a', 'ab', False),
            ('*', '', True),
            ('a*', 'abc', True),
            ('*c', 'abc', True),
            ('a*c', 'ac', True),
            ('a*c', 'acb', False),
            ('a*b*c', 'a-b-c', True),
            ('a*b*c', 'a-c', False),
            ('ab*ba', 'aba', False),
            ('*x*x*', 'xx', True),
            ('*x*x*', 'x', False),
        ):
            self.assertIs(expected, patterns.matches(name, pattern), pattern)

    def test_a_long_name_is_no_problem(self):
        self.assertFalse(patterns.matches('a' * 100_000, 'a*' * 1000 + 'b'))
