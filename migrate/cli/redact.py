"""Takes secrets out of a text, also where a server echoes one in another form."""

from __future__ import annotations

from ..model import Secret

SHORTEST = 4  # characters: a shorter secret would black out ordinary words
MASK = "***"


class Redactor:
    """Replaces every known form (``Secret.forms``) of the given secrets."""

    def __init__(self) -> None:
        self._forms: list[str] = []

    def learn(self, user: str, secret: Secret) -> None:
        forms = {form.decode("utf-8", "surrogatepass") for form in secret.forms(user) if len(form) >= SHORTEST}
        # The longest first: a form may hold another one.
        self._forms = sorted({*self._forms, *forms}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for form in self._forms:
            text = text.replace(form, MASK)
        return text
