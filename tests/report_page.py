"""An HTML page taken apart, for tests of what it says."""

from html.parser import HTMLParser

VOID_TAGS = {"meta", "link", "img", "br", "hr"}


class Page(HTMLParser):
    """Tables by id (or caption) as rows of cell texts, pictures, all text, and every address the page names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.images: list[dict[str, str]] = []
        self.figures: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.sections: dict[str, str] = {}
        self._open: list[str] = []
        self._section = ""
        self._table: list[list[str]] = []
        self.feed(text)
        assert not self._open, f"not closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        if tag not in VOID_TAGS:
            self._open.append(tag)
        self.addresses += [values[name] for name in ("src", "href") if name in values]
        if tag == "section":
            self._section = values["id"]
            self.sections[self._section] = ""
        elif tag == "table":
            self._table = self.tables[values.get("id") or f"table {len(self.tables)}"] = []
        elif tag == "tr":
            self._table.append([])
        elif tag in ("td", "th"):
            self._table[-1].append("")
        elif tag == "img":
            self.images.append(values)
        elif tag == "figure":
            self.figures.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._section:
            self.sections[self._section] += data
        if self._open and self._open[-1] in ("td", "th") and self._table:
            self._table[-1][-1] += data.strip()
        if "figure" in self._open:
            self.figures[-1] += data.strip()
