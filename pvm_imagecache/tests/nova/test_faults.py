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

import threading
import time
from typing import Any
from unittest import mock

from oslo_config import cfg

from nova import exception
from pvm_imagecache import exceptions
from pvm_imagecache import manager
from pvm_imagecache import naming
from pvm_imagecache import plugins
from pvm_imagecache.catalog import boot_clock
from pvm_imagecache.catalog import file as catalog_file
from pvm_imagecache.catalog import facade
from pvm_imagecache.conf import compute
from pvm_imagecache.tests.nova import base
from pvm_imagecache.virt import mixin
from pvm_imagecache.virt import notifications

SIZE = 3 * base.MIB + 1


class FaultsTestCase(base.NovaTestCase):
    def log(self) -> str:
        return self.stdlog.logger.output

    def restart(self, **options: Any) -> None:
        self.flags(group='pvm_imagecache', **options)
        self.compute = self.restart_compute_service(
            self.compute, keep_hypervisor_state=False
        )
        self.computes['compute'] = self.compute

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
                url='',
            )
        self._run_periodics()
        self.run_cleanup()
        for what in ('run image cache maintenance', 'reach PowerVM'):
            self.assertIn(f'Able to {what} again', self.log())
        self._delete_server(server)
        self.assert_nothing_left()

    def test_the_last_known_resources_are_reported(self) -> None:
        driver = self.compute.driver
        before = driver.get_available_resource('compute')
        self.powervm.control.add_fault('status', method='GET')
        self.assertEqual(before, driver.get_available_resource('compute'))
        self.assertEqual(1, self.log().count('Could not reach PowerVM'))

    def test_a_missing_policy_is_ignored(self) -> None:
        self.restart(eviction_policies=['no-such', 'age'])
        self.assertIn('Continuing without eviction policy no-such', self.log())
        self.assertEqual(
            ['age'],
            [
                each.name
                for each in self.compute.driver.image_cache._cache.policies
            ],
        )
        self.run_cleanup()

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
                facade.Catalog, 'set_in_use', autospec=True, side_effect=error
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
        images = self.compute.driver.image_cache
        self.assertEqual(300, images._cache.settings.minimum_age)
        self.flags(minimum_age=77, group='pvm_imagecache')
        base.CONF.mutate_config_files()
        self.assertEqual(77, images._cache.settings.minimum_age)


class MutationTestCase(base.FilesTestCase):
    """As after a SIGHUP, on real files: nova calls mutate_config_files."""

    def write(self, minimum_age: object, max_age: object) -> str:
        path = self.directory / 'nova.conf'
        path.write_text(
            '[pvm_imagecache]\nvolume_group_name = vg\n'
            f'state_path = {self.directory}\nminimum_age = {minimum_age}\n'
            f'[pvm_imagecache_age]\nmax_age = {max_age}\n'
        )
        return str(path)

    def test_valid_options_are_read_again(self) -> None:
        conf = cfg.ConfigOpts()
        compute.register(conf)
        conf(
            ['--config-file', self.write(50, 60)],
            default_config_files=[],
            default_config_dirs=[],
        )
        images = manager.ImageManager.from_conf(
            conf, mock.Mock(), plugins.load_usable_policies
        )
        self.addCleanup(images.close)
        conf.register_mutate_hook(mixin._reconfigurer(images))

        def seen() -> tuple[float, float]:
            parts = images._cache
            return (
                parts.settings.minimum_age,
                parts.policies[0].policy._max_age,
            )

        self.assertEqual((50, 60), seen())
        self.write(70, 80)
        conf.mutate_config_files()
        self.assertEqual((70, 80), seen())
        # An invalid value changes nothing.
        self.write('much', 90)
        conf.mutate_config_files()
        self.assertEqual((70, 80), seen())
        self.write(71, 81)
        conf.mutate_config_files()
        self.assertEqual((71, 81), seen())


class NotificationsTestCase(base.NovaTestCase):
    options = {'volume_group_name': 'cachevg', 'send_notifications': True}

    def test_each_event_is_sent_as_a_notification(self) -> None:
        image_id = self.store(SIZE)
        server = self.boot(image_id)
        cached = self.await_one('pvm_imagecache.image.cached')
        self.assertEqual('nova-compute:compute', cached['publisher_id'])
        payload = cached['payload']
        self.assertEqual(
            ('PVMImageCachePayload', 'pvm_imagecache', '1.0'),
            (
                payload['nova_object.name'],
                payload['nova_object.namespace'],
                payload['nova_object.version'],
            ),
        )
        data = payload['nova_object.data']
        (name,) = self.base_images()
        self.assertEqual(
            ('compute', image_id, SIZE, name, ''),
            (
                data['host'],
                data['image_id'],
                data['image_size'],
                data['disk_name'],
                data['reason'],
            ),
        )
        self._delete_server(server)
        self.run_cleanup()
        uptime = boot_clock.uptime
        with mock.patch.object(
            boot_clock, 'uptime', lambda: uptime() + 100_000
        ):
            self.run_cleanup()
        data = self.await_one('pvm_imagecache.image.evicted')['payload'][
            'nova_object.data'
        ]
        self.assertEqual(image_id, data['image_id'])
        self.assertIn('age: ', data['reason'])
        # An untracked disk has the name.
        other = self.store(SIZE, seed=1)
        self.powervm.control.plant_disk(
            'cachevg', naming.base_image_name(other), 7 * base.GIB
        )
        self.boot(other)
        data = self.await_one('pvm_imagecache.image.bypassed')['payload'][
            'nova_object.data'
        ]
        self.assertEqual(other, data['image_id'])
        self.assertIn('is taken', data['reason'])
        self.assertTrue(data['disk_name'].startswith('b_'))

    def await_one(self, event_type: str) -> dict:
        (found,) = self.notifier.wait_for_versioned_notifications(
            event_type, timeout=30
        )
        return found

    def test_an_unreachable_message_bus_delays_nothing(self) -> None:
        tried, hangs = threading.Semaphore(0), threading.Event()
        self.addCleanup(hangs.set)

        def fail(event: object) -> None:
            tried.release()
            raise RuntimeError('no bus')

        with mock.patch.object(notifications, '_send', fail):
            for seed in range(2):
                image_id = self.store(SIZE, seed)
                self.assert_boots_from(self.boot(image_id), image_id)
                self.assertTrue(tried.acquire(timeout=30))
            self.await_log('Could not send image cache notifications')
        self.assertEqual(
            1,
            self.stdlog.logger.output.count(
                'Could not send image cache notifications'
            ),
        )

        def hang(event: object) -> None:
            hangs.wait()

        # If something waited for the message bus, this would never end.
        with mock.patch.object(notifications, '_send', hang):
            image_id = self.store(SIZE, seed=2)
            self.assert_boots_from(self.boot(image_id), image_id)
            hangs.set()

    def await_log(self, text: str) -> None:
        for _ in range(300):
            if text in self.stdlog.logger.output:
                return
            time.sleep(0.1)
        self.fail(f'not in the log: {text}')
