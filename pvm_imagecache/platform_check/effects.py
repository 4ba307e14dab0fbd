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

"""What the cache does with each fact about its platform: pure functions."""

from collections.abc import Callable
from typing import Final

from oslo_utils import units

from pvm_imagecache import platform_facts
from pvm_imagecache import text
from pvm_imagecache.drivers import refusals

_Facts = platform_facts.PlatformFacts
_Updates = platform_facts.ConcurrentUpdates

_LEVEL: Final = 'Facts that were measured at another level are out of date.'
_UPLOADS: Final = 'Shown for information: how much several uploads help.'


def effect_of(fact: str, facts: platform_facts.PlatformFacts) -> str:
    """Return what the cache does because of a fact.

    :param fact: name of the fact.
    :param facts: all facts of the pool.
    :returns: a sentence, also if the fact is unknown.
    """
    return _EFFECTS[fact](facts)


def _always(sentence: str) -> Callable[[_Facts], str]:
    return lambda facts: sentence


def _by_value(
    fact: str, if_true: str, if_false: str, if_unknown: str
) -> Callable[[_Facts], str]:
    sentences = {True: if_true, False: if_false, None: if_unknown}
    return lambda facts: sentences[getattr(facts, fact)]


def _granularity(facts: _Facts) -> str:
    unit = facts.granularity or 0
    if unit <= units.Gi:
        return 'Disks are requested in whole GiB.'
    return (
        'Disks are requested in whole GiB; a disk that is up to '
        f'{text.size(unit)} larger is accepted as the requested one.'
    )


def _concurrent(facts: _Facts) -> str:
    if facts.concurrent_updates is None:
        return (
            'Processes of this host update one after another. An update that '
            'is refused because of another client is repeated.'
        )
    if facts.concurrent_updates is _Updates.QUEUED:
        return (
            'Processes of this host update one after another. Updates of '
            'other clients are waited for.'
        )
    if facts.concurrent_updates is _Updates.OVERWRITES:
        return (
            'Processes of this host update one after another. An update of '
            'another client at the same time can delete new disks: let no '
            'other client change the volume group.'
        )
    return (
        'Processes of this host update one after another. An update is '
        'repeated for some seconds while another client copies disks.'
    )


def _no_space(facts: _Facts) -> str:
    learned = facts.no_space_words
    if not learned:
        return 'Only known messages of AIX are treated as a full pool.'
    if refusals.is_like(learned, learned, facts.name_exists_words):
        return 'A refusal like this one is treated as a full pool.'
    return (
        f'Not used: {_why_unused(facts.name_exists_words)}. Only known '
        'messages of AIX are treated as a full pool.'
    )


def _why_unused(other: str | None) -> str:
    if other:
        return 'PowerVM says the same for other reasons'
    return 'it is not known what PowerVM says for other reasons'


def _name_exists(facts: _Facts) -> str:
    learned = facts.name_exists_words
    if not learned:
        return 'Only message 0516-360 of AIX is treated as a name in use.'
    if refusals.is_like(learned, learned, facts.no_space_words):
        return 'A refusal like this one is treated as a name in use.'
    return (
        f'Not used: {_why_unused(facts.no_space_words)}. Only message '
        '0516-360 of AIX is treated as a name in use.'
    )


_EFFECTS: Final[dict[str, Callable[[_Facts], str]]] = {
    'platform_level': _always(_LEVEL),
    'vios_level': _always(_LEVEL),
    'pypowervm_version': _always(_LEVEL),
    'keeps_labels': _by_value(
        'keeps_labels',
        'The label identifies a disk that a crashed process left.',
        'Name and size identify a disk that a crashed process left.',
        'Name and size identify a disk that a crashed process left, until a '
        'disk of the cache is seen with its label.',
    ),
    'granularity': _granularity,
    'fractional_capacity': _always('The cache always requests whole GiB.'),
    'copies_into_larger': _by_value(
        'copies_into_larger',
        'A disk that is larger than its image is a copy of the base image.',
        'A disk that is larger than its base image is downloaded.',
        'A larger copy is tried. If PowerVM refuses it, the image is '
        'downloaded.',
    ),
    'copies_side_by_side': _by_value(
        'copies_side_by_side',
        'Deploys that wait at the same time are copied in one update, which '
        'takes about as long as one copy.',
        'Deploys that wait at the same time are copied in one update, one '
        'after another.',
        'Deploys that wait at the same time are copied in one update.',
    ),
    'concurrent_updates': _concurrent,
    'stale_etag_refused': _by_value(
        'stale_etag_refused',
        'An update cannot delete disks that another client just created.',
        'An update can delete disks that another client just created. Let '
        'no other client change this volume group.',
        'Each update names the state of the volume group that it starts from.',
    ),
    'copy_rate': lambda facts: (
        'The time limit of a copy follows from the latest hits, if there were '
        'any. Otherwise, the default applies.'
        if facts.copy_rate is None
        else 'The time limit of a copy follows from it, or from the latest '
        'hits if they are slower.'
    ),
    'upload_rate': _always('Shown for information.'),
    'upload_rate_2': _always(_UPLOADS),
    'upload_rate_3': _always(_UPLOADS),
    'upload_rate_6': _always(_UPLOADS),
    'no_space_words': _no_space,
    'name_exists_words': _name_exists,
    'names_per_vios': _by_value(
        'names_per_vios',
        'A disk of the same name in another volume group is looked for if '
        'PowerVM refuses a disk.',
        'Names in other volume groups do not matter.',
        'A disk of the same name in another volume group is looked for if '
        'PowerVM refuses a disk.',
    ),
    'accepts_qcow2': _by_value(
        'accepts_qcow2',
        'Images in qcow2 format are written as they are.',
        'Disks of images in qcow2 format are refused by PowerVM: convert '
        'these images to raw.',
        'Images in qcow2 format are written as they are.',
    ),
    'logical_volume_limit': lambda facts: (
        'Only the free space limits the number of disks.'
        if facts.logical_volume_limit is None
        else 'It limits the number of disks beside the free space.'
    ),
    'new_disk_zeroed': _by_value(
        'new_disk_zeroed',
        'Set wipe_disks only if deleted data must also be overwritten.',
        'Set wipe_disks: a new disk can have data of a deleted one.',
        'The option wipe_disks alone decides whether zeros are written after '
        'the image.',
    ),
}
