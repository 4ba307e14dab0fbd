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

"""The command ``explain``."""

from pvm_imagecache.conf import lru
from pvm_imagecache.tests import packages
from pvm_imagecache.tests.unit.cmd import cases


class ExplainTest(cases.CommandTestCase):
    options = {'eviction_policies': ['lru'], 'minimum_age': 0}

    def setUp(self):
        super().setUp()
        lru.limits(self.conf)
        self.conf.set_override('max_images', 1, lru.GROUP.name)
        self.old, self.new = self.cache('debian-12', 'debian-13')

    def _verdict(self, name='debian-12'):
        row = self.json('explain', name)
        return row['code'], row['verdict']

    def test_an_image_that_a_policy_selects_will_be_evicted(self):
        code, verdict = self._verdict()
        self.assertEqual('too-many', code)
        self.assertTrue(verdict.startswith('will be evicted: '), verdict)

    def test_an_image_that_no_policy_selects_is_kept(self):
        self.assertEqual(
            ('not-chosen', 'kept: no policy selects it'),
            self._verdict('debian-13'),
        )

    def test_a_protected_image_is_kept(self):
        code = """
            from pvm_imagecache.eviction import base

            class Golden(base.EvictionPolicy):
                api_version = 1

                @classmethod
                def from_conf(cls, conf):
                    return cls()

                def choose(self, view):
                    return ()

                def protects(self, view):
                    for each in view.images:
                        if each.name == 'debian-12':
                            yield base.Decision(
                                each.image_id, 'golden', 'it is golden')
        """
        self.useFixture(
            packages.Package(
                code, {'pvm_imagecache.eviction': {'golden': 'Golden'}}
            )
        )
        self.conf.set_override(
            'eviction_policies', ['lru', 'golden'], 'pvm_imagecache'
        )
        row = self.json('explain', 'debian-12')
        self.assertEqual(
            (
                'protected',
                'golden',
                'kept: protected by policy golden: it is golden (golden)',
            ),
            (row['code'], row['policy'], row['verdict']),
        )
        self.assertEqual('too-many', self._verdict('debian-13')[0])
        self.assertNotIn('debian-12', self.run_command('evict', '--dry-run'))

    def test_a_pinned_image_is_kept(self):
        self.run_command('pin', 'debian-12', '--note', 'rollout')
        self.assertEqual(
            ('pinned', 'kept: pinned (unpin it first)'), self._verdict()
        )
        row = self.json('explain', 'debian-12')
        self.assertEqual(
            ('ann', 'rollout'), (row['pinned_by'], row['pin_note'])
        )

    def test_an_image_in_use_is_kept(self):
        self.manager().run_cleanup([self.old.id])
        self.assertEqual(
            ('in-use', 'kept: in use by instances of this host'),
            self._verdict(),
        )
        self.assertIsNotNone(
            self.json('explain', 'debian-12')['last_seen_in_use']
        )

    def test_a_young_image_is_kept_for_a_known_time(self):
        self.conf.set_override('minimum_age', 600, 'pvm_imagecache')
        code, verdict = self._verdict()
        self.assertEqual('young', code)
        self.assertRegex(
            verdict, r'^kept: younger than minimum_age \((9|10) min.* left\)$'
        )

    def test_nothing_is_evicted_if_that_is_disabled(self):
        self.conf.set_override(
            'remove_unused_base_images', False, 'image_cache'
        )
        code, verdict = self._verdict()
        self.assertEqual('not-automatic', code)
        self.assertIn('automatic eviction is disabled', verdict)

    def test_an_image_that_is_not_cached_is_refused(self):
        self.assertIn(
            'Image "rhel" is not cached.', self.refused('explain', 'rhel')
        )
