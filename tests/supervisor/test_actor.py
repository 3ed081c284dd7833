"""supervisor/actor.py: a state nobody else touches, behind a bounded mailbox."""

import pytest
import trio
import trio.testing

from supervisor.actor import Actor, ActorDied, CallsItself
from supervisor.spec import ChildSpec, Strategy, SupervisorSpec
from supervisor.tree import Supervisor


class NotEnough(Exception):
    pass


class Account:
    def __init__(self):
        self.balance = 0
        self.story = []

    async def deposit(self, amount, seconds=0):
        await trio.sleep(seconds)
        self.balance += amount
        self.story.append(amount)
        return self.balance

    async def withdraw(self, amount):
        if amount > self.balance:
            raise NotEnough(self.balance)
        self.balance -= amount

    async def break_down(self):
        raise ZeroDivisionError("oops")

    async def told(self):
        return self.story


@pytest.fixture
def account():
    return Actor(Account, name="account", mailbox=2, replies=(NotEnough,))


@pytest.fixture
async def running(account, nursery):
    return await nursery.start(account.run)


async def expect_death(ask, *args):
    with pytest.raises(ActorDied):
        await ask(*args)


async def test_a_call_is_answered(running, autojump_clock):
    assert await running.call(Account.deposit, 3) == 3
    assert await running.call(Account.deposit, amount=4) == 7


async def test_messages_are_handled_one_after_another_in_order(running, autojump_clock):
    await running.cast(Account.deposit, 1, 5)
    await running.cast(Account.deposit, 2)
    assert await running.call(Account.told) == [1, 2]
    assert trio.current_time() == 5


async def test_an_exception_that_is_a_reply_goes_to_the_caller_and_the_actor_lives(running, autojump_clock):
    with pytest.raises(NotEnough):
        await running.call(Account.withdraw, 1)
    assert await running.call(Account.deposit, 1) == 1


async def test_whoever_calls_an_actor_that_dies_hears_of_it(account, autojump_clock):
    """The one whose call it died of, those who wait in line, and those who come later."""

    async def live(task_status):
        with pytest.raises(ZeroDivisionError):
            await account.run(task_status)

    async with trio.open_nursery() as nursery:
        await nursery.start(live)
        await account.cast(Account.deposit, 1, 5)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(expect_death, account.call, Account.break_down)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(expect_death, account.call, Account.deposit, 1)
    with pytest.raises(ActorDied, match="account does not live"):
        await account.call(Account.told)
    with pytest.raises(ActorDied):
        await account.cast(Account.told)
    assert account.try_cast(Account.told) is False
    assert account.statistics().deaths == 1


async def test_the_callers_error_names_the_cause(account, autojump_clock):
    async def live():
        with pytest.raises(ZeroDivisionError):
            await account.run()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(live)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ActorDied) as caught:
            await account.call(Account.break_down)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


async def test_a_cancelled_actor_has_died_too(account, autojump_clock):
    async with trio.open_nursery() as outer, trio.open_nursery() as nursery:
        await nursery.start(account.run)
        outer.start_soon(expect_death, account.call, Account.deposit, 1, 50)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert account.statistics().deaths == 0  # nobody's bug


async def test_a_full_mailbox_makes_senders_wait_and_try_cast_say_no(running, autojump_clock):
    await running.cast(Account.deposit, 1, 5)
    await trio.testing.wait_all_tasks_blocked()  # that one is in work now, not in the mailbox
    assert running.try_cast(Account.deposit, 2) is True
    assert running.try_cast(Account.deposit, 3) is True
    assert running.try_cast(Account.deposit, 4) is False
    assert (running.statistics().mailbox, running.statistics().casts_not_sent) == (2, 1)

    await running.cast(Account.deposit, 5)
    assert trio.current_time() == 5
    assert await running.call(Account.told) == [1, 2, 3, 5]


async def test_a_sender_who_waits_for_room_hears_of_the_death(account, autojump_clock):
    async with trio.open_nursery() as outer, trio.open_nursery() as nursery:
        await nursery.start(account.run)
        await account.cast(Account.deposit, 1, 50)
        await trio.testing.wait_all_tasks_blocked()
        while account.try_cast(Account.deposit, 1):
            pass
        outer.start_soon(expect_death, account.cast, Account.deposit, 1)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


async def test_a_caller_who_gives_up_takes_the_letter_back(running, autojump_clock):
    await running.cast(Account.deposit, 1, 5)
    with trio.move_on_after(1):
        await running.call(Account.deposit, 2)
    assert running.statistics().mailbox == 0
    assert await running.call(Account.told) == [1]


async def test_a_letter_in_work_is_finished_though_its_caller_gave_up(running, autojump_clock):
    with trio.move_on_after(1):
        await running.call(Account.deposit, 2, 5)
    assert await running.call(Account.told) == [2]


async def test_an_actor_that_calls_itself_is_told_so(nursery, autojump_clock):
    class Narcissus:
        async def look(self):
            with pytest.raises(CallsItself):
                await actor.call(Narcissus.look)
            return "seen"

    actor = await nursery.start(Actor(Narcissus).run)
    assert await actor.call(Narcissus.look) == "seen"


async def test_asked_to_stop_it_does_what_is_in_its_mailbox_and_takes_no_more(
    account, nursery, autojump_clock
):
    supervisor = Supervisor(SupervisorSpec(Strategy.ONE_FOR_ONE, [ChildSpec("account", account.run)]))
    await nursery.start(supervisor.run)
    heard = []

    async def deposit(amount):
        heard.append(await account.call(Account.deposit, amount, 1))

    for _ in range(3):
        nursery.start_soon(deposit, 1)
    await trio.testing.wait_all_tasks_blocked()
    nursery.start_soon(supervisor.stop)
    await trio.testing.wait_all_tasks_blocked()
    with pytest.raises(ActorDied):
        await account.call(Account.told)
    await trio.sleep(4)
    assert heard == [1, 2, 3]


async def test_a_restarted_actor_begins_with_a_new_state_behind_the_same_handle(
    account, nursery, autojump_clock
):
    supervisor = Supervisor(SupervisorSpec(Strategy.ONE_FOR_ONE, [ChildSpec("account", account.run)]))
    await nursery.start(supervisor.run)
    assert await account.call(Account.deposit, 3) == 3
    with pytest.raises(ActorDied):
        await account.call(Account.break_down)
    await trio.testing.wait_all_tasks_blocked()
    assert await account.call(Account.deposit, 4) == 4
    statistics = account.statistics()
    assert (statistics.alive, statistics.handled, statistics.deaths) == (True, 3, 1)
