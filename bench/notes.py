"""What limits the goals that are missed, from profiles (perf) of the processes under the same load."""
LIMITS = {
    "G24": "a search reads the lists of all trigrams of its longest word: 0.2 ms in PostgreSQL for twelve hexadecimal digits "
           "among 100 000 names that consist of them. Without the index it would be the whole table.",
    "G4": "what is passed on costs two processes with a gRPC hop between them, where nginx is one: the samples are spread over the "
          "kernel's sockets (a third) and the allocator (a sixth), without one that stands out. An answer that is put together has "
          "150 events besides, each received and read for 0.8 µs; an engine takes thousands of times as long to make them.",
    "G13": "two thirds of the samples of aima-gateway and aima-inference lie in the kernel: each token is received and sent by "
           "two processes where nginx does so once, at 50 tokens/s per stream with little to gather. The ratio moves with what "
           "else runs, for nginx then sends several tokens at a time.",
}
