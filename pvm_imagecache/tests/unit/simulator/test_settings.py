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

from oslotest import base

from pvm_imagecache.simulator import settings


class SettingsTest(base.BaseTestCase):
    def test_settings_change_all_or_nothing(self):
        found = settings.Settings()
        for wrong in (
            {'copies': 'x'},
            {'copy_rate': True},
            {'x': 1},
            {'copy_rate': 1.5},
            {'file_limit': -1},
            {'granularity': 0},
            {'granularity': 513},
            {'vios_level': ''},
            {'vios_level': 3},
            {'space_wording': 'mlkv'},
            {'name_wording': 'allocp'},
            {'labels': 'lost'},
        ):
            self.assertRaises(
                ValueError, found.change, {'upload_rate': 1, **wrong}
            )
        self.assertEqual(settings.Settings(), found)
        found.change({'copies': 'parallel', 'copy_rate': 5})
        self.assertEqual(
            settings.Settings(copies=settings.Copies.PARALLEL, copy_rate=5),
            found,
        )
