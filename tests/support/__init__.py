"""What tests stand on: a real Dovecot, raw readers independent of the product, a relay, a generator of mail."""
