from benchmarks.profiling import costs, report

STACKS = [
    "main (/home/a/benchmarks/busy.py:10);call (/home/a/agentd/client/calling.py:84) 30",
    "main (/home/a/benchmarks/busy.py:12);send (/v/site-packages/zmq/sugar/socket.py:7) 60",
    "main (/home/a/benchmarks/busy.py:12);main (/home/a/benchmarks/busy.py:12) 10",
    "",
    "not a stack",
]


def test_samples_are_counted_by_function_whatever_the_line():
    found = costs(STACKS)
    assert found.total == 100
    assert found.alone["main (benchmarks/busy.py)"] == 10
    assert found.alone["call (agentd/client/calling.py)"] == 30
    assert found.alone["send (zmq/sugar/socket.py)"] == 60


def test_a_function_that_calls_itself_counts_once():
    assert costs(STACKS).inclusive["main (benchmarks/busy.py)"] == 100


def test_the_report_is_in_microseconds_a_call_the_dearest_first():
    told = list(report("client", costs(STACKS), us_per_call=50.0))
    assert told[0] == "client: 50.0 µs of processor time a call, 100 samples"
    assert told[2].split() == ["30.0", "60.0%", "30.0", "60.0%", "send", "(zmq/sugar/socket.py)"]
    assert any(line.split() == ["50.0", "100.0%", "main", "(benchmarks/busy.py)"] for line in told)


def test_the_report_tells_it_by_file_too():
    told = list(report("client", costs([*STACKS, "a (/x/agentd/ids.py:1) 100"]), us_per_call=50.0))
    files = told[told.index("  by file:") + 1 : told.index("  the most with callees:")]
    assert [line.split() for line in files] == [
        ["25.0", "50.0%", "agentd/ids.py"],
        ["15.0", "30.0%", "zmq/sugar/socket.py"],
        ["7.5", "15.0%", "agentd/client/calling.py"],
        ["2.5", "5.0%", "benchmarks/busy.py"],
    ]


def test_no_samples_no_table():
    assert len(list(report("client", costs([]), us_per_call=1.0))) == 1
