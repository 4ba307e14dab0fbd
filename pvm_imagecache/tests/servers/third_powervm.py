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

"""A third, unrelated PowerVM REST server, for tests.

It shares no code with the simulator and with ``other_powervm``, and decides
otherwise than both of them wherever the protocol leaves a choice. On purpose:

* connections are kept, answers are chunked, and compressed if a client
  accepts gzip; there are only token files, no passwords;
* UUIDs are in lower case, elements are in default namespaces and indented,
  and some unknown elements;
* ETags are numbers of all changes of the host, with a ``W/`` before them;
* an update without If-Match is merged; one with a stale If-Match is refused
  (412), and so is one while another one runs (409), whatever its ETag is;
* a read within a moment after an update may show the state before it;
* capacities are multiples of 96 MiB, so that a GiB becomes 1.03125, and are
  given with six decimals; there is AvailableSize, but no FreeSpace;
* all disks answer a path as their DiskName, the newest one first; labels are
  kept; names are unique in their volume group only;
* copies run side by side;
* two uploads run at a time, a third one is refused (503);
* a File entry vanishes with the end of its upload;
* a volume group has at most 40 logical volumes;
* refusals have no codes of AIX.
"""

import argparse
import concurrent.futures
import dataclasses
import decimal
import gzip
import hashlib
import http.server
import itertools
import json
import math
import os
import re
import secrets
import signal
import sys
import threading
import time
import traceback
from typing import Any
from typing import Final
from urllib import parse
import uuid
from xml.dom import minidom
from xml.etree import ElementTree
from xml.sax import saxutils

_MC: Final = 'http://www.ibm.com/xmlns/systems/power/firmware/%s/mc/2012_10/'
_GIB: Final = 1 << 30
_PARTITION: Final = 96 << 20
_CHUNK: Final = 7001
_MOST_VOLUMES: Final = 40
_MOST_UPLOADS: Final = 2
_MOST_FILES: Final = 100
#: Seconds that copies take at least, as long as the host may be busy.
_LEAST_COPY: Final = 0.5
#: Seconds for which a read may show what was before an update.
_LAG: Final = 0.03
_NAME: Final = re.compile(r'[A-Za-z0-9_.]{1,15}')


class Refused(Exception):
    """A request is answered with a status and a message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclasses.dataclass(eq=False)
class Volume:
    name: str
    udid: str
    size: int
    path: str
    label: str = ''
    kind: str = ''


@dataclasses.dataclass(eq=False)
class Group:
    name: str
    uuid: str
    size: int
    volumes: list[Volume] = dataclasses.field(default_factory=list)
    etag: int = 1
    # What reads show until then.
    before: tuple[float, int, list[Volume]] = (0.0, 1, [])
    turn: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    @property
    def free(self) -> int:
        return self.size - sum(volume.size for volume in self.volumes)

    def shown(self) -> tuple[int, list[Volume]]:
        until, etag, volumes = self.before
        if time.monotonic() < until:
            return etag, volumes
        return self.etag, self.volumes

    def become(self, volumes: list[Volume], etag: int) -> None:
        self.before = time.monotonic() + _LAG, self.etag, self.volumes
        self.volumes, self.etag = volumes, etag


@dataclasses.dataclass(eq=False)
class Entry:
    uuid: str
    name: str
    target: str
    size: int | None
    digest: str
    arrived: int = 0


def _new_uuid() -> str:
    # Partitions begin with a digit below 8.
    return '7' + str(uuid.uuid4())[1:]


def _find_text(node: ElementTree.Element, name: str) -> str | None:
    found = node.find(f'.//{{*}}{name}')
    if found is None:
        return None
    return (found.text or '').strip() or None


def _gib(size: int) -> str:
    return f'{decimal.Decimal(size) / _GIB:.6f}'


def _rounded(text: str | None) -> int:
    try:
        size = decimal.Decimal(text or '') * _GIB
    except decimal.InvalidOperation:
        raise Refused(400, f'{text!r} is not a capacity') from None
    if not 0 < size < 1 << 60:
        raise Refused(400, f'{text!r} is not a capacity')
    return math.ceil(size / _PARTITION) * _PARTITION


def _element(name: str, *content: object, **attributes: str) -> str:
    """An element of text, or of other elements."""
    text = ''.join(
        each
        if isinstance(each, str) and each.startswith('<')
        else saxutils.escape(str(each))
        for each in content
    )
    added = ''.join(
        f' {key}={saxutils.quoteattr(value)}'
        for key, value in attributes.items()
    )
    return f'<{name}{added}>{text}</{name}>'


class Host:
    """The state, and what requests do with it."""

    def __init__(self, directory: str, capacity: int) -> None:
        self.directory = directory
        os.makedirs(os.path.join(directory, 'tokens'), 0o700, exist_ok=True)
        self.lock = threading.RLock()
        self.tokens: dict[str, str] = {}
        self.entries: dict[str, Entry] = {}
        self.log: list[str] = []
        self.system = _new_uuid()
        self.vios = _new_uuid()
        self.groups = [
            Group(name, _new_uuid(), capacity * _GIB)
            for name in ('cachevg', 'sparevg')
        ]
        self._numbers = itertools.count(1)
        self._changes = itertools.count(2)
        self._uploads = threading.BoundedSemaphore(_MOST_UPLOADS)
        self._copiers = concurrent.futures.ThreadPoolExecutor(8)

    # -- sessions

    def log_on(self, body: ElementTree.Element) -> str:
        if _find_text(body, 'Password') is not None:
            raise Refused(401, 'Log on with a token file.')
        token = secrets.token_urlsafe(32)
        path = os.path.join(
            os.path.realpath(self.directory), 'tokens', _new_uuid()
        )
        with open(
            os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), 'w'
        ) as file:
            file.write(token)
        self.tokens[token] = path
        return _element(
            'LogonResponse',
            _element('X-API-SessionFile', path),
            xmlns=_MC % 'web',
            schemaVersion='V1_11_0',
        )

    def log_off(self, token: str) -> None:
        os.unlink(self.tokens.pop(token))

    # -- documents

    def system_xml(self) -> tuple[str, str, str, str]:
        body = _element('SystemName', 'the third') + _element(
            'State', 'operating'
        )
        return 'ManagedSystem', self.system, body, 'W/"1"'

    def vios_xml(self) -> tuple[str, str, str, str]:
        body = (
            _element('OperatingSystemVersion', 'VIOS 4.1.0.0')
            + _element('PartitionID', 1)
            + _element('PartitionName', 'the_vios')
            + _element('PartitionState', 'running')
            + _element('PartitionUUID', self.vios)
            + _element('ResourceMonitoringControlState', 'active')
            + _element('WhatNobodyKnows', _element('Deep', 'water'))
        )
        return 'VirtualIOServer', self.vios, body, 'W/"1"'

    def group_xml(
        self, group: Group, current: bool = False
    ) -> tuple[str, str, str, str]:
        etag, volumes = (
            (group.etag, group.volumes) if current else group.shown()
        )
        free = group.size - sum(volume.size for volume in volumes)
        disks = ''.join(
            _element(
                'VirtualDisk',
                _element('DiskCapacity', _gib(volume.size)),
                _element('DiskLabel', volume.label) if volume.label else '',
                _element('DiskName', f'/var/vio/pools/{volume.name}'),
                _element('Temperature', 'warm'),
                _element('UniqueDeviceID', volume.udid),
                schemaVersion='V1_11_0',
            )
            for volume in reversed(volumes)
        )
        body = (
            _element('AvailableSize', _gib(free))
            + _element('GroupCapacity', _gib(group.size))
            + _element('GroupName', group.name)
            + _element('MaximumLogicalVolumes', _MOST_VOLUMES)
            + _element('UniqueDeviceID', group.uuid)
            + _element('VirtualDisks', disks, schemaVersion='V1_11_0')
        )
        return 'VolumeGroup', group.uuid, body, f'W/"{etag}"'

    def entry_xml(self, entry: Entry) -> tuple[str, str, str, str]:
        body = (
            _element('Filename', entry.name)
            + _element('FileUUID', entry.uuid)
            + _element('CurrentFileSizeInBytes', entry.arrived)
            + _element('FileEnumType', 'BROKERED_DISK_IMAGE')
            + _element('TargetVirtualIOServerUUID', self.vios)
            + _element('TargetDeviceUniqueDeviceID', entry.target)
        )
        return 'File', entry.uuid, body, ''

    # -- changes

    def group(self, key: str) -> Group:
        for group in self.groups:
            if group.uuid == key.lower():
                return group
        raise Refused(404, f'no volume group {key}')

    def volume(self, udid: str | None) -> Volume | None:
        return next(
            (
                volume
                for group in self.groups
                for volume in group.volumes
                if volume.udid == udid
            ),
            None,
        )

    def update(
        self, group: Group, body: ElementTree.Element, condition: str | None
    ) -> None:
        if not group.turn.acquire(blocking=False):
            raise Refused(409, 'another change of it has not ended yet')
        try:
            with self.lock:
                if condition not in (None, f'W/"{group.etag}"'):
                    raise Refused(412, 'it is not what it was')
                kept, new = self._planned(group, body, condition is None)
            made = self._made(new)
            with self.lock:
                gone = [each for each in group.volumes if each not in kept]
                group.become(kept + made, next(self._changes))
            for volume in gone:
                os.unlink(volume.path)
        finally:
            group.turn.release()

    def _planned(
        self, group: Group, body: ElementTree.Element, merge: bool
    ) -> tuple[list[Volume], list[tuple[Volume, Volume | None]]]:
        """The volumes that stay, and new ones with what they copy."""
        known = {volume.udid: volume for volume in group.volumes}
        kept, new = [], []
        for item in body.iterfind('.//{*}VirtualDisk'):
            udid = _find_text(item, 'UniqueDeviceID')
            if udid is None:
                new.append(self._new(group, item))
            elif udid in known:
                kept.append(known[udid])
            else:
                raise Refused(400, f'no disk {udid}')
        if merge:
            kept = list(group.volumes)
        names = [each.name for each in (*kept, *(made for made, _ in new))]
        if len(names) != len(set(names)):
            raise Refused(500, 'that name is given to something else')
        if new and len(names) > _MOST_VOLUMES:
            raise Refused(500, f'more than {_MOST_VOLUMES} volumes')
        free = group.size - sum(volume.size for volume in kept)
        if new and sum(made.size for made, _ in new) > free:
            raise Refused(500, f'only {_gib(free)} left in {group.name}')
        return kept, new

    def _new(
        self, group: Group, item: ElementTree.Element
    ) -> tuple[Volume, Volume | None]:
        name = (_find_text(item, 'DiskName') or '').rpartition('/')[2]
        if not _NAME.fullmatch(name):
            raise Refused(400, f'not a name: {name!r}')
        number = next(self._numbers)
        made = Volume(
            name,
            f'{hashlib.md5(str(number).encode()).hexdigest().upper()}',
            _rounded(_find_text(item, 'DiskCapacity')),
            os.path.join(self.directory, f'volume-{number}'),
            _find_text(item, 'DiskLabel') or '',
        )
        base = _find_text(item, 'BaseImage')
        source = self.volume(base)
        if base and source is None:
            raise Refused(400, f'nothing to copy: {base}')
        if source and source.size > made.size:
            raise Refused(400, 'a copy is not smaller than its source')
        return made, source

    def _made(self, new: list[tuple[Volume, Volume | None]]) -> list[Volume]:
        for made, _ in new:
            with open(made.path, 'xb') as file:
                file.truncate(made.size)
        # Side by side.
        copies = [
            self._copiers.submit(_copy, source.path, made.path)
            for made, source in new
            if source
        ]
        if copies:
            time.sleep(_LEAST_COPY)
        for copy in copies:
            copy.result()
        return [made for made, _ in new]

    # -- uploads

    def create_entry(self, body: ElementTree.Element) -> Entry:
        with self.lock:
            if len(self.entries) >= _MOST_FILES:
                raise Refused(507, 'too many files')
            size = _find_text(body, 'ExpectedFileSizeInBytes')
            entry = Entry(
                str(uuid.uuid4()),
                _find_text(body, 'Filename') or '',
                _find_text(body, 'TargetDeviceUniqueDeviceID') or '',
                int(size) if size else None,
                (_find_text(body, 'SHA256') or '').lower(),
            )
            if self.volume(entry.target) is None:
                raise Refused(400, f'no disk {entry.target}')
            self.entries[entry.uuid] = entry
            return entry

    def entry(self, key: str) -> Entry:
        try:
            return self.entries[key.lower()]
        except KeyError:
            raise Refused(404, f'no file {key}') from None

    def upload(self, entry: Entry, pieces: Any) -> None:
        if not self._uploads.acquire(blocking=False):
            raise Refused(503, 'enough others are uploading')
        try:
            self._receive(entry, pieces)
        finally:
            self._uploads.release()
            self.entries.pop(entry.uuid, None)

    def _receive(self, entry: Entry, pieces: Any) -> None:
        volume = self.volume(entry.target)
        if volume is None:
            raise Refused(400, f'no disk {entry.target}')
        digest = hashlib.sha256()
        entry.arrived = 0
        with open(volume.path, 'r+b') as file:
            for piece in pieces:
                if entry.arrived + len(piece) > volume.size:
                    raise Refused(400, 'more than the disk can hold')
                file.write(piece)
                digest.update(piece)
                entry.arrived += len(piece)
        if entry.size not in (None, entry.arrived):
            raise Refused(
                400, f'{entry.arrived} bytes instead of {entry.size}'
            )
        if entry.digest not in ('', digest.hexdigest()):
            raise Refused(400, 'the checksum is another one')


def _copy(source: str, target: str) -> None:
    with open(source, 'rb') as reader, open(target, 'r+b') as writer:
        while piece := reader.read(1 << 20):
            if piece.count(0) == len(piece):
                writer.seek(len(piece), os.SEEK_CUR)
            else:
                writer.write(piece)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True
    host: Host

    def log_message(self, *_: object) -> None:
        pass

    def _handle(self) -> None:
        self.path, _, query = self.path.partition('?')
        self._query = f'?{query}' if query else ''
        self._unread = self._pieces()
        parts = [parse.unquote(each) for each in self.path.split('/')[1:]]
        if parts[0] == 'third':
            self._send(200, self._inside(parts[1]).encode())
            return
        self.host.log.append(f'{self.command} {self.path}')
        try:
            status, text, headers = self._answer(parts)
        except Refused as error:
            status, headers = error.status, {}
            text = self._refusal(error)
        except ConnectionError:
            raise
        except Exception as error:
            traceback.print_exc()
            status, headers = 500, {}
            text = self._refusal(Refused(500, repr(error)))
        for _ in self._unread:
            pass
        self._send(status, text.encode(), headers)

    do_GET = do_PUT = do_POST = do_DELETE = _handle

    def _inside(self, what: str) -> str:
        host = self.host
        with host.lock:
            return json.dumps(
                {
                    'files': len(host.entries),
                    'log': host.log,
                    'disks': [
                        {
                            'name': volume.name,
                            'udid': volume.udid,
                            'vg': group.name,
                            'vios': 'the_vios',
                            'path': volume.path,
                            'size': volume.size,
                        }
                        for group in host.groups
                        for volume in group.volumes
                    ],
                }[what]
            )

    def _answer(self, parts: list[str]) -> tuple[int, str, dict[str, str]]:
        host, token = self.host, self.headers.get('X-API-Session', '')
        where = parts[2:]
        if (self.command, where) == ('PUT', ['web', 'Logon']):
            return 200, host.log_on(self._xml()), {}
        if token not in host.tokens:
            raise Refused(401, 'log on first')
        match [self.command, *where]:
            case ['DELETE', 'web', 'Logon']:
                host.log_off(token)
            case ['GET', 'uom', 'ManagedSystem']:
                return self._feed('uom', host.system_xml())
            case ['GET', 'uom', 'VirtualIOServer']:
                return self._feed('uom', host.vios_xml())
            case ['GET', 'uom', 'VirtualIOServer', key]:
                self._check_vios(key)
                return self._one('uom', host.vios_xml())
            case ['GET', 'uom', 'VirtualIOServer', key, 'VolumeGroup']:
                self._check_vios(key)
                groups = [host.group_xml(each) for each in host.groups]
                return self._feed('uom', *groups)
            case [method, 'uom', 'VirtualIOServer', key, 'VolumeGroup', vg]:
                self._check_vios(key)
                group = host.group(vg)
                if method == 'POST':
                    host.update(
                        group, self._xml(), self.headers.get('If-Match')
                    )
                return self._one(
                    'uom', host.group_xml(group, method == 'POST')
                )
            case ['GET', 'web', 'File']:
                with host.lock:
                    entries = list(host.entries.values())
                return self._feed('web', *map(host.entry_xml, entries))
            case ['PUT', 'web', 'File']:
                entry = host.create_entry(self._xml())
                return self._one('web', host.entry_xml(entry))
            case ['PUT', 'web', 'File', 'contents', key]:
                host.upload(host.entry(key), self._unread)
            case ['DELETE', 'web', 'File', key]:
                del host.entries[host.entry(key).uuid]
            case _:
                raise Refused(404, 'nothing there')
        return 204, '', {}

    def _check_vios(self, key: str) -> None:
        if key.lower() != self.host.vios:
            raise Refused(404, f'no VIOS {key}')

    # -- bodies

    def _pieces(self) -> Any:
        """The body of the request, as it arrives."""
        if 'chunked' not in self.headers.get('Transfer-Encoding', ''):
            yield from self._read(int(self.headers.get('Content-Length', 0)))
            return
        while size := int(self.rfile.readline().split(b';')[0], 16):
            yield from self._read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _read(self, size: int) -> Any:
        while size:
            piece = self.rfile.read1(min(size, 1 << 18))
            if not piece:
                raise ConnectionResetError('the client is gone')
            size -= len(piece)
            yield piece

    def _xml(self) -> ElementTree.Element:
        try:
            return ElementTree.fromstring(b''.join(self._unread))
        except ElementTree.ParseError as error:
            raise Refused(400, f'not XML: {error}') from None

    # -- answers

    def _atom(
        self, service: str, document: tuple[str, str, str, str], path: str
    ) -> str:
        kind, key, body, etag = document
        link = (
            f'<link rel="SELF" href="http://{self.headers["Host"]}{path}'
            f'{saxutils.escape(self._query)}"/>'
            if service == 'uom'
            else ''
        )
        tag = (
            f'<etag xmlns="{_MC % "uom"}">{saxutils.escape(etag)}</etag>'
            if etag
            else ''
        )
        metadata = _element(
            'Metadata', _element('Atom', f'<AtomID>{key}</AtomID>')
        )
        content = _element(
            kind, metadata + body, xmlns=_MC % service, schemaVersion='V1_11_0'
        )
        mime = f'application/vnd.ibm.powervm.{service}+xml; type={kind}'
        return (
            f'<entry xmlns="http://www.w3.org/2005/Atom"><id>{key}</id>{link}'
            f'{tag}<content type="{mime}">{content}</content></entry>'
        )

    def _one(
        self, service: str, document: tuple[str, str, str, str]
    ) -> tuple[int, str, dict[str, str]]:
        path = self.path
        if self.command == 'PUT':
            path = f'{path}/{document[1]}'
        return (
            200,
            self._atom(service, document, path),
            {'ETag': document[3]} if document[3] else {},
        )

    def _feed(
        self, service: str, *documents: tuple[str, str, str, str]
    ) -> tuple[int, str, dict[str, str]]:
        if not documents:
            return 204, '', {}
        entries = [
            self._atom(service, each, f'{self.path}/{each[1]}')
            for each in documents
        ]
        return (
            200,
            '<feed xmlns="http://www.w3.org/2005/Atom">'
            f'<id>{_new_uuid()}</id>{"".join(entries)}</feed>',
            {},
        )

    def _refusal(self, error: Refused) -> str:
        body = (
            _element('HTTPStatus', error.status)
            + _element('RequestURI', self.path)
            + _element('ReasonCode', 'Refused')
            + _element('Message', error.message)
        )
        return self._atom(
            'web', ('HttpErrorResponse', _new_uuid(), body, ''), self.path
        )

    def _send(
        self, status: int, body: bytes, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        self.send_header('X-MC-Type', 'PVM')
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status == 204:
            self.end_headers()
            return
        if body.startswith(b'<'):
            body = minidom.parseString(body).toprettyxml(' ').encode()
            self.send_header('Content-Type', 'application/atom+xml')
        if 'gzip' in self.headers.get('Accept-Encoding', ''):
            body = gzip.compress(body)
            self.send_header('Content-Encoding', 'gzip')
        self.send_header('Transfer-Encoding', 'chunked')
        self.end_headers()
        for at in range(0, len(body), _CHUNK):
            piece = body[at : at + _CHUNK]
            self.wfile.write(b'%x\r\n%s\r\n' % (len(piece), piece))
        self.wfile.write(b'0\r\n\r\n')


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        pass


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--state-dir', required=True)
    parser.add_argument('--port', type=int, default=0)
    parser.add_argument('--ready-file')
    parser.add_argument('--capacity', type=int, default=256)
    parser.add_argument('--watch-stdin', action='store_true')
    parsed = parser.parse_args(argv)
    Handler.host = Host(parsed.state_dir, parsed.capacity)
    server = Server(('127.0.0.1', parsed.port), Handler)
    url = f'http://127.0.0.1:{server.server_port}'

    def end(*_: object) -> None:
        threading.Thread(target=server.shutdown, daemon=True).start()

    def watch() -> None:
        while os.read(0, 4096):
            pass
        end()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    if parsed.watch_stdin:
        threading.Thread(target=watch, daemon=True).start()
    if parsed.ready_file:
        temporary = f'{parsed.ready_file}.part'
        with open(temporary, 'w') as file:
            file.write(url)
        os.rename(temporary, parsed.ready_file)
    print(url, flush=True)
    server.serve_forever(0.1)
    return 0


if __name__ == '__main__':
    sys.exit(main())
