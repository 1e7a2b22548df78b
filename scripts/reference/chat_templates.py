"""Chat templates that use what real ones use, and what transformers renders (or that it refuses).

    python scripts/reference/chat_templates.py

Writes tests/fixtures/chat_templates.json: a list of name, template, and cases of messages, optional tools and
add_generation_prompt, vars (bos_token, eos_token and others given to the template) with text, or error: the words that the
template raised. All templates are written for this project. transformers renders with trim_blocks and lstrip_blocks, loop
controls, and the functions raise_exception, strftime_now and the filter tojson (which does not escape HTML characters).
"""

import json

from transformers.utils.chat_template_utils import _compile_jinja_template

from common import FIXTURES

USER = {"role": "user", "content": "Is 2 < 3 & \"x\" > 'y'?"}
SYSTEM = {"role": "system", "content": "  Be brief.\n"}
REPLY = {"role": "assistant", "content": "<think>\nsmall numbers\n</think>\n\nYes 🙂"}
CALL = {
    "role": "assistant", "content": None,
    "tool_calls": [{"type": "function", "function": {"name": "look_up", "arguments": {"word": "Größe", "limit": 3, "exact": True}}}],
}
RESULT = {"role": "tool", "content": "size"}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "look_up", "description": "Looks <up> a word & its meaning.",
            "parameters": {
                "type": "object", "properties": {"word": {"type": "string"}, "limit": {"type": "integer", "default": None}},
                "required": ["word"],
            },
        },
    }
]

TEMPLATES = {
    "chatml_default_system": """{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] %}
    {%- set rest = messages[1:] %}
{%- else %}
    {%- set system = 'You are a helper.' %}
    {%- set rest = messages %}
{%- endif %}
<|im_start|>system
{{ system | trim }}<|im_end|>
{% for m in rest %}
<|im_start|>{{ m.role }}
{{ m.content or '' }}<|im_end|>
{% endfor %}
{% if add_generation_prompt %}
<|im_start|>assistant
{% endif %}""",
    "alternate_or_raise": """{{ bos_token }}{% for message in messages %}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('roles must alternate: user, assistant, ...') }}
{%- endif %}
{%- if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}
{%- else %}{{ ' ' + message['content'].strip() + eos_token }}
{%- endif %}
{%- endfor %}""",
    "namespace_and_thinking": """{%- set ns = namespace(last=-1, count=0) %}
{%- for m in messages %}
    {%- if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}
    {%- set ns.count = ns.count + 1 %}
{%- endfor %}
{%- for m in messages %}
    {%- set content = m.content if m.content is string else '' %}
    {%- if m.role == 'assistant' and '</think>' in content %}
        {%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
        {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {{- '(' ~ thought | upper ~ ')' }}
    {%- endif %}
    {{- '<|' + m.role + '|>' + content }}
    {%- if loop.index0 == ns.last %}{{ '[last of ' ~ ns.count ~ ']' }}{% endif %}
    {%- if not loop.last %}{{ '\\n' }}{% endif %}
{%- endfor %}""",
    "tools_json": """{%- if tools %}
{{- '# Tools\\n' }}
{%- for tool in tools %}{{ tool | tojson }}{{ '\\n' }}{% endfor %}
{{- tools | tojson(indent=2) }}{{ '\\n' }}
{%- endif %}
{%- for m in messages %}
{%- if m.tool_calls is defined and m.tool_calls %}
{%- for call in m.tool_calls %}
{{- '<call>' ~ call.function.name ~ '(' }}
{%- for key, value in call.function.arguments.items() %}{{ key }}={{ value | tojson }}{% if not loop.last %}, {% endif %}{% endfor %}
{{- ')</call>\\n' }}
{%- endfor %}
{%- elif m.role == 'tool' %}
{{- '<result>' + m.content + '</result>\\n' }}
{%- else %}
{{- m.role | title }}: {{ m.content | tojson }}{{ '\\n' }}
{%- endif %}
{%- endfor %}""",
    "macro_and_loop_controls": """{%- macro say(role, text='none', end='.') -%}
{{ role.upper() }}>{{ text | replace('\\n', ' ') }}{{ end }}
{%- endmacro -%}
{%- for m in messages -%}
{%- if m.role == 'system' %}{% continue %}{% endif -%}
{%- if m.role == 'tool' %}{% break %}{% endif -%}
{{ say(m['role'], m.content or 'nothing', end=';') }}
{%- endfor -%}
{{ say('end') }}{{ messages | length }}{{ messages | map(attribute='role') | join(',') }}{{ messages[-1].role }}""",
    "tests_and_filters": """{{ bos_token if bos_token is defined else 'no bos' }}|{{ (nothing is defined) | int }}|{{ nothing | default('d') }}|
{%- set parts = ['a', 'b'] + ['c'] %}{{ parts | join('-') }}|{{ parts[::-1] | join }}|{{ (parts | length) // 2 }}|{{ 7 % 4 }}|{{ 2 ** 5 }}|
{{- ('x' in parts) | int }}|{{ ('abc'.startswith('ab')) | int }}|{{ ('abc'.endswith('c')) | int }}|{{ (messages is iterable) | int }}|{{ (messages[0] is mapping) | int }}|
{{- messages | selectattr('role', 'equalto', 'user') | list | length }}|{{ 'a,b,,c'.split(',') | length }}|{{ (none is none) | int }}|
{{- [1, 2, 3] | sum }}|{{ 3 | string + 'x' }}|{{ 1 if false else 2 }}|{{ (not true or 1 == 1.0) | int }}|{{ 'é' | length }}|{{ messages[0].get('name', 'nobody') }}
{# a comment is not seen #}""",
}
CONVERSATIONS = [[USER], [SYSTEM, USER], [USER, REPLY, USER], [SYSTEM, USER, CALL, RESULT, REPLY], [REPLY, USER]]


def render(template, messages, tools, prompt, variables):
    compiled = _compile_jinja_template(template)
    return compiled.render(messages=messages, tools=tools, documents=None, add_generation_prompt=prompt, **variables)


def main():
    variables = {"bos_token": "<s>", "eos_token": "</s>"}
    out = []
    for name, template in TEMPLATES.items():
        cases = []
        for messages in CONVERSATIONS:
            for tools, prompt in ((None, True), (TOOLS, False)):
                case = {"messages": messages, "tools": tools, "add_generation_prompt": prompt, "vars": variables}
                try:
                    case["text"] = render(template, messages, tools, prompt, variables)
                except Exception as e:
                    case["error"] = str(e)
                cases.append(case)
        seen = [c.get("error") for c in cases if "error" in c]
        print(f"{name}: {len(cases)} cases, {len(seen)} errors {sorted(set(seen))}")
        out.append({"name": name, "template": template, "cases": cases})
    path = FIXTURES / "chat_templates.json"
    path.write_text(json.dumps(out, ensure_ascii=False, separators=(",", ":")).replace('{"name"', '\n{"name"').replace('{"messages"', '\n {"messages"') + "\n")
    print(path.stat().st_size)


if __name__ == "__main__":
    main()
