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

"""A pool and a Glance in memory, that keep our own contracts.

Disks hold real bytes, so that a test can look at what a deploy has written.
"""

import contextlib
import itertools
import threading

from oslo_utils import units

from pvm_imagecache import exceptions
from pvm_imagecache.catalog import facade
from pvm_imagecache.drivers import base
from pvm_imagecache.glance import signatures
from pvm_imagecache.glance import source as image_source
from pvm_imagecache.glance import stream as image_stream


class FakeDriver(base.DiskDriver):
    """A pool whose disks are byte strings.

    :ivar before: by name of a method, what is called, with its arguments,
        before it does anything: to raise, or to come between.
    :ivar left: whether an upload has left something behind.
    :ivar calls: the names of the methods called, in their order.
    """

    api_version = base.API_VERSION
    capabilities = frozenset({base.Capability.IMAGE_CACHE})
    #: Whether the pool tells what a disk was labelled with.
    keeps_labels = True
    #: Characters that the pool keeps of a label; None for all.
    label_length = None

    def __init__(self, gib=100):
        self.before = {}
        self.calls = []
        self.closed = False
        self.uploads = set()
        self.left = False
        self.taken = set()
        self._capacity = gib * units.Gi
        self._guard = threading.RLock()
        self._serial = itertools.count(1)
        self._disks = {}
        self._contents = {}

    @classmethod
    def from_conf(cls, conf):
        return cls()

    # -- for tests

    def names(self):
        """The names of all disks, sorted."""
        with self._guard:
            return sorted(self._disks)

    def content(self, name, size=None):
        """The first bytes of a disk, or all that were ever written."""
        with self._guard:
            content = bytes(self._contents[self._disks[name].udid])
        return content if size is None else content[:size].ljust(size, b'\0')

    def add(self, name, gib=1, content=b'', label=''):
        """Make a disk behind everybody's back."""
        with self._guard:
            disk = base.Disk(
                name,
                f'udid{next(self._serial)}',
                gib * units.Gi,
                label[: self.label_length] if self.keeps_labels else '',
            )
            self._disks[name] = disk
            self._contents[disk.udid] = bytearray(content)
            return disk

    def vanish(self, name):
        """Delete a disk behind everybody's back."""
        with self._guard:
            del self._contents[self._disks.pop(name).udid]

    def _called(self, name, *args):
        self.calls.append(name)
        if name in self.before:
            self.before[name](*args)

    # -- the contract

    def pool(self):
        with self._guard:
            used = sum(disk.capacity for disk in self._disks.values())
            return base.Pool(
                id='pool',
                name='the pool',
                capacity=self._capacity,
                free=self._capacity - used,
            )

    def pool_id(self):
        return 'pool'

    def snapshot(self):
        self._called('snapshot')
        with self._guard:
            return base.PoolSnapshot(self.pool(), list(self._disks.values()))

    def mapped(self, disks):
        self._called('mapped')
        return {disk for disk in disks if disk.name in self.taken}

    def find_disk(self, name):
        return self._disks.get(name)

    def create_disks(self, new):
        self._called('create_disks', new)
        with self._guard:
            names = [each.name for each in new]
            for name in names:
                if name in self._disks or names.count(name) > 1:
                    raise exceptions.DiskExists(name=name, pool='the pool')
            gib = [-(-each.size // units.Gi) for each in new]
            if sum(gib) * units.Gi > self.pool().free:
                raise exceptions.NotEnoughSpace(
                    pool='the pool',
                    free=self.pool().free,
                    needed=sum(gib),
                    needed_bytes=sum(gib) * units.Gi,
                    what=new,
                )
            return [
                self.add(each.name, size, label=each.label or '')
                for each, size in zip(new, gib, strict=True)
            ]

    def upload(self, disk, pieces, size, sha256=None):
        self._called('upload', disk)
        if disk.udid not in self._contents:
            raise exceptions.PowerVMRequestFailed(
                action='take the data', reason='there is no such disk'
            )
        # What a dead uploader leaves behind.
        self.uploads.add(disk.udid)
        content = self._contents[disk.udid]
        try:
            for piece in pieces:
                self._called('piece', disk, piece)
                content += piece
            if len(content) != size:
                raise exceptions.PowerVMRequestFailed(
                    action='take the data', reason='it has another size'
                )
        except Exception:
            self.uploads.discard(disk.udid)
            raise
        self.uploads.discard(disk.udid)

    def copy_disk(self, source, new, still_valid=lambda: True):
        self._called('copy_disk', source, new)
        with self._guard:
            found = self._disks.get(source.name)
            if found is None or found.udid != source.udid:
                raise exceptions.BaseImageGone(
                    name=source.name, reason='it is not there'
                )
            if not still_valid():
                raise exceptions.BaseImageGone(
                    name=source.name, reason='it was given up'
                )
            (disk,) = self.create_disks([new])
            self._contents[disk.udid] += self._contents[source.udid]
            return disk

    def upload_targets(self):
        return list(self.uploads)

    def has_stale_uploads(self):
        return self.left

    def remove_uploads(self, disk):
        self._called('remove_uploads', disk)
        self.uploads.discard(disk.udid)

    def delete_disks(self, disks):
        return [self._delete(disk) for disk in disks]

    def _delete(self, disk):
        try:
            self._called('delete', disk)
        except exceptions.PVMImageCacheError as error:
            return base.Deletion(disk, error)
        with self._guard:
            found = self._disks.get(disk.name)
            if found and found.udid == disk.udid:
                self.vanish(disk.name)
        return base.Deletion(disk)

    def close(self):
        self.closed = True


class FakePool(FakeDriver):
    """A pool that keeps images itself."""

    capabilities = frozenset({base.Capability.OWN_IMAGE_CACHE})

    def __init__(self):
        super().__init__()
        self.images = {}

    def create_disk_from_image(self, image, new, open_image):
        key = (image.id, image.signature)
        fetched = key not in self.images
        if fetched:
            with open_image() as pieces:
                self.images[key] = b''.join(pieces)
        return self.add(new.name, content=self.images[key]), fetched


class FakeSource(image_source.ImageSource):
    """A Glance whose images are lists of parts.

    :ivar opened: the ids of the images whose data was read.
    :ivar asked: which images somebody wanted to know of that he may read.
    :ivar refusal: raised then.
    """

    def __init__(self):
        super().__init__(None)
        self.opened = []
        self.asked = []
        self.refusal = None
        self._bodies = {}

    def put(self, image, *parts):
        """What Glance sends for an image: bytes, or errors to raise."""
        self._bodies[image.id] = parts

    def check_readable(self, image, context=None):
        self.asked.append((image.id, context))
        if self.refusal:
            raise self.refusal

    @contextlib.contextmanager
    def open(self, image, context=None, verifier=None):
        self.opened.append(image.id)
        stream = image_stream.ImageStream(
            image, lambda position: self._body(image, position), verifier
        )
        try:
            stream.begin()
            yield stream
        finally:
            stream.close()

    def _body(self, image, position):
        for part in self._bodies[image.id]:
            if callable(part):
                part()
            elif isinstance(part, BaseException):
                raise part
            else:
                skipped = min(position, len(part))
                position -= skipped
                yield part[skipped:]


class Verifier:
    """Accepts the signature of one content.

    :ivar taken: the bytes so far.
    :ivar verified: how often the signature was asked for.
    :ivar fails_with: raised instead of taking bytes.
    """

    def __init__(self, content):
        self._content = content
        self.taken = bytearray()
        self.verified = 0
        self.fails_with = None

    def update(self, data):
        if self.fails_with:
            raise self.fails_with
        self.taken += data

    def verify(self):
        self.verified += 1
        if self.taken != self._content:
            raise exceptions.ImageSignatureWrong(
                image='image', reason='the signature is wrong'
            )


class Signatures:
    """What a cloud requires of signatures, and what it would accept.

    :ivar required: whether all images must be signed.
    :ivar content: what the signature of any image is of.
    :ivar trusted: IDs of certificates that accept the signing certificate.
    :ivar asked: what was asked: image, context and trusted certificates.
    :ivar verifiers: that were made.
    """

    def __init__(self, content, required=True):
        self.required = required
        self.content = content
        self.trusted = {'root'}
        self.asked = []
        self.verifiers = []

    def requirement_for(self, image, context, trusted):
        self.asked.append((image.id, context, tuple(trusted)))
        if not (self.required or trusted):
            return None
        signatures.check_signed(image)
        if trusted and not self.trusted & set(trusted):
            raise exceptions.ImageSignatureInvalid(
                image=image.id, reason='the certificate is not trusted'
            )
        return self

    def verifier(self):
        made = Verifier(self.content)
        self.verifiers.append(made)
        return made


def chunks(content):
    """Cut bytes into parts that streams leave as they are."""
    size = image_stream.CHUNK_SIZE
    return [
        content[start : start + size] for start in range(0, len(content), size)
    ]


class BrokenCatalog(facade.Catalog):
    """A catalog some of whose methods fail.

    :ivar broken: their names: ``base_images.get``.
    """

    def __init__(self, path, who=None):
        super().__init__(path, who)
        self.broken = set()
        for subject in (
            'base_images',
            'failed_downloads',
            'instance_disks',
            'history',
            'identity',
            'image_metadata',
            'platform_facts',
            'pools',
        ):
            self._break(subject)

    def _break(self, subject):
        target = getattr(self, subject)
        for name, found in vars(type(target)).items():
            if callable(found) and not name.startswith('_'):
                setattr(
                    target,
                    name,
                    self._breakable(
                        f'{subject}.{name}', getattr(target, name)
                    ),
                )

    def _breakable(self, name, method):
        def call(*args, **kwargs):
            if name in self.broken:
                raise exceptions.CatalogError(path=self.path, reason=name)
            return method(*args, **kwargs)

        return call


def refused_uploads(count):
    """Return a function that refuses so many uploads."""
    left = [None] * count

    def refuse(*_):
        if left:
            left.pop()
            raise exceptions.UploadFailed(
                action='take the data', reason='0 bytes written'
            )

    return refuse


def refusal(*_):
    """Refuse a request as PowerVM does."""
    raise exceptions.PowerVMRequestFailed(action='do it', reason='no')
