"""The hazard categories of Llama Guard 4 (its model card: the MLCommons taxonomy and code interpreter abuse)."""

CATEGORIES: dict[str, str] = {
    "S1": "Violent Crimes",
    "S2": "Non-Violent Crimes",
    "S3": "Sex-Related Crimes",
    "S4": "Child Sexual Exploitation",
    "S5": "Defamation",
    "S6": "Specialized Advice",
    "S7": "Privacy",
    "S8": "Intellectual Property",
    "S9": "Indiscriminate Weapons",
    "S10": "Hate",
    "S11": "Suicide & Self-Harm",
    "S12": "Sexual Content",
    "S13": "Elections",
    "S14": "Code Interpreter Abuse",
}
CATEGORY_KEYS = tuple(CATEGORIES)
TEXT_ONLY = frozenset({"S14"})  # not asked for where a message has an image
