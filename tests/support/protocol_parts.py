"""What ``docs/protocol.md`` shows of the code: stages, keys, PDUs, and which test guards which clause.

A row of ``REQUIREMENTS`` names its test by function name alone; the file is found, so a test may move
house but not vanish."""

import re
from collections.abc import Sequence
from pathlib import Path

from scsipub.iscsi.constants import LoginStage, LoginStatus
from scsipub.iscsi.keys import KEYS, Boolean, Choice, Combine, Number, Value, wanted
from scsipub.iscsi.login import MOVES
from scsipub.iscsi.pdu import INITIATOR_PDUS, TARGET_PDUS
from scsipub.limits import DEFAULT
from tests.support.protocol_full_feature import FULL_FEATURE

ROOT = Path(__file__).resolve().parents[2]

# clause, what it asks of a target, module in scsipub/iscsi/, tests
REQUIREMENTS: list[tuple[str, str, str, tuple[str, ...]]] = [
    # -- PDUs --------------------------------------------------------------------------------------------
    (
        "§11.2–§11.19",
        "Every PDU is laid out as drawn, reserved bits are zero when sent and ignored when read",
        "pdu_base",
        (
            "test_every_header_is_laid_out_as_it_is_drawn",
            "test_reserved_bits_are_ignored_when_read",
            "test_what_is_packed_is_what_is_read",
        ),
    ),
    (
        "§11.1",
        "Segments are padded to four bytes",
        "pdu_base",
        ("test_a_pdu_on_the_wire_is_padded_to_four_bytes_and_counts_only_its_data",),
    ),
    (
        "§11.2.2",
        "Additional headers: a long CDB is put together, an overrun refused",
        "pdu_base",
        (
            "test_a_long_cdb_travels_in_an_additional_header",
            "test_an_additional_header_that_overruns_its_room_is_rejected",
        ),
    ),
    (
        "§11.17.1",
        "An opcode that no initiator may send is rejected as not supported",
        "pdu",
        ("test_an_opcode_no_initiator_may_send_is_rejected_as_not_supported",),
    ),
    ("§13.1, appendix A.4", "Digests are CRC32C", "digest", ("test_the_examples_of_the_rfc_come_out",)),
    # -- text --------------------------------------------------------------------------------------------
    (
        "§6.1",
        "Keys have at most 63 bytes, values 255, large binaries 1024; text is UTF-8",
        "text",
        (
            "test_a_key_has_at_most_63_bytes",
            "test_a_value_has_at_most_255_bytes_unless_it_is_a_large_binary",
            "test_what_is_no_text_is_refused",
        ),
    ),
    (
        "§4.2.7, RFC 3722",
        "Names are iqn., eui. or naa., of few characters, compared in lower case",
        "names",
        (
            "test_an_initiator_name_that_is_no_name_is_refused_and_logged_in_one_clean_line",
            "test_a_target_name_is_folded_to_lower_case_before_anyone_looks",
            "test_a_name_has_at_most_223_bytes",
        ),
    ),
    # -- negotiation -------------------------------------------------------------------------------------
    (
        "§6.2.2, §13",
        "Numbers and booleans combine as their key says; what has a legal value is never refused",
        "keys",
        (
            "test_a_number_in_any_size_and_notation_comes_within_the_bounds_of_its_row",
            "test_a_boolean_combines_as_its_row_says",
            "test_numbers_are_answered_with_what_holds",
        ),
    ),
    (
        "§6.2.1",
        "Of a list the first supported value is taken",
        "keys",
        ("test_of_a_list_the_first_we_support_is_taken",),
    ),
    (
        "§6.2",
        "An unknown key is answered NotUnderstood",
        "keys",
        ("test_an_unknown_key_is_not_understood_and_an_answer_is_not_answered",),
    ),
    ("§6.3", "No key is negotiated twice", "negotiation", ("test_no_key_is_negotiated_twice",)),
    (
        "§7",
        "A negotiation that fails ends the login",
        "login",
        ("test_an_offer_without_a_legal_meaning_is_refused",),
    ),
    (
        "§13.12",
        "MaxRecvDataSegmentLength is declared by both sides and not answered",
        "login",
        (
            "test_our_segment_length_is_declared_once_in_the_operational_stage",
            "test_a_declared_segment_length_gets_no_answer",
        ),
    ),
    (
        "§13.14",
        "FirstBurstLength never exceeds MaxBurstLength",
        "negotiation",
        ("test_a_first_burst_never_exceeds_a_burst",),
    ),
    (
        "§13, Irrelevant when",
        "What only SCSI needs is irrelevant in a discovery session",
        "negotiation",
        ("test_what_only_scsi_needs_is_irrelevant_in_a_discovery",),
    ),
    ("§13.25", "Markers are obsolete, but understood", "keys", ("test_markers_are_obsolete_but_understood",)),
    # -- login -------------------------------------------------------------------------------------------
    (
        "§6.3, §11.12.3",
        "Stages are entered in order; other moves are refused",
        "login",
        (
            "test_every_pair_of_stages_moves_or_is_refused",
            "test_a_request_must_be_in_the_stage_we_are_in",
            "test_one_request_in_the_operational_stage_is_a_whole_login",
            "test_a_boot_rom_begins_in_the_security_stage_and_gets_none",
        ),
    ),
    (
        "§6.2, §11.12.2",
        "A text may be spread over several requests (C bit), but not without end",
        "login",
        (
            "test_a_text_may_be_cut_anywhere",
            "test_a_request_cannot_go_on_and_move_on",
            "test_a_text_that_never_ends_is_cut_off",
            "test_empty_requests_are_answered_only_so_often",
            "test_a_flood_of_keys_is_refused_and_not_echoed",
        ),
    ),
    (
        "§6.3",
        "InitiatorName, TargetName, SessionType, ISID, TSIH and CID do not change during a login",
        "login_identity",
        (
            "test_names_may_be_repeated_but_not_changed",
            "test_the_session_named_at_first_is_the_session_until_the_end",
            "test_authenticating_for_one_target_does_not_open_another",
        ),
    ),
    (
        "§6.3, §11.13.5",
        "What the first request must hold",
        "login_identity",
        ("test_a_first_request_must_say_who_speaks_to_whom",),
    ),
    ("§11.12.4", "A later version is refused", "login", ("test_a_version_later_than_ours_is_refused",)),
    (
        "§11.12.5",
        "An ISID of the reserved type is refused",
        "login",
        ("test_an_isid_of_the_reserved_type_is_refused",),
    ),
    (
        "§6.3.4, §11.13.3",
        "TSIH: ours to assign, unknown ones are refused",
        "login",
        (
            "test_a_session_handle_nobody_gave_out_is_refused",
            "test_a_session_handle_the_catalogue_knows_is_kept",
            "test_the_catalogue_may_choose_the_handle_of_a_new_session",
        ),
    ),
    (
        "§11.13.4, §11.12.8",
        "Login responses are numbered, login requests use up no CmdSN",
        "login",
        ("test_responses_are_numbered_and_login_uses_up_no_command_number",),
    ),
    (
        "§13.9",
        "The portal group tag is in the first response",
        "login",
        ("test_the_portal_group_tag_is_said_once_and_first",),
    ),
    (
        "§11.13.5",
        "Redirection: 0101h with TargetAddress",
        "login",
        ("test_a_target_served_elsewhere_redirects",),
    ),
    # -- CHAP --------------------------------------------------------------------------------------------
    (
        "§12, §6.3.1",
        "A target that wants authentication serves nobody without it",
        "login_security",
        (
            "test_beginning_in_the_operational_stage_does_not_avoid_authentication",
            "test_a_target_that_wants_chap_takes_nothing_else",
            "test_moving_on_without_a_word_about_authentication_is_refused",
            "test_no_sequence_of_guesses_gets_in",
        ),
    ),
    (
        "§12.1.3, IANA",
        "CHAP with MD5, SHA-1, SHA-256, SHA3-256: the strongest common one above the target's floor",
        "chap_exchange",
        (
            "test_the_strongest_common_algorithm_is_chosen",
            "test_a_target_may_refuse_weak_algorithms",
            "test_the_response_is_the_hash_of_identifier_secret_and_challenge",
        ),
    ),
    (
        "§12.1.3",
        "Mutual CHAP: only after the initiator has proved itself, and never our own challenge",
        "chap_exchange",
        (
            "test_mutual_chap_answers_the_initiators_challenge",
            "test_a_wrong_response_gets_no_response_of_ours",
            "test_our_own_challenge_reflected_closes_the_connection_without_a_word",
        ),
    ),
    (
        "§12.1.3, §9.2.1",
        "A fresh challenge for each connection, one attempt, nothing to be learned from a refusal",
        "chap_exchange",
        (
            "test_challenges_and_identifiers_do_not_repeat",
            "test_a_response_recorded_from_another_connection_is_worthless",
            "test_only_one_response_may_be_tried",
            "test_who_the_user_is_cannot_be_told_from_the_refusal",
        ),
    ),
    (
        "§9.2.1",
        "Secrets have 96 bits and differ between the directions",
        "chap",
        (
            "test_a_secret_has_at_least_96_bits_in_either_direction",
            "test_the_secrets_of_both_directions_differ",
        ),
    ),
    (
        "§6.1, §12.1.3",
        "Binary values in hex or base64, of the right size",
        "chap",
        (
            "test_both_notations_of_a_binary_value_are_read",
            "test_a_response_of_the_wrong_form_or_size_is_an_authentication_failure",
            "test_a_right_digest_behind_other_bytes_is_wrong",
        ),
    ),
    # -- text after login --------------------------------------------------------------------------------
    (
        "appendix C",
        "SendTargets: all in a discovery, the current target in a normal session",
        "text_exchange",
        (
            "test_a_discovery_asks_for_all_and_gets_them_in_one_final_pdu",
            "test_a_normal_session_sees_its_own_target_only",
            "test_a_normal_session_sees_nothing_of_another_target",
        ),
    ),
    (
        "§11.10, §11.11",
        "Long texts travel in parts, one exchange at a time",
        "text_exchange",
        (
            "test_a_long_answer_is_fetched_in_parts_of_the_initiators_size",
            "test_a_question_may_come_in_parts",
            "test_a_tag_of_no_exchange_is_rejected",
            "test_a_question_behind_an_unanswered_one_is_rejected",
        ),
    ),
    (
        "§6.4, §13.12",
        "After login only declarations may be made again",
        "text_exchange",
        (
            "test_the_initiator_may_declare_its_segment_length_again",
            "test_a_key_of_the_login_is_rejected_after_it",
        ),
    ),
]

# status -> when an initiator sees it
STATUSES: dict[LoginStatus, str] = {
    LoginStatus.SUCCESS: "this step is accepted",
    LoginStatus.TARGET_MOVED_TEMPORARILY: "the target is served elsewhere; TargetAddress says where",
    LoginStatus.INITIATOR_ERROR: "a rule of the login was broken, or a negotiation failed",
    LoginStatus.AUTHENTICATION_FAILURE: "no authentication, a wrong one, or none we could agree on",
    LoginStatus.NOT_FOUND: "no such target here",
    LoginStatus.UNSUPPORTED_VERSION: "the initiator wants a version later than 00h",
    LoginStatus.TOO_MANY_CONNECTIONS: "a second connection for a session",
    LoginStatus.MISSING_PARAMETER: "no InitiatorName, or no TargetName in a normal session",
    LoginStatus.SESSION_TYPE_NOT_SUPPORTED: "a SessionType other than Normal and Discovery",
    LoginStatus.SESSION_DOES_NOT_EXIST: "a TSIH of no session",
    LoginStatus.TARGET_ERROR: "something broke on our side; worth trying again",
    LoginStatus.SERVICE_UNAVAILABLE: "not now; worth trying again",
    LoginStatus.OUT_OF_RESOURCES: "too many sessions; worth trying again",
}


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines: list[Sequence[str]] = [columns, ("---",) * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def moves() -> str:
    """The diagram of the login's stages."""
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> SECURITY", "    [*] --> OPERATIONAL"]
    for (stage, asked), entered in MOVES.items():
        note = "T=0" if asked is None else f"T=1 NSG={asked}"
        lines.append(f"    {LoginStage(stage).name} --> {entered.name}: {note}")
    return "\n".join([*lines, "    FULL_FEATURE --> [*]", "```"])


def keys() -> str:
    """Every text key, its rule, its default and what we make of it."""
    ours = wanted(DEFAULT)

    def shown(value: Value | None) -> str:
        if isinstance(value, bool):
            return "Yes" if value else "No"
        return "" if value is None else str(value)

    rows = []
    for name, key in KEYS.items():
        kind = key.type
        if key.combine is Combine.OBSOLETE:
            we = f"always {key.answer}"
        elif isinstance(kind, Choice):
            we = "/".join(kind.supported)
        elif name == "MaxRecvDataSegmentLength":
            we = str(DEFAULT.max_recv_data_segment)
        else:
            we = shown(ours.get(name))
        values = {Number: "number", Boolean: "Yes/No", Choice: "list"}.get(type(kind), "text")
        if isinstance(kind, Number):
            values = f"{kind.low}–{kind.high}"
        default = shown(key.default)
        rows.append(
            (
                f"`{name}`",
                key.section,
                values,
                key.combine.value,
                default,
                we,
                key.use.value,
                key.sender.value,
            )
        )
    return _table(("key", "§", "values", "result", "default", "ours", "when", "said by"), rows)


def pdus() -> str:
    """Every PDU with its opcode, class and clause."""
    rows = []
    for sender, known in (("initiator", INITIATOR_PDUS), ("target", TARGET_PDUS)):
        for opcode, cls in sorted(known.items()):
            clause = re.search(r"§11\.\d+", cls.__doc__ or "")
            assert clause is not None, cls
            rows.append((f"{opcode:02X}h", f"`{cls.__name__}`", sender, clause.group()))
    return _table(("opcode", "class", "sent by", "clause"), rows)


def statuses() -> str:
    """The login statuses we give."""
    return _table(
        ("status", "name", "when"), [(f"{s:04X}h", s.name.lower(), when) for s, when in STATUSES.items()]
    )


def requirements() -> str:
    """Which module meets a clause, and which tests say so.  ValueError for one that is not there."""
    homes: dict[str, str] = {}
    for file in sorted(ROOT.glob("tests/**/test_*.py")):
        for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE):
            homes.setdefault(name, str(file.relative_to(ROOT)))
    rows = []
    before = [(clause, demand, f"iscsi/{module}", tests) for clause, demand, module, tests in REQUIREMENTS]
    for clause, demand, module, tests in before + FULL_FEATURE:
        if not (ROOT / f"scsipub/{module}.py").exists():
            raise ValueError(f"no module {module}")
        missing = [test for test in tests if test not in homes]
        if missing:
            raise ValueError(f"no such test: {missing}")
        where = sorted({homes[test] for test in tests})
        names = ", ".join(test.removeprefix("test_").replace("_", " ") for test in tests)
        rows.append(
            (clause, demand, f"`scsipub/{module}.py`", " ".join(f"`{w}`" for w in where) + f": {names}")
        )
    return _table(("clause", "what it asks of a target", "module", "tests"), rows)


PARTS = {"moves": moves, "statuses": statuses, "keys": keys, "pdus": pdus, "requirements": requirements}
