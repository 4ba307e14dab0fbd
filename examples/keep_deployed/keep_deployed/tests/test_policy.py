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

from keep_deployed import policy
from pvm_imagecache import fixtures
from pvm_imagecache.eviction import base


class KeepDeployedTest(fixtures.PolicyConformance, unittest.TestCase):
    policy = 'keep-deployed'
    options = {'pvm_imagecache_keep_deployed': {'keep': 3}}


class RankTest(unittest.TestCase):
    def test_images_with_the_fewest_hits_are_chosen(self):
        images = tuple(
            base.CachedImage(
                image_id=f'image{hits}',
                disk_name=f'i_{hits}',
                capacity=1 << 30,
                ready_at=0.0,
                last_used_at=float(hits),
                hits=hits,
            )
            for hits in (5, 1, 4, 2, 3)
        )
        view = base.CacheView(
            now=10.0,
            pool_capacity=100 << 30,
            pool_free=0,
            demand=0,
            images=images,
        )
        self.assertEqual(
            ['image1', 'image2'],
            [
                each.image_id
                for each in policy.KeepDeployedPolicy(3).choose(view)
            ],
        )
