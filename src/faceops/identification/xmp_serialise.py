"""Write an XML tree so that reading it gives the same tree.

minidom's own writer leaves line ends and tabs in attributes, and carriage returns in text, as they
are, and the next reader makes spaces or line feeds of them (XML 1.0, chapters 2.11 and 3.3.3).
"""

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xml.dom.minidom import Document

_IN_TEXT = re.compile("[&<>\r]")
_IN_ATTRIBUTE = re.compile('[&<>"\t\n\r]')
_NAMED = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}


def serialise(document: "Document") -> bytes:
    """Return the document in UTF-8."""
    parts = ['<?xml version="1.0" encoding="utf-8"?>']
    to_write: list[Any] = document.childNodes[::-1]  # nodes, and end tags as text
    while to_write:
        node = to_write.pop()
        if isinstance(node, str):
            parts.append(node)
        elif node.nodeType == node.ELEMENT_NODE:
            attributes = (
                f' {name}="{_IN_ATTRIBUTE.sub(_reference, value)}"'
                for name, value in node.attributes.items()
            )
            parts += ["<", node.tagName, *attributes, ">" if node.childNodes else "/>"]
            if node.childNodes:
                to_write += [f"</{node.tagName}>", *node.childNodes[::-1]]
        elif node.nodeType == node.TEXT_NODE:
            parts.append(_IN_TEXT.sub(_reference, node.data))
        else:  # nothing is escaped in comments, processing instructions and CDATA
            parts.append(node.toxml())
    return "".join(parts).encode()


def _reference(match: "re.Match[str]") -> str:
    return _NAMED.get(match[0]) or f"&#{ord(match[0])};"
