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

"""The options."""

import logging

from oslo_config import cfg

from pvm_imagecache.conf import cache
from pvm_imagecache.conf import compute
from pvm_imagecache.conf import glance
from pvm_imagecache.conf import opts
from pvm_imagecache.tests.unit import base


class ConfTestCase(base.TestCase):
    def read(self, text, register=cache.register):
        """The configuration that a file's text makes."""
        path = self.useFixture(
            base.TextFile(self.path('nova.conf'), text)
        ).path
        conf = cfg.ConfigOpts()
        register(conf)
        conf(
            ['--config-file', path],
            default_config_files=[],
            default_config_dirs=[],
        )
        return conf


class CacheOptionsTest(ConfTestCase):
    def test_defaults(self):
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
                options.fetch_timeout,
            ),
        )

    def test_a_nova_conf_of_nova_powervm_works(self):
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

    def test_our_own_options_go_before_those(self):
        options = self.read(
            '[powervm]\nvolume_group_name = old\n'
            '[pvm_imagecache]\nvolume_group_name = new\n'
        ).pvm_imagecache
        self.assertEqual('new', options.volume_group_name)

    def test_nonsense(self):
        for text in (
            'port = 70000',
            'port = x',
            'protocol = ftp',
            'enabled = perhaps',
            'stall_timeout = 0',
            'fetch_timeout = 0',
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

    def test_registered_twice(self):
        conf = self.read('')
        cache.register(conf)
        self.assertTrue(conf.pvm_imagecache.enabled)


class ComputeOptionsTest(ConfTestCase):
    def test_defaults(self):
        options = self.read('', compute.register).pvm_imagecache
        self.assertEqual(
            (0.1, False, 'localdisk'),
            (
                options.proc_units_factor,
                options.send_notifications,
                options.disk_driver,
            ),
        )

    def test_a_nova_conf_of_nova_powervm_works(self):
        options = self.read(
            '[powervm]\nproc_units_factor = 0.5\n', compute.register
        ).pvm_imagecache
        self.assertEqual(0.5, options.proc_units_factor)

    def test_nonsense(self):
        options = self.read(
            '[pvm_imagecache]\nproc_units_factor = 2\n', compute.register
        ).pvm_imagecache
        self.assertRaises(
            cfg.ConfigFileValueError, getattr, options, 'proc_units_factor'
        )


class GlanceOptionsTest(ConfTestCase):
    def test_defaults(self):
        options = self.read('', glance.register).glance
        self.assertEqual(
            ([], None, None, None),
            (
                options.api_servers,
                options.auth_type,
                options.region_name,
                options.endpoint_override,
            ),
        )

    def test_registered_twice(self):
        conf = self.read(
            '[glance]\napi_servers = http://a, http://b\n', glance.register
        )
        glance.register(conf)
        self.assertEqual(['http://a', 'http://b'], conf.glance.api_servers)

    def test_those_of_nova_stay(self):
        def register(conf):
            conf.register_opts(
                [cfg.ListOpt('api_servers', help='nova')], group='glance'
            )
            glance.register(conf)

        options = self.read(
            '[glance]\nauth_type = password\n', register
        ).glance
        self.assertEqual(
            (None, 'password'), (options.api_servers, options.auth_type)
        )


class ListTest(base.TestCase):
    def test_groups(self):
        self.assertEqual(
            [
                'glance',
                'pvm_imagecache',
                'pvm_imagecache_age',
                'pvm_imagecache_lru',
                'pvm_imagecache_watermark',
            ],
            [group.name for group, _ in opts.list_opts()],
        )

    def test_every_option_is_listed_once_and_explained(self):
        for group, options in opts.list_opts():
            names = [option.name for option in options]
            self.assertEqual(sorted(set(names)), sorted(names), group.name)
            for option in options:
                self.assertTrue(option.help, option.name)

    def test_secrets_are_marked(self):
        for _, options in opts.list_opts():
            for option in options:
                if 'password' in option.name:
                    self.assertTrue(option.secret, option.name)

    def test_lists_are_not_those_of_the_modules(self):
        for module in (cache, compute, glance):
            ((_, listed),) = module.list_opts()
            listed.clear()
            self.assertTrue(module.OPTIONS)
