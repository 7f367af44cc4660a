"""The class of a mailbox provider: all that is kept of an address beside its keyed hash.

Only large providers have a name of their own, so that a class says nothing of a person.
"""

from typing import Final

OTHER: Final = "other"
_DOMAINS: Final = {
    "gmail": ("gmail.com", "googlemail.com"),
    "microsoft": ("outlook.com", "hotmail.com", "live.com", "msn.com", "passport.com"),
    "yahoo": ("yahoo.com", "ymail.com", "rocketmail.com", "aol.com", "verizon.net"),
    "apple": ("icloud.com", "me.com", "mac.com"),
    "gmx": ("gmx.de", "gmx.net", "gmx.com", "gmx.at", "gmx.ch", "web.de", "mail.com"),
    "proton": ("proton.me", "protonmail.com", "pm.me"),
    "yandex": ("yandex.ru", "yandex.com", "ya.ru"),
    "mailru": ("mail.ru", "bk.ru", "inbox.ru", "list.ru"),
    "tencent": ("qq.com", "foxmail.com"),
    "netease": ("163.com", "126.com", "yeah.net"),
}
_CLASS: Final = {domain: name for name, domains in _DOMAINS.items() for domain in domains}
# These have an address in every country: yahoo.co.uk, hotmail.fr.
_STEMS: Final = {"yahoo": "yahoo"} | dict.fromkeys(("hotmail", "outlook", "live"), "microsoft")


def mailbox_class(address: str) -> str:
    """The class of an address's provider; nothing for what is no address.

    >>> mailbox_class("Ana@Yahoo.co.uk"), mailbox_class("ana@example.org"), mailbox_class("ana")
    ('yahoo', 'other', '')
    """
    _, at, domain = address.strip().lower().rpartition("@")
    if not at or not domain:
        return ""
    stem, _, country = domain.partition(".")
    is_national = country.removeprefix("co.").removeprefix("com.").isalpha() and len(country) <= 6
    return _CLASS.get(domain) or (_STEMS.get(stem, OTHER) if is_national else OTHER)
