"""A model's own way of writing a conversation: its Jinja template, run in a sandbox.

The template comes with the weights, from a stranger. The sandbox lets it read what it is given and nothing else; what
it refuses, or cannot do, is a ValueError. Names and settings are those that transformers gives to templates.
"""

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any

from w2s_jax.checkpoints.extra import need


class Chat:
    """A chat template.

    Args:
        template: its text.
        special: texts of special tokens by role (bos_token, eos_token, ...), which it may read.

    Raises:
        ValueError: if it is no valid template.

    >>> chat = Chat(
    ...     "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }};{% endfor %}", {"bos_token": "<s>"}
    ... )
    >>> chat.render([{"role": "user", "content": "hello"}], add_generation_prompt=False)
    '<s>user: hello;'
    """

    def __init__(self, template: str, special: Mapping[str, str] | None = None):
        jinja2, sandbox = need("jinja2"), need("jinja2.sandbox")
        self.template, self.special = template, dict(special or {})
        self._errors = (jinja2.TemplateError, TypeError, LookupError, OverflowError)
        environment = sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )

        def raise_exception(message):
            raise jinja2.TemplateError(message)

        environment.filters["tojson"] = _to_json
        environment.globals |= {"raise_exception": raise_exception, "strftime_now": _now}
        try:
            self._compiled = environment.from_string(template)
        except jinja2.TemplateError as error:
            raise ValueError(f"the chat template of the model is not valid: {_one_line(error)}.") from error

    def render(self, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool, **variables: Any) -> str:
        """The text of a conversation, with the special tokens written out.

        Args:
            messages: one mapping a turn: `role` (system, user or assistant, where the template knows no others) and
                `content`.
            add_generation_prompt: whether the opening of the assistant's next turn follows.
            variables: whatever else this template reads, such as `enable_thinking=False` for Qwen3 or `date_string` for
                Llama 3, whose text otherwise holds today's date.

        Returns:
            Text, for `Tokenizer.encode`.

        Raises:
            ValueError: if the template refuses the messages.
        """
        given = {"tools": None, "documents": None} | self.special | variables
        try:
            return self._compiled.render(
                messages=[dict(message) for message in messages], add_generation_prompt=add_generation_prompt, **given
            )
        except self._errors as error:
            raise ValueError(f"the chat template of the model refuses these messages: {_one_line(error)}.") from error


def _to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _now(form: str) -> str:
    return dt.datetime.now().strftime(form)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
