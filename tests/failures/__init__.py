"""Every failure of the exit-code list, provoked in the real command: code, sentence, and no password anywhere."""
