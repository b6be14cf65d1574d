"""programs.esp.config: what a file says, and what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bpfcrypto import ConfigError
from bpfcrypto.programs.esp import config as esp
from bpfcrypto.programs.esp.config import load_config
from bpfcrypto.programs.esp.policies import Action, rows
from bpfcrypto.programs.esp.suites import SUITES, Mode
from support.esp_configs import CONFIG, EXPLICIT, TRANSPORT, WHOLE

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def put(text: str) -> Path:
        path = tmp_path / "left.toml"
        path.write_text(text)
        return path

    return put


def test_every_key(write: Write) -> None:
    """A file with all keys gives records with all values; paths are relative to its folder."""
    path = write(WHOLE)

    config = load_config(path)

    folder = path.parent
    assert config.source == path
    assert config.link == esp.Link(
        name="west",
        interface="eth0",
        send=esp.Send.ROUTED,
        device="secure0",
        mtu=1400,
        pins=Path("/sys/fs/bpf/x"),
        state=folder / "state",
    )
    assert config.policy == esp.Policy(
        local=(ip_network("10.1.0.0/16"),),
        bypass=(ip_network("192.0.2.254/32"),),
        discard=(ip_network("10.3.0.0/16"),),
        default=Action.BYPASS,
    )
    assert config.rotation == esp.Rotation(seconds=3600.0, packets=3000000000, grace=5.5, timeout=2.0)
    assert config.metrics == esp.Metrics(listen=esp.Listen("::1", 9464), file=folder / "esp.prom")
    assert config.peers == (
        esp.Peer(
            name="right.example",
            id=1,
            local=IPv4Address("192.0.2.1"),
            remote=IPv4Address("198.51.100.1"),
            mode=Mode.TUNNEL,
            suite=SUITES["aes-256-ccm-16"],
            esn=False,
            prefixes=(ip_network("10.2.0.0/16"), ip_network("2001:db8:2::/48")),
            keys=esp.SecretFolder(folder / "right.d"),
        ),
    )
    assert config.peer("right.example") is config.peers[0]


def test_defaults(write: Write) -> None:
    """What the file does not say; the link has the name of the file."""
    config = load_config(write(CONFIG))

    assert config.link == esp.Link(name="left", interface="eth0")
    assert (config.link.send, config.link.device, config.link.mtu) == (esp.Send.ROUTED, "esp0", None)
    assert (config.link.pins, config.link.state) == (Path("/sys/fs/bpf"), Path("/var/lib/bpfcrypto/esp"))
    assert config.policy.default is Action.DISCARD
    assert config.rotation == esp.Rotation(seconds=0.0, packets=0, grace=10.0, timeout=10.0)
    assert config.metrics == esp.Metrics(listen=None, file=None)
    assert config.peers[0].esn
    assert config.peers[0].keys == esp.SecretFile(config.source.parent / "right.secret")


def test_explicit_keys(write: Write) -> None:
    """Two tables, each with an SPI and a file."""
    config = load_config(write(EXPLICIT))

    folder = config.source.parent
    assert config.peers[0].keys == esp.ExplicitKeys(
        esp.SendKey(spi=0x1001, key=folder / "send.key", sequence=7),
        esp.ReceiveKey(spi=0x2001, key=folder / "receive.key"),
    )


def test_transport_mode_adds_the_addresses(write: Write) -> None:
    """A peer in transport mode protects its own address, and our end of it is local, once."""
    config = load_config(write(TRANSPORT))

    assert config.peers[0].prefixes == (ip_network("2001:db8::2/128"),)
    assert config.peers[0].remote == IPv6Address("2001:db8::2")
    assert config.policy.local == (ip_network("2001:db8::1/128"),)


def test_rows_are_those_of_one_trie(write: Write) -> None:
    """IPv4 prefixes are 96 bits longer, and ::/0 does not swallow IPv4."""
    config = load_config(write(CONFIG.replace('"10.2.0.0/16"', '"10.2.0.0/16", "::/0"')))

    found = [(str(row.network), row.prefixlen, row.action, row.peer) for row in rows(config)]

    assert found == [
        ("10.1.0.0/16", 112, Action.LOCAL, 0),
        ("10.2.0.0/16", 112, Action.PROTECT, 1),
        ("::/0", 0, Action.PROTECT, 1),
        ("0.0.0.0/0", 96, Action.DISCARD, 0),
    ]
    assert rows(config)[0].address == bytes(10) + b"\xff\xff\x0a\x01\0\0"


@pytest.mark.parametrize(
    ("before", "after", "message", "hint"),
    [
        ("[link]", "[link", r"^{}: not TOML: .*line 2", None),
        ("[link]", "[lnik]", r"^{}: lnik: there is no such key; there are: link, policy", "did you mean 'link'?"),
        ("interface =", "interfce =", r"\[link\] interfce: there is no such key; .*name, interface", "'interface'"),
        ('interface = "eth0"', "", r"\[link\] interface: is missing: an interface's name of at most 15", None),
        ('"eth0"', '"eth0/1"', r"\[link\] interface: 'eth0/1' is not allowed: an interface's name", None),
        ('"eth0"', '".."', r"\[link\] interface: '..' is not allowed", None),
        ('"eth0"', '"esp0-in"', r"\[link\] device: 'esp0' is the interface itself, or its second end", None),
        ('"eth0"', '"eth0"\nname = "a.b"', r"\[link\] name: 'a.b' is not allowed: 1 to 64 of .* no dots", None),
        ('"eth0"', '"eth0"\nsend = "rooted"', r"send: 'rooted' is not allowed: 'routed' or 'egress'", "'routed'"),
        ('"eth0"', '"eth0"\nsend = 1', r"\[link\] send: 1 is not allowed: 'routed' or", None),
        ('"eth0"', '"eth0"\nsend = "egress"\ndevice = "esp1"', r"\[link\] device: not with send = 'egress'", None),
        ('"eth0"', '"eth0"\ndevice = "sixteen-letters"', r"device: .* at most 12 characters, since '-in'", None),
        ('"eth0"', '"eth0"\nmtu = 575', r"\[link\] mtu: 575 is not allowed: an integer from 576 to 9216", None),
        ('"eth0"', '"eth0"\nmtu = true', r"\[link\] mtu: true is not allowed", None),
        ('"eth0"', '"eth0"\nmtu = 1500.0', r"\[link\] mtu: 1500.0 is not allowed", None),
        ('"eth0"', '"eth0"\npins = ""', r"\[link\] pins: '' is not allowed: a path", None),
        ("[policy]", "[[policy]]", r"\[policy\]: an array is not a table", None),
        ('["10.1.0.0/16"]', '"10.1.0.0/16"', r"local: '10.1.0.0/16' is not allowed: an array of IPv4", None),
        ('["10.1.0.0/16"]', "[10]", r"\[policy\] local: 10 is not allowed", None),
        ('["10.1.0.0/16"]', '["10.1.0.1/16"]', r"local: '10.1.0.1/16' is not", "did you mean '10.1.0.0/16'?"),
        ('["10.1.0.0/16"]', '["::ffff:10.1.0.0/112"]', r"local: '::ffff:10.1", "an IPv4 prefix is written as such"),
        ('["10.1.0.0/16"]', '["fe80::%eth0/64"]', r"local: 'fe80::%eth0/64' is not allowed", None),
        (
            '["10.1.0.0/16"]',
            "[]",
            r"\[policy\] local: is missing or empty: \[\[peer\]\] 'right' is in tunnel mode",
            None,
        ),
        ('["10.1.0.0/16"]', '["10.2.0.0/16"]', r"'right' prefixes: 10.2.0.0/16 is in \[policy\] local, too", None),
        ('["10.1.0.0/16"]', '["10.1.0.0/16", "10.1.0.0/16"]', r"\[policy\] local: 10.1.0.0/16 is in", None),
        ("[policy]", '[policy]\nbypass = ["10.2.0.0/16"]', r"prefixes: 10.2.0.0/16 is in \[policy\] bypass, too", None),
        ("[policy]", '[policy]\ndefault = "protect"', r"default: 'protect' is not .*: 'discard' or 'bypass'", None),
        (
            "[policy]",
            "[rotation]\nseconds = 0.5\n[policy]",
            r"seconds: 0.5 is not .* from 1 to .*, or 0 for never",
            None,
        ),
        ("[policy]", "[rotation]\nseconds = nan\n[policy]", r"\[rotation\] seconds: nan is not allowed", None),
        ("[policy]", "[rotation]\nseconds = true\n[policy]", r"\[rotation\] seconds: true is not allowed", None),
        ("[policy]", "[rotation]\nseconds = 10\n[policy]", r"seconds: 10 is not .* grace period of 10 seconds", None),
        ("[policy]", "[rotation]\npackets = -1\n[policy]", r"\[rotation\] packets: -1 is not allowed", None),
        ("[policy]", "[rotation]\ntimeout = 0\n[policy]", r"timeout: 0 is not allowed: seconds from 0.1 to", None),
        (
            "[policy]",
            '[metrics]\nlisten = "0.0.0.0:9464"\n[policy]',
            r"listen: '0.0.0.0:9464' is .*a loopback",
            "a proxy",
        ),
        ("[policy]", '[metrics]\nlisten = "localhost:1"\n[policy]', r"listen: 'localhost:1' is not", None),
        ("[policy]", '[metrics]\nlisten = "127.0.0.1:65536"\n[policy]', r"listen: '127.0.0.1:65536' is not", None),
        ("[policy]", '[metrics]\nlisten = "::1:80"\n[policy]', r"listen: '::1:80' is not", "in brackets"),
        ("[[peer]]", "[peer]", r"\[\[peer\]\]: each peer is a table in double", r"\[\[peer\]\] instead of \[peer\]"),
        ('"right"', '"r/t"', r"\[\[peer\]\] 'r/t' name: 'r/t' is not allowed: 1 to 64 of", None),
        ('name = "right"\n', "", r"\[\[peer\]\] 1 name: is missing: 1 to 64", None),
        ("id = 1", "id = 0", r"'right' id: 0 is not allowed: an integer from 1 to 255", None),
        ("id = 1", "id = 256", r"'right' id: 256 is not allowed", None),
        ('"192.0.2.1"', '"2001:db8::1"', r"'right' remote: 198.51.100.1 is of another family", None),
        ('"192.0.2.1"', '"198.51.100.1"', r"'right' remote: 198.51.100.1 is the local address, too", None),
        ('"192.0.2.1"', '"192.0.2.1/32"', r"'right' local: '192.0.2.1/32' is not allowed: one IPv4 or IPv6", None),
        ('"192.0.2.1"', '"::ffff:192.0.2.1"', r"local: '::ffff:192.0.2.1' is not", "it is the IPv4 address 192.0.2.1"),
        ('"192.0.2.1"', '"224.0.0.1"', r"'right' local: '224.0.0.1' is not allowed", None),
        ('"192.0.2.1"', '"::"', r"'right' local: '::' is not allowed", None),
        ('"tunnel"', '"tunel"', r"'right' mode: 'tunel' is not allowed: 'transport' or 'tunnel'", "'tunnel'"),
        ('"tunnel"', '"transport"', r"'right' prefixes: not in transport mode", None),
        (
            "aes-256-ccm-16",
            "aes-256-gcm-16",
            r"'aes-256-gcm-16' is not allowed: 'aes-128-ccm-16', ",
            "'aes-256-ccm-16'",
        ),
        ("id = 1", 'id = 1\nesn = "yes"', r"'right' esn: 'yes' is not allowed: true or false", None),
        ('["10.2.0.0/16"]', "[]", r"'right' prefixes: is missing or empty: in tunnel mode", None),
        ("secret =", "secert =", r"'right' secert: there is no such key", "'secret'"),
        ('secret = "right.secret"', "", r"'right': no key is given: one of 'secret', 'secrets', or both tables", None),
        ('"right.secret"', '"a"\nsecrets = "b"', r"'right': 'secret' and 'secrets' are given: one of", None),
        ('secret = "right.secret"', "[peer.send]\nspi = 256", r"'right': 'send' is given: one of", None),
    ],
)
def test_what_is_refused(write: Write, before: str, after: str, message: str, hint: str | None) -> None:
    """One change to a good file: the error names the file, the place and the value, and says what is allowed."""
    assert CONFIG.count(before) == 1
    path = write(CONFIG.replace(before, after))

    with pytest.raises(ConfigError, match=message.format(re.escape(str(path)))) as caught:
        load_config(path)

    assert caught.value.source == str(path)
    assert re.search(hint.replace("?", r"\?"), caught.value.hint or "") if hint else caught.value.hint is None


SECOND = """
[[peer]]
name = "third"
id = 3
local = "192.0.2.1"
remote = "198.51.100.3"
mode = "tunnel"
suite = "chacha20-poly1305"
prefixes = ["10.3.0.0/16"]
secret = "third.secret"
"""

SECOND_EXPLICIT = (
    SECOND.replace('secret = "third.secret"', "")
    + '[peer.send]\nspi = 0x1002\nkey = "3.send"\n[peer.receive]\nspi = 0x2002\nkey = "3.receive"\n'
)


@pytest.mark.parametrize(
    ("first", "second", "before", "after", "message"),
    [
        (CONFIG, SECOND, "id = 3", "id = 1", r"'third' id: 1 is the id of another peer: \[\[peer\]\] 'right'"),
        (CONFIG, SECOND, '"third"', '"right"', r"'right' name: 'right' is the name of another peer"),
        (CONFIG, SECOND, "10.3.", "10.2.", r"'third' prefixes: 10.2.0.0/16 is in \[\[peer\]\] 'right' prefixes, too"),
        (EXPLICIT, SECOND_EXPLICIT, "0x2002", "0x2001", r"\[peer.receive\] of 'third' spi: 0x2001 is also .* 'right'"),
        (EXPLICIT, SECOND, "id = 3", "id = 7", ""),
        (
            EXPLICIT.replace("0x2001", "0x2003"),
            SECOND,
            "",
            "",
            r"of 'right' spi: 0x2003 is that of .*'third' \(id 3\) in epoch 32",
        ),
        (
            EXPLICIT,
            SECOND_EXPLICIT,
            "3.send",
            "send.key",
            r"\[peer.send\] of 'third' key: '.*send.key' is in .*every nonce twice",
        ),
        (
            EXPLICIT,
            SECOND_EXPLICIT.replace("0x1002", "0x1001"),
            "198.51.100.3",
            "198.51.100.1",
            r"of 'third' spi: 0x1001 is also what is sent to \[\[peer\]\] 'right', at the same address",
        ),
    ],
)
def test_two_peers(write: Write, first: str, second: str, before: str, after: str, message: str) -> None:
    """Peers do not share what only one can have; an empty message is a pair that is allowed."""
    path = write(first + second.replace(before, after))

    if not message:
        assert len(load_config(path).peers) == 2
        return
    with pytest.raises(ConfigError, match=message):
        load_config(path)


@pytest.mark.parametrize(
    ("text", "before", "after", "message"),
    [
        (
            EXPLICIT,
            "0x1001",
            "255",
            r"\[peer.send\] of 'right' spi: 255 is not allowed: an integer from 256 to 4294967295",
        ),
        (
            EXPLICIT,
            "sequence = 7",
            "seq = 7",
            r"\[peer.send\] of 'right' seq: there is no such key; .*spi, key, sequence",
        ),
        (EXPLICIT, "sequence = 7", "sequence = -1", r"\[peer.send\] of 'right' sequence: -1 is not allowed"),
        (EXPLICIT, "id = 1", "id = 1\nesn = false", ""),
        (
            EXPLICIT.replace("= 7", "= 4294967295"),
            "id = 1",
            "id = 1\nesn = false",
            r"sequence: .* without ESN the last",
        ),
        (EXPLICIT, "[policy]", "[rotation]\nseconds = 60\n[policy]", r"\[rotation\] seconds: no peer has a secret"),
        (CONFIG, "id = 1", "id = 1\nesn = false\n", ""),
        (WHOLE, "3000000000", "4294967295", r"packets: 4294967295 is never reached: .* has no ESN"),
        (TRANSPORT, "[policy]", '[policy]\nlocal = ["2001:db8::1"]', ""),
        (
            TRANSPORT,
            "[policy]",
            '[policy]\nbypass = ["2001:db8::2"]',
            r"'right' remote: 2001:db8::2/128 is in \[policy\] byp",
        ),
        (
            TRANSPORT,
            "mtu = 1316",
            "mtu = 1315",
            r"mtu: 1315 is not allowed: .* sent IPv6, .*1280 bytes .* at least 1316",
        ),
        (TRANSPORT, "mtu = 1316", "mtu = 1300", r"\[link\] mtu: 1300 is not allowed"),
        (WHOLE, "1400", "1335", r"mtu: 1335 is not allowed: .* at least 1336"),
        (WHOLE, "1400", "1336", ""),
    ],
)
def test_what_must_hold_together(write: Write, text: str, before: str, after: str, message: str) -> None:
    """Checks between keys; an empty message is a file that is allowed."""
    assert text.count(before) == 1
    path = write(text.replace(before, after))

    if not message:
        load_config(path)
        return
    with pytest.raises(ConfigError, match=message):
        load_config(path)


def test_too_many_prefixes(write: Write) -> None:
    """The map of the programs has 4096 rows."""
    many = ", ".join(f'"10.2.{n >> 4}.{(n & 15) << 4}/28"' for n in range(4096))

    load_config(write(CONFIG.replace('"10.2.0.0/16"', many.rsplit(", ", 1)[0])))
    with pytest.raises(ConfigError, match=r"\[policy\]: 4097 prefixes in all, and 4096 are the most"):
        load_config(write(CONFIG.replace('"10.2.0.0/16"', many)))


def test_a_link_has_a_peer(write: Write) -> None:
    """Without one there would be nothing to do."""
    with pytest.raises(ConfigError, match=r"\[\[peer\]\]: there is none"):
        load_config(write('[link]\ninterface = "eth0"\n'))


def test_an_unknown_peer(write: Write) -> None:
    """The error names those that there are, and one that is meant."""
    with pytest.raises(ConfigError, match="there is no peer 'rigth'; there are: right") as caught:
        load_config(write(CONFIG)).peer("rigth")
    assert caught.value.hint == "did you mean 'right'?"


def test_the_name_of_a_file_that_is_none_for_a_link(tmp_path: Path) -> None:
    """Its dots would be refused by the BPF file system."""
    path = tmp_path / "left.site.toml"
    path.write_text(CONFIG)

    with pytest.raises(ConfigError, match=r"\[link\] name: 'left.site' is not allowed"):
        load_config(path)


@pytest.mark.parametrize("value", ["0123456789abcdef" * 4, "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA="])
@pytest.mark.parametrize(("text", "name"), [(CONFIG, "right.secret"), (WHOLE, "right.d"), (EXPLICIT, "send.key")])
def test_a_key_in_place_of_a_path_is_not_repeated(write: Write, text: str, name: str, value: str) -> None:
    """A secret that was written into the file itself is refused, and is not in the message."""
    with pytest.raises(ConfigError, match="what stands there is not allowed: a path") as caught:
        load_config(write(text.replace(name, value)))

    assert value not in f"{caught.value} {caught.value.hint}"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A file that is not there, a folder, bytes that are no text, and arrays without end."""
    with pytest.raises(ConfigError, match=r"^nowhere.toml: cannot be read: No such file or directory$"):
        load_config("nowhere.toml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_config(tmp_path)
    path = tmp_path / "left.toml"
    path.write_bytes(b"a = '\xff'")
    with pytest.raises(ConfigError, match="not TOML: byte 5 is not UTF-8"):
        load_config(path)
    path.write_text("a = " + "[" * 100_000)
    with pytest.raises(ConfigError, match="nested too deeply"):
        load_config(path)


lines = st.sampled_from([line for text in (CONFIG, EXPLICIT, TRANSPORT, WHOLE) for line in text.splitlines()])
values = st.sampled_from(
    ["1", "-1", "true", '"x"', "[]", "{}", "[[1]]", "nan", "1979-05-27", '""', '"\\u0000"', "1e400"]
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(lines, st.none() | values), max_size=25), st.binary(max_size=20))
def test_any_file(tmp_path: Path, parts: list[tuple[str, str | None]], junk: bytes) -> None:
    """Lines in any order, with any values, and bytes behind them: a configuration or a ConfigError."""
    text = "\n".join(line if value is None else f"{line.split(' = ')[0]} = {value}" for line, value in parts)
    path = tmp_path / "left.toml"
    path.write_bytes(text.encode() + b"\n" + junk)

    with suppress(ConfigError):
        load_config(path)
