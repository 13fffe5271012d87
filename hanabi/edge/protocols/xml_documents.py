"""Results as XML, by the shapes of AWS's models: for the query protocol and rest-xml."""

import base64
import re
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from botocore.model import Shape

from hanabi.edge.protocols.shapes import to_iso

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def escape_text(text: str) -> str:
    return escape(_NOT_XML.sub("\ufffd", text)).replace("\r", "&#13;")


def write_members(shape: Shape, value: dict[str, Any]) -> str:
    """Write the elements of a structure's members, without an enclosing one. Attributes are up to the caller: see `write_element`."""
    parts = ((inner.serialization.get("name", member), inner, value.get(member)) for member, inner in shape.members.items())
    return "".join(write_element(name, inner, item) for name, inner, item in parts if item is not None and not _is_attribute(inner))


def write_element(name: str, shape: Shape, value: Any) -> str:
    """Write a value in its element; a flattened list or map is one element for each item."""
    if shape.serialization.get("flattened") and shape.type_name == "list":
        name = shape.member.serialization.get("name", name)
        return "".join(write_element(name, shape.member, item) for item in value)
    if shape.serialization.get("flattened") and shape.type_name == "map":
        return "".join(f"<{name}>{_write_pair(shape, key, item)}</{name}>" for key, item in value.items())
    attributes = ""
    if shape.type_name == "structure":
        attributes = "".join(
            f" {inner.serialization.get('name', member)}={quoteattr(escape_text(str(value[member])))}"
            for member, inner in shape.members.items()
            if _is_attribute(inner) and value.get(member) is not None
        )
        namespace = shape.serialization.get("xmlNamespace")
        if attributes and isinstance(namespace, dict):
            attributes = f" xmlns:{namespace['prefix']}={quoteattr(namespace['uri'])}{attributes}"
    return f"<{name}{attributes}>{_write(shape, value)}</{name}>"


def _is_attribute(shape: Shape) -> bool:
    return bool(shape.serialization.get("xmlAttribute"))


def _write_pair(shape: Shape, key: Any, item: Any) -> str:
    names = shape.key.serialization.get("name", "key"), shape.value.serialization.get("name", "value")
    return f"<{names[0]}>{escape_text(str(key))}</{names[0]}>{write_element(names[1], shape.value, item)}"


def _write(shape: Shape, value: Any) -> str:
    kind = shape.type_name
    if kind == "structure":
        return write_members(shape, value)
    if kind == "list":
        name = shape.member.serialization.get("name", "member")
        return "".join(write_element(name, shape.member, item) for item in value)
    if kind == "map":
        return "".join(f"<entry>{_write_pair(shape, key, item)}</entry>" for key, item in value.items())
    if kind == "timestamp":
        return to_iso(value)
    if kind == "boolean":
        return "true" if value else "false"
    return base64.b64encode(value).decode() if kind == "blob" else escape_text(str(value))
