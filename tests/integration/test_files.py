"""Files that agents return: read in parts, from where they are, by those who got them."""

import asyncio
import contextvars
import dataclasses
import hashlib
import os
import pickle
import signal
import threading
import time
from pathlib import Path

import msgpack
import pytest

import agentd
from agentd.client.context import CurrentCall, running
from agentd.client.files import File, FileReference
from agentd.client.proxy import session_of, target
from agentd.errors import (
    AgentCrashed,
    AgentNotFound,
    CallTimeout,
    ConfigError,
    ResultExpired,
    SerializationError,
)
from tests.cutting import cut
from tests.integration.conftest import LONG_S, wait_until
from tests.integration.filing import Binder, Filing
from tests.integration.test_protocol import RawClient

MIB = 1024 * 1024


def made(path, size=5 * MIB + 7):
    """A file of random content; its path as text."""
    path.write_bytes(os.urandom(size))
    return str(path)


def digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def source(tmp_path):
    """A folder of the agents; ``tmp_path`` itself is that of the clients."""
    folder = tmp_path.with_name(tmp_path.name + "-agents")
    folder.mkdir()
    return folder


@pytest.fixture
def big(source):
    return made(source / "big", 32 * MIB)


class Progress:
    """Notes what it is told; does something, once, as soon as part of it is there."""

    def __init__(self, does=None):
        self.seen = []
        self.does = does

    def __call__(self, done, size):
        self.seen.append((done, size))
        if self.does is not None and done >= 2 * MIB:
            does, self.does = self.does, None
            does()

    def is_in_order(self, size):
        done = [d for d, _ in self.seen]
        assert done == sorted(set(done))
        assert self.seen[-1] == (size, size)
        assert {s for _, s in self.seen} == {size}


# -- the whole way ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, 4 * MIB, 6 * MIB + 1])
def test_it_arrives_as_it_was(hosted, source, tmp_path, size):
    path = made(source / "report.bin", size)
    progress = Progress()

    file = hosted(Filing).give(path)
    saved = file.save(tmp_path / "here", progress)

    assert (file.name, file.size) == ("report.bin", size)
    assert saved == tmp_path / "here"
    assert digest(saved) == digest(path)
    progress.is_in_order(size)
    assert len(progress.seen) == max(1, -(-size // MIB))
    assert names_in(tmp_path) == ["here"]


def test_a_relayed_agent_has_its_files_relayed(shared, source):
    """The daemon may be all that can be reached: the worker is not spoken to."""
    path = made(source / "report")
    client = agentd.connect(shared.endpoint, direct=False)
    with agentd.handle(Filing(to_dist=shared.endpoint)) as handle:
        agent = client.get(handle.wait(LONG_S).id)
        files = [
            agent.give(path),
            agent.wrapped(path)["binder"].file,
            next(iter(agent.stream(path))).file,
            agent.give.submit(path).result(LONG_S),
        ]
        with pytest.raises(RuntimeError) as caught:
            agent.fail(path)
        files.append(caught.value.file)
        session = session_of(target(agent))
        for file in files:
            assert digest(file) == digest(path)
            assert file._direct is False
        assert not session.workers.links


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_hundred_mebibytes_take_no_more_memory_than_a_few(hosted, source, tmp_path):
    # Given
    path = source / "huge"
    with path.open("wb") as out:
        for _ in range(100):
            out.write(os.urandom(MIB))
    file = hosted(Filing).give(str(path))
    file.save(tmp_path / "before")  # whatever is needed once is there
    most, before = 0, resident()

    def progress(_done, _size):
        nonlocal most
        most = max(most, resident())

    # When
    saved = file.save(tmp_path / "here", progress)
    # Then
    assert most - before < 32 * MIB
    with saved.open("rb") as one, path.open("rb") as other:
        assert (
            hashlib.file_digest(one, "sha256").digest()
            == hashlib.file_digest(other, "sha256").digest()
        )
    for each in (saved, path, tmp_path / "before"):
        each.unlink()


def test_it_may_be_anywhere_in_a_result(hosted, source):
    path = made(source / "report")
    agent = hosted(Filing)
    found = agent.wrapped(path)
    files = [found["list"][1], found["tuple"][0], found["tuple"][1]["deep"][0]]
    files += [found["binder"].file, agent.give(path), agent.later(path).result(LONG_S)]
    files += [item.file for item in agent.stream(path, path)]
    files += list(agent.iterator(path))
    files.append(agent.give.submit(path).result(LONG_S))
    with pytest.raises(RuntimeError) as caught:
        agent.fail(path)
    files.append(caught.value.file)
    assert {type(file) for file in files} == {agentd.File}
    assert len(set(files)) == 1
    assert digest(files[0]) == digest(path)
    assert dataclasses.asdict(found["binder"])["file"] == files[0]


def test_it_may_be_an_attribute(shared, source):
    one, other = made(source / "one"), made(source / "other", 3)
    agent = Filing(to_dist=shared.endpoint)
    handle = agentd.handle(agent)
    agent.show(one)
    assert digest(agent.report) == digest(one)
    assert digest(handle.fetch().report) == digest(one)
    seen = handle.look("report")
    assert handle.look("report").version == seen.version  # the same file is the same value
    watch = iter(handle.watch("report"))
    assert digest(next(watch).value) == digest(one)
    agent.show(other)
    assert digest(next(watch).value) == digest(other)
    handle.delete()


def test_opening_it_is_enough(shared, source):
    path = made(source / "report.bin", 11)
    file = Filing(to_dist=shared.endpoint).give(path)
    with open(file, "rb") as opened:  # noqa: PTH123 - as users write it
        assert opened.read() == Path(path).read_bytes()
    assert file.path == Path(file) == Path(os.fspath(file)) == file.save()
    assert file.path.name == "report.bin"
    assert file.path != Path(path)
    assert file.path.parent.stat().st_mode & 0o777 == 0o700
    file.path.unlink()
    assert file.path.read_bytes() == Path(path).read_bytes()


def test_what_was_downloaded_goes_with_the_process(script, source):
    path = made(source / "report")
    [line] = script.run(
        """
        import sys, agentd
        from tests.integration.filing import Filing
        if __name__ == "__main__":
            file = Filing(to_dist=True).give(sys.argv[1])
            print(file.path)
            assert file.path.exists()
        """.replace("\n        ", "\n"),
        path,
    )
    assert Path(line).name == "report"
    assert not Path(line).parent.exists()
    assert not Path(line).parent.parent.exists()


def test_asyncio(shared, source, tmp_path):
    path = made(source / "report")
    progress, threads = Progress(), set()

    def note(*told):
        progress(*told)
        threads.add(threading.get_ident())

    async def use():
        agent = agentd.aio(Filing(to_dist=shared.endpoint))
        file = await agent.give(path)
        saved = await file.asave(tmp_path / "here", note)
        assert digest(saved) == digest(path)
        async for binder in agent.stream(path):
            assert digest(await binder.file.asave()) == digest(path)

    asyncio.run(asyncio.wait_for(use(), LONG_S))
    progress.is_in_order(5 * MIB + 7)
    assert threads == {threading.get_ident()}


def test_a_cancelled_task_leaves_nothing(shared, big, tmp_path):
    async def use():
        file = await agentd.aio(Filing(to_dist=shared.endpoint)).give(big)
        task = asyncio.create_task(file.asave(tmp_path / "here", lambda *_: task.cancel()))
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(use(), LONG_S))
    wait_until(lambda: names_in(tmp_path) in ([], ["here"]), "the thread to end")
    if names_in(tmp_path):  # the whole of it may have come before the loop had its turn
        assert digest(tmp_path / "here") == digest(big)


# -- among agents ----------------------------------------------------------------------------------


@pytest.fixture
def pair(shared):
    """Two agents in two processes."""
    options = {"endpoint": shared.endpoint, "worker": "dedicated"}
    agents = Filing(to_dist=options), Filing(to_dist=options)
    assert agents[0].pid() != agents[1].pid()
    yield agents
    for agent in agents:
        agentd.handle(agent).kill()


def test_handed_on_it_is_read_from_where_it_is(pair, source):
    path = made(source / "report")
    one, other = pair
    file = one.give(path)
    assert other.digest(file) == digest(path)
    assert other.digest(one.give.submit(path)) == digest(path)
    assert one.ask(other, path) == digest(path)
    assert file._path is None, "the client downloaded what it only handed on"
    there = other.path_of(file)
    assert Path(there).name == "report"
    assert there != path
    back = other.echo([file])[0]
    assert back == file
    assert digest(back) == digest(path)
    assert other.digest(pickle.loads(pickle.dumps(file))) == digest(path)


def test_its_own_file_is_what_it_was_to_an_agent(pair, source):
    path = made(source / "report")
    one, other = pair
    file = other.echo(one.give(path))
    assert one.path_of(file) == os.path.realpath(path)
    assert one.echo(file) == file


def test_what_was_downloaded_by_an_agent_goes_with_its_worker(pair, source):
    one, other = pair
    there = Path(other.path_of(one.give(made(source / "report"))))
    assert there.exists()
    agentd.handle(other).delete()
    wait_until(lambda: not there.parent.parent.exists(), "the folder to be removed")


def test_a_call_s_deadline_holds_for_the_files_it_reads(pair, big):
    one, other = pair
    file = one.give(big)
    os.kill(one_pid := one.pid(), signal.SIGSTOP)
    try:
        with pytest.raises(CallTimeout):
            other.digest.options(timeout=0.3)(file)
    finally:
        os.kill(one_pid, signal.SIGCONT)


# -- what is refused -------------------------------------------------------------------------------


def test_what_is_no_file_is_the_call_s_exception(hosted, source):
    agent = hosted(Filing)
    missing, gone = source / "missing", made(source / "gone", 1)
    with pytest.raises(FileNotFoundError) as caught:
        agent.give(str(missing))
    assert caught.value.filename == str(missing)
    with pytest.raises(IsADirectoryError):
        agent.give(str(source))
    with pytest.raises(FileNotFoundError) as caught:
        agent.removed(gone)
    assert caught.value.filename == gone
    with pytest.raises(FileNotFoundError):
        list(agent.stream(str(missing)))
    with pytest.raises(FileNotFoundError):
        agent.later.submit(str(missing)).result(LONG_S)
    agent.show(made(source / "gone"))
    Path(gone).unlink()
    with pytest.raises(FileNotFoundError):
        agent.report  # noqa: B018 - it is asked for
    assert agent.echo(1) == 1


def test_a_file_of_the_client_does_not_travel(hosted, source):
    file = agentd.File(made(source / "mine"))
    agent = hosted(Filing)
    with pytest.raises(SerializationError, match=r"args\[0\].*read it, and send the bytes"):
        agent.digest(file)
    with pytest.raises(SerializationError, match=r"args\[0\]\[0\]\.file"):
        agent.echo.submit([Binder("", file)])
    with pytest.raises(SerializationError):
        agent.report = file
    local = Filing()
    local.report = file
    with pytest.raises(SerializationError, match=r"self\.report"):
        local.to_dist()


def make_agent(shared, source):
    path = made(source / "report", 10)
    agent = Filing(to_dist=shared.endpoint)
    file = agent.give(path)
    return agent, file, path


@pytest.fixture(params=["straight", "relayed"])
def raw(request, shared):
    """``raw(agent)``: a connection made by hand, to its worker or to the daemon."""
    clients = []

    def meet(agent):
        ready = session_of(target(agent)).places.of(target(agent).agent)
        straight = request.param == "straight"
        clients.append(RawClient(ready.address if straight else shared.endpoint))
        clients[-1].meet()
        return clients[-1]

    yield meet
    for client in clients:
        client.close()


def test_only_a_token_names_a_file(raw, shared, source):
    # Given
    agent, file, path = make_agent(shared, source)
    other = Filing(to_dist=shared.endpoint)
    other_token = other.give(path).reference.token
    client = raw(agent)
    asked = {"agent": file.reference.agent, "epoch": 1, "offset": 0, "size": 100}
    # When the right one is given, it is read
    answer, payload = client.ask("read", token=file.reference.token, **asked)
    assert (answer["kind"], payload) == ("result", [Path(path).read_bytes()])
    # When anything else is
    invented = [os.urandom(16), bytes(16), b"", os.fsencode(path), b"/etc/passwd", other_token]
    for token in invented:
        answer, payload = client.ask("read", token=token, path=path, name=path, **asked)
        # Then
        assert (answer["kind"], answer["code"], payload) == ("error", "ResultExpired", [])
        assert path not in answer["message"]
    for named in ({"path": path}, {"token": path}):  # no message of the protocol
        client.send("read", **named, **asked)
        answer, payload = client.receive()
        assert (answer["kind"], answer["code"], payload) == ("error", "ProtocolError", [])


def test_the_token_counts_for_its_agent_and_epoch_only(raw, shared, source):
    agent, file, _path = make_agent(shared, source)
    other = agentd.handle(Filing(to_dist=shared.endpoint)).wait()
    client, token = raw(agent), file.reference.token
    wrong = [
        {"agent": file.reference.agent, "epoch": 2},
        {"agent": os.urandom(16), "epoch": 1},
        {"agent": bytes.fromhex(other.id), "epoch": 1},
    ]
    for who in wrong:
        answer, payload = client.ask("read", token=token, offset=0, size=9, **who)
        assert answer["kind"] == "error"
        assert answer["code"] in ("AgentNotFound", "ResultExpired")
        assert not payload


def test_one_answer_is_limited(raw, shared, big):
    agent = Filing(to_dist=shared.endpoint)
    file = agent.give(big)
    asked = {"agent": file.reference.agent, "epoch": 1, "token": file.reference.token}
    client = raw(agent)
    answer, [part] = client.ask("read", offset=0, size=2**62, **asked)
    assert (answer["kind"], len(part)) == ("result", 4 * MIB)
    answer, [part] = client.ask("read", offset=file.size - 3, size=100, **asked)
    assert len(part) == 3
    for offset, size in ((-1, 10), (0, -10)):
        answer, _ = client.ask("read", offset=offset, size=size, **asked)
        assert (answer["kind"], answer["code"]) == ("error", "ProtocolError")
    assert agent.echo(1) == 1


def test_an_agent_given_an_invented_reference_reads_nothing(raw, shared, source):
    """As an argument, by hand: what an agent opens is what an agent returned."""
    agent, file, path = make_agent(shared, source)
    client = raw(agent)
    real = file.reference
    for token, name in ((os.urandom(16), "report"), (real.token, path)):
        wire = ["file", token, real.agent, real.endpoint, real.epoch, name, real.size]
        reference = msgpack.ExtType(14, msgpack.packb(wire))
        payload = msgpack.packb([[reference], {}])
        answer, _ = client.ask(
            "call", [payload], agent=real.agent, epoch=1, op="method", name="digest", codec="data"
        )
        assert answer["kind"] == "error"
        assert answer["code"] in ("raised", "DecodeError")
        if answer["code"] == "raised":
            assert answer["facts"]["type_name"] == "agentd.errors.ResultExpired"


def test_a_link_is_read_where_it_led_when_it_was_returned(shared, source, tmp_path):
    one, other = made(source / "one", 9), made(source / "other", 9)
    link = source / "latest"
    link.symlink_to(one)
    file = Filing(to_dist=shared.endpoint).give(str(link))
    link.unlink()
    link.symlink_to(other)
    assert file.name == "latest"
    assert file.save(tmp_path / "here").read_bytes() == Path(one).read_bytes()


# -- what happens meanwhile ------------------------------------------------------------------------


def fails(error, file, folder, does):
    """``save`` raises that error if something is done meanwhile, and leaves all as it was."""
    with pytest.raises(error) as caught:
        file.save(folder / "new", Progress(does))
    assert names_in(folder) == []
    (folder / "there").write_text("before")
    with pytest.raises(type(caught.value)):
        file.save(folder / "there")
    assert names_in(folder) == ["there"]
    assert (folder / "there").read_text() == "before"
    return caught.value


def test_the_agent_is_deleted(hosted, big, tmp_path):
    agent = hosted(Filing)
    file = agent.give(big)
    error = fails(AgentNotFound, file, tmp_path, agentd.handle(agent).delete)
    assert error.reason


def test_the_worker_is_killed(hosted, big, tmp_path):
    agent = hosted(Filing, worker="dedicated")
    file, pid = agent.give(big), agent.pid()
    error = fails(AgentCrashed, file, tmp_path, lambda: os.kill(pid, signal.SIGKILL))
    assert error.signal == "SIGKILL"
    # The agent is back, but what its first life returned is not.
    assert agent.pid() != pid
    with pytest.raises(AgentCrashed):
        file.save(tmp_path / "there")
    assert digest(agent.give(big)) == digest(big)


def test_the_worker_is_killed_before_it_is_asked(pair, source):
    one, other = pair
    file = one.give(made(source / "report"))
    os.kill(one.pid(), signal.SIGKILL)
    with pytest.raises(AgentCrashed):
        other.digest(file)
    with pytest.raises(AgentCrashed):
        file.path  # noqa: B018 - it is asked for


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: path.unlink(), "gone"),
        (lambda path: path.write_bytes(b"another"), "changed"),
        (lambda path: path.with_name("new").rename(path), "changed"),
    ],
)
def test_the_file_changes(hosted, source, big, tmp_path, change, reason):
    made(source / "new", 32 * MIB)
    file = hosted(Filing).give(big)
    error = fails(ResultExpired, file, tmp_path, lambda: change(Path(big)))
    assert error.reason == reason
    assert "'big'" in str(error)


def test_the_connection_breaks_and_it_goes_on_where_it_was(hosted, big, tmp_path):
    cuts = 0

    def cut_often(_done, _size):
        nonlocal cuts
        progress(_done, _size)
        if cuts < 8:  # more than are forgiven without progress
            cuts += 1
            cut()

    file, progress = hosted(Filing).give(big), Progress()
    saved = file.save(tmp_path / "here", cut_often)
    assert digest(saved) == digest(big)
    progress.is_in_order(32 * MIB)
    assert names_in(tmp_path) == ["here"]


def test_it_takes_too_long(hosted, big, tmp_path):
    file = hosted(Filing).give(big)
    with pytest.raises(CallTimeout, match=r"'big' was not here within 0\.2 s") as caught:
        file.save(tmp_path / "here", Progress(lambda: time.sleep(0.3)), timeout=0.2)
    assert caught.value.timeout == 0.2
    assert names_in(tmp_path) == []
    with pytest.raises(ConfigError):
        file.save(tmp_path / "here", timeout=0)
    assert digest(file.save(tmp_path / "here", timeout=LONG_S)) == digest(big)


def test_within_a_call_its_deadline_counts(hosted, big, tmp_path):
    file = hosted(Filing).give(big)
    call = CurrentCall(bytes(16), 1, deadline=time.monotonic() + 0.2)

    def save():
        running.set(call)
        file.save(tmp_path / "here", Progress(lambda: time.sleep(0.3)), timeout=LONG_S)

    with pytest.raises(CallTimeout):
        contextvars.Context().run(save)
    assert names_in(tmp_path) == []


def test_several_threads_read_at_once(hosted, big, tmp_path):
    agent = hosted(Filing)
    file = agent.give(big)
    found = []

    def read(number):
        saved = file.save(tmp_path / str(number))
        found.append(digest(saved))

    threads = [threading.Thread(target=read, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    assert agent.echo("meanwhile") == "meanwhile"
    for thread in threads:
        thread.join(LONG_S)
    assert found == [digest(big)] * 4


def test_reading_does_not_wait_for_the_agent_s_turn(hosted, source, tmp_path):
    """It is the worker that reads: a busy agent does not hold its files back."""
    agent = hosted(Filing)
    file = agent.give(made(source / "report"))
    items = agent.stream.options(credit=1)(*[file_path(source)] * 3)
    next(items)  # the generator holds the turn, and stands still
    assert digest(file.save(tmp_path / "here")) == digest(source / "report")
    items.close()


def file_path(source):
    return str(source / "report")


def test_a_reference_by_hand_is_an_expired_one(shared):
    agent = agentd.handle(Filing(to_dist=shared.endpoint)).wait()
    invented = FileReference(
        os.urandom(16), bytes.fromhex(agent.id), shared.endpoint, 1, "passwd", 100
    )
    with pytest.raises(ResultExpired) as caught:
        File.arrived(invented.wire()).save()
    assert caught.value.reason == "forgotten"
