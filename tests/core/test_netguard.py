import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.netguard import is_loopback, is_public, looks_like_an_address


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", "localhost"])
def test_only_this_machine_reaches_these(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1", "localhost.example.com", "example.com", "", "127.1"]
)
def test_others_reach_these_or_nobody_can_tell(host: str) -> None:
    assert not is_loopback(host)


PUBLIC = (
    *("1.1.1.1", "8.8.8.8", "93.184.216.34", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0"),
    *("126.255.255.255", "128.0.0.1", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0"),
    *("192.0.1.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255"),
    *("168.63.129.15", "168.63.129.17", "2606:4700:4700::1111", "2a00:1450:4001:82f::200e", "2001:200::1"),
    *("2001:4860:4860::8888", "::ffff:8.8.8.8", "::ffff:808:808", "64:ff9b::8.8.8.8", "64:ff9b::808:808"),
)
NOT_PUBLIC = {
    "this network": ("0.0.0.0", "0.0.0.1", "0.255.255.255"),
    "private": ("10.0.0.0", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255"),
    "shared by a provider": ("100.64.0.0", "100.100.100.200", "100.127.255.255"),
    "loopback": ("127.0.0.0", "127.0.0.1", "127.1.2.3", "127.255.255.255", "::1", "0:0:0:0:0:0:0:1"),
    "link": ("169.254.0.0", "169.254.169.254", "169.254.170.2", "169.254.255.255", "fe80::1", "febf::1"),
    "clouds": ("168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"),
    "assigned to protocols": ("192.0.0.0", "192.0.0.8", "192.0.0.170", "192.31.196.1", "192.52.193.1", "192.175.48.1"),
    "documentation": ("192.0.2.1", "198.51.100.1", "203.0.113.255", "2001:db8::1", "3fff::1"),
    "relays of 6to4": ("192.88.99.1", "192.88.99.2"),
    "benchmarking": ("198.18.0.0", "198.19.255.255", "2001:2::1"),
    "many": ("224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"),
    "kept back": ("240.0.0.1", "255.255.255.254", "255.255.255.255", "3ffe::1", "4000::1", "5f00::1", "e000::1"),
    "nothing": ("::", "100::1", "100:0:0:1::1"),
    "of a site": ("fc00::1", "fdff::1", "fec0::1"),
    "mapped": ("::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0.0.0.0"),
    "compatible": ("::127.0.0.1", "::7f00:1", "::8.8.8.8"),
    "translated": ("::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8"),
    "through NAT64": ("64:ff9b::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::10.0.0.1"),
    "through a NAT64 of one's own": ("64:ff9b:1::1", "64:ff9b:1::8.8.8.8", "64:ff9b:0:1::8.8.8.8"),
    "6to4": ("2002:7f00:1::1", "2002:a9fe:a9fe::1", "2002:808:808::1"),
    "Teredo": ("2001:0:4136:e378:8000:63bf:80ff:fffe", "2001::1"),
    "ORCHID": ("2001:10::1", "2001:20::1"),
    "ISATAP": ("2a00:1450::5efe:7f00:1", "2a00:1450::5efe:10.0.0.1", "2a00:1450::200:5efe:192.168.0.1"),
    "AS112": ("2001:4:112::1", "2620:4f:8000::1"),
    "zones": ("fe80::1%eth0", "fe80::1%25eth0", "::1%lo", "2606:4700:4700::1111%1"),
    "octal": ("0177.0.0.1", "010.0.0.1", "08.8.8.8", "8.8.8.08"),
    "hexadecimal": ("0x7f.0.0.1", "0x7f000001", "0X7F.1", "0x8.8.8.8"),
    "short": ("127.1", "127.0.1", "2130706433", "8.8", "0", "3232235777"),
    "more than an address": (
        *("127.0.0.1:80", "[::1]", "8.8.8.8/32", " 8.8.8.8", "8.8.8.8 ", "8.8.8.8.", "8.8.8.8\n", "8.8.8.8\x00"),
    ),
    "too large": ("256.0.0.1", "8.8.8.999", "1.2.3.4.5", "10000::1", "1:2:3:4:5:6:7:8:9"),
    "other digits": ("\uff18.8.8.8", "\u0661.1.1.1", "8.8.8.\u0668"),
    "no address": ("", "localhost", "example.com", "a.b.c.d", ":", ":::", "%", "::g"),
}


@pytest.mark.parametrize("address", PUBLIC)
def test_anybody_reaches_these(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(("why", "address"), [(why, one) for why, found in NOT_PUBLIC.items() for one in found])
def test_not_everybody_reaches_these(why: str, address: str) -> None:
    assert not is_public(address), why


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "0x7f.1", "2130706433", "0177.0.0.1", "127.1", "1.2.3.4.", "a.0x1", "0x", "example.123", "1"]
)
def test_these_look_like_addresses(host: str) -> None:
    assert looks_like_an_address(host)


@pytest.mark.parametrize("host", ["example.com", "1.example", "0xa.example", "a1", "x0x1", "", "example.com."])
def test_these_are_names(host: str) -> None:
    assert not looks_like_an_address(host)


@given(st.ip_addresses(v=4))
def test_an_address_within_another_is_judged_as_itself(address: ipaddress.IPv4Address) -> None:
    assert is_public(f"::ffff:{address}") == is_public(f"64:ff9b::{address}") == is_public(str(address))
    assert is_public(str(address)) <= address.is_global


@given(st.ip_addresses(v=6))
def test_no_address_is_public_that_the_registry_says_is_not(address: ipaddress.IPv6Address) -> None:
    assert is_public(str(address)) <= address.is_global
    assert not is_public(f"{address}%1")
