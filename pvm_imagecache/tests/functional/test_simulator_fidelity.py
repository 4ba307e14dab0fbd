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

"""What the simulator sends, compared with recorded answers of real servers.

The recordings ship inside pypowervm's wheel. What is compared, element by
element at the same place: order, namespaces, the attributes kb, kxe, ksv,
group and schemaVersion, Metadata, and the frame of feeds and entries.
"""

import collections
import copy
import dataclasses
import functools
import io
import os

from lxml import etree
from pypowervm import tests as pvm_tests
from pypowervm.tasks import cluster_ssp
from pypowervm.tasks import scsi_mapper
from pypowervm.tasks import storage as pvm_storage
from pypowervm.tests.test_utils import pvmhttp
from pypowervm.wrappers import storage as storage_wrappers
import requests

from pvm_imagecache.tests.functional import test_simulator

RECORDINGS = {
    'VolumeGroup': (
        'fake_volume_group.txt',
        'fake_volume_group2.txt',
        'upload_volgrp.txt',
        'upload_volgrp2.txt',
        'get_volume_group.txt',
        'get_volume_group_no_rep.txt',
    ),
    'VirtualIOServer': (
        'fake_vios_feed.txt',
        'fake_vios_ssp_npiv.txt',
        'fake_vios_mappings.txt',
        'vio_multi_vscsi_mapping.txt',
    ),
    'File': ('file_feed.txt', 'upload_file.txt'),
    'LogicalPartition': ('lpar.txt', 'fake_lpar_feed.txt', 'lpar_ibmi.txt'),
    'ManagedSystem': ('managedsystem.txt', 'fake_managedsystem.txt'),
    'SharedStoragePool': ('ssp.txt',),
    'Tier': ('tier.txt',),
    'LogicalUnit': ('lufeed.txt',),
    'Cluster': ('cluster.txt',),
    'JobRequest': (
        'job_request_power_off.txt',
        'cluster_LULinkedClone_job_template.txt',
    ),
    'JobResponse': (
        'job_response_completed_ok.txt',
        'job_response_completed_failed.txt',
    ),
    'HttpErrorResponse': (
        'fake_httperror.txt',
        'fake_httperror_service_unavail.txt',
    ),
    'LogonResponse': ('logon.xml', 'logon_file.xml'),
}
# What no recording has, and where the simulator takes it from: the child
# orders (and ksv attributes) of pypowervm's wrappers.
UNRECORDED = {
    ('VolumeGroup', 'VirtualDisks', 'VirtualDisk', 'VirtualDiskType'),
    ('VolumeGroup', 'VirtualDisks', 'VirtualDisk', 'FileFormat'),
    (
        'VirtualIOServer',
        'VirtualSCSIMappings',
        'VirtualSCSIMapping',
        'Storage',
        'VirtualDisk',
        'VirtualDiskType',
    ),
    (
        'VirtualIOServer',
        'VirtualSCSIMappings',
        'VirtualSCSIMapping',
        'Storage',
        'VirtualDisk',
        'FileFormat',
    ),
    # Recorded in LogicalUnit entries, but not in this pool.
    ('SharedStoragePool', 'LogicalUnits', 'LogicalUnit', 'ClonedFrom'),
}
# Types of which only entries were recorded: their feeds are like these.
FEED_LIKE = {'Cluster': 'Tier', 'SharedStoragePool': 'Tier'}
COMPARED = ('kb', 'kxe', 'ksv', 'group', 'schemaVersion', 'rel', 'type')
# Differ from server to server, or from entry to entry.
FREE_VALUES = ('schemaVersion', 'type')


def recorded(name):
    """The root element of a recording."""
    if name.endswith('.xml'):
        return etree.parse(
            os.path.join(os.path.dirname(pvm_tests.__file__), 'data', name)
        ).getroot()
    return etree.fromstring(pvmhttp.PVMFile(name).body.strip().encode())


def places(root):
    """(place, element) of every element.

    A place is the path of local names from the document's own element on;
    of the Atom frame, from the feed or entry on.
    """

    def walk(element, place):
        yield place, element
        for child in element.iterchildren(tag=etree.Element):
            name = etree.QName(child).localname
            frame = place[-1] in ('feed', 'content')
            yield from walk(
                child,
                (name,)
                if frame and name not in ('id', 'updated', 'link', 'generator')
                else (*place, name),
            )

    yield from walk(root, (etree.QName(root).localname,))


def child_names(element):
    return [
        etree.QName(child).localname
        for child in element.iterchildren(tag=etree.Element)
    ]


@dataclasses.dataclass
class Fact:
    """What the recordings say of a place."""

    seen: int = 0
    namespaces: set = dataclasses.field(default_factory=set)
    attributes: dict = dataclasses.field(
        default_factory=lambda: collections.defaultdict(collections.Counter)
    )
    # Pairs of children that were seen in this order.
    order: set = dataclasses.field(default_factory=set)
    with_metadata: int = 0


def learn(roots):
    """Facts by place."""
    facts = collections.defaultdict(Fact)
    for root in roots:
        for place, element in places(root):
            fact = facts[place]
            fact.seen += 1
            fact.namespaces.add(etree.QName(element).namespace)
            for name in COMPARED:
                if name in element.attrib:
                    fact.attributes[name][element.get(name)] += 1
            names = child_names(element)
            fact.with_metadata += 'Metadata' in names
            fact.order.update(pairs(names))
    return facts


def facts_of(kind):
    """Facts about a type's documents."""
    facts = learn(map(recorded, RECORDINGS[kind]))
    if kind in FEED_LIKE:
        for place, fact in facts_of(FEED_LIKE[kind]).items():
            if place[0] == 'feed':
                facts[place] = fact
    return facts


def pairs(names):
    return {
        (one, other)
        for index, one in enumerate(names)
        for other in names[index + 1 :]
        if one != other
    }


def problems(root, facts):
    """How a document differs from what was recorded."""
    for place, element in places(root):
        where = '/'.join(place)
        if place not in facts:
            if place not in UNRECORDED:
                yield f'{where}: not recorded'
            continue
        fact = facts[place]
        if etree.QName(element).namespace not in fact.namespaces:
            yield f'{where}: namespace {etree.QName(element).namespace}'
        yield from attribute_problems(where, element, fact)
        names = child_names(element)
        has_metadata = 'Metadata' in names
        if has_metadata and not fact.with_metadata:
            yield f'{where}: Metadata'
        if not has_metadata and fact.with_metadata == fact.seen:
            yield f'{where}: no Metadata'
        for one, other in sorted(pairs(names)):
            if (other, one) in fact.order and (one, other) not in fact.order:
                yield f'{where}: {one} before {other}'


def attribute_problems(where, element, fact):
    for name in COMPARED:
        values = fact.attributes[name]
        value = element.get(name)
        if value is None:
            if sum(values.values()) == fact.seen:
                yield f'{where}: no {name}'
        elif not values:
            yield f'{where}: {name}={value}'
        elif value not in values and name not in FREE_VALUES:
            yield f'{where}: {name}={value}, not {sorted(values)}'


class FidelityCase(test_simulator.PartitionCase):
    """A simulator with one of everything."""

    def setUp(self):
        super().setUp()
        self.disk = self.create('disk', label='label', file_format='raw')
        self.file = self.file_for(self.disk, f_size=5, sha_chksum='00' * 32)
        self.client = self.lpar()
        scsi_mapper.add_vscsi_mapping(
            None, self.vios.uuid, self.client.uuid, self.disk
        )
        [self.ssp] = storage_wrappers.SSP.get(self.adapter)
        self.tier = pvm_storage.default_tier_for_ssp(self.ssp)
        image = cluster_ssp.get_or_upload_image_lu(
            self.tier, 'image', self.vios.uuid, lambda: io.BytesIO(b'image'), 5
        )
        _, self.unit = pvm_storage.crt_lu(self.tier, 'boot', 1, clone=image)
        scsi_mapper.add_vscsi_mapping(
            None, self.vios.uuid, self.client.uuid, self.unit
        )
        orphan = self.lpar(name='gone', uuid='3' + self.UUID[1:])
        scsi_mapper.add_vscsi_mapping(
            None, self.vios.uuid, orphan.uuid, self.create('other')
        )
        orphan.delete()

    def get(self, *args, **kwargs):
        return etree.fromstring(self.adapter.read(*args, **kwargs).body)

    def documents(self, kind):
        """Every form in which the simulator sends a type."""
        vios = ('VirtualIOServer', self.vios.uuid)
        everything = {'xag': []}
        ways = {
            'VolumeGroup': [
                ((*vios, 'VolumeGroup'), {}),
                ((*vios, 'VolumeGroup', self.vg.uuid), {}),
            ],
            'VirtualIOServer': [
                (('VirtualIOServer',), everything),
                (vios, everything),
                (vios, {}),
                (vios, {'xag': ['ViosSCSIMapping']}),
                (
                    (
                        'ManagedSystem',
                        self.adapter.sys_uuid,
                        'VirtualIOServer',
                    ),
                    everything,
                ),
            ],
            'File': [
                (('File',), {'service': 'web'}),
                (('File', self.file.uuid), {'service': 'web'}),
            ],
            'LogicalPartition': [
                (('LogicalPartition',), everything),
                (('LogicalPartition', self.client.uuid), {}),
            ],
            'ManagedSystem': [
                (('ManagedSystem',), {}),
                (('ManagedSystem', self.adapter.sys_uuid), everything),
            ],
            'SharedStoragePool': [
                (('SharedStoragePool',), {}),
                (('SharedStoragePool', self.ssp.uuid), {}),
            ],
            'Tier': [(('Tier',), {}), (('Tier', self.tier.uuid), {})],
            'LogicalUnit': [
                (('Tier', self.tier.uuid, 'LogicalUnit'), {}),
                (('Tier', self.tier.uuid, 'LogicalUnit', self.unit.uuid), {}),
            ],
            'Cluster': [(('Cluster',), {})],
            'JobRequest': [
                (
                    ('LogicalPartition', self.client.uuid),
                    {'suffix_type': 'do', 'suffix_parm': 'PowerOn'},
                )
            ],
        }
        special = {
            'JobResponse': self.job_responses,
            'HttpErrorResponse': self.error_responses,
            'LogonResponse': self.logon_responses,
        }
        if kind in special:
            return special[kind]()
        return [self.get(*args, **kwargs) for args, kwargs in ways[kind]]

    def job_responses(self):
        found = []
        for operation in ('PowerOff', 'PowerOn'):
            template = self.adapter.read(
                'LogicalPartition',
                self.client.uuid,
                suffix_type='do',
                suffix_parm=operation,
            )
            answer = self.adapter.create_job(
                template.entry.element, 'LogicalPartition', self.client.uuid
            )
            job = answer.entry.element.findtext('JobID')
            # Still running, then over: with an error, and well.
            found += [etree.fromstring(answer.body), self.get('jobs', job)]
        return found

    def error_responses(self):
        found = []
        for path in ('uom/VirtualIOServer/none', 'uom/None', 'web/File/none'):
            answer = requests.get(
                f'{self.sim.url}/rest/api/{path}',
                timeout=60,
                headers={'X-API-Session': self.adapter.session._sessToken},
            )
            self.assertEqual(404, answer.status_code)
            found.append(etree.fromstring(answer.content))
        return found

    def logon_responses(self):
        request = (
            '<LogonRequest xmlns="http://www.ibm.com/xmlns/systems/'
            'power/firmware/web/mc/2012_10/"><UserID>pvmadmin'
            '</UserID>{}</LogonRequest>'
        )
        return [
            etree.fromstring(
                requests.put(
                    f'{self.sim.url}/rest/api/web/Logon',
                    request.format(way),
                    timeout=60,
                ).content
            )
            for way in (
                '<Password>pvmadmin</Password>',
                '<GenerateX-API-SessionFile>true</GenerateX-API-SessionFile>',
            )
        ]


class FidelityTestCase(FidelityCase):
    def test_documents_match_the_recordings(self):
        found = {}
        for kind in RECORDINGS:
            facts = facts_of(kind)
            for document in self.documents(kind):
                self.assertIn(
                    kind, {place[0] for place, _ in places(document)}
                )
                wrong = sorted(set(problems(document, facts)))
                if wrong:
                    found[kind] = wrong
        self.assertEqual({}, found)

    def test_unrecorded_elements_follow_pypowervm(self):
        order = list(storage_wrappers._VDISK_EL_ORDER)
        document = self.get(
            'VirtualIOServer', self.vios.uuid, 'VolumeGroup', self.vg.uuid
        )
        names = child_names(next(document.iter('{*}VirtualDisk')))[1:]
        self.assertIn('FileFormat', names)
        self.assertEqual(sorted(names, key=order.index), names)

    def test_headers_match_the_recordings(self):
        answer = self.adapter.read('Tier')
        headers = {
            name.lower(): value
            for name, value in pvmhttp.PVMFile('tier.txt').headers.items()
        }
        for name in ('X-MC-Type', 'Content-Type'):
            self.assertEqual(headers[name.lower()], answer.headers[name])
        self.assertRegex(headers['etag'], r'^-?\d+$')
        self.assertRegex(answer.headers['ETag'], r'^-?\d+$')

    def test_self_links_repeat_the_group(self):
        # As recorded in tier.txt.
        for group in ('None', 'ViosSCSIMapping,ViosStorage'):
            document = self.get('VirtualIOServer', xag=group.split(','))
            links = [
                element.get('href')
                for place, element in places(document)
                if place[0] in ('feed', 'entry')
                and place[-1] == 'link'
                and element.get('rel') == 'SELF'
            ]
            self.assertEqual(2, len(links))
            for link in links:
                self.assertTrue(link.endswith(f'?group={group}'), link)

    def test_wrappers_keep_what_they_read(self):
        # A document that went through a wrapper is still in order.
        facts = facts_of('VolumeGroup')
        vg = self.fresh_vg()
        vg.virtual_disks.append(
            storage_wrappers.VDisk.bld(self.adapter, 'late', 1)
        )
        self.assertEqual(
            [],
            list(
                problems(
                    etree.fromstring(vg.update().entry.element.toxmlstring()),
                    facts,
                )
            ),
        )


class ComparisonTestCase(FidelityCase):
    """The comparison itself must see what is wrong."""

    def setUp(self):
        super().setUp()
        self.facts = facts_of('VolumeGroup')
        self.document = self.get(
            'VirtualIOServer', self.vios.uuid, 'VolumeGroup'
        )
        self.assertEqual([], list(problems(self.document, self.facts)))

    def broken(self, tag, breakage):
        document = copy.deepcopy(self.document)
        breakage(next(document.iter('{*}' + tag)))
        return list(problems(document, self.facts))

    def test_a_wrong_order_is_found(self):
        def swap(element):
            element.addprevious(element.getnext())

        self.assertEqual(
            [
                'VolumeGroup/VirtualDisks/VirtualDisk: DiskName before '
                'DiskLabel'
            ],
            self.broken('DiskLabel', swap),
        )
        self.assertNotEqual([], self.broken('title', swap))
        self.assertNotEqual([], self.broken('author', swap))

    def test_wrong_attributes_are_found(self):
        def drop(name, element):
            del element.attrib[name]

        for name in ('kb', 'kxe'):
            self.assertNotEqual(
                [], self.broken('FreeSpace', functools.partial(drop, name))
            )
        self.assertNotEqual(
            [],
            self.broken('FreeSpace', lambda element: element.set('kb', 'CUD')),
        )
        self.assertNotEqual(
            [],
            self.broken(
                'VirtualDisk', functools.partial(drop, 'schemaVersion')
            ),
        )

    def test_a_wrong_namespace_is_found(self):
        def move(element):
            element.tag = 'FreeSpace'

        self.assertNotEqual([], self.broken('FreeSpace', move))

    def test_missing_metadata_is_found(self):
        self.assertNotEqual(
            [],
            self.broken(
                'VirtualDisk', lambda element: element.remove(element[0])
            ),
        )

    def test_an_unknown_element_is_found(self):
        self.assertNotEqual(
            [],
            self.broken(
                'FreeSpace',
                lambda element: element.addnext(etree.Element('FreeSpaces')),
            ),
        )
