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

"""The REST API: which path means what, and the answers.

Everything that REST types have in common is done here, once: feeds, entries,
searches, quick properties, entity tags and their conditions.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import json
import re
import urllib.parse
import uuid as uuidlib

from pvm_imagecache.simulator import atom
from pvm_imagecache.simulator import body as body_module
from pvm_imagecache.simulator import errors
from pvm_imagecache.simulator import files
from pvm_imagecache.simulator import jobs
from pvm_imagecache.simulator import resource
from pvm_imagecache.simulator import sessions
from pvm_imagecache.simulator import settings as settings_module

PREFIX = '/rest/api/'
# Anyone may send it.
_LARGEST_LOGON = 64 << 10
_VERBS = {'PUT': 'create', 'POST': 'update', 'DELETE': 'delete'}
_SEARCH = re.compile(r"\((\w+)(==|!=)'(.*)'\)")
# Etags of these are taken by DELETE, whose path never has a ?group=.
_DELETE_GROUPS = ('', 'None', 'All')


@dataclasses.dataclass(frozen=True)
class Route:
    """What a path stands for.

    :ivar kind: the name that logs and faults know it by.
    :ivar path: the entry's or feed's path, without suffix and query.
    :ivar suffix: ``search``, ``quick``, ``do``, ``cancel``, ``contents`` or
        empty.
    """

    kind: str
    path: str = ''
    type: str = ''
    uuid: str | None = None
    parent_type: str | None = None
    parent: str | None = None
    suffix: str = ''
    operation: str = ''


def route(method: str, target: str) -> Route:
    """The meaning of a request line. Never fails: there is kind Unknown."""
    path = urllib.parse.urlsplit(target).path.rstrip('/')
    parts = path.removeprefix(PREFIX).split('/')
    if not path.startswith(PREFIX) or len(parts) < 2:
        return Route('Unknown', path)
    return _route_web(method, path, parts[1:]) or _route_type(
        method, path, parts[1:]
    )


def _route_web(method: str, path: str, parts: list[str]) -> Route | None:
    match parts:
        case ['Logon']:
            return Route(f'Logon.{_VERBS.get(method, "get")}', path, 'Logon')
        case ['File', 'contents', uuid]:
            verb = 'download' if method == 'GET' else 'upload'
            return Route(f'File.{verb}', path, 'File', uuid, suffix='contents')
        case ['jobs', job, 'cancel']:
            return Route('Job.cancel', path, 'jobs', job, suffix='cancel')
        case ['jobs', job]:
            return Route(f'Job.{_VERBS.get(method, "get")}', path, 'jobs', job)
    return None


def _route_type(method: str, path: str, parts: list[str]) -> Route:
    suffix = operation = ''
    for word in ('search', 'quick', 'do'):
        if word in parts:
            at = parts.index(word)
            suffix, operation = word, '/'.join(parts[at + 1 :])
            path = path.rsplit(f'/{word}', 1)[0]
            parts = parts[:at]
            break
    if not 1 <= len(parts) <= 4:
        return Route('Unknown', path)
    root, root_uuid, child, child_uuid = ([*parts, None, None, None])[:4]
    parent_type, parent = (root, root_uuid) if child else (None, None)
    name, uuid = (child, child_uuid) if child else (root, root_uuid)
    assert name is not None
    if suffix == 'do':
        kind = 'Job.template' if method == 'GET' else 'Job.create'
    else:
        kind = f'{name}.' + (
            suffix or _VERBS.get(method, 'get' if uuid else 'feed')
        )
    return Route(
        kind,
        path,
        name,
        uuid,
        parent_type,
        parent,
        suffix,
        urllib.parse.unquote(operation),
    )


@dataclasses.dataclass(frozen=True)
class Request:
    """What the API needs to know of an HTTP request."""

    method: str
    target: str
    route: Route
    headers: body_module.Headers
    body: body_module.Body
    # Scheme and host of links in the answer.
    base: str
    work: resource.Work = dataclasses.field(default_factory=resource.Work)

    @property
    def group(self) -> str | None:
        """The ?group= as it was sent."""
        query = urllib.parse.urlsplit(self.target).query
        return urllib.parse.parse_qs(query).get('group', [None])[0]

    @property
    def groups(self) -> frozenset[str] | None:
        return _group_set(self.group or '')

    @property
    def token(self) -> str | None:
        return self.headers.get('X-API-Session')


@dataclasses.dataclass(frozen=True)
class Answer:
    """An HTTP answer; file is a path and size to be sent as the body."""

    status: int
    body: bytes = b''
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    file: tuple[str, int] | None = None


NO_CONTENT = Answer(204)


class Api:
    """Answers requests from the resources of a host."""

    def __init__(
        self,
        resources: collections.abc.Iterable[resource.Resource],
        upload_files: files.Files,
        host_jobs: jobs.Jobs,
        host_sessions: sessions.Sessions,
        settings: settings_module.Settings,
    ) -> None:
        self._settings = settings
        self._resources = {
            (item.layout.service, item.layout.name): item for item in resources
        }
        self._files = upload_files
        self._jobs = host_jobs
        self._sessions = host_sessions

    def handle(self, request: Request) -> Answer:
        """:raises RestError: when the request is refused."""
        if request.route.type == 'Logon':
            return self._log_on_or_off(request)
        self._sessions.check(request.token)
        if request.route.suffix == 'contents':
            return self._contents(request)
        if request.route.type == 'jobs' or request.route.suffix == 'do':
            return self._job(request)
        found = self._resource(request)
        if request.route.suffix == 'search':
            return self._search(found, request)
        if request.route.suffix == 'quick':
            return self._quick(found, request)
        if request.method == 'GET':
            return self._read(found, request)
        return self._change(found, request)

    def _log_on_or_off(self, request: Request) -> Answer:
        if request.method == 'PUT':
            return Answer(
                200,
                self._sessions.log_on(request.body.read(_LARGEST_LOGON)),
                {
                    'Content-Type': 'application/vnd.ibm.powervm.web+xml; '
                    'type=LogonResponse'
                },
            )
        self._sessions.check(request.token)
        if request.method != 'DELETE':
            raise errors.not_found('Logon takes PUT and DELETE.')
        self._sessions.forget(request.token)
        return NO_CONTENT

    def _contents(self, request: Request) -> Answer:
        uuid = request.route.uuid or ''
        if request.method == 'GET':
            return Answer(
                200,
                file=self._files.contents(uuid),
                headers={'Content-Type': 'application/octet-stream'},
            )
        self._files.upload(uuid, request.body)
        return NO_CONTENT

    def _job(self, request: Request) -> Answer:
        here = request.route
        if here.suffix == 'do':
            if here.uuid is not None:
                # The target must exist.
                self._resource(request).document(here.uuid, here.parent)
            if request.method == 'GET':
                return self._entry(
                    request, self._jobs.template(here.type, here.operation)
                )
            element = resource.parse(request.body.read(), 'JobRequest')
            document = self._jobs.create(
                here.type, here.uuid or '', here.operation, element
            )
        elif here.suffix == 'cancel':
            self._jobs.cancel(here.uuid or '')
            return NO_CONTENT
        elif request.method == 'DELETE':
            self._jobs.delete(here.uuid or '')
            return NO_CONTENT
        else:
            document = self._jobs.document(here.uuid or '')
        return self._entry(
            request,
            document,
            path=(f'{PREFIX}uom/jobs/{document.values["JobID"]}'),
        )

    def _resource(self, request: Request) -> resource.Resource:
        here = request.route
        service = request.target.removeprefix(PREFIX).partition('/')[0]
        found = self._resources.get((service, here.type))
        if found is None or here.parent_type not in found.parents:
            raise errors.not_found(f'There is no {here.type} at {here.path}.')
        if here.parent_type is not None:
            parent = self._resources[(service, here.parent_type)]
            parent.document(here.parent or '', None)
        return found

    def _search(self, found: resource.Resource, request: Request) -> Answer:
        match = _SEARCH.fullmatch(request.route.operation)
        if match is None or match[1] not in found.search_keys:
            raise errors.bad_request(
                f'{request.route.operation} is not a search that '
                f'{request.route.type} supports.'
            )
        key, operator, wanted = match.groups()
        return self._feed(
            found,
            request,
            [
                document
                for document in found.documents(None)
                if _matches(document.values.get(key), wanted)
                == (operator == '==')
            ],
        )

    def _quick(self, found: resource.Resource, request: Request) -> Answer:
        here = request.route
        if here.uuid is None:
            result: object = [
                _quick_values(document)
                for document in found.documents(here.parent)
            ]
        else:
            values = _quick_values(found.document(here.uuid, here.parent))
            result = values
            if here.operation not in ('', 'All'):
                if here.operation not in values:
                    raise errors.bad_request(
                        f'{here.operation} is not a quick property.'
                    )
                result = values[here.operation]
        return Answer(
            200,
            json.dumps(result).encode(),
            {'Content-Type': 'application/json'},
        )

    def _read(self, found: resource.Resource, request: Request) -> Answer:
        here = request.route
        if here.uuid is None:
            return self._feed(found, request, found.documents(here.parent))
        return self._entry(
            request,
            found.document(here.uuid, here.parent),
            links=found.has_links,
        )

    def _change(self, found: resource.Resource, request: Request) -> Answer:
        here = request.route
        if request.method == 'PUT':
            element = resource.parse(request.body.read(), here.type)
            uuid = found.create(element, here.parent)
            return self._entry(
                request,
                found.document(uuid, here.parent),
                path=f'{here.path}/{uuid}',
                links=found.has_links,
            )
        if here.uuid is None:
            raise errors.bad_request('The request needs a UUID.')
        if request.method == 'DELETE':
            found.delete(
                here.uuid,
                here.parent,
                self._check(found, request, _DELETE_GROUPS),
            )
            return NO_CONTENT
        element = resource.parse(request.body.read(), here.type)
        found.update(
            here.uuid,
            here.parent,
            resource.Change(
                element,
                request.groups,
                conditional=self._condition(request) is not None,
                check=self._check(found, request, (request.group or '',)),
                work=request.work,
            ),
        )
        return self._entry(
            request,
            found.document(here.uuid, here.parent),
            links=found.has_links,
        )

    def _condition(self, request: Request) -> str | None:
        if self._settings.if_match == settings_module.IfMatch.IGNORED:
            return None
        return request.headers.get('If-Match')

    def _check(
        self,
        found: resource.Resource,
        request: Request,
        groups: tuple[str, ...],
    ) -> resource.Check:
        wanted = self._condition(request)
        here = request.route

        def check() -> None:
            document = found.document(here.uuid or '', here.parent)
            if wanted is None or wanted == '*':
                return
            for group in groups:
                content = document.content(_group_set(group))
                if atom.etag(content, group) == wanted:
                    return
            raise errors.stale_etag()

        return check

    def _entry(
        self,
        request: Request,
        document: atom.Document,
        *,
        path: str | None = None,
        links: bool = True,
    ) -> Answer:
        content = document.content(request.groups)
        tag = atom.etag(content, request.group or '')
        if (
            request.method == 'GET'
            and request.headers.get('If-None-Match') == tag
        ):
            return Answer(304, headers={'ETag': tag})
        # Entries of the web service carry no entity tag of their own.
        shown = tag if document.layout.service == 'uom' else None
        text = atom.entry(
            document,
            content,
            shown,
            self._self_link(request, path or request.route.path, links),
            embedded=False,
        )
        return Answer(
            200,
            text.encode(),
            {'Content-Type': atom.CONTENT_TYPE, 'ETag': tag},
        )

    def _feed(
        self,
        found: resource.Resource,
        request: Request,
        documents: list[atom.Document],
    ) -> Answer:
        if not documents:
            return NO_CONTENT
        group = request.group or ''
        path = request.route.path
        tags = []
        entries = []
        for document in documents:
            content = document.content(request.groups)
            tags.append(atom.etag(content, group))
            entries.append(
                atom.entry(
                    document,
                    content,
                    tags[-1] if found.layout.service == 'uom' else None,
                    self._self_link(
                        request, f'{path}/{document.uuid}', found.has_links
                    ),
                    embedded=True,
                )
            )
        tag = atom.etag(','.join(tags), group)
        if request.headers.get('If-None-Match') == tag:
            return Answer(304, headers={'ETag': tag})
        text = atom.feed(
            str(uuidlib.uuid5(uuidlib.NAMESPACE_URL, path)),
            self._self_link(request, path, found.has_links),
            entries,
        )
        return Answer(
            200,
            text.encode(),
            {'Content-Type': atom.CONTENT_TYPE, 'ETag': tag},
        )

    @staticmethod
    def _self_link(request: Request, path: str, wanted: bool) -> list[str]:
        if not wanted:
            return []
        query = f'?group={request.group}' if request.group else ''
        return [atom.link('SELF', f'{request.base}{path}{query}')]


def _matches(value: object, wanted: str) -> bool:
    """Whether a search hits; pypowervm writes truth values as True."""
    if value in ('true', 'false'):
        return value == wanted.lower()
    return value == wanted


def _group_set(group: str) -> frozenset[str] | None:
    if group in ('', 'All'):
        return None
    return frozenset(group.split(',')) - {'None'}


def _quick_values(document: atom.Document) -> dict[str, object]:
    """Simple properties as JSON values; numbers unquoted."""
    values: dict[str, object] = {'UUID': document.uuid}
    for key, value in document.values.items():
        if isinstance(value, str):
            values[key] = int(value) if _is_number(value) else value
    return values


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and str(int(text)) == text
