// What once ran is kept running: ends by itself, hangs, crash loops.
