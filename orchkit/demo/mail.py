"""Mail as records, from any mbox export, Maildir or folder of .eml files, however broken the messages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message as RawMessage
from email.utils import getaddresses, parsedate_to_datetime
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

from orchkit.errors import ParameterError, Problem
from orchkit.model.base import Record

_MBOX_FROM = re.compile(rb"^From .*\d{1,2}:\d\d.*\d{4}\s*$")
_QUOTED_FROM = re.compile(rb"^>+From ")
_MESSAGE_ID = re.compile(r"<([^<>\s]+)>")


class Attachment(Record):
    """A part of a message that is a file."""

    name: str
    content_type: str
    size: int
    """Bytes after decoding."""


class Message(Record):
    """One message, decoded as far as it can be."""

    message_id: str
    """Without angle brackets; made from the content when the message has none."""
    sender: str
    """The address alone, in lower case; empty when there is none."""
    sender_name: str = ""
    to: tuple[str, ...] = ()
    """Addresses of To and Cc."""
    subject: str = ""
    date: datetime | None = None
    """UTC; None when the header is missing or cannot be read, see ``date_header``."""
    date_header: str | None = None
    in_reply_to: str | None = None
    references: tuple[str, ...] = ()
    """Message ids, oldest first."""
    body: str = ""
    """The text: of the plain parts, else of the HTML ones without their tags."""
    attachments: tuple[Attachment, ...] = ()
    problems: tuple[str, ...] = ()
    """What could not be read as it should."""


def read_mailbox(path: str | Path) -> list[Message]:
    """All messages of an mbox file, a Maildir, a folder of ``.eml`` files or one such file, in their order.

    Broken headers, dates, encodings and parts do not stop it: they are named in ``Message.problems``.
    Raises `ParameterError` when there is nothing at ``path`` or it is none of these.
    """
    return [parse_message(raw) for raw in raw_messages(Path(path))]


def raw_messages(path: Path) -> Iterator[bytes]:
    """The messages of a mailbox as the bytes they are stored as; errors as `read_mailbox`."""
    if not path.exists():
        raise _not_a_mailbox(path, "does not exist")
    if path.is_dir():
        files = _maildir_files(path) or sorted(path.rglob("*.eml"))
        if not files and not (path / "cur").is_dir():
            raise _not_a_mailbox(path, "is neither a Maildir nor a folder with .eml files")
        return (file.read_bytes() for file in files)
    if path.suffix.lower() == ".eml":
        return iter((path.read_bytes(),))
    return _mbox_messages(path)


def _not_a_mailbox(path: Path, cause: str) -> ParameterError:
    hint = "give an mbox file, a Maildir, or a folder of .eml files"
    return ParameterError("read_mailbox", [Problem(str(path), cause, hint)])


def _maildir_files(path: Path) -> list[Path]:
    folders = (path / "cur", path / "new")
    found = [file for folder in folders if folder.is_dir() for file in folder.iterdir() if file.is_file()]
    return sorted((file for file in found if file.name[0] != "."), key=lambda file: file.name)


def _mbox_messages(path: Path) -> Iterator[bytes]:
    """The messages of an mbox, divided by ``From `` lines with a time, at the start or after an empty line.

    `mailbox.mbox` divides at every line that begins with ``From ``, also in bodies whose writer did not
    quote it; ``>From `` is unquoted here, which `mailbox.mbox` leaves to its caller.
    """
    lines: list[bytes] = []
    started, after_blank = False, True
    with path.open("rb") as file:
        for line in file:
            if after_blank and _MBOX_FROM.match(line):
                if started:
                    yield b"".join(lines)
                lines, started = [], True
            elif started:
                lines.append(line[1:] if _QUOTED_FROM.match(line) else line)
            elif line.strip():
                raise _not_a_mailbox(path, "does not begin with a 'From ' line, so it is no mbox")
            after_blank = not line.strip()
    if started:
        yield b"".join(lines)


# --- one message ---------------------------------------------------------------------------


def parse_message(raw: bytes) -> Message:
    """One message from its RFC 5322 bytes; whatever cannot be read is named in ``problems``."""
    mail = message_from_bytes(raw)
    body, attachments = _content(mail)
    # Decoding the parts has added to their defects.
    problems = [type(defect).__name__ for part in mail.walk() for defect in part.defects]
    message_id = _first_id(_header(mail, "Message-ID"))
    if message_id is None:
        problems.append("no Message-ID")
        message_id = f"{sha256(raw).hexdigest()[:24]}@no-message-id"
    name, sender = next(iter(_addresses(mail, "From")), ("", ""))
    date_header = _header(mail, "Date")
    date = _date(date_header)
    if date is None:
        problems.append("no Date" if date_header is None else f"Date {date_header!r} cannot be read")
    return Message(
        message_id=message_id,
        sender=sender,
        sender_name=name,
        to=tuple(address for _, address in _addresses(mail, "To", "Cc")),
        subject=_header(mail, "Subject") or "",
        date=date,
        date_header=date_header,
        in_reply_to=_first_id(_header(mail, "In-Reply-To")),
        references=tuple(dict.fromkeys(_MESSAGE_ID.findall(_header(mail, "References") or ""))),
        body=body,
        attachments=attachments,
        problems=tuple(dict.fromkeys(problems)),
    )


def _first_id(header: str | None) -> str | None:
    found = _MESSAGE_ID.search(header or "")
    return found[1] if found else None


def _raw_headers(mail: RawMessage, *names: str) -> Iterator[str]:
    # `raw_items` gives 8-bit headers as they came; `get` would have replaced their bytes by "?".
    wanted = {name.lower() for name in names}
    for name, value in mail.raw_items():
        if name.lower() in wanted:
            unfolded = re.sub(r"\r?\n[ \t]+", " ", str(value)).strip()
            yield _to_text(unfolded.encode("ascii", "surrogateescape"))


def _to_text(value: bytes | str, charset: str | None = None) -> str:
    """Bytes as text: by their charset, else as UTF-8, else as Windows-1252; never an error."""
    if isinstance(value, str):
        return value
    for candidate in (charset, "utf-8"):
        try:
            return value.decode(candidate or "utf-8")
        except (LookupError, ValueError):
            continue
    return value.decode("cp1252", "replace")


def _decoded(value: str) -> str:
    """A header value with its RFC 2047 words decoded; a broken one stays as it is."""
    try:
        chunks = decode_header(value)
    except (HeaderParseError, ValueError):
        return value
    text = "".join(_to_text(chunk, charset) for chunk, charset in chunks)
    return " ".join(text.replace("\x00", "").split())


def _header(mail: RawMessage, name: str) -> str | None:
    raw = next(_raw_headers(mail, name), None)
    return None if raw is None else _decoded(raw)


def _addresses(mail: RawMessage, *names: str) -> list[tuple[str, str]]:
    # Addresses are split before decoding: a decoded name may contain a comma.
    pairs = getaddresses(list(_raw_headers(mail, *names)))
    return [(_decoded(name), address.lower()) for name, address in pairs if address]


def _date(header: str | None) -> datetime | None:
    if header is None:
        return None
    try:
        date = parsedate_to_datetime(header)
        # "-0000" means UTC of unknown origin (RFC 5322 §3.3) and comes back naive.
        return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


# --- the parts -----------------------------------------------------------------------------


def _content(mail: RawMessage) -> tuple[str, tuple[Attachment, ...]]:
    plain: list[str] = []
    html: list[str] = []
    attachments: list[Attachment] = []
    for part in _leaves(mail):
        # A multipart without its boundary is a leaf, and then just text.
        kind = "text/plain" if part.get_content_maintype() == "multipart" else part.get_content_type()
        name = part.get_filename()
        is_text = kind in ("text/plain", "text/html") and part.get_content_disposition() != "attachment"
        data = _payload(part)
        if name is None and is_text:
            text = _to_text(data, part.get_content_charset()).replace("\r\n", "\n").strip("\n")
            (plain if kind == "text/plain" else html).append(text)
        else:
            shown = _decoded(name) if name else f"unnamed {kind}"
            attachments.append(Attachment(name=shown, content_type=kind, size=len(data)))
    body = "\n\n".join(filter(None, plain)) or "\n\n".join(map(_without_tags, html))
    return body, tuple(attachments)


def _leaves(part: RawMessage) -> Iterator[RawMessage]:
    payload = part.get_payload()
    if part.get_content_maintype() == "multipart" and isinstance(payload, list):
        for child in payload:
            if isinstance(child, RawMessage):
                yield from _leaves(child)
    else:
        yield part  # a forwarded message (message/rfc822) is one leaf: its text is not this message's


def _payload(part: RawMessage) -> bytes:
    payload = part.get_payload()
    if isinstance(payload, list):
        return b"".join(child.as_bytes() for child in payload if isinstance(child, RawMessage))
    data = part.get_payload(decode=True)
    if isinstance(data, bytes) and (data or not payload):
        return data
    return str(payload).encode("utf-8", "surrogateescape")  # nothing could be decoded: better raw than lost


class _TextOnly(HTMLParser):
    """Collects what a reader of the page would see, a line per block."""

    _BLOCKS = re.compile(r"p|div|br|hr|tr|li|h[1-6]|table|[uo]l|blockquote|pre|title")
    _HIDDEN = frozenset(("style", "script", "head"))

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in self._HIDDEN
        if self._BLOCKS.fullmatch(tag):
            self.pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._hidden = max(0, self._hidden - (tag in self._HIDDEN))
        if self._BLOCKS.fullmatch(tag):
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.pieces.append(re.sub(r"\s+", " ", data))


def _without_tags(html: str) -> str:
    parser = _TextOnly()
    parser.feed(html)
    parser.close()
    lines = (line.strip() for line in "".join(parser.pieces).split("\n"))
    return "\n".join(line for line in lines if line)
