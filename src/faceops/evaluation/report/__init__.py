"""The evaluation as text and tables: one set of sections for the HTML report and the card."""
