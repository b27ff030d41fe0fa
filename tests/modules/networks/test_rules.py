"""The rules of `host:`: what they match, and how a mistake in them is told."""

from __future__ import annotations

import errno
from ipaddress import ip_address
from pathlib import Path

import pytest

from diorama.errors import UsageError
from diorama.interfaces.rules import IN, OUT, Flow, Policy, parse_rule
from diorama.modules.networks.host.names import Names
from diorama.modules.networks.host.proxies import parse_proxy
from diorama.modules.networks.host.settings import read_settings
from diorama.modules.options import Options, without_secrets


def flow(address: str, port: int, protocol: str = "tcp", direction: str = OUT, *names: str) -> Flow:
    return Flow(direction, protocol, ip_address(address), port, names)


@pytest.mark.parametrize(
    ("pattern", "what", "expected"),
    [
        ("10.0.0.0/8:443", flow("10.1.2.3", 443), True),
        ("10.0.0.0/8:443", flow("10.1.2.3", 80), False),
        ("10.0.0.0/8:443", flow("11.1.2.3", 443), False),
        ("10.0.0.0/8", flow("10.1.2.3", 80, "udp"), True),
        ("tcp:10.0.0.0/8", flow("10.1.2.3", 80, "udp"), False),
        ("udp:*:5000-5010", flow("192.0.2.1", 5010, "udp"), True),
        ("udp:*:5000-5010", flow("192.0.2.1", 5011, "udp"), False),
        ("[fe80::/10]:22", flow("fe80::1", 22), True),
        ("fe80::/10", flow("fe80::1", 22), True),
        ("[::1]", flow("127.0.0.1", 22), False),
        (":22", flow("192.0.2.1", 22), True),
        ("icmp:192.0.2.1", flow("192.0.2.1", 0, "icmp"), True),
        ("192.0.2.1:80", flow("192.0.2.1", 0, "icmp"), False),
        ("*.debian.org:80", flow("192.0.2.1", 80, "tcp", OUT, "deb.debian.org"), True),
        ("*.debian.org:80", flow("192.0.2.1", 80, "tcp", OUT, "debian.org"), False),
        ("*.Debian.org.", flow("192.0.2.1", 80, "tcp", OUT, "other", "deb.debian.org"), True),
        ("*.debian.org", flow("192.0.2.1", 80), False),
        ("192.0.2.1", flow("192.0.2.1", 80, "tcp", IN), False),
        ("in:192.0.2.1", flow("192.0.2.1", 80, "tcp", IN), True),
        ("in:tcp:*:80", flow("192.0.2.1", 80, "tcp", IN), True),
        ("*", flow("192.0.2.1", 80, "tcp", IN), True),
        ("out:*", flow("192.0.2.1", 80, "tcp", IN), False),
    ],
)
def test_patterns(pattern: str, what: Flow, expected: bool) -> None:
    assert parse_rule("allow", pattern).matches(what) is expected


def test_the_default_counts_last_wherever_it_stands() -> None:
    texts = [("deny", "*"), ("deny", "10.0.0.1"), ("allow", "10.0.0.0/8"), ("deny", "10.0.0.2")]
    policy = Policy([parse_rule(*text) for text in texts])
    found = [policy.find(flow(f"10.0.0.{last}", 80)).text for last in (1, 2)]
    assert found == ["10.0.0.1", "10.0.0.0/8"]
    assert policy.find(flow("11.0.0.1", 80)).text == "*"
    assert Policy([parse_rule("allow", "10.0.0.1")]).default.action == "deny"


def test_a_program_may_wait_where_somebody_may_come() -> None:
    texts = [("deny", "in:192.0.2.1:80"), ("allow", "in:*:80"), ("deny", "in:*:81"), ("allow", "in:*:81")]
    policy = Policy([parse_rule(*text) for text in texts])
    assert [policy.find_port("tcp", port).action for port in (80, 81, 82)] == ["allow", "deny", "deny"]


def test_names_are_resolved_that_a_rule_lets_be_reached() -> None:
    texts = [("deny", "bad.good.example"), ("deny", "*.good.example:25"), ("allow", "*.good.example")]
    policy = Policy([parse_rule(*text) for text in texts])
    found = [policy.find_name(f"{name}.good.example").action for name in ("bad", "www")]
    assert [*found, policy.find_name("other.example").action] == ["deny", "allow", "deny"]


@pytest.mark.parametrize(
    ("action", "pattern", "more", "why"),
    [
        ("permit", "*", {}, "'permit' is not what a rule can do; it can allow, deny, ask, redirect"),
        ("allow", "10.0.0.0/33", {}, "'10.0.0.0/33' is neither an address, a subnet nor a name"),
        ("allow", "10.0.0.256", {}, "'10.0.0.256' is neither"),
        ("allow", "a b", {}, "'a b' is neither"),
        ("allow", "*:http", {}, "'http' is neither a port nor a range of ports"),
        ("allow", "*:90-80", {}, "'90-80' is neither"),
        ("allow", "*:65536", {}, "'65536' is neither"),
        ("allow", "[::1", {}, "is not [ADDRESS]:PORT"),
        ("allow", "*", {"error": "refused"}, "'refused' is not how a rule can deny"),
        ("deny", "*", {"error": "gently"}, "'gently' is not how a rule can deny"),
        ("redirect", "1.2.3.4", {}, "a redirect, and only that, has a target"),
        ("allow", "1.2.3.4", {"target": "1.2.3.5"}, "a redirect, and only that, has a target"),
        ("redirect", "in:1.2.3.4", {"target": "1.2.3.5"}, "only what goes out can be redirected"),
        ("redirect", "1.2.3.4", {"target": "name"}, "'name': what is redirected needs an address to go to"),
        ("redirect", "1.2.3.4", {"target": "1.2.3.5:1-2"}, "needs one port to go to"),
    ],
)
def test_a_mistake_in_a_rule_is_told(action: str, pattern: str, more: dict[str, str], why: str) -> None:
    with pytest.raises(UsageError) as told:
        parse_rule(action, pattern, **more)
    assert why in str(told.value)


def test_errors_are_chosen_by_rules() -> None:
    found = [parse_rule("deny", "*", error=word).error for word in ("", "refused", "unreachable")]
    assert found == [errno.EACCES, errno.ECONNREFUSED, errno.ENETUNREACH]


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("default = 'deny'\nwhat = 1\n", 2, "unknown setting 'what'"),
        ("\n\ndefault = 1\n", 3, "default cannot be 1"),
        ("default = 'perhaps'\n", 1, "'perhaps' is not what a rule can do"),
        (
            "[[rule]]\naction = 'allow'\nto = '*'\n\n[[rule]]\naction = 'deny'\nto = '1.2.3'\n",
            5,
            "'1.2.3' is nei",
        ),
        ("[[rule]]\nto = '*'\n", 1, "a rule has an action, and either 'to' or 'from'"),
        ("[[rule]]\naction = 'deny'\nto = '*'\nfrom = '*'\n", 1, "a rule has an action, and either"),
        ("[[rule]]\naction = 'deny'\nto = [1]\n", 1, "1 is no pattern"),
        ("[[rule]]\naction = 'deny'\nto = '*'\nport = 1\n", 1, "unknown setting 'port'"),
        ("privileged = 5\n", 1, "privileged is an offset or a table of ports"),
    ],
)
def test_a_mistake_in_a_file_is_told_with_its_line(tmp_path: Path, text: str, line: int, why: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as told:
        read_settings(str(path), Options())
    assert str(told.value).startswith(f"{path}:{line}: ")
    assert why in str(told.value)


def test_what_is_no_toml_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text("default = 'deny'\nrule = x\n")
    with pytest.raises(UsageError, match=r"rules.toml: .*line 2"):
        read_settings(str(path), Options())
    with pytest.raises(UsageError, match=r"cannot mount host:.*/nothing: no such file or directory"):
        read_settings(str(tmp_path / "nothing"), Options())


def test_a_file_and_options_together(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text("""
default = "allow"
log = "there"
[privileged]
80 = 8080
[[rule]]
action = "deny"
from = "10.0.0.0/8:*"
[[rule]]
action = "redirect"
to = "example.org:80"
target = "127.0.0.1:8080"
""")
    asked = Options.parse(["allow=10.0.0.1", "log=here", "privileged=+8000", "proxy=socks5://h"])
    settings = read_settings(str(path), asked)
    assert settings.policy is not None
    texts = [rule.text for rule in settings.policy.rules]
    assert texts == ["10.0.0.1", "in:10.0.0.0/8:*", "out:example.org:80"]
    assert (settings.policy.default.action, settings.log, settings.proxy) == ("allow", "here", "socks5://h")
    real = settings.privileged.real
    assert (real(80), real(22), real(0), real(5000)) == (8080, 8022, 0, 5000)


@pytest.mark.parametrize("option", ["privileged=80", "privileged=x", "privileged=80=0", "allow=", "what=1"])
def test_a_mistake_in_an_option_is_told(option: str) -> None:
    with pytest.raises(UsageError, match="cannot mount host:"):
        read_settings("", Options.parse([option]))


def test_nothing_asked_for_is_no_policy() -> None:
    assert read_settings("", Options()).is_plain
    assert not read_settings("", Options.parse(["log=-"])).is_plain


def test_names_are_kept_by_address() -> None:
    names = Names()
    one = ip_address("192.0.2.1")
    names.learn(one, ["a.example"], 0)
    names.learn(one, ["b.example"], 0)
    assert names.of(one) == ("a.example", "b.example")
    assert names.of(ip_address("192.0.2.2")) == ()


@pytest.mark.parametrize("url", ["ftp://h", "socks5://", "socks5://h:port", "http://" + "u" * 256 + ":p@h"])
def test_a_proxy_that_is_none_is_told(url: str) -> None:
    with pytest.raises(UsageError, match="cannot mount host: "):
        parse_proxy(url)


def test_a_proxy_by_its_url() -> None:
    found = parse_proxy("socks5h://me:a%40b@host")
    assert (found.host, found.port, found.user, found.password, found.by_name) == (
        "host",
        1080,
        "me",
        "a@b",
        True,
    )
    assert not parse_proxy("socks5://host:99").by_name


def test_the_password_of_a_proxy_is_shown_to_nobody() -> None:
    assert without_secrets("socks5://me:secret@host") == "socks5://me:***@host"
    asked = Options.parse(["proxy=socks5h://me:secret@host", "allow=*"])
    assert asked.shown == ("proxy=socks5h://me:***@host", "allow=*")
