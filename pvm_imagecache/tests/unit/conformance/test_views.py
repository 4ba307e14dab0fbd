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

"""Generated snapshots of caches."""

from pvm_imagecache import fixtures
from pvm_imagecache.conformance import views
from pvm_imagecache.eviction import base as eviction_base
from pvm_imagecache.tests.unit import base


class ViewsTest(base.TestCase):
    def test_they_are_of_many_kinds(self):
        found = list(fixtures.views())
        images = [image for view in found for image in view.images]
        self.assertEqual(
            {None, *eviction_base.Veto}, {each.veto for each in images}
        )
        self.assertIn(0, [len(each.images) for each in found])
        for attribute in ('demand', 'demand_disks', 'pool_capacity'):
            values = {bool(getattr(each, attribute)) for each in found}
            self.assertEqual({True, False}, values, attribute)
        for attribute in ('name', 'project_id', 'created_at'):
            values = {getattr(each, attribute) is None for each in images}
            self.assertEqual({True, False}, values, attribute)

    def test_the_same_seed_gives_the_same_snapshots(self):
        self.assertEqual(list(fixtures.views(3)), list(fixtures.views(3)))
        self.assertNotEqual(list(fixtures.views(3)), list(fixtures.views(4)))

    def test_images_have_what_is_in_the_vocabulary(self):
        found = fixtures.views(
            vocabulary=fixtures.Vocabulary(
                ('a', 'b'), ('p',), ('t', 'u'), {'os_distro': ('aix',)}
            )
        )
        images = [image for view in found for image in view.images]
        self.assertEqual({None, 'a', 'b'}, {each.name for each in images})
        self.assertEqual({None, 'p'}, {each.project_id for each in images})
        self.assertEqual(
            {'t', 'u'}, set().union(*(each.tags for each in images))
        )
        self.assertEqual(
            {None, 'aix'},
            {each.properties.get('os_distro') for each in images},
        )

    def test_a_shift_keeps_all_ages(self):
        for view in fixtures.views():
            later = views.shifted(view, 1000)
            self.assertEqual(view.now + 1000, later.now)
            for one, other in zip(view.images, later.images, strict=True):
                self.assertAlmostEqual(
                    view.now - one.last_used_at,
                    later.now - other.last_used_at,
                    3,
                )
                self.assertAlmostEqual(
                    view.now - (one.created_at or 0),
                    later.now - (other.created_at or 1000),
                    3,
                )
