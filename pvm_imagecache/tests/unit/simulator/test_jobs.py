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

from lxml import etree
from oslotest import base

from pvm_imagecache.simulator import errors
from pvm_imagecache.simulator import jobs
from pvm_imagecache.simulator import settings as settings_module

REQUEST = """
<JobRequest><JobParameters>
  <JobParameter>
    <ParameterName>force</ParameterName>
    <ParameterValue>true</ParameterValue>
  </JobParameter>
</JobParameters></JobRequest>
"""


class JobsTest(base.BaseTestCase):
    def setUp(self):
        super().setUp()
        self.calls = []
        self.settings = settings_module.Settings(job_milliseconds=0)
        self.jobs = jobs.Jobs(
            {('Kind', 'Run'): self.run_it, ('Kind', 'Fail'): self.fail_it},
            self.settings,
        )

    def run_it(self, target, parameters):
        self.calls.append((target, parameters))
        return {'returnCode': '0'}

    def fail_it(self, target, parameters):
        raise jobs.JobFailed({'returnCode': '1'})

    def create(self, operation='Run'):
        """Create a job; returns its id."""
        document = self.jobs.create(
            'Kind', 'uuid', operation, etree.fromstring(REQUEST)
        )
        return document.values['JobID']

    def status(self, job_id):
        return self.jobs.document(job_id).values['Status']

    def test_a_job_gets_target_and_parameters(self):
        self.create()
        self.assertEqual([('uuid', {'force': 'true'})], self.calls)

    def test_a_job_ends_with_its_results(self):
        values = self.jobs.document(self.create()).values
        self.assertEqual(jobs.OK, values['Status'])
        self.assertEqual(
            [{'ParameterName': 'returnCode', 'ParameterValue': '0'}],
            values['Results']['JobParameter'],
        )

    def test_a_failed_job_ends_with_an_error(self):
        self.assertEqual(jobs.FAILED, self.status(self.create('Fail')))

    def test_a_job_runs_for_its_time(self):
        self.settings.change({'job_milliseconds': 3_600_000})
        values = self.jobs.document(self.create()).values
        self.assertEqual('RUNNING', values['Status'])
        self.assertEqual('0', values['TimeCompleted'])
        self.assertNotIn('Results', values)

    def test_a_canceled_job_has_failed(self):
        self.settings.change({'job_milliseconds': 3_600_000})
        job_id = self.create()
        self.jobs.cancel(job_id)
        self.assertEqual(jobs.FAILED, self.status(job_id))

    def test_a_deleted_job_is_gone(self):
        job_id = self.create()
        self.jobs.delete(job_id)
        for call in (self.jobs.document, self.jobs.cancel, self.jobs.delete):
            error = self.assertRaises(errors.RestError, call, job_id)
            self.assertEqual(404, error.status)

    def test_an_unknown_operation_is_not_found(self):
        error = self.assertRaises(errors.RestError, self.create, 'Nonsense')
        self.assertEqual(404, error.status)
        self.assertRaises(errors.RestError, self.jobs.template, 'X', 'Run')

    def test_a_template_names_the_operation(self):
        values = self.jobs.template('Kind', 'Run').values
        self.assertEqual(
            {'OperationName': 'Run', 'GroupName': 'Kind'},
            values['RequestedOperation'],
        )
