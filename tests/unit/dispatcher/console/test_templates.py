"""What no template may have: the policy would refuse it, or it would show foreign text as markup."""

import hashlib
import re
from pathlib import Path

from dispatcher.console.figures import KINDS, SHOWN_PERCENTS
from dispatcher.console.static_files import static_files
from tests.each import each

HERE = Path(__file__).parents[4] / "dispatcher" / "console"
TEMPLATES = sorted((HERE / "templates").glob("*.html"))
OURS = sorted(HERE.rglob("*.py"))
FORBIDDEN = re.compile(
    r"\|\s*safe|Markup|autoescape|\bstyle=|\son[a-z]+=|hx-on|hx-vals|hx-vars|javascript:|<style|<script(?! src=\"{{ to)"
    r"|href=\"https?:|src=\"https?:"
)


@each("template", TEMPLATES)
def test_a_template_has_nothing_that_makes_foreign_text_markup(template: Path) -> None:
    assert FORBIDDEN.findall(template.read_text()) == []


def test_the_way_back_is_left_of_what_a_form_does_everywhere() -> None:
    wrong = re.compile(r"<button class=\"button first\".*>{% trans %}Back")
    assert [path.name for path in TEMPLATES if wrong.search(path.read_text())] == []


def test_the_search_finds_what_it_looks_for() -> None:
    for bad in ("{{ x|safe }}", '<p style="x">', '<b onclick="x">', "<script>x</script>", '<a href="https://x">'):
        assert FORBIDDEN.search(bad), bad


def test_markup_is_made_of_parts_in_one_module_only() -> None:
    makers = [path.name for path in OURS if re.search(r"\bMarkup\b|render_template|from_string", path.read_text())]
    assert makers == ["charts.py"]


def test_each_button_that_says_copy_does() -> None:
    buttons = re.findall(r'<button class="[^"]*copy[^>]*>', "".join(path.read_text() for path in TEMPLATES))
    assert len(buttons) > 5
    assert [button for button in buttons if " data-copy" not in button] == []


def test_the_style_sheet_has_no_rule_for_what_no_page_has() -> None:
    sheet = re.sub(r"/\*.*?\*/|{[^{}]*}", " ", (HERE / "static" / "console.css").read_text(), flags=re.DOTALL)
    makers = [*TEMPLATES, HERE / "charts.py", HERE / "static" / "console.js"]
    made = {f"s-{kind}" for kind in KINDS.values()} | {f"l-{line}" for line in SHOWN_PERCENTS.values()}
    made.update(word for path in makers for word in re.findall(r"[\w-]+", path.read_text()))
    assert set(re.findall(r"\.([a-z][\w-]*)", sheet)) - made == set()


def test_what_others_wrote_is_here_unchanged() -> None:
    folder = HERE / "static"
    told = re.findall(r"^(\S+)  .*\nsha256 ([0-9a-f]{64})$", (folder / "VENDORED").read_text(), re.MULTILINE)
    assert [(name, hashlib.sha256((folder / name).read_bytes()).hexdigest()) for name, _ in told] == told
    assert {path.name for path in folder.iterdir()} == {"VENDORED", "console.css", "console.js", "icon.svg"} | {
        name for name, _ in told
    }


def test_scripts_and_styles_load_nothing_and_evaluate_nothing() -> None:
    own = (HERE / "static" / "console.js").read_text()
    assert re.findall(r"\beval\b|new Function|innerHTML|insertAdjacentHTML|document\.write|https?://", own) == []
    assert len(own.splitlines()) <= 120
    assert re.findall(r"@import|url\(|https?://", (HERE / "static" / "console.css").read_text()) == []


def test_only_fields_hide_what_is_in_them_so_what_is_shown_once_is_shown() -> None:
    style = (HERE / "static" / "console.css").read_text()
    hidden = re.findall(r"^(.*) { -webkit-text-security", style, re.MULTILINE)
    assert [selector.partition(":")[0] for selector in hidden] == ["input"]


def test_a_static_file_has_the_hash_of_its_content_in_its_name() -> None:
    for name, file in static_files().items():
        stem, _, ending = name.rpartition(".")
        assert file.name == f"{stem}.{hashlib.sha256(file.content).hexdigest()[:16]}.{ending}"
