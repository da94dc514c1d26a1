#!/usr/bin/env python3
"""Makes rendered.json: small templates, one for each construct, and what transformers renders of them, or that it fails.

    pip install transformers==5.24.0 jinja2==3.1.6 && python3 make.py > rendered.json

The conversation and the special tokens are in the file too, so that the Rust test needs nothing of this one.
"""

import json

import transformers.utils.chat_template_utils as utils


class Clock:
    """Whatever the format: what dean's chat_date says."""

    @staticmethod
    def now():
        return Clock

    @staticmethod
    def strftime(_):
        return "26 Jul 2024"


utils.datetime = Clock
MESSAGES = [
    {"role": "system", "content": "Be \"good\"."},
    {"role": "user", "content": "  Héllo <b> & 'you'\n"},
    {"role": "assistant", "content": "<think>\nhm\n</think>\n\nYes."},
    {"role": "user", "content": "a, b,c"},
]
SPECIALS = {"bos_token": "<s>", "eos_token": "</s>"}

EXPRESSIONS = """
none
None
true
False
not none
tools
documents
tools is none
tools is defined
tools is not none
nothing
nothing is defined
nothing is undefined
nothing is none
nothing or 'x'
nothing.deeper
nothing['deeper']
nothing.a.b
messages[9]
messages[9].content
messages[0].nothing
messages[0].nothing is defined
messages[0]['nothing'] is none
messages[0].tool_calls or 'none'
messages[0].get('tool_calls')
messages[0].get('tool_calls', [])
messages[0].get('role')
messages[-1].content
messages[1:]|length
messages[::-1][0].content
messages[:-1]|length
messages[-2:]|map(attribute='role')|list
messages|length
messages|first
messages[0]
messages[0].items()|list
messages[0].keys()|list
messages[0].values()|list
messages[0]|items|list
messages[0]|dictsort
messages[0] is mapping
messages is sequence
messages[0] is sequence
messages is iterable
'abc' is iterable
'abc' is sequence
'abc' is string
1 is number
1 is integer
1.0 is integer
1.0 is float
true is boolean
true is number
true is integer
1 is boolean
'' is string
none is string
'a' is in ['a', 'b']
'a' is in('abc')
2 is odd
2 is even
4 is divisibleby 2
4 is divisibleby(3)
1 is eq 1
1 is equalto 1
2 is gt 1
2 is greaterthan 1
'a' is sameas 'a'
none is sameas none
'ABC' is upper
'abc' is lower
raise_exception is callable
namespace is callable
'x' is callable
'x' is filter
'upper' is filter
'defined' is test
1 == 1.0
'1' == 1
none == false
[1, 2] == [1, 2]
{'a': 1} == {'a': 1}
1 < 2 < 3
'a' < 'b'
'a' in 'abc'
'x' not in 'abc'
1 in [1, 2]
'role' in messages[0]
none in [none]
1 if nothing
1 if nothing else 2
'a' ~ 1 ~ none ~ true ~ 1.5 ~ [1, 'b'] ~ {'a': none}
'a' + 'b'
[1] + [2]
(1, 2) + (3,)
'ab' * 3
[0] * 3
1 + 1
1 - 2
7 / 2
6 / 2
7 // 2
-7 // 2
7 % 3
-7 % 3
2 ** 10
2 ** -1
7.5 // 2
1 + 1.0
0.1 + 0.2
1e20
1.0e16
1e-7
123456789012345678901234567890
1_000
1.0
100.0
-0.0
3.14159265358979
10 / 5
true + 1
-true
+'1'|int
[1, 2.0, 'a', none, true]
(1, 'a')
(1,)
()
{}
{'a': 1, 'b': [true, none], 1: 'x'}
"it's"
['it\\'s', "say \\"x\\"", "both ' and \\""]
['\\n', '\\t', 'é', '\\\\', '\\u00e9', '\\x07']
'\\n' ~ '\\t' ~ '\\\\' ~ '\\u00e9' ~ '\\x41'
'a' 'b'
range(3)
range(3)|list
range(1, 10, 3)|list
range(5, 0, -2)|list
'abc'[0]
'abc'[-1]
'abc'[1:]
'abc'[::-1]
'abc'[5:]
'abc'[:-1]
'héllo'[1:3]
'abc'[9]
[1, 2, 3][1:]
[1, 2, 3][-1]
[1, 2, 3][::2]
'Hello World'.upper()
'Hello World'.lower()
'hello world'.title()
"it's a dog's".title()
'hello world'.capitalize()
'Hello'.swapcase()
'  a '.strip()
'xxaxx'.strip('x')
'  a '.lstrip()
'  a '.rstrip()
'xya'.lstrip('xy')
'axy'.rstrip('xy')
'a,b,c'.split(',')
'a,b,c'.split(',', 1)
'a,b,c'.rsplit(',', 1)
'a,b,c'.rsplit(',')
' a  b '.split()
' a  b c'.split(none, 1)
''.split(',')
''.split()
'a\\nb\\r\\nc\\n'.splitlines()
'a\\nb'.splitlines(true)
'abcabc'.find('c')
'abcabc'.rfind('c')
'abcabc'.find('x')
'abcabc'.find('c', 3)
'abcabc'.index('c')
'abcabc'.count('b')
'abc'.startswith('a')
'abc'.startswith(('x', 'a'))
'abc'.startswith('b', 1)
'abc'.endswith('c')
'abc'.endswith(('x', 'c'))
'abc'.replace('b', 'x')
'aaa'.replace('a', 'x', 2)
'aaa'.replace('a', 'x', count=2)
'abc'.removeprefix('a')
'abc'.removesuffix('c')
'a-b-c'.partition('-')
'a-b-c'.rpartition('-')
'-'.join(['a', 'b'])
'-'.join('abc')
'abc'.isalpha()
'12'.isdigit()
'12'.isnumeric()
'a1'.isalnum()
' '.isspace()
'abc'.islower()
'ABC'.isupper()
'7'.zfill(3)
'a'.center(5)
'a'.ljust(3) ~ '|'
'a'.rjust(3)
'a\\tb'.expandtabs(4)
'é'.encode('utf-8')
'{} and {}'.format('a', 1)
'{0} {x}'.format('a', x=2)
'%s and %d' % ('a', 3)
'%.2f' % 1.5
'%s' % none
'%05d' % 42
'{:>5}'.format('a')
'abc'.nothing()
'abc'.nothing
[1, 2].count(1)
[3, 1].index(1)
[1].append(2)
{'a': 1}.get('a')
{'a': 1}.get('b')
{'a': 1}.get('b', 2)
{'a': 1}.items()|list
{'a': 1}.update({'b': 2})
{'a': 1}.a
{'a': 1}['a']
{'get': 1}.get('get')
{'items': 1}['items']
{'a': {'b': 2}}.a.b
{'b': 2, 'a': 1}|dictsort
{'b': 1, 'a': 2}|dictsort(by='value')
{'b': 2, 'a': 1}|list
{'a': 1}|items|list
dict(a=1, b=2)
dict(a=1).items()|list
dict([('a', 1)])
{'a': 1}|length
'abc'|length
'héllo'|length
nothing|length
none|length
nothing|default('x')
none|default('x')
''|default('x')
''|default('x', true)
none|d('x', true)
false|default('x')
'Abc'|upper
'Abc'|lower
'hello world'|title
"they're bill's friends-from the_UK"|title
'hello world'|capitalize
'hELLO'|capitalize
'  a '|trim
'xxaxx'|trim('x')
'a b c'|replace(' ', '_')
'aaa'|replace('a', 'b', 2)
'a'|center(5)
[1, 2, 3]|join
[1, none, true]|join(', ')
messages|join('|', attribute='role')
'abc'|join('-')
nothing|join
[3, 1, 2]|sort
['b', 'A', 'c']|sort
['b', 'A']|sort(case_sensitive=true)
[3, 1]|sort(reverse=true)
messages|sort(attribute='role')|map(attribute='role')|list
[1, 2, 3]|reverse|list
'abc'|reverse
[1, 2, 3]|first
[1, 2, 3]|last
'abc'|first
[]|first
[]|last
[1, 2]|sum
[1.5, 2]|sum
[]|sum
[1, 3, 2]|max
[1, 3, 2]|min
[]|max
[1, 1, 2]|unique|list
['a', 'A']|unique|list
[1, 2, 3, 4, 5]|batch(2)|list
[1, 2, 3]|batch(2, 0)|list
[1, 2, 3, 4, 5]|slice(2)|list
'abc'|list
nothing|list
none|list
5|list
'42'|int
'x'|int
'x'|int(7)
'0x1f'|int(0, 16)
3.9|int
none|int
'1.5'|float
'x'|float
1|float
1|string
none|string
true|string
1.0|string
[1, 'a']|string
3.456|round
3.456|round(1)
2.5|round
3.5|round(0, 'ceil')
-3|abs
'a%b'|urlencode
'<b>&"\\''|escape
'<b>'|e
'<b>'|safe
('<b>'|safe) ~ '<i>'
'<b>'|forceescape
'<p>a</p> b'|striptags
'a b  c'|wordcount
'one two three'|wordwrap(7)
'hello world this'|truncate(11)
'hello world this'|truncate(11, true)
'hello'|truncate(3, true, '')
'a\\nb'|indent
'a\\nb'|indent(2)
'a\\nb'|indent(2, true)
'a\\n\\nb'|indent(2, first=true)
'a\\n\\nb'|indent(2, blank=true)
'a\\nb'|indent('> ')
'%s %s'|format('a', 1)
'%s'|format(none)
12345|filesizeformat
1000000|filesizeformat(true)
[1, 'a']|pprint
{'b': 1, 'a': 'x'}|pprint
messages|map(attribute='content')|map('length')|list
messages|map('upper')|list
['a', 'b']|map('upper')|list
['a', 'b']|map('replace', 'a', 'x')|list
messages|map(attribute='nothing')|list
messages|map(attribute='nothing', default='d')|list
messages|selectattr('role', 'equalto', 'user')|list|length
messages|selectattr('role', '==', 'user')|list|length
messages|selectattr('role', 'eq', 'user')|map(attribute='content')|list
messages|selectattr('nothing')|list
messages|selectattr('nothing', 'defined')|list
messages|rejectattr('role', 'in', ['user', 'system'])|map(attribute='role')|list
messages|rejectattr('role', 'equalto', 'system')|list|length
[1, 2, 3]|select('odd')|list
[1, 2, 3]|reject('odd')|list
[0, 1, none, '']|select|list
['a', 'ab']|select('in', ['a'])|list
messages|groupby('role')|map('first')|list
messages|groupby('role')|list|length
messages|map(attribute='role')|unique|join(',')
messages|attr('x')
messages[0]|attr('role')
'a'|xmlattr
{'class': 'x', 'b': none}|xmlattr
messages|tojson
messages[1].content|tojson
'<é>&\\''|tojson
'a/b\\u2028'|tojson
'\\x07\\x1f\\x7f\\b\\f'|tojson
none|tojson
true|tojson
1|tojson
1.0|tojson
0.1|tojson
1e20|tojson
1e16|tojson
1e-7|tojson
123456789012345678901234567890|tojson
nothing|tojson
(1, 2)|tojson
[]|tojson
{}|tojson
{'a': [], 'b': {}}|tojson(indent=2)
[1, [2, 3]]|tojson(indent=2)
{'b': 1, 'a': {'c': [1]}}|tojson(indent=4)
{'b': 1, 'a': 2}|tojson(sort_keys=true)
{'b': 1, 'a': 2}|tojson(separators=(',', ':'))
{'b': [1, 2]}|tojson(separators=(',', ': '), indent=1)
'é'|tojson(ensure_ascii=true)
'😀'|tojson(ensure_ascii=true)
'é'|tojson(ensure_ascii=false)
'é'|tojson(true)
{1: 'a', none: 'b', true: 'c', 1.5: 'd'}|tojson
[1, 2]|tojson(indent=0)
[1, 2]|tojson(indent='--')
[1, 2]|tojson(2)
[1, 2]|tojson(false, 2)
range(3)|tojson
messages|map(attribute='role')|tojson
{'a': nothing}|tojson
strftime_now('%Y-%m-%d')
raise_exception('no')
namespace(a=1).a
namespace(a=1).b
namespace({'a': 1}).a
joiner(", ")() ~ "x"
cycler('a', 'b').next()
lipsum(n=1)|length > 0
bos_token
bos_token + 'x'
eos_token
pad_token
pad_token is defined
pad_token + 'x'
add_generation_prompt
enable_thinking is defined
enable_thinking
enable_thinking is defined and enable_thinking is false
not enable_thinking
nothing + 'x'
nothing == none
nothing == ''
nothing|trim
nothing|upper
nothing ~ 'x'
nothing is string
nothing in 'abc'
'a' in nothing
'a' in none
nothing.strip()
none.strip()
none.x
none['x']
none + 'x'
'x' + 1
1 + none
1 / 0
messages.role
messages['role']
messages[0][0]
messages[0].content.strip() | length
messages[0].content | trim | length
(messages | last).content
(messages | last)['content'][0]
messages[2].content.split('</think>')[-1].lstrip('\\n')
messages[2].content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n')
'a' if true else 'b' if false else 'c'
not true or true
not (true and false)
1 if 'x' is string and 2 > 1 else 0
loop is defined
self is defined
caller is defined
varargs is defined
messages[0] is eq messages[0]
messages | selectattr('content', 'string') | list | length
'abc' | map('upper') | join
[[1, 'a'], [2, 'b']] | map('first') | list
[['a', 1], ['b', 2]] | map(attribute=0) | list
[{'a': {'b': 1}}] | map(attribute='a.b') | list
[1, 2] | map('string') | list
['1', '2'] | map('int') | sum
messages | batch(3) | map('length') | list
'%s' | format('x') | upper
'a' is eq('a') and 'b' is ne('a')
4 is ge 4 and 3 is le 4 and 3 is lt 4
'x' is not none
('x' is string) is true
1.5 is true
[] is false
''.join([])
'a'.__class__
''.__class__.__mro__
messages.__len__()
cycler.__init__
{}.__class__
""".strip("\n").split("\n")  # fmt: skip

BLOCKS = [
    "a\n{% if true %}\nb\n{% endif %}\nc\n",
    "a\n  {% if true %}\n  b\n  {% endif %}\nc",
    "a\n  {%- if true -%}\n  b\n  {%- endif -%}\nc",
    "a {%+ if true +%}\n b {% endif %}",
    "  {# note #}\nx\n  {#- note -#}\ny",
    "{{ 'a' }}\n{{ 'b' }}\n",
    "{{- 'a' -}}\n  {{+ 'b' }}",
    "{% raw %}{{ x }}{% endraw %}",
    "{% raw %}\n{{ x }}\n{% endraw %}\n",
    "{% set x = 1 %}{{ x }}",
    "{% set x, y = 1, 2 %}{{ x }}{{ y }}",
    "{% set x %}a{{ 1 }}\n{% endset %}[{{ x }}]",
    "{% set x | upper %}a{% endset %}{{ x }}",
    "{% set ns = namespace(x=1, y=[]) %}{% for m in messages %}{% set ns.x = ns.x + 1 %}{% set ns.y = ns.y + [m.role] %}{% endfor %}{{ ns.x }}{{ ns.y }}",
    "{% set x = 1 %}{% for i in [1, 2] %}{% set x = x + i %}{% endfor %}{{ x }}",
    "{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}",
    "{% for i in [1, 2] %}{% set y = i %}{% endfor %}{{ y }}",
    "{% set m = messages[0] %}{% set m.x = 1 %}",
    "{% for m in messages %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ loop.revindex0 }};{% endfor %}",
    "{% for m in messages %}{{ loop.previtem.role if loop.previtem is defined }}>{{ loop.nextitem.role if loop.nextitem is defined else '-' }};{% endfor %}",
    "{% for m in messages %}{{ loop.cycle('a', 'b') }}{% endfor %}",
    "{% for m in messages %}{{ loop.changed(m.role) }}{% endfor %}",
    "{% for m in messages if m.role == 'user' %}{{ loop.index }}{{ m.role }}{{ loop.last }}{% else %}none{% endfor %}",
    "{% for m in [] %}x{% else %}none{% endfor %}",
    "{% for m in messages %}{% if loop.index0 == 1 %}{% continue %}{% endif %}{{ m.role }}{% if loop.index == 3 %}{% break %}{% endif %}{% endfor %}",
    "{% for k, v in messages[0].items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for k, v in messages[0]|items %}{{ k }}={{ v }};{% endfor %}",
    "{% for k, v in {'b': 1, 'a': 2}|dictsort %}{{ k }}={{ v }};{% endfor %}",
    "{% for k in {'b': 1, 'a': 2} %}{{ k }}{% endfor %}",
    "{% for a, b in [[1, 2], [3, 4]] %}{{ a }}{{ b }}{% endfor %}",
    "{% for a, (b, c) in [[1, [2, 3]]] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for c in 'abc' %}{{ c }}.{% endfor %}",
    "{% for i in range(3) %}{{ i }}{% endfor %}",
    "{% for i in nothing %}x{% endfor %}",
    "{% for i in none %}x{% endfor %}",
    "{% for i in 5 %}x{% endfor %}",
    "{% for m in messages recursive %}{{ loop.depth }}{% endfor %}",
    "{% for a in [1, 2] %}{% for b in [3] %}{{ loop.index }}{{ a }}{{ b }}{% endfor %}{{ loop.index }}{% endfor %}",
    "{% if messages[0].role == 'system' %}S{% elif messages %}M{% else %}E{% endif %}",
    "{% if not nothing %}a{% endif %}{% if nothing %}b{% endif %}{% if '' or [] or {} or 0 or none %}c{% endif %}",
    "{% macro m(a, b='x') %}[{{ a }}{{ b }}]{% endmacro %}{{ m(1) }}{{ m(1, 2) }}{{ m(1, b=3) }}{{ m() }}",
    "{% macro m(a) %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, c=3) }}",
    "{% macro m(a) -%}\n  {{ a }}\n{%- endmacro -%}\n{{ m('x') }}",
    "{% macro m() %}{{ messages|length }}{{ bos_token }}{% endmacro %}{{ m() }}",
    "{% macro m() %}a{{ caller() }}b{% endmacro %}{% call m() %}x{% endcall %}",
    "{% macro m() %}{{ caller(1, 2) }}{% endmacro %}{% call(a, b) m() %}{{ a }}{{ b }}{% endcall %}",
    "{% macro m(a) %}{% if a > 0 %}{{ a }}{{ m(a - 1) }}{% endif %}{% endmacro %}{{ m(3) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m('x') | upper }}{{ m('x') ~ 'y' }}{{ m('a') + 'b' }}{{ m('a') is string }}",
    "{% macro m(a=none, b=[]) %}{{ a }}{{ b }}{% endmacro %}{{ m() }}{{ m.name }}",
    "{% with x = 1, y = 2 %}{{ x }}{{ y }}{% endwith %}{{ x }}",
    "{% filter upper %}a{{ 'b' }}{% endfilter %}",
    "{% filter trim | upper %}  a  {% endfilter %}",
    "{% block b %}x{% endblock %}",
    "{% set _ = [1].append(2) %}",
    "{% do [1].append(2) %}",
    "{% include 'x' %}",
    "{% import 'x' as y %}",
    "{% extends 'x' %}",
    "{% autoescape true %}{{ '<b>' }}{% endautoescape %}",
    "{% generation %}a{{ 1 }}{% endgeneration %}b",
    "a\n{%- generation -%}\n b \n{%- endgeneration -%}\nc",
    "{% for m in messages %}{% generation %}{{ m.role }}{% set x = 1 %}{% endgeneration %}{{ x }}{% endfor %}",
    "{% set x = 0 %}{% generation %}{% set x = 1 %}{% endgeneration %}{{ x }}",
    "{% raw %}{% generation %}{% endraw %}{{ '{% generation %}' }}{# {% generation %} #}",
    "{% set generation = 1 %}{{ generation }}",
    "{{ '{{' }}{{ '}}' }}{{ '%}' }}",
    "{{ '#}' ~ '{#' }}",
    "{% set x = 'a' -%}\n\n  {{- x }}",
    "{% set a = {'x': [1]} %}{{ a.x[0] }}{{ a['x'][-1] }}",
    "{% set x = true if messages else false %}{{ x }}",
    "{% if messages is defined and messages|length > 0 %}y{% endif %}",
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}x{% endif %}{% endfor %}",
    "{% set last = messages | selectattr('role', 'equalto', 'user') | list | last %}{{ last.content }}",
    "{{ [m.role for m in messages] }}",
    "{{ messages[0]['content'][:3] + '…' }}",
    "{{ loop }}",
    "{% for m in messages %}{{ m.content if m.content is string else m.content[0].text }}{{ '\\n' if not loop.last }}{% endfor %}",
    "\n\na\n\n",
    "{% if true %}\n\na\n{% endif %}\n\n",
    "{#- a -#}\n{% if true -%}\n x\n{%- endif %}\n",
    "a\r\n{% if true %}\r\nb\r\n{% endif %}\r\n",
    "{{ \"a\nb\" }}",
    "{{ 'a' if }}",
    "{{ a b }}",
    "{% if %}",
    "{% endif %}",
    "{% for x in [1] %}",
    "{% unknown %}",
    "{{ 'x' | unknown }}",
    "{{ 'x' is unknown }}",
    "{{ unknown() }}",
    "{{",
    "{% set x = {'a': 1, } %}{{ x }}{{ [1, 2, ] }}",
    "{%set x=1%}{{x}}",
    "{% set x = 1 %}{% macro f() %}{{ x }}{% endmacro %}{% set x = 2 %}{{ f() }}",
    "{% for i in [1, 2, 3] %}{% if loop.first %}[{% endif %}{{ i }}{% if not loop.last %},{% else %}]{% endif %}{% endfor %}",
    "{% set ns = namespace() %}{% set ns.a = 1 %}{{ ns.a }}{{ ns.b is defined }}",
    "{% set ns = namespace(a=false) %}{% if not ns.a %}{% set ns.a = true %}{% endif %}{{ ns.a }}{{ ns['a'] }}",
    "{%- set fmt = '%s: %s' -%}{{ fmt | format('a', 'b') }}{{ fmt % ('c', 'd') }}",
]  # fmt: skip


def render(source):
    try:
        texts, _ = utils.render_jinja_template([MESSAGES], chat_template=source, add_generation_prompt=True, **SPECIALS)
    except Exception as error:  # whatever it raises, it makes no prompt
        return {"template": source, "fails": type(error).__name__}
    return {"template": source, "text": texts[0]}


sources = ["{{ " + expression + " }}" for expression in EXPRESSIONS] + BLOCKS
found = {"messages": MESSAGES, "specials": SPECIALS, "rendered": [render(source) for source in sources]}
lines = ",\n".join("  " + json.dumps(one, ensure_ascii=False) for one in found.pop("rendered"))
head = ",\n".join(f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in found.items())
print("{\n" + head + ',\n "rendered": [\n' + lines + "\n ]\n}")
