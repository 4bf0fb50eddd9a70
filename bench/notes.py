"""What limits the goals that are missed, from sampling profiles (perf) of the processes under the same load."""
LIMITS = {
    "G3": "a third of the gateway's samples lie in the kernel, most of those in switching and waking threads: a call goes from "
          "the loop to gRPC's threads and back. 17 % are gRPC itself, 13 % malloc and copies, 10 % protobuf's reflection over "
          "dynamic messages, 14 % the gateway's own code (JSON, HTTP). nginx has one thread and parses no body. The way "
          "to the goal is a client for the hop on the loop's own thread, and messages that are not rebuilt by reflection.",
    "G6": "each read crosses gRPC with its threads and one loop before PostgreSQL is asked, on cores that it shares with the "
          "client; pgbench speaks to PostgreSQL directly.",
    "G8": "each row is a gRPC call of its own, client and service included, on cores that they share with PostgreSQL; pgbench "
          "speaks to PostgreSQL directly.",
    "G9": "a third of aima-event's samples are in the kernel, most of those in switching and waking threads, a fifth in gRPC "
          "and a sixth in malloc and copies; PostgreSQL then stores each event as a row and fsyncs, where JetStream appends to "
          "a file without fsync.",
    "G13": "two thirds of the samples of gateway and inference lie in the kernel, 40 % in switching between threads alone: at "
           "this rate each token wakes gRPC's thread and the loop's thread in both processes by itself. The way to the goal is "
           "gRPC's events on the loop's own thread, or tokens that are gathered for a moment before they are sent on.",
}
