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

r"""Stress programs: they look for faults that no single test can reach.

Each is a program of its own that runs for minutes on a real Glance and a
simulated PowerVM. The functional tests run a small selection of each.

``kill``
    Kills the process (``kill -9``) at every request to PowerVM and every
    write to the catalog, then checks that the next cleanup run and the next
    deploys find and repair everything::

        python -m pvm_imagecache.tests.stress.kill --list
        python -m pvm_imagecache.tests.stress.kill --only miss:17
        python -m pvm_imagecache.tests.stress.kill --every 9

``race``
    Runs processes and threads of all operations at the same time, beside
    another client of the volume group, and balances the books at the end::

        python -m pvm_imagecache.tests.stress.race --seconds 60

``interrupt``
    Sends SIGINT (Ctrl-C) to a prefetch at each line of its main thread::

        python -m pvm_imagecache.tests.stress.interrupt --every 25

``fault_matrix``
    Meets every request of a deploy, a prefetch and a purge with every fault,
    once, twice and always::

        python -m pvm_imagecache.tests.stress.fault_matrix --list
        python -m pvm_imagecache.tests.stress.fault_matrix \
            --only 'File.upload/base:401@mid.once:cold' --verbose

``restarts``
    Lets the session expire, restarts the REST service, or reboots the Virtual
    I/O Server, at each request of each operation::

        python -m pvm_imagecache.tests.stress.restarts hit,miss expire

``fuzz_shell``
    Runs random command lines; none may end in a traceback::

        python -m pvm_imagecache.tests.stress.fuzz_shell --count 2000

``kill``, ``race`` and ``fault_matrix`` have an option ``--platform``: what the
simulated platform does where real ones may differ, see
:mod:`pvm_imagecache.tests.platforms`.

The programs use public interfaces: methods of the manager and of the driver,
the catalog, HTTP requests and system calls. What they use beyond that is in
:mod:`pvm_imagecache.tests.stress.seams`.

The model test, ``pvm_imagecache.tests.unit.test_model``, belongs to the unit
tests, since it needs no server. Set ``PVM_IMAGECACHE_MODEL_RUNS`` and
``PVM_IMAGECACHE_MODEL_STEPS`` for more runs of more steps::

    PVM_IMAGECACHE_MODEL_RUNS=1500 PVM_IMAGECACHE_MODEL_STEPS=60 \
        python -m testtools.run pvm_imagecache.tests.unit.test_model
"""
