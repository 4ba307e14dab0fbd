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

"""Faults of the cache stop neither nova-compute nor its periodic tasks."""

from collections.abc import Iterator
import contextlib
from typing import Any
from unittest import mock
import uuid

from oslo_config import cfg

from nova import context as nova_context
from nova import exception
from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache import manager
from pvm_imagecache import naming
from pvm_imagecache import plugins
from pvm_imagecache import simulator
from pvm_imagecache.catalog import boot_clock
from pvm_imagecache.catalog import file as catalog_file
from pvm_imagecache.catalog import models
from pvm_imagecache.catalog import pins
from pvm_imagecache.conf import compute
from pvm_imagecache.eviction import base as eviction_base
from pvm_imagecache.tests.nova import base
from pvm_imagecache.virt import mixin

SIZE = 3 * base.MIB + 1


class Clock:
    """Seconds that have elapsed in addition to those of the host."""

    seconds = 0.0


@contextlib.contextmanager
def elapsed() -> Iterator[Clock]:
    """Let time pass for the cache."""
    clock = Clock()
    uptime = boot_clock.uptime
    with mock.patch.object(
        boot_clock, 'uptime', lambda: uptime() + clock.seconds
    ):
        yield clock


class FaultsTestCase(base.NovaTestCase):
    def log(self) -> str:
        return self.stdlog.logger.output

    def restart(self, **options: Any) -> None:
        self.flags(group='pvm_imagecache', **options)
        self.compute = self.restart_compute_service(
            self.compute, keep_hypervisor_state=False
        )
        self.computes['compute'] = self.compute

    def test_nova_tries_another_host_after_two_corrupt_downloads(
        self,
    ) -> None:
        image_id = self.store(SIZE)
        path = self.server.data_path(image_id)
        data = bytearray(path.read_bytes())
        data[SIZE // 2] ^= 1
        path.write_bytes(data)
        self.fetched()
        server = self.boot(image_id, expected_state='ERROR')
        # There is no other host.
        self.assertIn(
            'Exceeded maximum number of retries',
            self.api.get_server(server['id'])['fault']['message'],
        )
        self.assertEqual(
            [SIZE, SIZE],
            [each.bytes_sent for each in self.server.downloads()],
        )
        self.assertEqual(1, self.log().count('once more: The data of image'))
        self.assert_nothing_left()
        self.assertEqual(set(), self.base_images())

    def test_nova_compute_starts_without_powervm(self) -> None:
        server = self.boot(self.store(SIZE))
        port = base.CONF.pvm_imagecache.port
        # nova-compute starts, logs it once, and runs its tasks.
        self.restart(port=1)
        self._run_periodics()
        self.run_cleanup()
        self.run_cleanup()
        self.assertEqual(
            1,
            self.log().count(
                'Could not run image cache maintenance, will retry'
            ),
        )
        self.assertEqual(1, self.log().count('Could not reach PowerVM'))
        self.assertEqual([], self.compute.driver.list_instance_uuids())
        self.assertRaises(
            exception.VirtDriverNotReady,
            self.compute.driver.get_available_nodes,
        )
        self.assertNotIn('Error updating resources', self.log())
        # nova does not consider the server lost.
        self.assertEqual('ACTIVE', self.api.get_server(server['id'])['status'])
        # Once PowerVM answers, no restart is needed.
        for adapters in (
            self.compute.driver._adapters,
            self.compute.driver.image_cache.driver._adapters,
        ):
            adapters.connection = mock.Mock(
                wraps=adapters.connection,
                host=self.powervm.host,
                port=port,
                protocol='http',
                user=None,
                password=None,
                timeout=60,
                verify_tls=True,
                rest_user='root',
                token_directory='',
                url='',
            )
        self._run_periodics()
        self.run_cleanup()
        for what in ('run image cache maintenance', 'reach PowerVM'):
            self.assertIn(f'Able to {what} again', self.log())
        self._delete_server(server)
        self.assert_nothing_left()

    def test_a_missing_policy_is_ignored(self) -> None:
        self.restart(eviction_policies=['no-such', 'age'])
        self.assertIn('Continuing without eviction policy no-such', self.log())
        # The other policy is in force.
        self._delete_server(self.boot(self.store(SIZE)))
        self.run_cleanup()
        self.assertEqual(1, len(self.base_images()))
        with elapsed() as clock:
            clock.seconds = 100_000
            self.run_cleanup()
        self.assertEqual(set(), self.base_images())

    def test_a_bad_disk_driver_prevents_the_start(self) -> None:
        for name, kind in (
            ('no-such', exceptions.PluginNotFound),
            ('localdisk', exceptions.ConfigurationError),
        ):
            self.flags(
                group='pvm_imagecache', disk_driver=name, volume_group_name=''
            )
            self.assertRaises(kind, self.compute.driver.init_host, 'host')

    def test_a_failed_cleanup_at_startup_is_logged(self) -> None:
        for error in (
            exceptions.CatalogError(path='x', reason='no luck'),
            ZeroDivisionError('oops'),
        ):
            with mock.patch.object(
                manager.ImageManager,
                'reconcile',
                autospec=True,
                side_effect=error,
            ):
                self.restart()
            self.assertEqual(
                1,
                self.log().count(
                    'Could not run image cache maintenance at startup, will '
                    f'retry: {error}'
                ),
            )
        image_id = self.store(SIZE)
        self.assert_boots_from(self.boot(image_id), image_id)

    def test_a_failed_cleanup_run_is_logged_once(self) -> None:
        self.run_cleanup()
        for error in (
            exceptions.CatalogError(path='x', reason='no luck'),
            ZeroDivisionError('oops'),
        ):
            with mock.patch.object(
                pins.Pins, 'set_in_use', autospec=True, side_effect=error
            ):
                self.run_cleanup()
                self.run_cleanup()
            self.assertEqual(
                1, self.log().count(f'maintenance, will retry: {error}')
            )
        self.run_cleanup()

    def test_servers_boot_without_a_catalog(self) -> None:
        image_id = self.store(SIZE)
        with mock.patch.object(
            catalog_file.CatalogFile,
            'session',
            autospec=True,
            side_effect=(exceptions.CatalogError(path='x', reason='no luck')),
        ):
            server = self.boot(image_id)
            self.assert_boots_from(server, image_id)
            self._delete_server(server)
        self.assertEqual({}, self.disks())

    def test_changed_options_are_read_again(self) -> None:
        driver = self.compute.driver
        self.assertTrue(
            driver.cache_image(
                nova_context.RequestContext('user', 'project'),
                self.store(SIZE),
            )
        )
        (record,) = driver.image_cache.list()

        def veto() -> eviction_base.Veto | None:
            return driver.image_cache.explain(record).veto

        with elapsed() as clock:
            clock.seconds = 200
            self.assertIs(eviction_base.Veto.YOUNG, veto())
            self.flags(minimum_age=77, group='pvm_imagecache')
            self.assertIs(eviction_base.Veto.YOUNG, veto())
            base.CONF.mutate_config_files()
            self.assertIsNone(veto())


class MutationTestCase(base.FilesTestCase):
    """As after a SIGHUP, on real files: nova calls mutate_config_files."""

    def setUp(self) -> None:
        super().setUp()
        self.powervm = simulator.Simulator(str(self.directory / 'powervm'))
        self.powervm.__enter__()
        self.addCleanup(self.powervm.__exit__, None, None, None)

    def write(self, minimum_age: object, max_age: object) -> str:
        path = self.directory / 'nova.conf'
        path.write_text(
            f'[pvm_imagecache]\nhost = {self.powervm.host}\n'
            f'port = {self.powervm.port}\nprotocol = http\n'
            'volume_group_name = cachevg\n'
            f'state_path = {self.directory}\nminimum_age = {minimum_age}\n'
            f'[pvm_imagecache_age]\nmax_age = {max_age}\n'
        )
        return str(path)

    def cached(self, images: manager.ImageManager) -> models.BaseImage:
        """Adopt a disk, so that there is an image which can be evicted."""
        image = image_module.Image(
            id=str(uuid.uuid4()),
            name='x',
            size=base.GIB,
            disk_format='raw',
            os_hash_algo='sha512',
            os_hash_value='0' * 128,
        )
        self.powervm.control.plant_disk(
            'cachevg', naming.base_image_name(image.id), base.GIB
        )
        return images.adopt(image)

    def test_valid_options_are_read_again(self) -> None:
        conf = cfg.ConfigOpts()
        compute.register(conf)
        conf(
            ['--config-file', self.write(100, 200)],
            default_config_files=[],
            default_config_dirs=[],
        )
        images = manager.ImageManager.from_conf(
            conf, mock.MagicMock(), plugins.load_usable_policies
        )
        self.addCleanup(images.close)
        conf.register_mutate_hook(mixin._reconfigurer(images))
        record = self.cached(images)
        young, evictable, evicted = (
            (True, False),
            (False, False),
            (False, True),
        )

        def seen(seconds: float) -> tuple[bool, bool]:
            """Whether the image is young then, and chosen by the policy."""
            clock.seconds = seconds
            found = images.explain(record)
            return (
                found.veto is eviction_base.Veto.YOUNG,
                found.choice is not None,
            )

        with elapsed() as clock:
            self.assertEqual(young, seen(50))
            self.assertEqual(evictable, seen(150))
            self.assertEqual(evicted, seen(250))
            self.write(300, 400)
            conf.mutate_config_files()
            self.assertEqual(young, seen(260))
            self.assertEqual(evictable, seen(350))
            self.assertEqual(evicted, seen(450))
            # An invalid value changes nothing.
            self.write('much', 900)
            conf.mutate_config_files()
            self.assertEqual(evicted, seen(460))
            self.write(600, 700)
            conf.mutate_config_files()
            self.assertEqual(young, seen(550))
            self.assertEqual(evictable, seen(650))
            self.assertEqual(evicted, seen(750))
