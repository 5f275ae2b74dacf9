"""What weak labels are worth, measured against true masks. No stage of a run reads what is here."""
