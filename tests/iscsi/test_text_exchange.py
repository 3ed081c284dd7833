"""Text requests in full feature phase: SendTargets, parts, and what may be said again."""

from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scsipub.errors import FramingLost, PduRejected, PeerError
from scsipub.iscsi.constants import RESERVED_TAG, RejectReason
from scsipub.iscsi.pdu import TextRequest, TextResponse
from scsipub.iscsi.text import format_text
from scsipub.iscsi.text_exchange import AskTargets, Scope, TargetRecord, TextExchange
from scsipub.limits import DEFAULT
from tests.support.login_talk import DISCOVERY_NAMES, NAMES, TARGET, LoginTalk

TWO = [TargetRecord("iqn.2025-01.pub.scsipub:a", ("h:3260,1",)), TargetRecord("iqn.2025-01.pub.scsipub:b")]


def exchange(names: dict[str, str], **limits: int) -> TextExchange:
    talk = LoginTalk()
    talk.say(names, to=3)
    return TextExchange(attrs.evolve(DEFAULT, **limits), talk.parameters)


def discovery(**limits: int) -> TextExchange:
    return exchange(DISCOVERY_NAMES, **limits)


def normal(**limits: int) -> TextExchange:
    return exchange(NAMES, **limits)


def ask(
    text: TextExchange, *pairs: tuple[str, str], tag: int = 9, **fields: Any
) -> TextResponse | AskTargets:
    return text.receive_untrusted(TextRequest(initiator_task_tag=tag, data=format_text(pairs), **fields))


def rejected(text: TextExchange, *pairs: tuple[str, str], **fields: Any) -> int:
    with pytest.raises(PduRejected) as error:
        ask(text, *pairs, **fields)
    return error.value.reason


# -- SendTargets -----------------------------------------------------------------------------------------


def test_a_discovery_asks_for_all_and_gets_them_in_one_final_pdu() -> None:
    """RFC 7143 appendix C: name, then its addresses; a target may have none."""
    text = discovery()

    assert ask(text, ("SendTargets", "All")) == AskTargets(Scope.ALL)
    assert text.targets_say(TWO) == TextResponse(
        initiator_task_tag=9,
        target_transfer_tag=RESERVED_TAG,
        data=b"TargetName=iqn.2025-01.pub.scsipub:a\0TargetAddress=h:3260,1\0TargetName=iqn.2025-01.pub.scsipub:b\0",
    )


def test_a_discovery_may_name_one_target() -> None:
    """RFC 7143 appendix C; whether this initiator may see it is for the one asked to say."""
    text = discovery()

    assert ask(text, ("SendTargets", TARGET)) == AskTargets(Scope.ONE, TARGET)
    answer = text.targets_say([])
    assert (answer.data, answer.final) == (b"", True)


@pytest.mark.parametrize("value", ["", "All", TARGET])
def test_a_normal_session_sees_its_own_target_only(value: str) -> None:
    """RFC 7143 appendix C: the empty value means the current target."""
    assert ask(normal(), ("SendTargets", value)) == AskTargets(Scope.ONE, TARGET)


def test_a_normal_session_sees_nothing_of_another_target() -> None:
    """Not even that it exists: the answer is empty and nobody is asked."""
    answer = ask(normal(), ("SendTargets", TARGET + "2"))

    assert isinstance(answer, TextResponse)
    assert (answer.data, answer.final) == (b"", True)


@pytest.mark.parametrize("value", ["all", "ALL", "everything", "../.."])
@pytest.mark.parametrize("make", [discovery, normal])
def test_a_value_that_names_no_target_is_rejected(make: object, value: str) -> None:
    """RFC 7143 §11.17.1: 09h, invalid PDU field."""
    assert callable(make)
    assert rejected(make(), ("SendTargets", value)) == RejectReason.INVALID_PDU_FIELD


def test_a_discovery_has_no_current_target() -> None:
    """RFC 7143 appendix C: the empty value belongs to normal sessions."""
    assert rejected(discovery(), ("SendTargets", "")) == RejectReason.INVALID_PDU_FIELD


def test_send_targets_twice_in_one_request_is_rejected() -> None:
    """RFC 7143 §6.2: no key twice."""
    assert (
        rejected(discovery(), ("SendTargets", "All"), ("SendTargets", "All")) == RejectReason.PROTOCOL_ERROR
    )


def test_an_answer_has_a_largest_size_and_ends_with_a_whole_record() -> None:
    """The bound on what one question may cost."""
    text = discovery(discovery_reply_bytes=100)
    ask(text, ("SendTargets", "All"))

    answer = text.targets_say(TWO * 10)

    assert answer.data == format_text(TWO[0].pairs() + TWO[1].pairs())[: len(answer.data)]
    assert len(answer.data) <= 100 and answer.data.endswith(b"\0")


@given(st.integers(512, 2000), st.integers(0, 80))
@settings(max_examples=50)
def test_a_long_answer_is_fetched_in_parts_of_the_initiators_size(segment: int, count: int) -> None:
    """RFC 7143 §11.11.2: C=1, F=0 and a tag until the last part."""
    targets = [TargetRecord(f"iqn.2025-01.pub.scsipub:{i}", ("h:3260,1",)) for i in range(count)]
    text = discovery()
    text.max_xmit_data_segment = segment
    ask(text, ("SendTargets", "All"))

    answer = text.targets_say(targets)
    parts = [answer.data]
    while answer.continued:
        assert not answer.final and answer.target_transfer_tag != RESERVED_TAG and len(answer.data) == segment
        step = ask(text, target_transfer_tag=answer.target_transfer_tag)
        assert isinstance(step, TextResponse)
        answer = step
        parts.append(answer.data)

    assert answer.final and answer.target_transfer_tag == RESERVED_TAG
    assert b"".join(parts) == format_text([pair for target in targets for pair in target.pairs()])


# -- parts, tags, bounds ---------------------------------------------------------------------------------


def test_a_question_may_come_in_parts() -> None:
    """RFC 7143 §11.10.2: each part with C=1 gets an empty answer that carries the tag to go on with."""
    text = discovery()

    first = text.receive_untrusted(
        TextRequest(final=False, continued=True, initiator_task_tag=9, data=b"SendTar")
    )
    assert isinstance(first, TextResponse)
    assert (first.final, first.continued, first.data) == (False, False, b"")
    second = TextRequest(
        initiator_task_tag=9, target_transfer_tag=first.target_transfer_tag, data=b"gets=All\0"
    )

    assert text.receive_untrusted(second) == AskTargets(Scope.ALL)


def test_an_answer_to_a_question_that_is_not_final_is_not_final() -> None:
    """RFC 7143 §11.11.1: the target may not end what the initiator keeps open."""
    text = normal()

    open_answer = ask(text, ("X-a", "1"), final=False)
    assert isinstance(open_answer, TextResponse)
    last = ask(text, target_transfer_tag=open_answer.target_transfer_tag)

    assert (open_answer.final, open_answer.data) == (False, b"X-a=NotUnderstood\0")
    assert isinstance(last, TextResponse) and last.final and last.data == b""


def test_an_empty_text_gets_an_empty_answer() -> None:
    """RFC 7143 §11.10: a text of no keys says nothing and is no error."""
    answer = ask(normal())

    assert isinstance(answer, TextResponse) and answer.final and answer.data == b""


def test_a_tag_of_no_exchange_is_rejected() -> None:
    """RFC 7143 §11.10.4."""
    assert rejected(normal(), ("X-a", "1"), target_transfer_tag=5) == RejectReason.PROTOCOL_ERROR


def test_another_task_may_not_go_on_with_an_exchange() -> None:
    """RFC 7143 §11.10.3: one exchange, one Initiator Task Tag."""
    text = normal()
    answer = ask(text, final=False)
    assert isinstance(answer, TextResponse)

    assert (
        rejected(text, tag=10, target_transfer_tag=answer.target_transfer_tag) == RejectReason.PROTOCOL_ERROR
    )


def test_a_new_question_forgets_the_old_one() -> None:
    """RFC 7143 §11.10.4: the reserved tag begins anew."""
    text = discovery()
    text.receive_untrusted(TextRequest(final=False, continued=True, data=b"garbage"))

    assert ask(text, ("SendTargets", "All")) == AskTargets(Scope.ALL)


def test_a_question_behind_an_unanswered_one_is_rejected() -> None:
    """RFC 7143 §6.4: one exchange at a time."""
    text = discovery()
    ask(text, ("SendTargets", "All"))

    assert rejected(text, ("SendTargets", "All")) == RejectReason.TASK_IN_PROGRESS
    assert text.targets_say(TWO).final


def test_text_behind_an_answer_not_yet_fetched_is_rejected() -> None:
    """RFC 7143 §11.11.2: first fetch the rest."""
    text = discovery()
    text.max_xmit_data_segment = 512
    ask(text, ("SendTargets", "All"))
    answer = text.targets_say(TWO * 20)

    assert (
        rejected(text, ("SendTargets", "All"), target_transfer_tag=answer.target_transfer_tag)
        == RejectReason.PROTOCOL_ERROR
    )


def test_a_text_cannot_go_on_and_be_final() -> None:
    """RFC 7143 §11.10.2: C=1 with F=1."""
    assert rejected(normal(), ("X-a", "1"), continued=True) == RejectReason.PROTOCOL_ERROR


def test_a_discovery_has_so_many_questions_and_then_ends() -> None:
    """32 text requests are answered, the next closes the connection."""
    text = discovery()
    for _ in range(32):
        ask(text)

    with pytest.raises(FramingLost):
        ask(text)


def test_a_normal_session_may_ask_as_often_as_it_likes_but_not_in_one_exchange() -> None:
    """The bound is on what one exchange may hold open."""
    text = normal()
    for _ in range(100):
        ask(text)
    answer = ask(text, final=False)
    assert isinstance(answer, TextResponse)
    for _ in range(31):
        ask(text, final=False, target_transfer_tag=answer.target_transfer_tag)

    assert (
        rejected(text, final=False, target_transfer_tag=answer.target_transfer_tag)
        == RejectReason.OUT_OF_RESOURCES
    )
    assert isinstance(ask(text), TextResponse)


def test_a_text_in_parts_has_a_largest_size() -> None:
    """64 KiB of collected text and no more."""
    text = normal()
    part = TextRequest(final=False, continued=True, data=bytes(32768))
    answer = text.receive_untrusted(part)
    assert isinstance(answer, TextResponse)
    part = attrs.evolve(part, target_transfer_tag=answer.target_transfer_tag)
    text.receive_untrusted(part)

    with pytest.raises(PduRejected):
        text.receive_untrusted(attrs.evolve(part, data=b"x"))


# -- keys ------------------------------------------------------------------------------------------------


def test_the_initiator_may_declare_its_segment_length_again() -> None:
    """RFC 7143 §13.12, §6.4: in force once the exchange is over."""
    text = normal()

    first = ask(text, ("MaxRecvDataSegmentLength", "4096"), final=False)
    assert isinstance(first, TextResponse)
    before = text.max_xmit_data_segment
    ask(text, target_transfer_tag=first.target_transfer_tag)

    assert (first.data, before, text.max_xmit_data_segment) == (b"", 8192, 4096)


def test_a_declaration_out_of_bounds_is_rejected_and_changes_nothing() -> None:
    """RFC 7143 §7 (negotiation failures): what was agreed before stays."""
    text = normal()

    assert rejected(text, ("MaxRecvDataSegmentLength", "511")) == RejectReason.PROTOCOL_ERROR
    assert text.max_xmit_data_segment == 8192


@pytest.mark.parametrize("key", ["MaxBurstLength", "HeaderDigest", "InitiatorName", "CHAP_R", "AuthMethod"])
def test_a_key_of_the_login_is_rejected_after_it(key: str) -> None:
    """RFC 7143 §12, §13: their use is login only."""
    assert rejected(normal(), (key, "1")) == RejectReason.PROTOCOL_ERROR


def test_a_vendors_key_is_not_understood() -> None:
    """RFC 7143 §6.2: and the keys beside it are answered as ever."""
    answer = ask(normal(), ("X-com.example.a", "1"), ("InitiatorAlias", "me"), ("Colour", "red"))

    assert isinstance(answer, TextResponse)
    assert answer.data == b"X-com.example.a=NotUnderstood\0Colour=NotUnderstood\0"


@pytest.mark.parametrize("key", ["sendtargets", "SendTarget", "Targets"])
def test_a_mistyped_key_alone_is_rejected(key: str) -> None:
    """libiscsi waits for ever after NotUnderstood; a Reject with 09h it takes."""
    assert rejected(discovery(), (key, "All")) == RejectReason.INVALID_PDU_FIELD


@given(
    st.lists(
        st.builds(TextRequest, final=st.booleans(), continued=st.booleans(), data=st.binary(max_size=60))
    )
)
@settings(max_examples=150)
def test_noise_is_answered_or_refused(requests: list[TextRequest]) -> None:
    """Nothing but a PeerError leaves an exchange."""
    text = discovery()
    for request in requests:
        try:
            if isinstance(text.receive_untrusted(request), AskTargets):
                text.targets_say(TWO)
        except PeerError:
            pass
