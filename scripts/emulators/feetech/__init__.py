"""Feetech STS3215 servos on a pseudo-terminal, for lerobot's own SO-101 drivers: `python -m scripts.emulators.feetech`.

packets     the bytes of protocol 0
registers   the control table
servo       one servo: its memory and its motion, as functions of time
faults      which answers are silent, corrupt or late
bus         requests in, answers with the time at which the wire has carried them out
history     what was read and written, to be asked for afterwards
so101       the six joints of an arm: EEPROM, calibration file, a hand that moves the leader
console     JSON lines on a Unix socket: faults, registers, history
port        the pseudo-terminal and the process's loop
arm         starts and asks an emulator from another process
"""
