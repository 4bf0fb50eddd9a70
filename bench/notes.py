"""What limits the goals that are missed, from profiles (perf) of the processes under the same load."""
LIMITS = {
    "G24": "a search reads the lists of all trigrams of its longest word: 0.2 ms in PostgreSQL for twelve hexadecimal digits "
           "among 100 000 names that consist of them. Without the index it would be the whole table.",
    "G4": "an answer that is put together has 150 events, each received and read for 0.8 µs: three quarters of the samples of "
          "aima-inference are spread over the reading of server-sent events and their JSON. An engine takes thousands of times as "
          "long to make them.",
    "TTFT": "while it reads a prompt the engine has both cores, and what passes its first token on waits for its turn: rounds of one "
            "run scatter from -0.3 to +3 ms. Three runs of five rounds right after the table's one of three: +1.4, +0.9, +1.2 ms.",
    "G13": "two thirds of the samples of aima-gateway and aima-inference lie in the kernel: each token is received and sent by "
           "two processes where nginx does so once, at 50 tokens/s per stream with little to gather. The ratio moves with what "
           "else runs, for nginx then sends several tokens at a time.",
}
