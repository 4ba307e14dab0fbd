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

"""The policy that keeps the images that were deployed most often."""

from collections.abc import Iterable
from typing import Final

from oslo_config import cfg

from pvm_imagecache.conf import registration
from pvm_imagecache.conf import types
from pvm_imagecache.eviction import base

GROUP: Final = cfg.OptGroup(
    'pvm_imagecache_keep_deployed',
    title='Eviction policy keep-deployed',
    help='The policy keep-deployed keeps the images with the most hits.',
)

OPTIONS: Final = [
    cfg.IntOpt(
        'keep',
        default=10,
        min=0,
        mutable=True,
        help="""
Number of images that are kept: those with the most hits.

Unit: images
""",
    ),
]


class KeepDeployedPolicy(base.EvictionPolicy):
    """Evict all but a number of images, those with the fewest hits first.

    :param keep: how many images are kept.
    """

    api_version = 1

    def __init__(self, keep: int) -> None:
        self._keep = keep

    @classmethod
    def from_conf(cls, conf: types.Conf) -> 'KeepDeployedPolicy':
        """Make the policy from its options."""
        registration.register(conf, GROUP, OPTIONS)
        return cls(conf[GROUP.name].keep)

    def choose(self, view: base.CacheView) -> Iterable[base.Decision]:
        """Choose the images with the fewest hits.

        Images with a veto are kept, and count as images that are kept.
        """
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
                    f'deployed {each.hits} time(s): the {self._keep} images '
                    'with the most hits are kept',
                )


def list_opts() -> list[tuple[cfg.OptGroup, list[cfg.Opt]]]:
    """Return the options for the generators of oslo.config."""
    return [(GROUP, list(OPTIONS))]
