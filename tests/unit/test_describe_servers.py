"""Who may be asked, and who gets the key: a stranger's workflow names the server."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from incontext_lora.incontext.captions.describe.servers import BASE, FILE, KEY, address, named_servers, permitted
from incontext_lora.incontext.errors import VisionError

SECRET = "sk-0123456789abcdef"
ENVIRONMENT = {"OPENAI_API_KEY": SECRET}


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://127.0.0.1:11434/v1", "http://127.0.0.1:11434/v1"),
        (" http://LocalHost:1234/ ", "http://localhost:1234/v1"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/v1"),
        ("https://api.openai.com:443/v1//", "https://api.openai.com/v1"),
        ("HTTPS://API.OpenAI.com/v1", "https://api.openai.com/v1"),
        ("https://host.example/a-b/v1.2/chat/completions", "https://host.example/a-b/v1.2"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
    ],
)
def test_addresses_are_read(text: str, url: str) -> None:
    assert address(text).url == url


@pytest.mark.parametrize(
    "text",
    [
        "", "127.0.0.1:11434", "ftp://127.0.0.1/v1", "file:///etc/passwd", "http://", "http://:80/v1",
        "https://api.openai.com@evil.example/v1", "https://user:sk-secret@api.openai.com/v1",
        "https://api.openai.com\\@evil.example/v1", "https://api.openai.com#@evil.example/v1",
        "https://evil.example?https://api.openai.com/v1", "https://api.openai.com/v1?key=sk-secret",
        "https://api.openai.com/v1\r\nX: y", "https://api.openai.com /v1", "https://api.öpenai.com/v1",
        "http://127.0.0.1:0/v1", "http://127.0.0.1:99999/v1", "https://api.openai.com/%2e%2e/v1", "http://-a/v1",
    ],
)  # fmt: skip
def test_what_two_readers_could_take_for_different_hosts_is_refused(text: str) -> None:
    with pytest.raises(VisionError, match="not the address of a vision server") as error:
        address(text)
    assert "sk-secret" not in str(error.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.8.9.10", "0.0.0.0", "a.localhost"])
def test_this_machine_may_be_asked_without_a_key(host: str) -> None:
    server = permitted(f"http://{host}:8000/v1", named_servers(ENVIRONMENT))
    assert server.is_local
    assert server.key == ""


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/v1",
        "http://192.168.1.5:8000/v1",
        "http://169.254.169.254/latest",
        "https://api.openai.com.evil.example/v1",
        "https://localhost.evil.example/v1",
        "http://api.openai.com/v1",  # without encryption
        "https://api.openai.com:8443/v1",
        "http://127.0.0.1.evil.example/v1",
        "http://2130706433/v1",
    ],
)
def test_other_machines_must_be_named(url: str) -> None:
    with pytest.raises(VisionError, match=f"is not on this machine.*{BASE}=") as error:
        permitted(url, named_servers(ENVIRONMENT))
    assert SECRET not in str(error.value)


def test_a_key_goes_to_the_server_that_it_was_named_with() -> None:
    named = named_servers({**ENVIRONMENT, KEY: "other-key", BASE: "http://192.168.1.5:8000/v1"})
    assert permitted("https://api.openai.com/v1", named).key == SECRET
    assert permitted("http://192.168.1.5:8000", named).key == "other-key"
    assert permitted("http://127.0.0.1:11434/v1", named).key == ""
    moved = named_servers({**ENVIRONMENT, "OPENAI_BASE_URL": "https://proxy.example/v1"})
    assert permitted("https://proxy.example/v1", moved).key == SECRET
    with pytest.raises(VisionError, match="not on this machine"):
        permitted("https://api.openai.com/v1", moved)


def test_behind_one_gateway_a_key_stays_below_its_path() -> None:
    named = named_servers({BASE: "https://gateway.example/team-a/v1", KEY: SECRET})
    for path in ("/team-a/v1", "/team-a/v1/", "/team-a/v1/chat/completions", "/team-a/v1/deeper"):
        assert permitted(f"https://gateway.example{path}", named).key == SECRET
    for path in ("", "/v1", "/team-b/v1", "/team-a", "/team-a/v10", "/team-a/v1-of-others", "/TEAM-A/v1"):
        with pytest.raises(VisionError, match="not on this machine"):
            permitted(f"https://gateway.example{path}", named)
    for path in ("/team-a/v1/../../team-b/v1", "/team-a/v1/..", "/team-a/v1/./x"):
        with pytest.raises(VisionError, match="dot segments"):
            permitted(f"https://gateway.example{path}", named)
    local = named_servers({BASE: "http://127.0.0.1:4000/team-a/v1", KEY: SECRET})
    assert permitted("http://127.0.0.1:4000/team-a/v1", local).key == SECRET
    assert permitted("http://127.0.0.1:4000/team-b/v1", local).key == ""


def test_of_two_named_paths_the_longer_one_counts(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(json.dumps({"https://g.example/a": "short", "https://g.example/a/b": "long"}))
    named = named_servers({}, tmp_path / FILE)
    assert permitted("https://g.example/a/b/c", named).key == "long"
    assert permitted("https://g.example/a/c", named).key == "short"


def test_a_key_without_a_server_goes_nowhere() -> None:
    assert named_servers({KEY: SECRET}) == {}
    server = permitted("http://127.0.0.1:11434/v1", named_servers({KEY: SECRET}))
    assert server.key == ""


def test_a_local_server_may_have_a_key() -> None:
    named = named_servers({BASE: "http://127.0.0.1:8000/v1", KEY: SECRET})
    assert permitted("http://127.0.0.1:8000/v1", named).key == SECRET
    assert permitted("http://127.0.0.1:8001/v1", named).key == ""
    assert permitted("http://localhost:8000/v1", named).key == "", "another name is another server"


@given(url=st.from_regex(r"https?://[a-z0-9.@:/\\#?\[\]-]{0,30}", fullmatch=True) | st.text())
def test_whatever_the_address_the_key_stays_with_its_host(url: str) -> None:
    named = named_servers({BASE: "https://ai.example/v1", KEY: SECRET})
    for text in (url, url.replace("evil", "ai.example"), f"https://ai.example{url}", f"{url}@ai.example/v1"):
        try:
            server = permitted(text, named)
        except VisionError:
            continue
        read_by_others = urlsplit(server.url)
        assert (read_by_others.scheme, read_by_others.hostname, read_by_others.username) == (
            server.scheme,
            server.host,
            None,
        )
        assert (server.key != "") == ((server.scheme, server.host, server.port) == ("https", "ai.example", 443))


# --- the file -------------------------------------------------------------------------------------------------------


def test_the_file_names_servers_and_goes_first(tmp_path: Path) -> None:
    file = tmp_path / FILE
    assert named_servers({}, file) == {}
    file.write_text(json.dumps({"https://api.openai.com/v1": " from-file\n", "http://nas.local:11434/v1": ""}))
    named = named_servers(ENVIRONMENT, file)
    assert permitted("https://api.openai.com/v1", named).key == "from-file"
    assert permitted("http://nas.local:11434/v1", named).key == ""
    assert str(file) in permitted("https://api.openai.com/v1", named).source


@pytest.mark.parametrize("text", ["{", "[]", '{"https://a.example/v1": 7}', '"sk-secret"'])
def test_an_error_about_a_damaged_file_does_not_quote_its_contents(tmp_path: Path, text: str) -> None:
    file = tmp_path / FILE
    file.write_text(text)
    with pytest.raises(VisionError, match=FILE) as error:
        named_servers({}, file)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("key", ["a b", "sk-1\r\nX-Evil: 1", "schlüssel", "a\x00b"])
def test_an_invalid_key_is_refused_without_showing_it(key: str) -> None:
    named = named_servers({"OPENAI_API_KEY": key})
    assert permitted("http://127.0.0.1:11434/v1", named).key == "", "a mistake elsewhere does not matter here"
    with pytest.raises(VisionError, match="OPENAI_API_KEY holds spaces or characters") as error:
        permitted("https://api.openai.com/v1", named)
    assert key not in str(error.value)


def test_an_error_about_a_named_address_says_where_it_is() -> None:
    with pytest.raises(VisionError, match=f"address of a server in {BASE} cannot be used"):
        named_servers({BASE: "api.example.com", KEY: SECRET})
    assert named_servers({**ENVIRONMENT, "OPENAI_BASE_URL": "https://azure.example/openai?version=1"}) == {}
