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

"""Jobs: ``do/Operation`` templates, and what became of the requests.

An operation is carried out when it is requested; the job shows as running
for a while. Jobs live in memory only.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import threading
import time
import uuid as uuidlib

from lxml import etree

from pvm_imagecache.simulator import atom
from pvm_imagecache.simulator import errors
from pvm_imagecache.simulator import resource
from pvm_imagecache.simulator import schema
from pvm_imagecache.simulator import schema_tables
from pvm_imagecache.simulator import settings as settings_module

OK = 'COMPLETED_OK'
FAILED = 'COMPLETED_WITH_ERROR'
_RUNNING = 'RUNNING'

Parameters = dict[str, str]


class JobFailed(Exception):
    """An operation ends with an error; what its Results say."""

    def __init__(self, results: Parameters) -> None:
        super().__init__(results)
        self.results = results


# Carries an operation out on the UUID of its target; returns its Results.
Operation = collections.abc.Callable[[str, Parameters], Parameters]


@dataclasses.dataclass(frozen=True)
class _Job:
    id: str
    uuid: str
    kind: str
    target: str
    operation: str
    parameters: Parameters
    results: Parameters
    status: str
    started: float
    ends: float


class Jobs:
    """Operations by target type and name, and the jobs they became."""

    def __init__(
        self,
        operations: collections.abc.Mapping[tuple[str, str], Operation],
        settings: settings_module.Settings,
    ) -> None:
        self._operations = operations
        self._settings = settings
        self._lock = threading.Lock()
        self._jobs: dict[str, _Job] = {}
        self._next = int(time.time() * 1000)

    def _operation(self, kind: str, name: str) -> Operation:
        found = self._operations.get((kind, name))
        if found is None:
            raise errors.not_found(f'{kind} has no operation {name}.')
        return found

    def template(self, kind: str, operation: str) -> atom.Document:
        self._operation(kind, operation)
        return atom.Document(
            schema_tables.JOB_REQUEST,
            str(uuidlib.uuid4()),
            _request(kind, operation, {}),
            0,
            has_atom_id=False,
        )

    def create(
        self, kind: str, target: str, operation: str, element: etree._Element
    ) -> atom.Document:
        run = self._operation(kind, operation)
        parameters = {
            resource.text(item, 'ParameterName') or '': resource.text(
                item, 'ParameterValue'
            )
            or ''
            for item in resource.children(
                element, 'JobParameters/JobParameter'
            )
        }
        started = time.time()
        try:
            results, status = run(target, parameters), OK
        except JobFailed as exc:
            results, status = exc.results, FAILED
        with self._lock:
            self._next += 1
            job = _Job(
                str(self._next),
                str(uuidlib.uuid4()),
                kind,
                target,
                operation,
                parameters,
                results,
                status,
                started,
                started + self._settings.job_milliseconds / 1000,
            )
            self._jobs[job.id] = job
        return self._document(job, over=False)

    def document(self, job_id: str) -> atom.Document:
        job = self._get(job_id)
        return self._document(job, over=time.time() >= job.ends)

    def cancel(self, job_id: str) -> None:
        """End a job at once. What it did is not undone."""
        job = dataclasses.replace(
            self._get(job_id),
            ends=time.time(),
            status=FAILED,
            results={'returnCode': '1', 'result': 'The job was canceled.'},
        )
        with self._lock:
            self._jobs[job_id] = job

    def delete(self, job_id: str) -> None:
        self._get(job_id)
        with self._lock:
            self._jobs.pop(job_id, None)

    def _get(self, job_id: str) -> _Job:
        with self._lock:
            job = self._jobs.get(job_id)
        if job is None:
            raise errors.not_found(f'Job {job_id} does not exist.')
        return job

    def _document(self, job: _Job, *, over: bool) -> atom.Document:
        values: dict[str, schema.Value] = {
            'RequestURL': schema.Link(
                f'{job.kind}/{job.target}/do/{job.operation}',
                'via',
                'The URL to which the JobRequest was submitted.',
            ),
            'TargetUuid': job.target,
            'JobID': job.id,
            'TimeStarted': str(int(job.started * 1000)),
            'TimeCompleted': str(int(job.ends * 1000)) if over else '0',
            'Status': job.status if over else _RUNNING,
            'JobRequestInstance': _request(
                job.kind, job.operation, job.parameters
            ),
        }
        if over:
            values['Results'] = {'JobParameter': _parameters(job.results)}
        return atom.Document(
            schema_tables.JOB_RESPONSE, job.uuid, values, 0, has_atom_id=False
        )


def _request(
    kind: str, operation: str, parameters: Parameters
) -> dict[str, schema.Value]:
    return {
        'RequestedOperation': {'OperationName': operation, 'GroupName': kind},
        'JobParameters': {'JobParameter': _parameters(parameters)},
    }


def _parameters(values: Parameters) -> list[schema.Values]:
    return [
        {'ParameterName': name, 'ParameterValue': value}
        for name, value in values.items()
    ]
