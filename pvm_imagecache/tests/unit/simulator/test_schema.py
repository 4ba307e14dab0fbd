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

from pvm_imagecache.simulator import schema

THING = schema.table(
    'Thing',
    'uom',
    'V1_2_0',
    """
First ROR
Nested CUD *
    Item - *
        Inner CUR V1_3_0
    Count CUR
Lit ROO !
Late CUD @Extra
Where ROR
""",
)


class SchemaTest(base.BaseTestCase):
    def render(self, values, groups=schema.NO_GROUPS):
        return etree.fromstring(THING.render(values, '<Atom/>', groups))

    def names(self, element):
        return [schema.local_name(child) for child in element]

    def test_order_is_the_layouts(self):
        root = self.render(
            {'Where': schema.Link('x'), 'Lit': 'l', 'First': 'f'}
        )
        self.assertEqual(
            ['Metadata', 'First', 'Lit', 'Where'], self.names(root)
        )
        self.assertEqual({'V1_2_0'}, set(root.attrib.values()))
        self.assertEqual(
            {schema.UOM_NS},
            {etree.QName(element).namespace for element in root.iter()},
        )

    def test_elements_carry_the_layouts_attributes(self):
        root = self.render(
            {
                'First': 'f',
                'Lit': '',
                'Where': schema.Link('x?a&b', 'via'),
                'Nested': {'Item': [{'Inner': '1'}, {'Inner': '2'}]},
            }
        )
        self.assertEqual({'kb': 'ROR', 'kxe': 'false'}, dict(root[1].attrib))
        nested = root[2]
        self.assertEqual(
            {'kb': 'CUD', 'kxe': 'false', 'schemaVersion': 'V1_2_0'},
            dict(nested.attrib),
        )
        self.assertEqual(['Metadata', 'Item', 'Item'], self.names(nested))
        self.assertEqual({'schemaVersion': 'V1_2_0'}, dict(nested[1].attrib))
        self.assertEqual(
            {'ksv': 'V1_3_0', 'kb': 'CUR', 'kxe': 'false'},
            dict(nested[1][1].attrib),
        )
        self.assertEqual('true', root[3].get('kxe'))
        self.assertEqual(
            ('x?a&b', 'via'), (root[4].get('href'), root[4].get('rel'))
        )

    def test_extended_groups_are_optional(self):
        values = {'First': 'f', 'Late': 'l'}
        for groups, there in (
            (schema.NO_GROUPS, False),
            (None, True),
            (frozenset({'Extra'}), True),
            (frozenset({'Other'}), False),
        ):
            self.assertEqual(
                there, 'Late' in self.names(self.render(values, groups))
            )

    def test_special_characters_are_escaped(self):
        text = '<&>"\''
        self.assertEqual(text, self.render({'First': text})[1].text)

    def test_reads_what_it_renders(self):
        values = {
            'First': 'f',
            'Where': schema.Link('y'),
            'Nested': {'Item': [{'Inner': '1'}, {'Inner': '2'}], 'Count': '2'},
        }
        self.assertEqual(values, THING.read(self.render(values)))

    def test_unknown_elements_are_ignored(self):
        self.assertEqual(
            {'First': 'f'},
            THING.read(
                etree.fromstring(
                    '<Thing><!-- c --><Unknown>u</Unknown><First> f </First>'
                    '</Thing>'
                )
            ),
        )
