"""What a source shows only because the session that fetched it was cut off.

A source that hides what was fetched once its session ends with QUIT shows it as before where there was no QUIT. If
it also shows so many messages at a time (Gmail is said to do both), those that were copied stand in front of all
others for ever, and nothing seems to be left. So where nothing else is to do, one of them is fetched once more: a
source that shows it in the next session hides nothing; of one that does not, all of them are fetched once more.
"""

from __future__ import annotations

from ..commands import Commit, Fetch
from ..errors import MessageError
from ..model import Message, Work
from .run import Run, Steps

ALL = 1_000_000


def fetch_again(run: Run) -> Steps[int | None]:
    """The row of a message that was fetched once more: whether the source hides it, the next listing tells.

    It belongs into ``run.tried`` when the session has ended with QUIT, and not before: else nothing is hidden.
    """
    assert run.source is not None
    if run.source.hides_nothing:
        return None
    tried = run.tried
    if tried is not None and (yield from run.ask(lambda books: books.is_listed(tried))):
        yield from run.ask(lambda books: books.forget_cuts())
        return None
    works = yield from run.ask(lambda books: books.cut_off(1 if tried is None else ALL))
    for work in works:
        if not (yield from _fetch(run, work)):
            return None
    if not works:
        return None
    run.shown = None  # it has to be listed: a count may be the same by chance
    return works[0].row.id


def _fetch(run: Run, work: Work) -> Steps[bool]:
    assert work.ref is not None
    try:
        message: Message = yield from run.do(Fetch(work.ref))
    except MessageError:
        return False
    message.discard()
    known = work.row.fingerprint
    if known is None or known.key.content != message.fingerprint.key.content:
        run.loose += 1  # another message under this UIDL (R9), which nobody has: no QUIT
        return False
    yield from run.do(Commit((work.row._replace(fetched_session=run.session),)))
    return True
