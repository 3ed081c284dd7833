"""The full feature phase in ``docs/protocol.md``: clause, demand, module under ``scsipub/``, tests."""

FULL_FEATURE: list[tuple[str, str, str, tuple[str, ...]]] = [
    (
        "§11.1, §11.2.1",
        "PDUs are cut out of a stream of bytes, and no length is believed beyond what we declared",
        "iscsi/framing",
        (
            "test_a_data_segment_may_be_as_long_as_declared_and_not_a_byte_longer",
            "test_sixteen_mebibytes_are_refused_when_the_header_is_there",
            "test_a_header_that_comes_byte_by_byte_is_a_header",
        ),
    ),
    (
        "§4.2.2.1",
        "Commands run in the order of CmdSN, within the window, immediate ones at once",
        "iscsi/session",
        (
            "test_commands_run_in_the_order_of_their_numbers",
            "test_the_last_number_of_the_window_is_taken_and_the_next_ignored",
            "test_a_number_from_the_past_is_ignored",
            "test_immediate_commands_run_at_once_and_use_no_number",
            "test_eight_immediate_commands_may_be_outstanding_and_not_nine",
        ),
    ),
    (
        "§4.2.2.1, RFC 1982",
        "Numbers are serial and wrap",
        "iscsi/numbering",
        ("test_numbers_wrap_without_a_stall", "test_stat_sn_wraps"),
    ),
    (
        "§4.2.2.2, §11.7, §11.8",
        "StatSN counts the answers that carry a status, and nothing else",
        "iscsi/answers",
        (
            "test_status_of_one_command_does_not_wait_for_another",
            "test_r2t_and_data_in_carry_no_stat_sn_of_their_own",
        ),
    ),
    (
        "§11.2.1.8",
        "A tag names one task at a time",
        "iscsi/session",
        (
            "test_a_tag_in_use_is_rejected_and_its_task_lives_on",
            "test_a_tag_may_be_used_again_once_its_status_is_out",
        ),
    ),
    (
        "§13.10, §13.11, §13.14",
        "Data comes unasked as far as InitialR2T, ImmediateData and FirstBurstLength allow",
        "iscsi/transfers",
        (
            "test_a_write_succeeds_however_much_of_it_comes_unasked",
            "test_immediate_data_that_was_ruled_out_ends_the_command",
            "test_immediate_data_up_to_first_burst_is_taken_and_no_byte_more",
            "test_a_first_burst_that_stops_short_ends_the_command",
        ),
    ),
    (
        "§11.7, §11.8, §13.13",
        "The rest is asked for in bursts; each Data-Out carries the tag, offset, DataSN and F bit it should",
        "iscsi/transfers",
        (
            "test_a_long_write_is_asked_for_in_bursts",
            "test_data_at_another_offset_drops_the_connection",
            "test_data_with_a_foreign_transfer_tag_drops_the_connection",
            "test_a_data_sequence_number_that_does_not_count_ends_the_command",
            "test_data_that_stops_before_the_burst_is_complete_ends_the_command",
        ),
    ),
    (
        "§11.7.1, §13.12, §13.13",
        "Read data comes in segments and bursts of the initiator's size",
        "iscsi/answers",
        (
            "test_reads_arrive_in_segments_and_bursts_as_negotiated",
            "test_a_smaller_segment_length_holds_from_the_next_pdu_on",
        ),
    ),
    (
        "§11.4.5.1",
        "Residuals are exact, in both directions",
        "iscsi/answers",
        (
            "test_what_was_expected_and_what_the_cdb_says_are_compared",
            "test_a_write_that_expects_less_than_its_cdb_writes_that_much",
            "test_a_write_that_expects_more_than_its_cdb_takes_what_the_cdb_says",
        ),
    ),
    (
        "§7.7, §7.8, §13.1",
        "A wrong header digest ends the connection, a wrong data digest costs that PDU",
        "iscsi/session",
        (
            "test_every_kind_of_pdu_passes_with_right_digests",
            "test_a_wrong_header_digest_drops_the_connection",
            "test_wrong_immediate_data_is_rejected_and_its_command_fails",
            "test_wrong_data_after_an_r2t_is_rejected_and_its_command_fails",
        ),
    ),
    (
        "§11.5, §11.6",
        "Task management is answered when nothing of the tasks can happen any more",
        "target/management",
        (
            "test_an_abort_waits_for_the_thread_that_writes",
            "test_a_reset_answers_when_the_last_thread_has_ended_whosever_it_was",
            "test_a_unit_reset_ends_everybodys_tasks_and_tells_everybody",
            "test_what_is_not_offered_says_so",
        ),
    ),
    (
        "§11.5.1",
        "A command that has not come yet can be aborted",
        "target/management",
        (
            "test_a_command_ahead_of_its_turn_can_be_aborted",
            "test_a_command_that_never_came_counts_as_received_and_aborted",
        ),
    ),
    (
        "§11.14, §11.15",
        "A logout is the end, and its answer the last word",
        "iscsi/session",
        (
            "test_a_logout_is_answered_and_is_the_end",
            "test_nothing_follows_the_answer_to_a_logout",
            "test_a_connection_that_does_not_exist_cannot_be_closed",
        ),
    ),
    (
        "§11.18, §11.19",
        "Pings are answered with their own data; ours are remembered until they are answered",
        "iscsi/session",
        (
            "test_a_ping_is_answered_with_its_own_data",
            "test_our_ping_is_answered_and_forgotten",
        ),
    ),
    (
        "§11.16, §11.17",
        "What ErrorRecoveryLevel 0 does not know is rejected, and the session goes on",
        "iscsi/session",
        ("test_nothing_is_sent_again", "test_an_opcode_of_nobody_or_of_a_target_is_rejected"),
    ),
    (
        "§4.3",
        "A discovery session knows no SCSI",
        "iscsi/session",
        (
            "test_a_discovery_session_knows_no_scsi",
            "test_a_discovery_session_lists_pings_and_leaves",
        ),
    ),
]
