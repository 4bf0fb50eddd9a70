"""What limits the goals that are missed, from profiles (perf) of the processes under the same load."""
LIMITS = {
    "G1": "a third of bench_echo's samples lie in the kernel, two thirds of those in switching and waking threads: each call "
          "goes from a thread of gRPC to the loop's thread and back, where the peer has one thread for everything. 25 % are "
          "gRPC itself, 12 % libc (mostly malloc), 8 % our own code.",
    "G3": "40 % of the gateway's samples lie in the kernel, most of those in switching and waking threads: a call goes from "
          "the loop to gRPC's threads and back. 13 % are gRPC itself, 14 % libc (mostly malloc and copies), 8 % protobuf's "
          "reflection over dynamic messages, 13 % the gateway's own code (JSON, HTTP). nginx has one thread and reads no body. "
          "The way to the goal is gRPC's events on the loop's own thread, and answers that are not rebuilt by reflection.",
    "G6": "a read makes aima-model switch threads about 9 times, and switching and waking is half of that process's CPU; "
          "client, service and PostgreSQL share the cores. PostgreSQL itself spends per read what it spends for pgbench: reads "
          "arrive one by one, so that pipelining has little to gather.",
    "G8": "each row is a gRPC call of its own, so that client and service use cores which pgbench leaves to PostgreSQL; with 32 "
          "clients pgbench's commits share their fsync, too.",
    "G9": "unary, four fifths of the CPU are aima-event's and one fifth PostgreSQL's: switching and waking threads, gRPC itself "
          "and malloc each take about a fifth of aima-event's samples. JetStream reads a line and appends to a file, without "
          "fsync.",
    "G13": "each token makes the gateway and aima-inference switch threads about 6 times each, and that is more than half of "
           "their CPU: gRPC's thread and the loop's thread wake each other for each token in both processes. Our own code is "
           "5 to 9 %. The way to the goal is gRPC's events on the loop's own thread.",
}
