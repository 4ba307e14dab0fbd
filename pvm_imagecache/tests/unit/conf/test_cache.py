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

"""Options of the cache."""

import logging

from oslo_config import cfg

from pvm_imagecache.conf import cache
from pvm_imagecache.tests.unit.conf import base


class CacheOptionsTest(base.ConfTestCase):
    def test_the_defaults_are_as_documented(self):
        options = self.read('').pvm_imagecache
        self.assertEqual(
            (
                True,
                'localdisk',
                '',
                None,
                '',
                ['age', 'watermark'],
                300,
                True,
                '/var/lib/nova/pvm_imagecache',
                'localhost',
                None,
                None,
                None,
                None,
                True,
                1200,
                300,
                600,
                900,
            ),
            (
                options.enabled,
                options.disk_driver,
                options.volume_group_name,
                options.vios_name,
                options.cluster_name,
                options.eviction_policies,
                options.minimum_age,
                options.check_download_permission,
                options.state_path,
                options.host,
                options.port,
                options.protocol,
                options.user,
                options.password,
                options.verify_tls,
                options.request_timeout,
                options.stall_timeout,
                options.first_byte_timeout,
                options.fetch_timeout,
            ),
        )

    def test_a_fetch_may_wait_for_its_first_byte(self):
        # Otherwise deploys that wait for it would download the image too.
        options = self.read('[pvm_imagecache]\n').pvm_imagecache
        self.assertGreater(options.fetch_timeout, options.first_byte_timeout)

    def test_options_of_nova_powervm_are_accepted(self):
        options = self.read(
            '[powervm]\ndisk_driver = ssp\nvolume_group_name = vg1\n'
            'cluster_name = c1\nproc_units_factor = 0.1\n'
        ).pvm_imagecache
        self.assertEqual(
            ('ssp', 'vg1', 'c1'),
            (
                options.disk_driver,
                options.volume_group_name,
                options.cluster_name,
            ),
        )

    def test_own_options_precede_those_of_nova_powervm(self):
        options = self.read(
            '[powervm]\nvolume_group_name = old\n'
            '[pvm_imagecache]\nvolume_group_name = new\n'
        ).pvm_imagecache
        self.assertEqual('new', options.volume_group_name)

    def test_invalid_values_are_refused(self):
        for text in (
            'port = 70000',
            'port = x',
            'protocol = ftp',
            'enabled = perhaps',
            'stall_timeout = 0',
            'fetch_timeout = 0',
            'first_byte_timeout = 0',
            'request_timeout = -1',
        ):
            options = self.read(f'[pvm_imagecache]\n{text}').pvm_imagecache
            name = text.split()[0]
            self.assertRaises(cfg.ConfigFileValueError, getattr, options, name)

    def test_the_password_is_never_logged(self):
        conf = self.read('[pvm_imagecache]\npassword = hush-hush\n')
        self.assertEqual('hush-hush', conf.pvm_imagecache.password)
        lines = []

        class Handler(logging.Handler):
            def emit(self, record):
                lines.append(record.getMessage())

        logger = logging.Logger('of this test')
        logger.addHandler(Handler())
        conf.log_opt_values(logger, logging.INFO)
        text = '\n'.join(lines)
        self.assertIn('pvm_imagecache.password', text)
        self.assertNotIn('hush-hush', text)

    def test_options_can_be_registered_twice(self):
        conf = self.read('')
        cache.register(conf)
        self.assertTrue(conf.pvm_imagecache.enabled)

    def test_paths_must_be_absolute(self):
        for name in ('state_path', 'metrics_textfile'):
            options = self.read(f'[pvm_imagecache]\n{name} = here')
            error = self.assertRaises(
                cfg.ConfigFileValueError,
                getattr,
                options.pvm_imagecache,
                name,
            )
            self.assertIn('"here" is not an absolute path', str(error))

    def test_the_pool_name_contains_all_that_selects_the_pool(self):
        conf = self.read(
            '[pvm_imagecache]\nvolume_group_name = vg1\nvios_name = vios1\n'
            'host = hmc\nport = 443\n'
        )
        self.assertEqual('localdisk/hmc/443/vios1/vg1', cache.pool_name(conf))

    def test_the_catalog_is_in_the_state_path(self):
        conf = self.read('[pvm_imagecache]\nstate_path = /state\n')
        self.assertEqual('/state/catalog.sqlite', cache.catalog_path(conf))
