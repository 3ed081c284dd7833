"""Tokens that somebody guesses: how many looks they get, and who is kept out by that."""

import os

from scsipub.control.api.caller import GUESSES_BURST
from scsipub.store.ids import join_token, new_token

TARGETS = "/api/v1/targets"


def shown(token):
    return {"Authorization": f"Bearer {token}"}


async def test_who_guesses_tokens_is_refused_soon_and_who_has_one_is_not(town):
    """A look into the database for each of the first hundred, and then twenty a second."""
    assert (await town.get(TARGETS, headers=town.ada.headers)).status_code == 200
    looked = 0
    real = town.house.control.rentals.store.call

    async def counted(*how):
        nonlocal looked
        looked += 1
        return await real(*how)

    town.house.control.rentals.store.call = counted
    answers = [
        (await town.get(TARGETS, headers=shown(join_token(*new_token(os.urandom))))).status_code
        for _ in range(400)
    ]
    town.house.control.rentals.store.call = real

    assert set(answers[: int(GUESSES_BURST)]) == {401}
    assert answers.count(401) == looked < 400
    assert set(answers) == {401, 429}
    assert (await town.get(TARGETS, headers=town.ada.headers)).status_code == 200
    assert (await town.get(TARGETS, headers=town.admin)).status_code == 200


async def test_every_token_that_opens_nothing_is_answered_alike(town):
    """Unknown, of the right form with a wrong secret, revoked, and no token of ours at all."""
    id = town.ada.token.partition("_")[2].partition(".")[0]
    wrong = join_token(id, new_token(os.urandom)[1])
    await town.ask("token.revoke", id=town.bob.token_id)
    answers = [
        await town.get(TARGETS, headers=shown(token))
        for token in (join_token(*new_token(os.urandom)), wrong, town.bob.token, "hunter2", "\x7f" * 10)
    ]

    assert {(answer.status_code, answer.text) for answer in answers} == {(401, answers[0].text)}
