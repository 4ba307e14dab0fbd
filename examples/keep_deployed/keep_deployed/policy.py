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

"""The policy that keeps the images that are deployed most often."""

from collections.abc import Iterable
import copy
from typing import Any
from typing import Final

from oslo_config import cfg

from pvm_imagecache.eviction import base

GROUP: Final = cfg.OptGroup(
    'pvm_imagecache_keep_deployed', title='Eviction policy keep-deployed'
)

OPTIONS: Final = [
    cfg.IntOpt(
        'keep',
        default=10,
        min=0,
        help='How many of the images stay: those with the most hits.',
    ),
]


class KeepDeployedPolicy(base.EvictionPolicy):
    """All but so many images go, those with the fewest hits first.

    :param keep: how many stay.
    """

    api_version = 1

    def __init__(self, keep: int) -> None:
        self._keep = keep

    @classmethod
    def from_conf(cls, conf: Any) -> 'KeepDeployedPolicy':
        # A ConfigOpts keeps what is overridden in the group itself.
        conf.register_group(copy.deepcopy(GROUP))
        conf.register_opts(OPTIONS, group=GROUP.name)
        return cls(conf[GROUP.name].keep)

    def choose(self, view: base.CacheView) -> Iterable[base.Decision]:
        """What has a veto stays too, and counts among those that stay."""
        rank = sorted(
            view.images,
            key=lambda each: (each.hits, each.last_used_at, each.image_id),
        )
        surplus = len(rank) - self._keep
        for each in rank[: max(0, surplus)]:
            if each.veto is None:
                yield base.Decision(
                    each.image_id,
                    'seldom-deployed',
                    f'deployed {each.hits} time(s); the {self._keep} images '
                    'that are deployed most often stay',
                )


def list_opts() -> list[tuple[cfg.OptGroup, list[cfg.Opt]]]:
    """For oslo.config's generator."""
    return [(GROUP, list(OPTIONS))]
