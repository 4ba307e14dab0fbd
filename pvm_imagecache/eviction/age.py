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

"""The policy that evicts images that were not used for a given time."""

from collections.abc import Iterable

from pvm_imagecache import text
from pvm_imagecache.conf import age as age_conf
from pvm_imagecache.conf import types
from pvm_imagecache.eviction import base


class AgePolicy(base.EvictionPolicy):
    """Evict images that were not used for longer than the limit.

    :param max_age: the limit, in seconds.
    """

    api_version = base.API_VERSION

    def __init__(self, max_age: float) -> None:
        self._max_age = max_age

    @classmethod
    def from_conf(cls, conf: types.Conf) -> 'AgePolicy':
        return cls(age_conf.max_age(conf))

    def choose(self, view: base.CacheView) -> Iterable[base.Decision]:
        for each in view.candidates():
            unused = view.now - each.last_used_at
            if unused > self._max_age:
                yield base.Decision(
                    each.image_id,
                    'unused',
                    f'not used for {text.duration(unused)}: the limit is '
                    f'{text.duration(self._max_age)}',
                )
