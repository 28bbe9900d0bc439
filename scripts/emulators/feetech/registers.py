"""The STS3215's control table: names as lerobot's drivers write them, addresses, factory values.

Words are little-endian; where a sign bit is given, a value is its magnitude with that bit set if it is negative.
"""

from __future__ import annotations

from dataclasses import dataclass

EEPROM_BYTES = 40
MEMORY_BYTES = 87
MODEL_STS3215 = 777
RESOLUTION = 4096


@dataclass(frozen=True, slots=True)
class Register:
    """Where a value lies: first address, bytes (1 or 2), the sign's bit if it has one; `default` is the factory's."""

    address: int
    size: int
    default: int = 0
    sign_bit: int | None = None
    read_only: bool = False

    def encode(self, value: int) -> bytes:
        if self.sign_bit is not None and value < 0:
            value = -value | 1 << self.sign_bit
        return value.to_bytes(self.size, "little")

    def decode(self, data: bytes) -> int:
        value = int.from_bytes(data, "little")
        if self.sign_bit is not None and value >> self.sign_bit & 1:
            return -(value & (1 << self.sign_bit) - 1)
        return value


REGISTERS = {
    "Firmware_Major_Version": Register(0, 1, 3, read_only=True),
    "Firmware_Minor_Version": Register(1, 1, 10, read_only=True),
    "Model_Number": Register(3, 2, MODEL_STS3215, read_only=True),
    "ID": Register(5, 1, 1),
    "Baud_Rate": Register(6, 1, 0),
    "Return_Delay_Time": Register(7, 1, 250),
    "Response_Status_Level": Register(8, 1, 1),
    "Min_Position_Limit": Register(9, 2, 0),
    "Max_Position_Limit": Register(11, 2, RESOLUTION - 1),
    "Max_Temperature_Limit": Register(13, 1, 70),
    "Max_Voltage_Limit": Register(14, 1, 140),
    "Min_Voltage_Limit": Register(15, 1, 40),
    "Max_Torque_Limit": Register(16, 2, 1000),
    # Brushed bridge, 0.0146 rpm, speed 0 is the highest, and as delivered the angle is counted over several turns.
    "Phase": Register(18, 1, 0x1C),
    "Unloading_Condition": Register(19, 1, 0x2C),
    "LED_Alarm_Condition": Register(20, 1, 0x2F),
    "P_Coefficient": Register(21, 1, 32),
    "D_Coefficient": Register(22, 1, 32),
    "I_Coefficient": Register(23, 1, 0),
    "Minimum_Startup_Force": Register(24, 2, 16),
    "CW_Dead_Zone": Register(26, 1, 1),
    "CCW_Dead_Zone": Register(27, 1, 1),
    "Protection_Current": Register(28, 2, 500),
    "Angular_Resolution": Register(30, 1, 1),
    "Homing_Offset": Register(31, 2, 0, sign_bit=11),
    "Operating_Mode": Register(33, 1, 0),
    "Protective_Torque": Register(34, 1, 20),
    "Protection_Time": Register(35, 1, 200),
    "Overload_Torque": Register(36, 1, 80),
    "Over_Current_Protection_Time": Register(38, 1, 200),
    "Torque_Enable": Register(40, 1, 0),
    "Acceleration": Register(41, 1, 0),
    "Goal_Position": Register(42, 2, 0, sign_bit=15),
    "Goal_Time": Register(44, 2, 0),
    "Goal_Velocity": Register(46, 2, 0, sign_bit=15),
    "Torque_Limit": Register(48, 2, 1000),
    "Lock": Register(55, 1, 1),
    "Present_Position": Register(56, 2, 0, sign_bit=15, read_only=True),
    "Present_Velocity": Register(58, 2, 0, sign_bit=15, read_only=True),
    "Present_Load": Register(60, 2, 0, sign_bit=10, read_only=True),
    "Present_Voltage": Register(62, 1, 74, read_only=True),
    "Present_Temperature": Register(63, 1, 32, read_only=True),
    "Status": Register(65, 1, 0, read_only=True),
    "Moving": Register(66, 1, 0, read_only=True),
    "Present_Current": Register(69, 2, 0, read_only=True),
    "Maximum_Acceleration": Register(85, 1, 0),
}

NAMES = {(register.address, register.size): name for name, register in REGISTERS.items()}

READ_ONLY = frozenset(
    address
    for register in REGISTERS.values()
    if register.read_only
    for address in range(register.address, register.address + register.size)
)
