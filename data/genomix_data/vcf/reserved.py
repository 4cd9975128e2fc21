"""Keys whose Number and Type the VCF specification fixes (4.3, tables 1 and 2)."""

RESERVED: dict[str, dict[str, tuple[str, str]]] = {
    "INFO": {
        "AA": ("1", "String"),
        "AC": ("A", "Integer"),
        "AD": ("R", "Integer"),
        "ADF": ("R", "Integer"),
        "ADR": ("R", "Integer"),
        "AF": ("A", "Float"),
        "AN": ("1", "Integer"),
        "BQ": ("1", "Float"),
        "CIGAR": ("A", "String"),
        "DB": ("0", "Flag"),
        "DP": ("1", "Integer"),
        "END": ("1", "Integer"),
        "H2": ("0", "Flag"),
        "H3": ("0", "Flag"),
        "MQ": ("1", ""),
        "MQ0": ("1", "Integer"),
        "NS": ("1", "Integer"),
        "SOMATIC": ("0", "Flag"),
        "VALIDATED": ("0", "Flag"),
        "1000G": ("0", "Flag"),
    },
    "FORMAT": {
        "AD": ("R", "Integer"),
        "ADF": ("R", "Integer"),
        "ADR": ("R", "Integer"),
        "DP": ("1", "Integer"),
        "EC": ("A", "Integer"),
        "FT": ("1", "String"),
        "GL": ("G", "Float"),
        "GLE": ("G", "String"),
        "GP": ("G", "Float"),
        "GQ": ("1", "Integer"),
        "GT": ("1", "String"),
        "HQ": ("2", "Integer"),
        "MQ": ("1", "Integer"),
        "PL": ("G", "Integer"),
        "PQ": ("1", "Integer"),
        "PS": ("1", "Integer"),
    },
}
"""``{INFO or FORMAT: {key: (Number, Type)}}``; an empty Type means that versions differ."""

NOT_NEGATIVE = frozenset({"AC", "AF", "AN", "DP", "END", "MQ0", "NS"})
"""INFO keys that count something."""
