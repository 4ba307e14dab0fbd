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

"""The policy that protects golden images and keeps the newest of a group.

Daily images have names such as ``debian-13-20261127``. Their group is what is
before the last dash. Of each group of a project the newest images are kept:
any user can create an image with any name.
"""

from collections.abc import Iterable
from typing import Final

from oslo_config import cfg

from golden_images import patterns
from pvm_imagecache.conf import registration
from pvm_imagecache.conf import types
from pvm_imagecache.eviction import base

GROUP: Final = cfg.OptGroup(
    'pvm_imagecache_golden_images',
    title='Eviction policy golden-images',
    help='The policy golden-images protects images by name, and keeps only '
    'the newest images of each group.',
)

OPTIONS: Final = [
    cfg.ListOpt(
        'protected',
        default=['golden-*'],
        mutable=True,
        help="""
Names of images that no other policy evicts.

Possible values:

* A list of names, in which * stands for any characters
""",
    ),
    cfg.ListOpt(
        'projects',
        default=[],
        mutable=True,
        help="""
Projects whose images are protected. Any user can name an image like a
protected one, so name the projects of those whom you trust.

Possible values:

* A list of project IDs
* Empty: images of all projects are protected
""",
    ),
    cfg.IntOpt(
        'keep',
        default=2,
        min=1,
        mutable=True,
        help="""
Number of images of each group that are kept: the newest ones.

Unit: images
""",
    ),
]


class GoldenImages(base.EvictionPolicy):
    """Protects images by name, and keeps the newest of each group.

    :param protected: patterns of names.
    :param keep: how many images of each group are kept.
    :param projects: IDs of the projects whose images are protected; empty
        for all.
    """

    api_version = 1

    def __init__(
        self, protected: list[str], keep: int, projects: list[str]
    ) -> None:
        self._protected = protected
        self._keep = keep
        self._projects = projects

    @classmethod
    def from_conf(cls, conf: types.Conf) -> 'GoldenImages':
        """Make the policy from its options."""
        registration.register(conf, GROUP, OPTIONS)
        options = conf[GROUP.name]
        return cls(options.protected, options.keep, options.projects)

    def protects(self, view: base.CacheView) -> Iterable[base.Decision]:
        """Protect images whose names match a pattern."""
        for each in view.images:
            pattern = self._pattern_of(each)
            if pattern is not None:
                yield base.Decision(
                    each.image_id, 'golden', f'its name matches {pattern}'
                )

    def choose(self, view: base.CacheView) -> Iterable[base.Decision]:
        """Choose all but the newest images of each group.

        Images with a veto are kept, and count as images that are kept.
        """
        groups: dict[tuple[str, str], list[base.CachedImage]] = {}
        for each in view.images:
            group = _group_of(each)
            if group and self._pattern_of(each) is None:
                key = each.project_id or '', group
                groups.setdefault(key, []).append(each)
        for (_, group), images in sorted(groups.items()):
            images.sort(key=lambda each: (_age(view, each), each.image_id))
            for each in images[self._keep :]:
                if each.veto is None:
                    yield base.Decision(
                        each.image_id,
                        'superseded',
                        f'the {self._keep} newest images of {group} are kept',
                    )

    def _pattern_of(self, image: base.CachedImage) -> str | None:
        """Return the pattern that an image matches."""
        if self._projects and image.project_id not in self._projects:
            return None
        return next(
            (
                each
                for each in self._protected
                if image.name and patterns.matches(image.name, each)
            ),
            None,
        )


def _group_of(image: base.CachedImage) -> str:
    """Return what is before the last dash, without what cannot be shown."""
    group = (image.name or '').rpartition('-')[0]
    return group if group.isprintable() and len(group) <= 100 else ''


def _age(view: base.CacheView, image: base.CachedImage) -> float:
    """Return the age of an image in Glance, or else in the cache."""
    created = image.created_at
    return view.now - (image.ready_at if created is None else created)


def list_opts() -> list[tuple[cfg.OptGroup, list[cfg.Opt]]]:
    """Return the options for the generators of oslo.config."""
    return [(GROUP, list(OPTIONS))]
