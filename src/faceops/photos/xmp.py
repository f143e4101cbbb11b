"""An XMP packet as a tree: the regions and people in it, those of FaceOps and of others.

Adobe, XMP Specification part 1 (ISO 16684-1): a structure's fields may be attributes or elements,
of the element itself or of an rdf:Description in it. Metadata Working Group, Guidelines for
Handling Image Metadata 2.0, chapter 5.9: a region's area is given by its centre and size as shares
of the stored image, before its orientation is applied; readers turn regions with the photo.

Of HEIC and AVIF the stored image is the coded one, before irot and imir: iPhones write regions so
and state the same orientation in irot and in EXIF. Where both differ, irot and imir count (MIAF,
ISO/IEC 23000-22, 7.3.10.1: players ignore EXIF's), and immich turns regions by them. Where only
EXIF states one, the stored image is also the one that players show, so a region is right whether a
reader turns photo and region by EXIF or neither.

defusedxml parses; document types and entities are refused in every encoding.
"""

import errno
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from xml.dom.minidom import Document, Element, Text
from xml.parsers.expat import ExpatError
from xml.sax.saxutils import escape, quoteattr

from defusedxml.common import DefusedXmlException
from defusedxml.minidom import parseString

from faceops.base.errors import FaceOpsError, printable
from faceops.base.stores import is_url, read_object, shown
from faceops.photos.pixels import SIDEWAYS

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
MWG = "http://www.metadataworkinggroup.com/schemas/regions/"
AREA = "http://ns.adobe.com/xmp/sType/Area#"
DIMENSIONS = "http://ns.adobe.com/xap/1.0/sType/Dimensions#"
MICROSOFT = "http://ns.microsoft.com/photo/1.2/t/Region#"  # a region
MICROSOFT_INFO = "http://ns.microsoft.com/photo/1.2/t/RegionInfo#"  # the list of them
IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
OURS = "https://faceops.invalid/ns/1.0/"
OWN = "faceops"
COPIED = "embedded "  # from the photo; a digest of what was copied follows
_META = "adobe:ns:meta/"
_XMLNS = "http://www.w3.org/2000/xmlns/"
_PREFIXES = {
    "rdf": RDF,
    "mwg-rs": MWG,
    "stArea": AREA,
    "stDim": DIMENSIONS,
    "Iptc4xmpExt": IPTC,
    "faceops": OURS,
}
MAX_BYTES = 10_000_000  # larger packets are neither read nor written
_EMPTY = (
    f'<x:xmpmeta xmlns:x="{_META}"><rdf:RDF xmlns:rdf="{RDF}">'
    '<rdf:Description rdf:about=""/></rdf:RDF></x:xmpmeta>'
)


class Area(NamedTuple):
    """Centre, width and height as shares of the stored image, 0 to 1."""

    x: float
    y: float
    w: float
    h: float


def stored_area(
    box: tuple[float, float, float, float], size: tuple[int, int], orientation: int
) -> Area | None:
    """Return where `box` lies in the stored image; None if it is outside the photo.

    `box` is x, y, width, height in pixels of the upright photo, clipped to its `size`, width and
    height; `orientation`, 1 to 8 as stated by the file, made it upright.
    """
    width, height = size
    left, top = max(box[0], 0.0), max(box[1], 0.0)
    right, bottom = min(box[0] + box[2], width), min(box[1] + box[3], height)
    if left >= right or top >= bottom:
        return None
    x, y = (left + right) / 2 / width, (top + bottom) / 2 / height
    w, h = (right - left) / width, (bottom - top) / height
    places = (  # by orientation, from 1
        *((x, y), (1 - x, y), (1 - x, 1 - y), (x, 1 - y)),
        *((y, x), (y, 1 - x), (1 - y, 1 - x), (1 - y, x)),
    )
    sides = (h, w) if orientation in SIDEWAYS else (w, h)
    return Area(*places[orientation - 1], *sides)


class XmpDocument:
    """A packet to be read, changed and written; a new one without `content`.

    Raises ValueError: `content` is not XML, not XMP, or has a document type.
    """

    def __init__(self, content: bytes | None = None) -> None:
        try:
            self._document: Document = parseString(
                _EMPTY if content is None else content, forbid_dtd=True
            )
            packets = self._document.getElementsByTagNameNS(RDF, "RDF")
        except DefusedXmlException:
            raise ValueError("it has a document type, which XMP does not allow") from None
        except RecursionError:
            raise ValueError("its elements are nested too deeply") from None
        except (ExpatError, ValueError, LookupError) as error:
            raise ValueError(f"it is not well-formed XML: {error}") from None
        if not packets:
            raise ValueError("it holds no rdf:RDF")

    def as_bytes(self) -> bytes:
        """Return the packet in UTF-8."""
        return _serialise(self._document) + b"\n"

    def regions(self) -> list[Element]:
        """Return every rdf:li of a region list of MWG."""
        return self._items(MWG, "RegionList")

    def microsoft_regions(self) -> list[Element]:
        """Return every rdf:li of a region list of Microsoft."""
        return self._items(MICROSOFT_INFO, "Regions")

    def _items(self, namespace: str, name: str) -> list[Element]:
        lists = self._document.getElementsByTagNameNS(namespace, name)
        arrays = (array for found in lists for array in _elements(found))
        return [
            item
            for array in arrays
            if array.namespaceURI == RDF
            for item in _elements(array)
            if (item.namespaceURI, item.localName) == (RDF, "li")
        ]

    def people(self, namespace: str) -> list[Element]:
        """Return the rdf:li of PersonInImage of IPTC, or of `OURS`: names that FaceOps added."""
        found = self._document.getElementsByTagNameNS(namespace, "PersonInImage")
        return [item for people in found for item in people.getElementsByTagNameNS(RDF, "li")]

    def texts(self) -> Iterator[str]:
        """Yield every text of the packet: of elements, attributes and comments."""
        pending: list[Any] = [self._document]
        while pending:
            node = pending.pop()
            if node.nodeType == node.ELEMENT_NODE:
                yield from (value for _, value in node.attributes.items())
                yield _own_text(node)
            elif node.nodeType in (node.COMMENT_NODE, node.PROCESSING_INSTRUCTION_NODE):
                yield node.data
            pending += node.childNodes

    def add_region(
        self,
        name: str,
        area: Area,
        stored_size: tuple[int, int],
        kind: str = "Face",
        source: str = OWN,
    ) -> None:
        """Add a region of type `kind`, marked as written by FaceOps; see `source_of`."""
        lists = self._document.getElementsByTagNameNS(MWG, "RegionList")
        bag = self._bag(lists[0] if lists else self._new_regions(stored_size))
        item = self._declared(self._child(bag, "rdf:li", RDF))
        item.setAttributeNS(RDF, "rdf:parseType", "Resource")
        self._child(item, "mwg-rs:Name", MWG, name)
        self._child(item, "mwg-rs:Type", MWG, kind)
        place = self._child(item, "mwg-rs:Area", MWG)
        for field, value in zip("xywh", area, strict=True):
            place.setAttributeNS(AREA, f"stArea:{field}", f"{value:.6f}")
        place.setAttributeNS(AREA, "stArea:unit", "normalized")
        extensions = self._child(item, "mwg-rs:Extensions", MWG)
        extensions.setAttributeNS(RDF, "rdf:parseType", "Resource")
        self._child(extensions, "faceops:Source", OURS, source)

    def add_person(self, name: str) -> None:
        """Add a name to PersonInImage, and to the list of the names that FaceOps added."""
        for prefix, namespace in (("Iptc4xmpExt", IPTC), ("faceops", OURS)):
            found = self._document.getElementsByTagNameNS(namespace, "PersonInImage")
            people = found[0] if found else self._property(f"{prefix}:PersonInImage", namespace)
            self._declared(self._child(self._bag(people), "rdf:li", RDF, name))

    def remove(self, item: Element) -> None:
        """Remove an rdf:li, and the list, property and rdf:Description if they are empty then."""
        element: Any = item
        for _ in ("rdf:li", "rdf:Bag", "property"):
            element = _removed(element)
            if _elements(element):
                return
        self._remove_empty_description(element)

    def remove_empty_regions(self) -> None:
        """Remove the mwg-rs:Regions that have no region list."""
        for regions in list(self._document.getElementsByTagNameNS(MWG, "Regions")):
            names = {element.localName for element in regions.getElementsByTagNameNS(MWG, "*")}
            if names <= {"AppliedToDimensions"}:
                self._remove_empty_description(_removed(regions))

    def _remove_empty_description(self, element: Element) -> None:
        """Remove it unless it has properties or is the only one."""
        others = [each for each in _elements(element.parentNode) if each is not element]  # type: ignore[arg-type]
        if others and not _has_property(element):
            _removed(element)

    def is_empty(self) -> bool:
        return not any(
            map(_has_property, self._document.getElementsByTagNameNS(RDF, "Description"))
        )

    def _new_regions(self, stored_size: tuple[int, int]) -> Element:
        regions = self._property("mwg-rs:Regions", MWG)
        regions.setAttributeNS(RDF, "rdf:parseType", "Resource")
        size = self._child(regions, "mwg-rs:AppliedToDimensions", MWG)
        for field, value in zip("wh", stored_size, strict=True):
            size.setAttributeNS(DIMENSIONS, f"stDim:{field}", str(value))
        size.setAttributeNS(DIMENSIONS, "stDim:unit", "pixel")
        return self._child(regions, "mwg-rs:RegionList", MWG)

    def _bag(self, parent: Element) -> Element:
        for element in _elements(parent):
            if element.namespaceURI == RDF and element.localName in ("Bag", "Seq"):
                return element
        return self._declared(self._child(parent, "rdf:Bag", RDF))

    def _property(self, name: str, namespace: str) -> Element:
        root = self._document.getElementsByTagNameNS(RDF, "RDF")[0]
        for description in _elements(root):
            if description.namespaceURI == RDF and description.localName == "Description":
                break
        else:
            description = self._child(root, "rdf:Description", RDF)
            description.setAttributeNS(RDF, "rdf:about", "")
        return self._declared(self._child(description, name, namespace))

    def _child(
        self, parent: Element, name: str, namespace: str, text: str | None = None
    ) -> Element:
        element = self._document.createElementNS(namespace, name)
        if text is not None:
            element.appendChild(self._document.createTextNode(text))
        parent.appendChild(element)
        return element

    def _declared(self, element: Element) -> Element:
        """Declare our prefixes at `element`: the packet may use others for the same namespaces."""
        for prefix, namespace in _PREFIXES.items():
            element.setAttributeNS(_XMLNS, f"xmlns:{prefix}", namespace)
        return element


def read_sidecar(path: Path) -> XmpDocument | None:
    """Return the packet in the sidecar `path`, a file or in a store; None if there is none.

    Raises FaceOpsError: it is damaged, too large, or cannot be read.
    """
    try:
        if not is_url(path) and not stat.S_ISREG(path.stat().st_mode):
            raise ValueError("it is not a file")
        return XmpDocument(sidecar_bytes(path))
    except OSError as error:
        if isinstance(error, FileNotFoundError) or error.errno == errno.ENAMETOOLONG:
            return None
        reason = error.strerror or str(error)
    except ValueError as error:
        reason = str(error)
    raise FaceOpsError(
        f"the sidecar {printable(shown(path))} cannot be read ({reason}); repair or remove it, it "
        "was left as it is."
    )


def sidecar_bytes(path: Path) -> bytes:
    """Return the content of a file or object; a ValueError for more than `MAX_BYTES`."""
    if is_url(path):
        content = read_object(path, MAX_BYTES + 1)
    else:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES / 1e6:g} megabytes")
    return content


def text_of(element: Element) -> str:
    """Return the text in an element, CDATA included; of a value with qualifiers, the value."""
    value = _field_of(element, RDF, "value")
    return value if isinstance(value, str) else _own_text(element if value is None else value)


def _own_text(element: Element) -> str:
    return "".join(node.data for node in element.childNodes if isinstance(node, Text))


def _field_of(structure: Element, namespace: str, name: str) -> Element | str | None:
    """Return a structure's field, an element or the text of an attribute; None if absent."""
    holders = [structure, *(e for e in _elements(structure) if e.localName == "Description")]
    for holder in holders:
        if holder.hasAttributeNS(namespace, name):
            return str(holder.getAttributeNS(namespace, name))
        for element in _elements(holder):
            if (element.namespaceURI, element.localName) == (namespace, name):
                return element
    return None


def text_field(structure: Element | str | None, namespace: str, name: str) -> str:
    """Return the text of a structure's field, "" if absent; also of a text, which has none."""
    found = None if isinstance(structure, str | None) else _field_of(structure, namespace, name)
    return found if isinstance(found, str) else "" if found is None else text_of(found)


def area_of(region: Element) -> Area | None:
    """Return the area of a region; None if it has none, or no rectangle."""
    area = _field_of(region, MWG, "Area")
    try:
        return Area(*(float(text_field(area, AREA, field)) for field in "xywh"))
    except ValueError:
        return None


def microsoft_area(region: Element) -> Area | None:
    """Return the area of a region of Microsoft, which gives its corner; None if it has none."""
    try:
        x, y, w, h = map(float, text_field(region, MICROSOFT, "Rectangle").split(","))
    except ValueError:
        return None
    return Area(x + w / 2, y + h / 2, w, h)


def applied_size(region: Element) -> tuple[float, float] | None:
    """Return width and height of the photo for which a region was made; None if it has none."""
    element: Any = region
    while element is not None and element.localName != "RegionList":
        element = element.parentNode
    size = _field_of(element.parentNode, MWG, "AppliedToDimensions") if element else None
    try:
        width, height = (float(text_field(size, DIMENSIONS, side)) for side in "wh")
    except ValueError:
        return None
    return (width, height) if width > 0 and height > 0 else None


def source_of(region: Element) -> str:
    """Return who wrote a region: `OWN`, `COPIED` by FaceOps with a digest, or "" for others."""
    return text_field(_field_of(region, MWG, "Extensions"), OURS, "Source")


def is_ours(region: Element) -> bool:
    """Return whether FaceOps added a region, by its own decision."""
    return source_of(region) == OWN


def _has_property(description: Element) -> bool:
    names = description.attributes.keysNS()
    return bool(_elements(description)) or any(uri not in (None, _XMLNS, RDF) for uri, _ in names)


def _removed(element: Any) -> Any:
    """Remove an element and the indentation of its line; return its parent."""
    parent, before = element.parentNode, element.previousSibling
    if before is not None and before.nodeType == before.TEXT_NODE:
        parent.removeChild(before)
    parent.removeChild(element)
    return parent


def _elements(parent: Element) -> list[Element]:
    return [node for node in parent.childNodes if node.nodeType == node.ELEMENT_NODE]


def _serialise(document: Document) -> bytes:
    """Return the document in UTF-8, such that parsing it gives the same tree.

    The writers of minidom (before Python 3.13) and ElementTree leave line ends and tabs in
    attributes, or carriage returns in text, as they are, and the next parser turns them into
    spaces or line feeds (XML 1.0, 2.11 and 3.3.3); ElementTree also renames prefixes.
    """
    parts = ['<?xml version="1.0" encoding="utf-8"?>']
    pending: list[Any] = document.childNodes[::-1]  # nodes, and end tags as text
    while pending:
        node = pending.pop()
        if isinstance(node, str):
            parts.append(node)
        elif node.nodeType == node.ELEMENT_NODE:
            values = node.attributes.items()
            attributes = (f" {name}={quoteattr(value)}" for name, value in values)
            parts += ["<", node.tagName, *attributes, ">" if node.childNodes else "/>"]
            if node.childNodes:
                pending += [f"</{node.tagName}>", *node.childNodes[::-1]]
        elif node.nodeType == node.TEXT_NODE:
            parts.append(escape(node.data, {"\r": "&#13;"}))
        else:  # nothing is escaped in comments, processing instructions and CDATA
            parts.append(node.toxml())
    return "".join(parts).encode()
