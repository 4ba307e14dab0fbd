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

"""Conformance suites for plugin authors, and their test data.

A policy needs three lines of test::

    class KeepDeployedTest(fixtures.PolicyConformance, unittest.TestCase):
        policy = 'keep-deployed'
        options = {'pvm_imagecache_keep_deployed': {'keep': 3}}

Other plugins need a few more, see their suites. Each failure names the rule
of the contract that is broken. Any runner of ``unittest`` works.

The suites themselves are in :mod:`pvm_imagecache.conformance`; only the names
here are stable.
"""

from pvm_imagecache.conformance.command import CommandConformance
from pvm_imagecache.conformance.configuration import configuration
from pvm_imagecache.conformance.driver import DriverConformance
from pvm_imagecache.conformance.images import MemoryImages
from pvm_imagecache.conformance.listener import ListenerConformance
from pvm_imagecache.conformance.policy import PolicyConformance
from pvm_imagecache.conformance.pool_cache import CacheConformance
from pvm_imagecache.conformance.views import NOW
from pvm_imagecache.conformance.views import views
from pvm_imagecache.conformance.views import Vocabulary
from pvm_imagecache.plugins import load_driver
from pvm_imagecache.plugins import load_listeners
from pvm_imagecache.plugins import load_policies

__all__ = (
    'NOW',
    'CacheConformance',
    'CommandConformance',
    'DriverConformance',
    'ListenerConformance',
    'MemoryImages',
    'PolicyConformance',
    'Vocabulary',
    'configuration',
    'load_driver',
    'load_listeners',
    'load_policies',
    'views',
)
