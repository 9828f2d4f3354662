"""Tables 1 to 3 of the paper, trained and evaluated here."""
