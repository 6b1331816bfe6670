"""What the user sees. Everything that knows the toolkit is here."""
