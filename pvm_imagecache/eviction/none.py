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

"""The policy that evicts nothing."""

from collections.abc import Iterable

from pvm_imagecache.conf import types
from pvm_imagecache.eviction import base


class NonePolicy(base.EvictionPolicy):
    """Evict nothing: only an operator removes images."""

    api_version = base.API_VERSION

    @classmethod
    def from_conf(cls, conf: types.Conf) -> 'NonePolicy':
        return cls()

    def choose(self, view: base.CacheView) -> Iterable[base.Decision]:
        return ()
