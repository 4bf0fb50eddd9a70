"""What limits the goals that are missed, from profiles (perf) of the processes under the same load."""
LIMITS = {
    "G13": "two thirds of the samples of aima-gateway and aima-inference lie in the kernel: each token is received and sent by "
           "two processes where nginx does so once, at 50 tokens/s per stream with little to gather. The ratio moves with what "
           "else runs, for nginx then sends several tokens at a time.",
}
