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

"""Some cells of the matrix of wrong answers of Glance.

``python -m pvm_imagecache.tests.stress.glance_matrix`` runs all of them.
"""

from oslotest import base

from pvm_imagecache.tests import functional_base
from pvm_imagecache.tests.servers import proxy
from pvm_imagecache.tests.stress import glance_matrix


class GlanceMatrixTestCase(base.BaseTestCase):
    def setUp(self) -> None:
        super().setUp()
        functional_base.quiet_libraries()

    def check(self, *patterns: str) -> None:
        """Run the cells of these names; every one must be good."""
        chosen = glance_matrix.selected(patterns)
        self.assertGreaterEqual(len(chosen), len(patterns))
        self.assertEqual(
            {},
            {
                cell.name: verdict.problems
                for cell, verdict in glance_matrix.run_all(chosen)
                if verdict.problems
            },
        )

    def test_every_kind_of_request_has_cells(self) -> None:
        found = glance_matrix.cells()
        self.assertEqual(len(found), len({cell.name for cell in found}))
        for scenario in glance_matrix.SCENARIOS:
            kinds = {each.kind for each in found if each.scenario == scenario}
            self.assertLess({proxy.Kind.METADATA, proxy.Kind.DATA}, kinds)

    def test_wrong_answers_to_metadata(self) -> None:
        self.check(
            'metadata:html.ever:cold',
            'metadata:503.once:warm',
            'metadata:429.once:cold',
            'metadata:403.ever:precache',
            'metadata:wrong-type.ever:cold',
            'metadata:short.once:warm',
            'list:404.ever:cold',
            'list:504.ever:warm',
            'list:login.ever:cold',
            'list:no-type.ever:precache',
        )

    def test_wrong_answers_to_the_permission_check(self) -> None:
        self.check(
            'check:400.ever:warm',
            'check:403.ever:warm',
            'check:408.once:warm',
            'check:500.ever:warm',
            'check:html.ever:warm',
            'check:fake-206.ever:warm',
            'check:other-206.ever:warm',
            'data:501.ever:warm',
            'data:slow.ever:warm',
        )

    def test_wrong_answers_to_a_download(self) -> None:
        self.check(
            'data:400.ever:cold',
            'data:404.ever:precache',
            'data:502.once:precache',
            'data:html.once:cold',
            'data:long.ever:cold',
            'data:short.ever:cold',
            'data:reset@mid.ever:precache',
            'data:no-length.ever:cold',
        )

    def test_wrong_answers_to_a_resumed_download(self) -> None:
        self.check(
            'range:400.ever:resumed',
            'range:416.once:resumed',
            'range:503.ever:resumed',
            'range:429.once:resumed',
            'range:401.ever:resumed',
            'range:fake-206.ever:resumed',
            'range:no-range.ever:resumed',
            'range:short.once:resumed',
            'data:reset@mid.once:resumed',
            'data:short.ever:resumed',
        )
