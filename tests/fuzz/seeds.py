"""Octets to begin with, for each target: what servers, messages and people are known to come up with."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile

# The first octets are choices (commands, cuts), as each target takes them.
POP3 = (
    b"\x00\x00+OK ready\r\n",
    b"\x01\x01\x00+OK ready\r\n+OK\r\nline\r\n..dot\r\n.\r\n",
    b"\x03\x01\x01\x02\x02\x05\x09+OK\r\n+OK 3 octets\r\nab\r\n.\r\n+OK\r\n..\r\n\r\n.\r\n+OK done\r\n",
    b"\x02\x04\x02\x01\x14+OK\r\n+ Y2hhbGxlbmdl\r\n+\r\n-ERR [AUTH] no\r\n+OK\r\n",
    b"\x01\x01\x03\x10\x01\x01\x01+OK\r\n+OK\r\n\r\n.\r.\r\n.x\r\n\n.\n\r\n.\r\n",
    b"\x01\x07\x00+OK\r\n-ERR [SYS/TEMP  x] later\r\n-ERR bye\r\n",
    b"\x00\x00HTTP/1.1 400 Bad Request\r\n",
    b"\x00\x00* OK IMAP4rev1\r\n",
    b"\x00\x00\x15\x03\x01\x00\x02\x02\x28",
    b"\x01\x06\x02\x07\x03+OK <1@x>\r\n+OK\r\nTOP\r\nUIDL\r\nSASL PLAIN LOGIN\r\n.\r\nmore",
    # From 0x80 on: bodies of UIDL and LIST, NUL between them.
    b"\x8a\x003 120\x00",
    b"\x83\x011\x051 a\r\n2 b\r\n3 a\r\n\x001 10\r\n2 20\r\n3 30\r\n",
    b"\x83\x02\x06\x033 c\r\n1 a\r\n2 b\r\n\x001 10\r\n2 x\r\n3 99999999999\r\n",
    b"\x84\x00 1 \r\n2\r\n3 with space\r\n4 \xff\xfe\r\n\x001 -1\r\n2 \r\n3 1 more\r\n4 00\r\n",
    b"\x82\x004294967295 a\r\n4294967296 b\r\n\x00",
    b"\x82\x00+OK 2 320\r\nTOP\r\nexpire never\r\n\x001 1\r\n1 2\r\n",
    b"\x9f\x03\x05\x05\x0512345678901 " + b"u" * 80 + b"\r\n\x000 5\r\n",
)

IMAP = (
    b"\x01\x01\x00* OK [CAPABILITY IMAP4rev1] hi {5}\r\n* 3 EXISTS\r\n",
    b"\x00\x01\x02\x05\x07* 12 FETCH (UID 7 BODY[] {6}\r\na\r\n\0b) FLAGS (\\Seen))\r\na1 OK\r\n",
    b"\x01\x02\x03\x10\x01\x01* SEARCH 2 5 84 (MODSEQ 917)\r\n* SEARCH\r\n* SEARCH 4294967296\r\n",
    b"\x00\x03\x01\x20a1 OK [APPENDUID 38505 3955:3957] done\r\na2 NO [TRYCREATE] none\r\n* BYE\r\n",
    b'\x01\x01\x00* 1 FETCH (BODY[HEADER.FIELDS (Date)]<0> NIL RFC822.SIZE 5 X (a (b "c\\"")))\r\n',
    b'\x01\x00\x00* LIST () "/" ~{3+}\r\nfoo\r\n* X {-1}\r\n',
    b"\x01\x01\x00+ go\r\n+\r\na3 BAD [LIMIT] Too many requests {3}\r\n",
    b"\x01\x01\x00a1 NO [OVERQUOTA] full\r\na2 NO [TOOBIG] x\r\na3 NO [NOPERM] x\r\na4 NO [EXPIRED] x\r\n",
    b"\x00\x01\x00* 1 FETCH (X " + b"(" * 40 + b")" * 40 + b" UID 1)\r\n",
)

HEADER = (
    b"\x00\x00From: a@example.org\r\nDate: Mon, 3 Feb 2003 04:05:06 -0700 (MST)\r\n"
    b"Subject: =?utf-8?B?w6k=?=\r\n\r\nx\r\n",
    b"\x01\x02\x05\x30Received: from x by y; Sat, 29 Feb 2020 12:00:00 +0200\r\n (more)\r\n"
    b"Received: by z; 29 Feb 20 09:59 EST\r\nDate: 1/2/2003 4:05pm\r\nMessage-ID: <a(b)@X.org>\r\n\r\n.\r\n",
    b"\x01\x00\xef\xbb\xbfStatus: RO\nX-Status: AFTD\nX-Keywords: $Forwarded \\Deleted ol\xc3\xa9 NonJunk\n\nb\0\r\n",
    b"\x00\x01\x04X-Mozilla-Status: 1003\r\nX-Mozilla-Status2: 0a800000\r\nX-Mozilla-Keys: $label1 tag\r\n\r\n",
    b'\x00\x00X-Gmail-Labels: Inbox,"a, b",Starred,Opened\r\nResent-Date: Tue, 31 Dec 1969 23:59:60 +9999\r\n',
    b"\x00\x00From old@x Thu Jan  1 00:00:00 1970\r\nDelivery-date : Fri, 21 Nov 1997 09:55:06 GMT\r\n"
    b"no colon\r\n\tx\r\n",
    b'\x01\x01\x02\rFrom: bare\rMessage-ID: "q@x" <"a\\>b"@x\r\r\n\r\n',
    b"\x00\x00X-OriginalArrivalTime: 21 Nov 1997 09:55:06.0123 (UTC) FILETIME=[01BCF661:0F8D9A40]\r\n"
    b"X-Delivery-Time: 1234567890\r\n\r\n",
    b"\x00\x00Subject: =?x-unknown*en?q?=E9=?=\r\n =?x-unknown?Q?_=00?= =?idna?b?////?= =?utf-7?Q?+AAA-?=\r\n\r\n",
    b"\x00\x00Date: 0000-00-00T99:99:99Z\r\nDate: 99999999999999999999\r\nDate: Mon, 32 Foo 10000 -2360\r\n\r\n",
    b"",
)

SHOWN = (
    b"plain text\0secret-word",
    b"\x1b[31mred\x07\r\n\xe2\x80\xaertl\xc2\x9b\xe2\x80\x8b\xef\xbb\xbf\0p\xc3\xa4ss w\xc3\xb6rd",
    b"-ERR wrong password canary-7f3a\0canary-7f3a",
    b'a\\b"c\0a\\b"c d%20',
    b"\xff\xfe\xed\xa0\x80\0****",
    b"x" * 400 + b"\0" + b"/+/+=" * 3,
)

STATE = (
    b"",
    b"\x00\x00\x00\x00\x12x",
    b"\x03\x10\x00",
    b"\x03\x00\x00",
    b"\x00\x03\x00\x00\x3c\x00\x00\x00\x02",
    b"\x00\x00\x00\x10\x05\x00\x07\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00",
    b"\x00\x01\x00\x20\x00\xff\xff\x01\x00\x30\x00\xff\xff",
)

WORDS = (
    b"pop3s://alice@pop.example.org",
    b"imaps://alice%40x@imap.example.org:993/Old/%C3%A9t%C3%A9",
    b"pop3://bob@[2001:db8::1]:110",
    b"imap+insecure://a@localhost/INBOX",
    b"pop3s://alice:secret@host\xc3\xa9.example.org.",
    b"env:NAME",
    b"file:/etc/secret",
    b"cmd:pass show mail",
    b"sha256:" + b"aB:" * 31 + b"aB",
    b"migrate\npop3s://a@h\nimaps://b@i\n--delete-after\n30d\n--max-delete\n5\n--settle\n2.5\n-v",
    b"verify\na@pop.example.org\nimaps://b@i\n--folder\nOld\n--source-pin\nsha256:00",
    b"status\n--state\nx.sqlite\n--rebind\nOLD\nNEW\n--json",
    b"rebuild\n--help",
    b"--version",
    b"migrate\n-psecret\n--password=x\n--dedupe\nnever\n--connections\n99",
)


_MBOX = (
    b"From ada@example.net Thu Feb 12 10:11:12 2015\nSubject: x\nContent-Length: 20\nStatus: RO\n\n>From you\nText\n\n"
    b"From - Thu Feb 12 10:11:12 2015\r\nX-Mozilla-Status: 0009\r\n\r\nText\r\n\r\n"
    b"From \r\nSubject: y\r\n\r\n>>From me\r\n"
)
_PARTIAL = (
    b"200\nContent-Type: multipart/mixed; boundary=a\n\n--a\nContent-Transfer-Encoding: base64\n"
    b"X-Apple-Content-Length: 8\n\n\n--a\nContent-Type: multipart/x; boundary=b\n\n--b\n\nText\n--b--\n--a--\n"
)


def _zip(method: int) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        archive.writestr("Mail/old.mbox", _MBOX)
        archive.writestr("cur/1:2,S", b"Subject: z\n\nText\n")
    return target.getvalue()


def _tar() -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, octets in (("x" * 120 + "/old.mbox", _MBOX), ("cur/1:2,S", b"Subject: z\n\nText\n")):
            info = tarfile.TarInfo(name)
            info.size = len(octets)
            archive.addfile(info, io.BytesIO(octets))
    return target.getvalue()


MAIL_FILE = (
    b"\0" + _MBOX,
    b"\1" + _MBOX * 3 + b'\0index\0{"version":3.1,"uid_validity":5,"messages":[{"uid":1,"offset":0,"flags":["Seen"]}]}',
    b"\2Subject: x\r\n\r\nText\r\n",
    b"\0030000000021\nSubject: x\n\nText\n\n<?xml version='1.0'?>\n<!DOCTYPE plist><plist><dict><key>flags</key>"
    b"<integer>5</integer><key>date-received</key><real>1555588849.0</real></dict></plist>",
    b"\5" + gzip.compress(_MBOX),
    b"\1" + _MBOX.replace(b"\r", b"").replace(b"\n", b"\r"),
    b"\4" + _PARTIAL,
    *(bytes((7,)) + octets for octets in (_zip(zipfile.ZIP_STORED), _zip(zipfile.ZIP_DEFLATED))),
    b"\x08" + _tar(),
    b"\x09" + gzip.compress(_tar()),
)
