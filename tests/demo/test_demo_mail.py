"""Messages come out decoded, whatever state they are in."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchkit.demo.mail import Attachment, Message, parse_message, read_mailbox
from orchkit.errors import ParameterError


def mail(*headers: str, body: bytes = b"Hello\n") -> Message:
    """A message of these header lines."""
    return parse_message("\r\n".join(headers).encode("latin-1") + b"\r\n\r\n" + body)


@pytest.mark.parametrize(
    ("header", "subject"),
    [
        ("Subject: plain", "plain"),
        ("Subject: =?utf-8?Q?Lieferverzug_=E2=80=93_M=C3=B6bel?=", "Lieferverzug – Möbel"),
        ("Subject: =?iso-8859-1?Q?AW:?= =?utf-8?B?IMOkw7bDvA==?=", "AW: äöü"),
        ("Subject: =?utf-8?Q?two?=\r\n =?utf-8?Q?_lines?=", "two lines"),
        ("Subject: folded\r\n\there", "folded here"),
        ("Subject: =?no-such-charset?Q?caf=C3=A9?=", "café"),
        ("Subject: =?utf-8?B?not base64!?=", "=?utf-8?B?not base64!?="),
        ("Subject: raw 8-bit caf\xe9", "raw 8-bit café"),
        ("Subject:", ""),
        ("X-None: 1", ""),
    ],
)
def test_subjects_are_decoded(header: str, subject: str) -> None:
    """Encoded words, folding and raw bytes become text; what is broken stays readable."""
    assert mail(header).subject == subject


@pytest.mark.parametrize(
    ("header", "date"),
    [
        ("Wed, 02 Apr 2025 14:37:00 +0200", datetime(2025, 4, 2, 12, 37, tzinfo=UTC)),
        ("Thu, 10 Apr 2025 20:15:00 -0400", datetime(2025, 4, 11, 0, 15, tzinfo=UTC)),
        ("Tue, 06 May 2025 12:55:00 +0530", datetime(2025, 5, 6, 7, 25, tzinfo=UTC)),
        ("2 Apr 2025 14:37 GMT", datetime(2025, 4, 2, 14, 37, tzinfo=UTC)),
        ("Wed, 02 Apr 2025 14:37:00 -0000", datetime(2025, 4, 2, 14, 37, tzinfo=UTC)),
        ("Fri, 28 Marz 2025 25:71 MEZ", None),
        ("yesterday", None),
        ("Fri, 31 Dec 9999 23:59:59 -2300", None),
    ],
)
def test_dates_are_utc_or_none_with_the_raw_header(header: str, date: datetime | None) -> None:
    """A date that cannot be read is not guessed; the header is kept and the problem named."""
    message = mail(f"Date: {header}")
    assert message.date == date
    assert message.date_header == header
    assert any("Date" in problem for problem in message.problems) == (date is None)


def test_a_missing_date_and_id_are_named_and_the_id_comes_from_the_content() -> None:
    """The same bytes get the same id, so that storing them twice is storing them once."""
    first, again, other = mail("Subject: a"), mail("Subject: a"), mail("Subject: b")
    assert {"no Message-ID", "no Date"} <= set(first.problems)
    assert first.message_id == again.message_id != other.message_id


def test_addresses_keep_names_with_commas_apart() -> None:
    """Splitting happens before decoding: an encoded comma in a name divides nothing."""
    message = mail(
        "From: =?utf-8?Q?Office=2C_Site?= <Site@Example.com>",
        'To: "Sales, Joinery" <sales@example.org>, client@example.com',
        "Cc: accounts@example.com",
    )
    assert (message.sender_name, message.sender) == ("Office, Site", "site@example.com")
    assert message.to == ("sales@example.org", "client@example.com", "accounts@example.com")


def test_the_text_comes_from_the_plain_part_and_attachments_are_listed(messages: list[Message]) -> None:
    """Quoted-printable Latin-1 next to a base64 attachment, as in the site office's message."""
    message = next(message for message in messages if message.message_id == "s014-02@example.com")
    assert "façade side" in message.body
    assert "Received:" not in message.body, "the attachment is not part of the text"
    assert [part.name for part in message.attachments] == ["delivery-note-a.txt"]
    assert message.attachments[0].content_type == "text/plain"
    assert message.attachments[0].size == len(
        "Delivery note DN-2025-031\nLot: A\nReceived: 2025-04-02\n"
    ) + len("Signed by: site office\n")


def test_alternatives_give_one_text(messages: list[Message]) -> None:
    """A message that comes as text and as HTML is read once, as text."""
    message = next(message for message in messages if message.message_id == "c014-22@example.com")
    assert message.body.count("Clause 6") == 1
    assert "<p>" not in message.body


def test_html_alone_is_read_without_its_tags(messages: list[Message]) -> None:
    """Paragraphs are lines, entities are characters, style sheets are not text."""
    message = next(message for message in messages if message.message_id == "s014-04@example.com")
    assert message.body.splitlines() == [
        "The panels came at 15:45, 64 of 64 pieces.",
        "Signed note DN-2025-047 and the list of photos are in the folder – nothing is damaged.",
        "Site office",
    ]


def test_a_forwarded_message_is_an_attachment() -> None:
    """Its text is not taken for the text of the message that carries it."""
    inner = b"Content-Type: message/rfc822\n\nSubject: old\n\nold text\n"
    outer = b"--x\nContent-Type: text/plain\n\nnew text\n--x\n" + inner + b"--x--\n"
    message = mail('Content-Type: multipart/mixed; boundary="x"', body=outer)
    assert message.body == "new text"
    assert [part.content_type for part in message.attachments] == ["message/rfc822"]


@pytest.mark.parametrize(
    ("headers", "body", "text"),
    [
        (('Content-Type: text/plain; charset="klingon"',), "grün".encode(), "grün"),
        (("Content-Type: text/plain; charset=utf-8",), "grün".encode("latin-1"), "grün"),
        (("Content-Type: multipart/mixed; boundary=gone",), b"no boundary at all", "no boundary at all"),
        (("Content-Type: text/plain", "Content-Transfer-Encoding: base64"), b"%%%", "%%%"),
        (("Content-Type: ;;;",), b"still text", "still text"),
    ],
)
def test_broken_bodies_are_read_as_far_as_possible(headers: tuple[str, ...], body: bytes, text: str) -> None:
    """A wrong charset, a missing boundary or a bad encoding loses no text."""
    assert mail(*headers, body=body).body == text


@given(st.binary(max_size=400))
@settings(max_examples=150, deadline=None)
def test_no_bytes_stop_the_reader(raw: bytes) -> None:
    """Any bytes at all give a message that can be stored as JSON and read back."""
    message = parse_message(raw)
    assert Message.model_validate_json(message.model_dump_json()) == message


_PIECES = [b"From: a@example.com", b"\n", b"Subject: =?utf-8?", b"B?", b"?=", b"Date: 1", b"Content-Type: ",
           b"multipart/mixed; boundary=x", b"--x", b"--x--", b"text/html; charset=", b"\xff\xfe", b"\x00",
           b"message/rfc822", b"References: <a> <b", b"\r\n\r\n", b"name*0*=utf-8''%ff", b"; ", b'"',
           b"Content-Transfer-Encoding: uuencode", b"begin 666 x"]  # fmt: skip


@given(st.lists(st.sampled_from(_PIECES), max_size=25).map(b"".join))
@settings(max_examples=300, deadline=None)
def test_no_mail_shaped_bytes_stop_the_reader(raw: bytes) -> None:
    """Headers, boundaries and encodings in any order, the likeliest way to break a mail parser."""
    message = parse_message(raw)
    assert Message.model_validate_json(message.model_dump_json()) == message


# --- mailboxes -----------------------------------------------------------------------------

_TWO = (
    b"From a@example.com Fri Jan 10 08:12:00 2025\nMessage-ID: <1@example.com>\n\n"
    b"Dear all,\n\nFrom the start we said so.\n>From here too.\n\n"
    b"From - Fri Jan 10 08:13:00 2025\nMessage-ID: <2@example.com>\n\nBye\n"
)


def test_an_mbox_is_divided_only_where_a_message_begins(tmp_path: Path) -> None:
    """An unquoted "From the start" in a body divides nothing, and a quoted one is unquoted."""
    path = tmp_path / "box"
    path.write_bytes(_TWO)
    first, second = read_mailbox(path)
    assert first.body == "Dear all,\n\nFrom the start we said so.\nFrom here too."
    assert (first.message_id, second.message_id) == ("1@example.com", "2@example.com")


def test_line_ends_do_not_matter(tmp_path: Path) -> None:
    """A mailbox written on Windows reads the same."""
    unix, windows = tmp_path / "unix", tmp_path / "windows"
    unix.write_bytes(_TWO)
    windows.write_bytes(_TWO.replace(b"\n", b"\r\n"))
    assert [m.body for m in read_mailbox(unix)] == [m.body for m in read_mailbox(windows)]


def test_maildir_and_eml_folder_are_mailboxes(tmp_path: Path) -> None:
    """The two layouts give the same messages; a Maildir's tmp folder and hidden files are not looked at."""
    maildir, folder = tmp_path / "maildir", tmp_path / "folder"
    for name in ("cur", "new", "tmp"):
        (maildir / name).mkdir(parents=True)
    (maildir / "cur" / "2:2,S").write_bytes(b"Subject: two\n\n")
    (maildir / "new" / "1").write_bytes(b"Subject: one\n\n")
    (maildir / "tmp" / "3").write_bytes(b"Subject: not delivered\n\n")
    (maildir / "cur" / ".hidden").write_bytes(b"Subject: hidden\n\n")
    (folder / "sub").mkdir(parents=True)
    (folder / "a.eml").write_bytes(b"Subject: one\n\n")
    (folder / "sub" / "b.eml").write_bytes(b"Subject: two\n\n")
    assert [m.subject for m in read_mailbox(maildir)] == ["one", "two"]
    assert [m.subject for m in read_mailbox(folder)] == ["one", "two"]
    assert [m.subject for m in read_mailbox(folder / "a.eml")] == ["one"]


def test_an_empty_maildir_has_no_messages(tmp_path: Path) -> None:
    """It is a mailbox, if an empty one; so is an empty mbox."""
    (tmp_path / "box" / "cur").mkdir(parents=True)
    (tmp_path / "mbox").touch()
    assert read_mailbox(tmp_path / "box") == read_mailbox(tmp_path / "mbox") == []


@pytest.mark.parametrize("name", ["missing", "folder", "notes.txt"])
def test_what_is_no_mailbox_is_refused_by_name(tmp_path: Path, name: str) -> None:
    """The error says which path, why, and what would be right."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "notes.txt").write_text("just notes\n")
    with pytest.raises(ParameterError, match=rf"{name}: .*\(give an mbox file"):
        read_mailbox(tmp_path / name)


def test_attachment_names_are_decoded(messages: list[Message]) -> None:
    """RFC 2231 and RFC 2047 names both come out as text."""
    notice = next(message for message in messages if message.message_id == "j014-30@example.org")
    assert notice.attachments[0].name == "strike-notice – freight.txt"
    header = 'Content-Disposition: attachment; filename="=?utf-8?Q?Bel=C3=A4ge.pdf?="'
    assert mail("Content-Type: application/pdf", header, body=b"%PDF").attachments == (
        Attachment(name="Beläge.pdf", content_type="application/pdf", size=4),
    )
