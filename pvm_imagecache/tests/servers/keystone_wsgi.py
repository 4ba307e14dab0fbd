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

"""The process that serves a real Keystone, started by ``keystone.py``.

It sets Keystone up in a directory as an administrator would, with
``keystone-manage``, and serves its WSGI application on a loopback port until
its standard input reaches its end. What Glance's server is made of serves
here too.
"""

import argparse
import importlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading

from pvm_imagecache.tests.servers import glance_wsgi

PASSWORD = 'keystone-test-admin'
_CONF = """\
[database]
connection = sqlite:///{state}/keystone.sqlite

[fernet_tokens]
key_repository = {state}/fernet

[fernet_receipts]
key_repository = {state}/receipts

[credential]
key_repository = {state}/credentials

[cache]
enabled = false

[identity]
# Tests log on often, and their passwords are no secrets.
password_hash_rounds = 4

[oslo_policy]
policy_file = {state}/policy.yaml
"""

# keystone-manage, forked for each of its command lines: its imports take
# longer than what it does.
_MANAGE = """\
import json, os, sys
from keystone.cmd import manage
for sys.argv[1:] in json.loads(sys.argv[1]):
    child = os.fork()
    if not child:
        sys.exit(manage.main())
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        sys.exit(f'{sys.argv[1:]}: {status}')
"""


def set_up(state: pathlib.Path, url: str) -> None:
    """Make what Keystone needs before its first start."""
    conf = state / 'keystone.conf'
    conf.write_text(_CONF.format(state=str(state).replace('$', '$$')))
    (state / 'policy.yaml').write_text('{}\n')
    user = str(os.getuid())
    keys = ('--keystone-user', user, '--keystone-group', str(os.getgid()))
    commands = (
        ('db_sync',),
        ('fernet_setup', *keys),
        (
            'bootstrap',
            '--bootstrap-password',
            PASSWORD,
            '--bootstrap-admin-url',
            url,
            '--bootstrap-internal-url',
            url,
            '--bootstrap-public-url',
            url,
            '--bootstrap-region-id',
            'one',
        ),
    )
    lines = [('--config-file', str(conf), *each) for each in commands]
    subprocess.run(
        [sys.executable, '-c', _MANAGE, json.dumps(lines)],
        check=True,
        stdin=subprocess.DEVNULL,
        cwd=state,
    )


def main() -> None:
    """Serve Keystone until the parent goes or asks for the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--state-dir', type=pathlib.Path, required=True)
    state = parser.parse_args().state_dir.resolve()
    server = glance_wsgi.Server(
        (glance_wsgi.HOST, 0),
        glance_wsgi.RequestHandler,
        bind_and_activate=False,
    )
    server.server_bind()

    def stop(*_: object) -> None:
        threading.Thread(target=server.shutdown, daemon=True).start()

    signal.signal(signal.SIGTERM, stop)
    threading.Thread(
        target=glance_wsgi.stop_at_end_of_input, args=(stop,), daemon=True
    ).start()
    set_up(state, f'http://{glance_wsgi.HOST}:{server.server_port}/v3')
    # Keystone parses the command line of its process.
    sys.argv[1:] = []
    os.environ['OS_KEYSTONE_CONFIG_DIR'] = str(state)
    # Keystone 27 leaves a transaction open that has read for a login. Tokens
    # are not stored, so that there are no parallel writes.
    glance_wsgi.tune_sqlite(parallel_writes=False)
    server.set_app(importlib.import_module('keystone.wsgi.api').application)
    glance_wsgi.serve(server, state)


if __name__ == '__main__':
    main()
