"""``{% part "panel" title="Routes" %} … {% fill "tools" %} … {% endfill %} … {% endpart %}``: a component with a body.

A part is a template ``ui/<name>.html``. It sees what it was given, its ``body``, what was filled under other names, and of
the page only the request and the CSRF token, so that no variable of a page changes how a component looks by accident.
Parts without a body are plain includes with ``only``.
"""

from __future__ import annotations

from typing import Any

from django import template
from django.template.base import FilterExpression, Node, NodeList, Parser, Token, token_kwargs
from django.template.exceptions import TemplateSyntaxError
from django.template.loader import get_template
from django.utils.safestring import SafeString

register = template.Library()


class FillNode(Node):
    """What stands between ``fill`` and ``endfill``: handed to the part under its name, drawn nowhere else."""

    def __init__(self, name: str, nodelist: NodeList) -> None:
        self.name = name
        self.nodelist = nodelist

    def render(self, context: template.Context) -> SafeString:
        return SafeString("")


class PartNode(Node):
    """A part with its arguments, its body and its fills."""

    def __init__(self, name: FilterExpression, arguments: dict[str, FilterExpression], nodelist: NodeList) -> None:
        self.name = name
        self.arguments = arguments
        self.fills = {node.name: node for node in nodelist if isinstance(node, FillNode)}
        self.nodelist = NodeList(node for node in nodelist if not isinstance(node, FillNode))

    def render(self, context: template.Context) -> SafeString:
        given: dict[str, Any] = {name: value.resolve(context) for name, value in self.arguments.items()}
        given |= {name: _rendered(node.nodelist, context) for name, node in self.fills.items()}
        given["body"] = _rendered(self.nodelist, context)
        inside = context.new(given)
        for name in ("request", "csrf_token"):
            if name in context:
                inside[name] = context[name]
        return get_template(f"ui/{self.name.resolve(context)}.html").template.render(inside)  # type: ignore[no-any-return,attr-defined]


def _rendered(nodelist: NodeList, context: template.Context) -> SafeString:
    """Drawn and escaped already; stripped, so that blanks between tags count as nothing."""
    return SafeString(nodelist.render(context).strip())


@register.tag("part")
def part(parser: Parser, token: Token) -> PartNode:
    """``{% part "name" key=value … %}``, up to ``{% endpart %}``."""
    tag, *bits = token.split_contents()
    if not bits:
        raise TemplateSyntaxError(f"{tag!r} needs the name of a part: {{% part 'panel' title='Routes' %}}")
    arguments = token_kwargs(bits[1:], parser)
    if len(arguments) != len(bits) - 1:
        raise TemplateSyntaxError(f"{tag!r} takes a name and arguments as key=value, not {' '.join(bits[1:])!r}")
    nodelist = parser.parse(("endpart",))
    parser.delete_first_token()
    return PartNode(parser.compile_filter(bits[0]), arguments, nodelist)


@register.tag("fill")
def fill(parser: Parser, token: Token) -> FillNode:
    """``{% fill "tools" %}``, up to ``{% endfill %}``; directly inside a part."""
    bits = token.split_contents()
    if len(bits) != 2 or bits[1][0] not in "\"'" or not bits[1][1:-1].isidentifier():
        raise TemplateSyntaxError("'fill' takes one name in quotes: {% fill \"tools\" %}")
    nodelist = parser.parse(("endfill",))
    parser.delete_first_token()
    return FillNode(bits[1][1:-1], nodelist)
