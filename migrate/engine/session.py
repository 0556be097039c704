"""One session at the source: how it opens, what its listing means, how it may end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..books import ListingFacts
from ..commands import OpenDest, OpenSource, ReachSource
from ..errors import Cause, Retry, StoreError, UsageError
from ..events import Connected, Gone, Listed, Notice, Skipped
from ..model import MessageRef
from .run import FEW, Run, Steps

LONGEST_LOGIN_DELAY_S = 300
BEFORE = "it was at the source before the baseline"
ARE_COPIED = "are copied all the same: only their content will tell that they are not new"


def open_destination(run: Run) -> Steps[None]:
    """Opens the first lane, while the source is reached. From now on the policy knows what separates folders there."""
    run.check_stop()
    yield from run.do(ReachSource(run.wants_deletion))
    run.dest = yield from run.do(OpenDest(0, asks_separator=run.policy.keeps_mailboxes))
    assert run.dest is not None
    run.policy = replace(run.policy, separator=run.dest.separator)
    run.emit(Connected("destination", run.dest.greeting))
    run.lanes = (0,)


def open_source(run: Run, *, may_release: bool) -> Steps[None]:
    run.check_stop()
    run.source = yield from run.do(OpenSource(may_release, will_list=run.shown is None))
    assert run.source is not None
    run.emit(Connected("source", run.source.greeting))
    run.session = yield from run.ask(lambda books: books.begin_session())
    run.loose = 0
    run.matched.clear()
    run.fetched_at = yield from run.wall()


def take_listing(run: Run, refs: Sequence[MessageRef]) -> Steps[ListingFacts]:
    """What the listing means, once it is in the books."""
    listing = yield from run.ask(lambda books: books.record_listing(refs))
    skipped = yield from _skip(run, listing)
    listing = replace(listing, open=listing.open - skipped, done=listing.done + skipped)
    run.emit(Listed(listing.messages, listing.octets, listing.new, listing.done, listing.open, listing.unsure))
    return listing


def _skip(run: Run, listing: ListingFacts) -> Steps[int]:
    """How many messages of the listing are done from now on, because the person does not want them fetched."""
    before, is_first = 0, not run.has_skipped
    if not listing.messages and listing.vanished_open:
        return 0  # an error, not a fact
    run.has_skipped = True
    if run.policy.baseline and is_first:
        before = yield from run.ask(lambda books: books.skip(BEFORE, None))
        run.emit(Skipped(before, BEFORE))
        if listing.unsure:
            run.emit(Notice(f"Messages without a UIDL of their own ({listing.unsure:,}) {ARE_COPIED}."))
    for reason, uids in run.policy.already:
        count = yield from run.ask(lambda books, reason=reason, uids=uids: books.skip(reason, uids))  # type: ignore[misc]
        if count or is_first:
            run.emit(Skipped(count, reason))
        before += count
    return before


def check_baseline(run: Run) -> Steps[None]:
    """UsageError where a baseline was drawn before: what is new since then would never be copied."""
    if not run.policy.baseline or run.has_skipped:
        return
    if (yield from run.ask(lambda books: books.has_baseline())):
        raise UsageError(
            "--baseline was given before: once more, it would leave out what has come since",
            hint="Leave it out: from now on what is new is copied.",
        )


def check_listing(run: Run, listing: ListingFacts) -> Steps[None]:
    if listing.messages == 0 and listing.vanished_open:
        if not run.policy.accept_missing:
            error = StoreError(
                f"the source is suddenly empty, with {listing.vanished_open} messages still to copy",
                cause=Cause.UNREACHABLE,
                retry=Retry.LATER,
                hint="If they were really removed, run again with --accept-missing; else try again later.",
            )
            error.end = "source"
            raise error
        run.emit(Gone((yield from run.ask(lambda books: books.mark_vanished()))))
    known = listing.vanished + listing.messages - listing.new
    if listing.vanished > 10 and listing.vanished * 5 > known and listing.new * 2 > listing.vanished:
        run.forbid_deletion(
            f"{listing.vanished} known UIDLs are gone and {listing.new} are new: the source seems to have renumbered"
        )


def may_quit(run: Run) -> Steps[bool]:
    if run.loose:
        return False
    return not (yield from run.ask(lambda books: books.retrieved_unsafe(run.session)))


def note_shown(run: Run, listing: ListingFacts) -> None:
    """Remembers what the source showed, where a next one that counts the same will show nothing else.

    Most of it was copied before and is shown all the same, so the source does not hide what was fetched. Where
    something is to be deleted, the next listing tells what became of it.
    """
    assert run.source is not None
    is_plain = run.source.messages == listing.messages < 2 * listing.done and not listing.unsure
    run.shown = (run.source.messages, run.source.octets) if is_plain and not run.wants_deletion else None


def shows_the_same(run: Run) -> Steps[bool]:
    """Whether the source has as many messages and octets as in the session before, which left nothing to do."""
    assert run.source is not None
    messages = run.source.messages
    if run.shown != (messages, run.source.octets) or (yield from _has_work(run)):
        return False
    yield from run.ask(lambda books: books.note_counted(messages))
    return True


def need_not_count(run: Run, listing: ListingFacts) -> Steps[bool]:
    """Whether the source is known to have shown all it has, and nothing is left to do."""
    return _shows_all(run, listing) and not (yield from _has_work(run))


def is_followed(run: Run, listing: ListingFacts) -> bool:
    """Whether a session that copies something is likely to be followed by another one, right behind it."""
    assert run.source is not None
    return not run.source.login_delay_s and not _shows_all(run, listing)


def _shows_all(run: Run, listing: ListingFacts) -> bool:
    """Whether the source is known to have shown all it has.

    By its protocol, or by the count of an earlier run. A source that hides what was fetched, and shows others in its
    place, showed as many as it ever does at that count: this one shows more now. And it has not begun to hide since
    then: all that was known, and what later runs fetched, is shown still. Of many new messages it may hold some back.
    """
    assert run.source is not None
    if run.shown is None or run.source.may_delete_on_fetch or listing.open > FEW:
        return False
    is_proven = 0 < listing.counted < listing.messages and not listing.left_since
    return is_proven or run.source.hides_nothing


def _has_work(run: Run) -> Steps[bool]:
    return bool((yield from run.ask(lambda books: books.next_work(1, 0))))


def may_list_again(run: Run, *, has_achieved: bool, has_deleted: bool) -> Steps[bool]:
    """A listing may be capped: it is asked for again until a session achieves nothing more."""
    assert run.source is not None
    if not has_achieved:
        return False
    delay = run.source.login_delay_s
    if not delay:
        return True
    if not (run.source.may_delete_on_fetch or has_deleted) or delay > LONGEST_LOGIN_DELAY_S:
        return False
    run.emit(Notice(f"The source asks for a pause of {delay} s between two logins; waiting before the next listing."))
    yield from run.wait(delay)
    return True
