"""Who is believed: each provider's own proof, nobody else's, now, for this body only."""

import hmac
import json
import multiprocessing
from base64 import b64encode
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from features.errors import StoreUnavailableError
from features.events.esp import ADAPTERS, adapter
from features.events.esp.adapter import Credentials, Delivery, WebhookRefusedError, same
from features.events.esp.mailgun import signature_of
from features.events.esp.ses import confirmation_of, is_amazon
from features.events.esp.tokens import LIFE_US, Tokens
from features.events.schema import HOUR_US

NAMES = {
    "sendgrid": "click", "ses": "click", "mailgun": "clicked", "postmark": "click",
    "sparkpost": "click", "segment": "clicked",
}  # fmt: skip
HEADER = {
    "sendgrid": "x-twilio-email-event-webhook-signature", "postmark": "authorization",
    "sparkpost": "authorization", "segment": "x-signature",
}  # fmt: skip
SIGNED = ["sendgrid", "segment"]  # the raw body is covered
HOUR_S = 3_600
NOT_AMAZON = [
    "https://sns.us-east-1.amazonaws.com.evil.example/a.pem",
    "https://evil.example/sns.us-east-1.amazonaws.com/a.pem",
    "https://evil.example/?https://sns.us-east-1.amazonaws.com/a.pem",
    "http://sns.us-east-1.amazonaws.com/a.pem",
    "file:///sns.us-east-1.amazonaws.com/a.pem",
    "//sns.us-east-1.amazonaws.com/a.pem",
    "https://user@sns.us-east-1.amazonaws.com/a.pem",
    "https://user:pass@sns.us-east-1.amazonaws.com/a.pem",
    "https://sns.us-east-1.amazonaws.com@evil.example/a.pem",
    "https://sns.amazonaws.com@evil.example/a.pem",
    "https://sns.us-east-1.amazonaws.com\\@evil.example/a.pem",
    "https://sns.us-east-1.amazonaws.com:8443/a.pem",
    "https://sns.us-east-1.amazonaws.com:/a.pem",
    "https://sns.us-east-1.amazonaws.com:443@evil.example/a.pem",
    "https://192.0.2.1/a.pem",
    "https://[::1]/a.pem",
    "https://[::1/a.pem",
    "https://s3.us-east-1.amazonaws.com/a.pem",
    "https://bucket.s3.amazonaws.com/a.pem",
    "https://sns.evil.example.amazonaws.com/a.pem",
    "https://sns.us-east-1.amazonaws.com.cn.evil.example/a.pem",
    "https://sns.us-east-1.amazonaws.comx/a.pem",
    "https://sns..amazonaws.com/a.pem",
    "https://sns.us-east-1.amazonaws.com/a.pem\n",
    "https://sns.us-east-1.amazonaws.com/\r\nHost: evil.example/a.pem",
    "https://sns.us-east-1.amazonaws.com\n/a.pem",
    " https://sns.us-east-1.amazonaws.com/a.pem",
    "https://sns.us-east-1.amazonaws.com/a b.pem",
    "https://sns.us-east-1.amazonaws.com/ä.pem",
    "https://sn\u017f.us-east-1.amazonaws.com/a.pem",
    "https://sns.us-east-1.amazonaws.com",
    "",
]


def proven(provider: str, delivery: Delivery, credentials: Credentials) -> bool:
    try:
        ADAPTERS[provider].verify(delivery, credentials)
    except WebhookRefusedError:
        return False
    return True


def accepted(keys: Any, provider: str, delivery: Delivery) -> bool:
    return proven(provider, delivery, keys.credentials()[provider])


@pytest.fixture
def click(esp, keys):
    """A right delivery of one click."""
    return lambda provider: keys.deliver(provider, esp.payload(provider, NAMES[provider]))


def changed(provider: str, delivery: Delivery, signature: str) -> Delivery:
    """The delivery with another signature or password."""
    if provider in HEADER:
        return replace(delivery, headers={**delivery.headers, HEADER[provider]: signature})
    body = json.loads(delivery.raw)
    if provider == "ses":
        body["Signature"] = signature
    else:
        body["signature"]["signature"] = signature
    return replace(delivery, raw=json.dumps(body).encode())


def signature(provider: str, delivery: Delivery) -> str:
    if provider in HEADER:
        return delivery.headers[HEADER[provider]]
    body = json.loads(delivery.raw)
    return body["Signature"] if provider == "ses" else body["signature"]["signature"]


@pytest.mark.parametrize("provider", ADAPTERS)
def test_what_the_provider_proves_is_believed(keys, click, provider):
    assert accepted(keys, provider, click(provider))


@pytest.mark.parametrize("provider", ADAPTERS)
@pytest.mark.parametrize(
    "forged",
    ["", "0", " ", "AAAA", "====", "Basic ", "Bearer x", "a" * 64, "ä", "٣", "x" * 1_000_000],
)
def test_a_forged_signature_is_refused(keys, click, provider, forged):
    assert not accepted(keys, provider, changed(provider, click(provider), forged))


@pytest.mark.parametrize("provider", ADAPTERS)
def test_a_signature_with_one_character_less_more_or_changed_is_refused(keys, click, provider):
    right = click(provider)
    own = signature(provider, right)
    other = "0" if own[-6] != "0" else "1"
    for forged in (own[:-1], own[:-4], own[1:], own[:8], own + "A", own[:-6] + other + own[-5:]):
        assert not accepted(keys, provider, changed(provider, right, forged))


@pytest.mark.parametrize("provider", ADAPTERS)
def test_a_delivery_without_any_proof_is_refused(esp, keys, provider):
    body = esp.payload(provider, NAMES[provider])
    for raw in (json.dumps(body).encode(), b"", b"{}", b"[]", b"null", b"\xff", b"{"):
        assert not accepted(keys, provider, Delivery({}, raw, esp.NOW))


@pytest.mark.parametrize("provider", ADAPTERS)
def test_another_key_proves_nothing(esp, keys, other_keys, provider):
    body = esp.payload(provider, NAMES[provider])
    assert accepted(other_keys, provider, other_keys.deliver(provider, body))
    assert not accepted(keys, provider, other_keys.deliver(provider, body))


@pytest.mark.parametrize("provider", sorted(set(ADAPTERS) - {"ses"}))
def test_another_providers_secret_proves_nothing(keys, click, provider):
    others = tuple(secret for name, secret in keys.secrets.items() if name != provider)
    assert len(others) == 4
    assert not proven(provider, click(provider), Credentials(secrets=others))


@pytest.mark.parametrize("provider", sorted(set(ADAPTERS) - {"ses"}))
@pytest.mark.parametrize("secrets", [(), ("",), ("", " ", "\n")])
def test_without_a_secret_nobody_is_believed(esp, keys, click, provider, secrets):
    assert not proven(provider, click(provider), Credentials(secrets=secrets))
    empty = replace(keys, secrets={**keys.secrets, provider: secrets[0] if secrets else ""})
    if provider != "sendgrid":
        forged = empty.deliver(provider, esp.payload(provider, NAMES[provider]))
        assert not proven(provider, forged, Credentials(secrets=secrets))


@pytest.mark.parametrize("provider", sorted(set(ADAPTERS) - {"ses"}))
def test_two_secrets_live_while_one_is_rotated(esp, keys, other_keys, provider):
    body = esp.payload(provider, NAMES[provider])
    old, new = keys.secrets[provider], other_keys.secrets[provider]
    for secrets in ((old, new), (new, old), ("broken é", old, new)):
        live = Credentials(secrets=secrets)
        assert proven(provider, keys.deliver(provider, body), live)
        assert proven(provider, other_keys.deliver(provider, body), live)
    assert not proven(provider, keys.deliver(provider, body), Credentials(secrets=(new,)))


@pytest.mark.parametrize("provider", SIGNED)
def test_a_body_that_was_written_anew_is_refused(keys, click, provider):
    right = click(provider)
    body = json.loads(right.raw)
    for raw in (
        json.dumps(body, separators=(",", ":")).encode(),
        json.dumps(body, indent=1).encode(),
        json.dumps(body, sort_keys=True).encode(),
        right.raw + b"\n",
        right.raw.replace(b"ana@", b"eve@"),
    ):
        assert raw != right.raw
        assert not accepted(keys, provider, replace(right, raw=raw))


@pytest.mark.parametrize("provider", [*SIGNED, "ses"])
def test_the_signature_of_another_body_is_refused(esp, keys, click, provider):
    name = {"sendgrid": "open", "ses": "open", "segment": "opened"}[provider]
    other = keys.deliver(provider, esp.payload(provider, name))
    assert accepted(keys, provider, other)
    forged = changed(provider, click(provider), signature(provider, other))
    assert not accepted(keys, provider, forged)


def test_sendgrids_timestamp_is_covered(esp, keys, click):
    right = click("sendgrid")
    name = "x-twilio-email-event-webhook-timestamp"
    for stamp in (str(esp.NOW_S + 1), "", f"0{esp.NOW_S}", f" {esp.NOW_S}", "٣", "9" * 5_000):
        forged = replace(right, headers={**right.headers, name: stamp})
        assert not accepted(keys, "sendgrid", forged)


@pytest.mark.parametrize("stamp", ["9" * 400, "1e9", "nan", "", "-1", "9" * 5_000])
def test_a_time_that_sendgrid_signed_but_cannot_be_is_refused(keys, stamp):
    assert not accepted(keys, "sendgrid", keys.sendgrid(b"[]", stamp))


@pytest.mark.parametrize(("provider", "hours"), [("sendgrid", 25), ("ses", 25), ("mailgun", 9)])
def test_what_was_signed_too_long_ago_or_ahead_is_refused_to_the_second(
    esp, click, keys, provider, hours
):
    right = click(provider)
    ages = {
        -301: False, -300.5: False, -300: True, 0: True,
        hours * HOUR_S: True, hours * HOUR_S + 0.5: False, 10**7: False, -(10**8): False,
    }  # fmt: skip
    for age, verdict in ages.items():
        delivery = esp.at(right, esp.NOW_S + age)
        assert accepted(keys, provider, delivery) is verdict, age


# Mailgun: the signature does not cover the body.


def checked(root, delivery: Delivery) -> bool:
    _, token, _ = signature_of(delivery)
    try:
        Tokens(root).check("mailgun", token, delivery)
    except WebhookRefusedError:
        return False
    return True


def stolen(delivery: Delivery) -> Delivery:
    """Another body under the same token and signature."""
    body = json.loads(delivery.raw)
    body["event-data"]["recipient"] = "eve@example.org"
    return replace(delivery, raw=json.dumps(body).encode())


def test_mailguns_token_is_good_for_one_body_however_often_and_after_a_restart(
    keys, click, tmp_path
):
    right = click("mailgun")
    forged = stolen(right)
    assert accepted(keys, "mailgun", forged)  # why tokens are remembered
    for _ in range(3):  # every call is a new `Tokens`, as after a restart
        assert checked(tmp_path, right)
        assert not checked(tmp_path, forged)
    later = replace(right, received_at=right.received_at + 8 * HOUR_US)
    assert checked(tmp_path, later)
    assert not checked(tmp_path, replace(forged, received_at=later.received_at))


def test_mailguns_token_is_remembered_longer_than_its_signature_is_taken(esp, keys, tmp_path):
    ahead = keys.deliver("mailgun", esp.payload("mailgun", "clicked"), sent_at=esp.NOW_S + 300)
    assert accepted(keys, "mailgun", ahead)
    assert checked(tmp_path, ahead)
    for hours in range(12):
        late = replace(stolen(ahead), received_at=ahead.received_at + hours * HOUR_US)
        assert not (accepted(keys, "mailgun", late) and checked(tmp_path, late))
    assert LIFE_US > 9 * HOUR_US + 600_000_000


def test_mailguns_tokens_do_not_grow_for_ever(esp, keys, tmp_path):
    for day in range(30):
        delivery = keys.deliver("mailgun", {}, token=f"token-{day}")
        assert checked(tmp_path, replace(delivery, received_at=esp.NOW + 24 * day * HOUR_US))
    assert checked(tmp_path, keys.deliver("mailgun", {"other": 1}, token="token-0"))


def test_digits_do_not_move_from_mailguns_token_to_its_time(keys, tmp_path):
    right = keys.deliver("mailgun", {"event-data": {}}, token="0123456789abcdef")
    assert checked(tmp_path, right)
    body = json.loads(right.raw)
    signed = body["signature"]["timestamp"] + body["signature"]["token"]
    for cut in range(len(signed)):
        if cut != 10:
            body["signature"] |= {"timestamp": signed[:cut], "token": signed[cut:]}
            forged = replace(right, raw=json.dumps(body).encode())
            assert not accepted(keys, "mailgun", forged)


def _race(root, raws: list[bytes], at: int, barrier: Any, answers: Any) -> None:
    found = []
    for n, raw in enumerate(raws):
        barrier.wait(20)  # each in a directory of its own: to make the file is a race, too
        try:
            found.append(checked(root / str(n), Delivery({}, raw, at)))
        except StoreUnavailableError as error:
            found.append(str(error))
    answers.put(found)


def test_of_two_bodies_in_two_processes_one_token_takes_one(esp, keys, tmp_path):
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(2), context.Queue()
    rights = [keys.deliver("mailgun", {"a": 1}, token=f"token-{n}") for n in range(60)]
    sides = ([d.raw for d in rights], [stolen_raw(d.raw) for d in rights])
    workers = [
        context.Process(target=_race, args=(tmp_path, raws, esp.NOW, barrier, answers))
        for raws in sides
    ]
    for worker in workers:
        worker.start()
    one, two = answers.get(timeout=30), answers.get(timeout=30)
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    assert [{a, b} for a, b in zip(one, two, strict=True)] == [{True, False}] * len(rights)


def stolen_raw(raw: bytes) -> bytes:
    return json.dumps({**json.loads(raw), "a": 2}).encode()


# SNS: Amazon's signature proves Amazon, not that the topic is ours.


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"Subject": "Amazon SES Email Event Notification"},
        {"Type": "SubscriptionConfirmation", "SubscribeURL": "https://-", "Token": "t"},
        {"Type": "UnsubscribeConfirmation", "SubscribeURL": "https://-", "Token": "t"},
    ],
)
def test_every_kind_of_envelope_is_proven_in_both_versions(esp, keys, version, more):
    envelope = esp.envelope_of("{}", SignatureVersion=version, **more)
    right = keys.sns(envelope)
    assert accepted(keys, "ses", right)
    body = json.loads(right.raw)
    signed = {name for name in body if f"{name}\n" in esp.signed_by_sns(envelope).decode()}
    for name in signed:
        for value in (body[name] + "x", None):
            forged = replace(right, raw=json.dumps({**body, name: value}).encode())
            assert not accepted(keys, "ses", forged), name
    for added in ({"Subject": "x"}, {"Subject": ""}):
        if envelope["Type"] == "Notification":
            forged = replace(right, raw=json.dumps({**body, **added}).encode())
            assert not accepted(keys, "ses", forged)


@pytest.mark.parametrize("version", ["", "0", "3", "01", "\uff11", None, 2, ["1"], {"1": 1}])
def test_an_unknown_or_the_other_signature_version_is_refused(esp, keys, version):
    body = json.loads(keys.deliver("ses", esp.payload("ses", "click")).raw)
    forged = json.dumps({**body, "SignatureVersion": version}).encode()
    assert not accepted(keys, "ses", Delivery({}, forged, esp.NOW))


@pytest.mark.parametrize(
    "topic", ["arn:aws:sns:us-east-1:210987654321:mail", "", "arn:aws:sns:us-east-1", None]
)
def test_amazons_signature_for_a_foreign_topic_is_refused_and_nothing_is_fetched(esp, keys, topic):
    keys.fetched.clear()
    foreign = keys.deliver("ses", esp.payload("ses", "click"), TopicArn=topic)
    assert not accepted(keys, "ses", foreign)
    right = keys.deliver("ses", esp.payload("ses", "click"))
    assert not proven("ses", right, Credentials(certificate=keys.fetch))
    assert keys.fetched == []


@pytest.mark.parametrize("address", NOT_AMAZON)
def test_a_certificate_of_another_host_is_never_fetched(esp, keys, address):
    keys.fetched.clear()
    assert not is_amazon(address)
    forged = keys.deliver("ses", esp.payload("ses", "click"), SigningCertURL=address)
    assert not accepted(keys, "ses", forged)
    assert keys.fetched == []


@pytest.mark.parametrize(
    "path", ["", "?Action=ConfirmSubscription&Token=x", "a/b.pem", "?a.pem", "a.pem?x", "a.pem#"]
)
def test_only_a_certificate_is_fetched_before_the_signature_is_proven(esp, keys, path):
    keys.fetched.clear()
    more = {"SigningCertURL": f"{esp.HOST}/{path}"}
    assert not accepted(keys, "ses", keys.deliver("ses", {}, **more))
    assert keys.fetched == []


@pytest.mark.parametrize("host", ["eu-west-1.amazonaws.com", "cn-north-1.amazonaws.com.cn"])
def test_every_region_of_amazon_is_amazon(keys, host):
    address = f"https://sns.{host}/SimpleNotificationService-0.pem"
    assert accepted(keys, "ses", keys.deliver("ses", {}, SigningCertURL=address))
    assert is_amazon(f"https://sns.{host}/?Action=ConfirmSubscription&Token=a")


@pytest.mark.parametrize("stamp", ["", None, "yesterday", "9999-12-31T00:00:00Z", "nan"])
def test_an_envelope_that_does_not_say_when_is_refused(keys, stamp):
    forged = keys.deliver("ses", {}, Timestamp=stamp)
    assert not accepted(keys, "ses", forged)


@pytest.mark.parametrize("certificate", [b"", b"no certificate", b"\xff" * 100])
def test_a_broken_certificate_proves_nothing(esp, click, certificate):
    broken = Credentials(topics=frozenset({esp.TOPIC}), certificate=lambda _: certificate)
    assert not proven("ses", click("ses"), broken)


def test_a_confirmation_names_only_an_address_at_amazon(esp, keys):
    good = f"{esp.HOST}/?Action=ConfirmSubscription&TopicArn={esp.TOPIC}&Token=abc"
    more = {"Token": "abc", "SubscribeURL": good}
    right = keys.sns(esp.envelope_of("hello", Type="SubscriptionConfirmation", **more))
    assert accepted(keys, "ses", right)
    assert confirmation_of(right) == good
    for kind in ("Notification", "UnsubscribeConfirmation", ""):
        assert confirmation_of(keys.sns(esp.envelope_of("", Type=kind, **more))) == ""
    for address in NOT_AMAZON:
        envelope = esp.envelope_of(
            "", Type="SubscriptionConfirmation", Token="", SubscribeURL=address
        )
        assert confirmation_of(keys.sns(envelope)) == ""


# Segment: the signature covers the first event of a batch only.


def batch_of(*texts: str, head: str = '{"batch":[', tail: str = '],"sentAt":"x"}') -> bytes:
    return (head + ",".join(texts) + tail).encode()


def kinds(esp: Any, delivery: Delivery, *, is_trusted: bool = False) -> list[bool]:
    told = esp.told_by("segment", delivery, is_channel_trusted=is_trusted)
    return [t.is_proven for t in told]


def test_of_a_batch_only_the_first_event_is_proven_unless_the_channel_is_trusted(esp, keys):
    right = keys.deliver("segment", esp.payload("segment", "batch"))
    assert accepted(keys, "segment", right)
    assert kinds(esp, right) == [True, False]
    assert kinds(esp, right, is_trusted=True) == [True, True]


@pytest.mark.parametrize(
    "head", ['{"batch":[', '{ "batch" : [ \n\t', "[", " [\r\n ", '{"é":1,"batch":[']
)
@pytest.mark.parametrize(
    "first", ['{"messageId":"1"}', '{ "a" : "ü[]\\"" ,\n "b":[1,{"c":[]}] }', '{"a":"\\u00fc😀"}']
)
def test_the_first_event_is_proven_by_its_own_bytes_wherever_it_stands(esp, keys, head, first):
    tail = "\n]" if head.strip().startswith("[") else " ] }"
    raw = batch_of(first, '{"messageId":"2"}', head=head, tail=tail)
    delivery = keys.segment(raw, first.encode())
    assert accepted(keys, "segment", delivery)
    assert kinds(esp, delivery) == [True, False]


@pytest.mark.parametrize(
    "forgery",
    [
        '{"batch":[FORGED,SIGNED]}',
        "[FORGED,SIGNED]",
        '{"x":[SIGNED],"batch":[FORGED]}',
        '{"batch":[SIGNED],"batch":[FORGED]}',
        '{"x":[SIGNED],"type":"track","event":"Unsubscribed","messageId":"m","userId":"eve"}',
        '{"x[":SIGNED,"batch":[FORGED]}',
        '{"x":"[","batch":[FORGED,SIGNED]}',
        '{"batch":{"0":[SIGNED]},"type":"page"}',
        "[[SIGNED],FORGED]",
        "[[SIGNED,FORGED]]",
        "FORGED",
        "SIGNED,FORGED",
        "SIGNED\nFORGED",
    ],
)
def test_a_signed_event_elsewhere_in_the_body_proves_nothing(esp, keys, forgery):
    signed = json.dumps(esp.payload("segment", "clicked"))
    forged = signed.replace("segment-clicked", "forged").replace("ana@", "eve@")
    raw = forgery.replace("SIGNED", signed).replace("FORGED", forged).encode()
    assert not accepted(keys, "segment", keys.segment(raw, signed.encode()))


@pytest.mark.parametrize(
    "raw", [b"[]", b'{"batch":[]}', b"[1]", b"[" * 5_000, b"[" * 900 + b"]" * 900]
)
def test_an_odd_batch_is_no_way_around(keys, raw):
    for signed in (b"", b"1", b"{}"):
        if signed != b"1" or raw != b"[1]":  # that one is proven, and holds no event
            assert not accepted(keys, "segment", keys.segment(raw, signed))


# How texts are compared.


@given(st.text(), st.text())
def test_same_is_equality_of_any_two_texts(one, two):
    assert same(one, two) == (one == two)
    assert same(one, one)


def test_same_is_the_constant_time_comparison(monkeypatch):
    asked = []

    def compare(one: bytes, two: bytes) -> bool:
        asked.append((one, two))
        return hmac.compare_digest(one, two)

    class Watched:
        compare_digest = staticmethod(compare)

    monkeypatch.setattr(adapter, "hmac", Watched)
    assert not same("a", "b")
    assert asked == [(b"a", b"b")]


@pytest.mark.parametrize("provider", sorted(set(HEADER)))
@pytest.mark.parametrize("text", ["é", "\udce9", "\x00", "x" * 5_000_000, "İ", "\n"])
def test_any_header_is_only_wrong(keys, click, provider, text):
    delivery = changed(provider, click(provider), text)
    headers = {**delivery.headers, "x-twilio-email-event-webhook-timestamp": text}
    assert not accepted(keys, provider, replace(delivery, headers=headers))


@pytest.mark.parametrize("key", ["", "é", "AAAA", "x" * 100_000])
def test_a_verification_key_that_is_none_proves_nothing(click, key):
    assert not proven("sendgrid", click("sendgrid"), Credentials(secrets=(key,)))


def test_a_key_of_the_wrong_algorithm_proves_nothing(keys, click):
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        Encoding,
        PublicFormat,
    )

    assert isinstance(keys.amazon, rsa.RSAPrivateKey)
    der = keys.amazon.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    credentials = Credentials(secrets=(b64encode(der).decode(),))
    assert not proven("sendgrid", click("sendgrid"), credentials)
