"""Sentences for people: event -> Line, and the small words that all texts share.

Our sentences explain; a server's own words stand in quotation marks. Sizes
are MB (1,000,000 octets) with one decimal, numbers have thousands separators.
"""

from __future__ import annotations

from typing import NamedTuple

from ..events import (
    Altered,
    Compressed,
    Connected,
    Counting,
    Damaged,
    Deleted,
    Deleting,
    DeletionOff,
    Doubled,
    Duplicate,
    Encrypted,
    Event,
    Gone,
    Judged,
    Kept,
    Listed,
    Notice,
    Prunable,
    Pruning,
    Reconnecting,
    SameId,
    Scanned,
    SetAside,
    Settling,
    Skipped,
    Spared,
    Stopping,
    StoredAgain,
)
from ..recount import FAULTS

ALWAYS, NORMAL, VERBOSE = 0, 1, 2  # with -q, by default, with -v


class Line(NamedTuple):
    """One line of talk, and how much talk a person must want to see it."""

    level: int
    text: str


def count(number: int, noun: str = "message") -> str:
    """``1 message``, ``5,004 messages``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {plural(noun)}"


def plural(noun: str) -> str:
    return noun[:-1] + "ies" if noun.endswith("py") else noun + "s"


def size(octets: int) -> str:
    """``312.4 MB``."""
    if 0 < octets < 50_000:
        return "under 0.1 MB"
    return f"{octets / 1_000_000:,.1f} MB"


def sentence(text: str) -> str:
    """The text with a capital letter at its beginning and a full stop at its end."""
    text = ended(text)
    return text[:1].upper() + text[1:]


def ended(text: str) -> str:
    """The text with a full stop at its end, where it has no other."""
    text = text.strip()
    return text if not text or text[-1] in '.?!:"' else f"{text}."


def quoted(said: str) -> str:
    """The server's own words, apart from ours; nothing where it said nothing."""
    return f' The server said: "{said.strip()}"' if said.strip() else ""


def trouble(what: str, said: str = "", hint: str = "") -> str:
    """What happened, the server's words, what to do: one line."""
    return sentence(what) + quoted(said) + (f" {ended(hint)}" if hint else "")


STOPPING = "Stopping after the messages in flight (at most 10 s); Ctrl-C again stops now. Nothing is lost."
NOTHING_COPIED = "This run copied nothing."


def stopping(is_listed: bool) -> str:
    """The answer to the first Ctrl-C."""
    return STOPPING if is_listed else f"{STOPPING} {NOTHING_COPIED}"


def line(event: Event) -> Line | None:
    """What is said when this happens, or None where only numbers move."""
    match event:
        case Connected():
            return Line(NORMAL, sentence(f"connected to the {event.end}: {event.greeting}"))
        case Listed():
            return Line(NORMAL, _listed(event))
        case Skipped():
            return Line(NORMAL, skipped(event))
        case Counting():
            octets = f" ({size(event.octets)})" if event.octets else ""
            return Line(NORMAL, f"To be read from the {event.end}: {count(event.messages)}{octets}.")
        case Settling():
            return Line(NORMAL, _settling(event)) if event.left_s > 0 else None
        case Scanned():
            return _scanned(event)
        case Gone():
            are = "is" if event.messages == 1 else "are"
            text = f"{count(event.messages)} {are} gone: they left the source before they were copied."
            return Line(
                NORMAL, text.replace("they left", "it left").replace("they were", "it was") if are == "is" else text
            )
        case Deleting():
            return Line(ALWAYS, f"Will now delete {count(event.messages)} ({size(event.octets)}) at the source.")
        case Deleted():
            return Line(NORMAL, f"Deleted at the source, as it confirmed: {count(event.messages)}.")
        case DeletionOff():
            return Line(ALWAYS, sentence(f"from now on this run deletes nothing at the source: {event.reason}"))
        case Reconnecting():
            return Line(NORMAL, _reconnecting(event))
        case Doubled():
            places = ", ".join(f"{mailbox} UID {uid}" for mailbox, uid in event.places)
            return Line(
                ALWAYS,
                f"The destination holds {count(len(event.places), 'copy')} ({places}) of message {event.row} "
                f"(UIDL {event.uidl}), which was uploaded once. Delete what is too much by hand.",
            )
        case Notice():
            return Line(NORMAL, trouble(event.text, event.said))
        case Stopping():
            return Line(ALWAYS, STOPPING)
        case Damaged():
            return Line(ALWAYS, _damaged(event))
        case StoredAgain():
            return Line(NORMAL, _stored_again(event))
        case Compressed():
            return Line(NORMAL, f"{event.file}: compressed, {size(event.octets)} to {size(event.packed)}.")
        case Encrypted():
            return Line(NORMAL, f"{event.file}: encrypted, {count(event.messages)} ({size(event.octets)}).")
        case Prunable():
            return Line(ALWAYS, _prunable(event))
        case Spared():
            return Line(NORMAL, ended(f"{event.file} stays: {event.reason}"))
        case Pruning():
            files, messages = count(event.files, "file"), count(event.messages)
            return Line(ALWAYS, f"Will now delete {files} with {messages} ({size(event.octets)}) from the backup.")
        case _:
            return _about_one_message(event)


def _about_one_message(event: Event) -> Line | None:
    match event:
        case Altered():
            changes = ", ".join(event.changes)
            return Line(VERBOSE, f"{_this(event)}: the destination keeps it changed: {changes}.")
        case Duplicate():
            return Line(VERBOSE, f"{_this(event)}: not copied, the same as {_twin(event)}.")
        case SameId():
            other = "a message of the destination" if event.twin is None else which(event.twin, event.twin_uidl)
            return Line(
                VERBOSE,
                f"{_this(event)}: has the Message-ID of {other} and other content; both are kept.",
            )
        case Judged():
            return Line(ALWAYS if event.tier in BAD else VERBOSE, _judged(event))
        case SetAside():
            why = trouble(event.reason, event.said, event.hint)
            return Line(VERBOSE, f"{_this(event)}: set aside. {why}")
        case Kept():
            return Line(VERBOSE, sentence(f"{_this(event)}: not deleted: {event.reason}"))
        case _:
            return None


def _this(event: Altered | Duplicate | Kept | SameId | SetAside) -> str:
    return "M" + which(event.row, event.uidl)[1:]


def which(row: int, uidl: str) -> str:
    """A message by its row in the state file, and its name at the source where it has one."""
    return f"message {row} (UIDL {uidl})" if uidl else f"message {row}"


BAD = frozenset(tier.value for tier in FAULTS)


def _judged(event: Judged) -> str:
    """What a recount says of one message."""
    name = f"UIDL {event.uidl}" if event.uidl else "a message without a UIDL"
    octets = "" if event.octets is None else f" ({count(event.octets, 'octet')})"
    folder = f" in {event.mailbox}" if event.mailbox else ""
    where = "" if event.uid is None else f"UID {event.uid}{folder} at the destination"
    changes = ", ".join(event.changes)
    match event.tier:
        case "missing":
            text = f"Missing{folder}: {name}{octets}"
        case "unread":
            text = f"Not compared: {name}{octets}: {event.reason or 'the source did not serve it'}"
        case "differs":
            other = changes or "has the same name (Message-ID, or From, Date, Subject and To) and other content"
            text = f"Differs: {name}{octets}: {where}: {other}"
        case "altered":
            text = f"Changed: {name}{octets}: {where}: {changes}"
        case _:
            text = f"Same content: {name}{octets}: {where} has other volatile headers"
    shared = ", and serves another message too" if event.is_shared else ""
    released = ", deleted at the source" if event.is_released else ""
    return f"{ended(text + shared + released)}{quoted(event.said)}"


def _damaged(event: Damaged) -> str:
    """One fault of a backup, with everything that helps to find it."""
    offset = "" if event.offset is None else f", offset {event.offset:,}"
    uid = "" if event.uid is None else f", uid {event.uid}"
    message = f" (SHA-256 {event.message})" if event.message else ""
    return ended(f"{event.file}{offset}{uid}{message}: {event.what}")


def _stored_again(event: StoredAgain) -> str:
    uid = "" if event.uid is None else f", from uid {event.uid} on"
    return f"{event.file}{uid}: lost {count(event.messages)}, and stored again since: whole under a higher uid."


def _prunable(event: Prunable) -> str:
    """One file that goes, with what is in it."""
    dates = ""
    if event.since is not None and event.until is not None:
        dates = f", dated {event.since[:10]} to {event.until[:10]}"
    return f"{event.file}: {count(event.messages)} ({size(event.octets)}){dates}."


def _twin(event: Duplicate) -> str:
    where = "" if event.twin_uid is None else f"UID {event.twin_uid} at the destination"
    if event.twin is None:
        return where or "a message of the destination"
    return which(event.twin, event.twin_uidl) + (f", {where}" if where else "")


def skipped(event: Skipped) -> str:
    """What was marked as done without being fetched, and why."""
    if event.messages == 1:
        return f"1 message is marked as done and not fetched: {event.reason}."
    why = event.reason.replace("it was", "they were").replace("has it", "has them")
    return f"{count(event.messages)} are marked as done and not fetched: {why}."


def _listed(event: Listed) -> str:
    parts = [f"{event.open:,} to copy", f"{event.done:,} done"]
    if event.unsure:
        parts.append(f"{event.unsure:,} to compare by content")
    return f"The source lists {count(event.messages)} ({size(event.octets)}): {', '.join(parts)}."


def _settling(event: Settling) -> str:
    return f"Waiting {event.left_s:,.0f} s: {event.reason}."


def _scanned(event: Scanned) -> Line:
    text = f'Looked at {count(event.messages)} in "{event.mailbox}"'
    if event.adopted:
        are = "is" if event.adopted == 1 else "are"
        return Line(NORMAL, f"{text}; {event.adopted:,} came from the interrupted run and {are} not sent again.")
    return Line(VERBOSE, f"{text}.")


def _reconnecting(event: Reconnecting) -> str:
    wait = f"in {event.wait_s:,.0f} s" if event.wait_s >= 1 else "now"
    reason = event.reason.strip().rstrip(".")
    return sentence(f"{event.end}: {reason}.{quoted(event.said)} Trying again {wait}")
