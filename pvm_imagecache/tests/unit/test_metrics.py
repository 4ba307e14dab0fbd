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

"""Metrics for Prometheus."""

import dataclasses
import os
import sys
from unittest import mock

from prometheus_client import parser

from pvm_imagecache import exceptions
from pvm_imagecache import metrics
from pvm_imagecache import results
from pvm_imagecache.catalog import models
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.tests.unit import base


def _usage(**totals):
    return results.Usage(
        driver_base.Pool('id', 'a "pool"', 100, 40),
        2,
        30,
        {action: models.Total(*values) for action, values in totals.items()},
    )


_OLD = '# HELP pvm_imagecache_images Old.\n'


class RenderTest(base.TestCase):
    def _samples(self, usage):
        return {
            (
                each.name,
                *(
                    value
                    for key, value in sorted(each.labels.items())
                    if key != 'pool'
                ),
            ): each.value
            for family in parser.text_string_to_metric_families(
                metrics.render(usage).decode()
            )
            for each in family.samples
        }

    def test_usage_becomes_metrics(self):
        found = self._samples(
            _usage(hit=(3, 0, 60, 1.0), miss=(2, 40, 0, 8.0), evict=(5, 0, 0))
        )
        for name, value in (
            (('pool_size_bytes',), 100),
            (('pool_used_bytes',), 60),
            (('images',), 2),
            (('size_bytes',), 30),
            (('deploys_total', 'hit'), 3),
            (('deploys_total', 'miss'), 2),
            (('deploys_total', 'bypass'), 0),
            (('removals_total', 'evict'), 5),
            (('fetched_bytes_total',), 40),
            (('saved_bytes_total',), 60),
            (('saved_seconds',), 11),
        ):
            self.assertEqual(
                value, found[f'pvm_imagecache_{name[0]}', *name[1:]]
            )

    def test_the_last_cleanup_run_is_reported(self):
        for trouble, value in (('', 0), ('the policy', 1)):
            found = self._samples(
                dataclasses.replace(
                    _usage(), last_run=models.LastRun(7.5, trouble)
                )
            )
            self.assertEqual(
                (7.5, value),
                (
                    found['pvm_imagecache_last_run_timestamp_seconds',],
                    found['pvm_imagecache_last_run_failed',],
                ),
            )
        self.assertFalse(
            [each for each in self._samples(_usage()) if 'last_run' in each[0]]
        )

    def test_an_unknown_estimate_is_left_out(self):
        self.assertNotIn(
            ('pvm_imagecache_saved_seconds',),
            self._samples(_usage(hit=(1, 0, 60, 1.0))),
        )

    def test_a_missing_library_is_reported(self):
        with mock.patch.dict(sys.modules, {'prometheus_client': None}):
            error = self.assertRaises(
                exceptions.MetricsError, metrics.render, _usage()
            )
        self.assertIn('pvm_imagecache[prometheus]', str(error))


class SecondsTest(base.TestCase):
    def test_saved_seconds_are_estimated(self):
        for expected, totals in (
            (0.0, {}),
            (0.0, {'miss': (1, 10, 0, 5.0)}),
            (None, {'hit': (1, 0, 60, 1.0)}),
            # 60 bytes at 40 bytes in 8 seconds, less 1 second.
            (11.0, {'hit': (3, 0, 60, 1.0), 'miss': (2, 40, 0, 8.0)}),
            (
                11.0,
                {
                    'hit': (3, 0, 60, 1.0),
                    'miss': (1, 20, 0, 4.0),
                    'prefetch': (1, 20, 0, 4.0),
                },
            ),
            # What took time and fetched nothing is no fetch.
            (
                11.0,
                {
                    'hit': (3, 0, 60, 1.0),
                    'miss': (2, 40, 0, 8.0),
                    'pass': (9, 0, 0, 99.0),
                },
            ),
            (-8.0, {'hit': (1, 0, 10, 10.0), 'miss': (1, 5, 0, 1.0)}),
        ):
            self.assertEqual(expected, _usage(**totals).seconds_saved)


class WriteTest(base.TestCase):
    def test_a_file_is_written_atomically_and_world_readable(self):
        path = self.path('pvm.prom')
        self.addCleanup(os.umask, os.umask(0o077))
        for _ in range(2):
            metrics.write(path, _usage())
            self.assertEqual(0o644, os.stat(path).st_mode & 0o777)
            self.assertEqual(['pvm.prom'], os.listdir(self.directory))

    def test_a_failure_leaves_what_was_there(self):
        path = self.useFixture(base.TextFile(self.path('pvm.prom'), _OLD)).path

        def fail(*args):
            raise OSError(28, 'No space left on device')

        self.patch(os, 'replace', fail)
        error = self.assertRaises(
            exceptions.MetricsError, metrics.write, path, _usage()
        )
        self.assertIn('No space left', str(error))
        self.assertEqual(['pvm.prom'], os.listdir(self.directory))
        with open(path) as file:
            self.assertEqual(_OLD, file.read())

    def test_files_of_others_are_not_replaced(self):
        for content in ('old', '', '# HELP node_load1 Load.\n'):
            path = self.useFixture(
                base.TextFile(self.path('pvm.prom'), content)
            ).path
            error = self.assertRaises(
                exceptions.MetricsError, metrics.write, path, _usage()
            )
            self.assertIn('not a file of metrics of this', str(error))
            self.assertEqual(['pvm.prom'], os.listdir(self.directory))
            with open(path) as file:
                self.assertEqual(content, file.read())

    def test_a_file_with_two_names_is_not_replaced(self):
        path = self.path('pvm.prom')
        metrics.write(path, _usage())
        os.link(path, self.path('other'))
        self.assertRaises(
            exceptions.MetricsError, metrics.write, path, _usage()
        )

    def test_a_file_that_is_not_regular_is_refused(self):
        os.symlink(self.path('target'), self.path('link'))
        for path in (self.directory, self.path('link'), '/dev/null'):
            self.assertRaises(
                exceptions.MetricsError, metrics.write, path, _usage()
            )
