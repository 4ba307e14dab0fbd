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

"""The same deploys on a third PowerVM server; see its docstring."""

from concurrent import futures

from oslo_utils import units
from pypowervm import adapter as pvm_adapter
from pypowervm import exceptions as pvm_exc
from pypowervm.tasks import storage as pvm_storage

from pvm_imagecache import exceptions
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.tests.functional import other_servers


class ThirdPowerVMTestCase(other_servers.Deploys):
    server = 'third_powervm'
    inside = 'third'
    hit = ('GET', 'POST')

    def test_unmodified_pypowervm_uses_the_server(self) -> None:
        port = int(self.url.rpartition(':')[2])
        session = pvm_adapter.Session(host='127.0.0.1', port=port)
        self.addCleanup(session._logoff)
        adapter = pvm_adapter.Adapter(session)
        self.assertEqual('V1_11_0', session.schema_version)
        vios, group = pvm_storage.find_vg(adapter, 'cachevg')
        self.assertEqual('the_vios', vios.name.strip())
        disk = pvm_storage.crt_vdisk(
            adapter, vios.uuid, group.uuid, 'vdisk', 1
        )
        self.assertEqual(1.03125, disk.capacity)
        self.assertRaises(
            pvm_exc.HttpError,
            pvm_storage.crt_vdisk,
            adapter,
            vios.uuid,
            group.uuid,
            'vdisk',
            1,
        )

    def test_concurrent_deploys_get_along_with_refusals(self) -> None:
        manager = self.make_manager()
        ids = [self.store_raw(units.Mi, number) for number in range(3)]
        todo = [
            (f'vm{number}_{copy}', image_id)
            for number, image_id in enumerate(ids)
            for copy in range(3)
        ]
        with futures.ThreadPoolExecutor(len(todo)) as pool:
            list(
                pool.map(
                    lambda each: manager.create_disk(
                        self.image(each[1]), each[0]
                    ),
                    todo,
                )
            )
        for name, image_id in todo:
            self.assert_holds(name, image_id, units.Mi)
        self.assertEqual(0, self.ask('files'))
        self.assertEqual((), tuple(manager.reconcile().failed))
        self.assertEqual(
            {name for name, _ in todo}
            | {each.disk_name for each in manager.list()},
            set(self.disks()),
        )

    def test_a_full_group_without_known_words(self) -> None:
        manager = self.make_manager()
        image_id = self.store_raw(units.Mi)
        manager.prefetch(self.image(image_id))
        error = self.assertRaises(
            exceptions.NotEnoughSpace,
            manager.create_disk,
            self.image(image_id),
            'vm1',
            300 * units.Gi,
        )
        self.assertIn('cachevg', str(error))

    def test_a_larger_disk_than_the_base_image(self) -> None:
        manager = self.make_manager()
        image_id = self.store_raw(units.Mi)
        manager.prefetch(self.image(image_id))
        done = manager.create_disk(self.image(image_id), 'vm1', 3 * units.Gi)
        self.assertEqual(instance_disk.Outcome.HIT, done.outcome)
        self.assert_holds('vm1', image_id, 3 * units.Gi)
