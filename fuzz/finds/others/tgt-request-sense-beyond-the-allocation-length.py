#!/usr/bin/env python3
"""beyond the allocation length: REQUEST SENSE: 65554 of 18 bytes

Found at: iscsi://127.0.0.1:60661/iqn.2025-01.pub.fuzz:disk/1
Run it by hand against a target that you may break:

    python3 beyond-the-allocation-length-request-sense.py HOST PORT [SECRET [TARGET-NAME]]

It prints what is said and what comes back, and ends with 1 when it happened again, with 0 when it did not.
Written by `python -m fuzz`; needs nothing but Python."""

import base64, hashlib, select, socket, struct, sys, time

HOST, PORT = sys.argv[1], int(sys.argv[2])
SECRET = sys.argv[3].encode() if len(sys.argv) > 3 else b""
NAMED = b'iqn.2025-01.pub.fuzz:disk'
TARGET = sys.argv[4].encode() if len(sys.argv) > 4 else NAMED
VERDICT = ("answer", [(0, 24), (36, 48)])
EVIDENCE = bytes.fromhex("2581000000000012000000000000000000000015ffffffff000000010000000200000082000000010001000000000000")  # the answer that should not be, its first bytes
PATIENCE = 3
NAMES = {0x20: "NOP-In", 0x21: "SCSI Response", 0x22: "Task Management Response", 0x23: "Login Response",
         0x24: "Text Response", 0x25: "Data-In", 0x26: "Logout Response", 0x31: "R2T", 0x32: "Async Message",
         0x3F: "Reject"}
connections, heard, happened = {}, [], False


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return struct.pack("<I", crc ^ 0xFFFFFFFF)


class Connection:
    def __init__(self, number):
        self.number, self.inbox, self.over = number, b"", ""
        self.stat_sn, self.r2t, self.keys = None, {}, {}
        self.digests = (False, False)
        # On loopback each connection comes from an address of its own, as the fuzzer's do.
        origin = (f"127.99.{int(time.time()) % 250 + 1}.{number + 1}", 0) if HOST.startswith("127.") else None
        self.socket = socket.create_connection((HOST, PORT), PATIENCE, origin)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError as error:
            self.over = self.over or str(error)

    def hear(self, seconds, until=lambda answer: False):
        """Print every PDU that comes; stop at one that is waited for, or when nothing comes any more."""
        deadline = time.time() + seconds
        while True:
            for answer in self.cut():
                if show(self, *answer) | bool(until(answer[0])):
                    deadline = 0
            left = deadline - time.time()
            if self.over or left <= 0:
                return
            if select.select([self.socket], [], [], left)[0]:
                try:
                    data = self.socket.recv(1 << 18)
                except OSError as error:
                    data, self.over = b"", str(error)
                if not data:
                    self.over = self.over or "closed by the target"
                    print(f"  {self.number} << {self.over}")
                self.inbox += data

    def cut(self):
        while len(self.inbox) >= 48:
            header, length = self.inbox[:48], int.from_bytes(self.inbox[5:8], "big")
            start = 48 + header[4] * 4 + 4 * self.digests[0]
            end = start + length + -length % 4 + (4 if length and self.digests[1] else 0)
            if len(self.inbox) < end:
                return
            data, self.inbox = self.inbox[start:start + length], self.inbox[end:]
            yield header, data


def word(header, at):
    return int.from_bytes(header[at:at + 4], "big")


def show(connection, header, data):
    global happened
    opcode, tag = header[0] & 0x3F, word(header, 16)
    print(f"  {connection.number} << {NAMES.get(opcode, hex(opcode))} tag {tag:08x} flags {header[1]:02x} {header[2:4].hex()} "
          f"StatSN {word(header, 24):08x} ExpCmdSN {word(header, 28):08x} MaxCmdSN {word(header, 32):08x} "
          f"{header[36:].hex()}  {len(data)} bytes {data[:32].hex()}")
    if opcode != 0x31:
        heard.append((connection.number, tag))
    if opcode == 0x23:
        lines = (line.partition(b"=") for line in data.split(b"\0") if line)
        connection.keys.update({key.decode(): value.decode() for key, _, value in lines})
        if not word(header, 36) >> 16 and header[1] & 0x83 == 0x83:
            connection.digests = tuple(connection.keys.get(k) == "CRC32C" for k in ("HeaderDigest", "DataDigest"))
    if opcode == 0x31:
        connection.r2t[tag] = word(header, 20)
    jumped = connection.stat_sn is not None and word(header, 24) != connection.stat_sn
    status = not (opcode == 0x25 and not header[1] & 1)
    again = EVIDENCE and same(header, data) and (VERDICT[0] != "statsn" or (jumped and status))
    if status:
        advances = opcode != 0x31 and not (opcode == 0x20 and tag == 0xFFFFFFFF)
        connection.stat_sn = (word(header, 24) + advances) & 0xFFFFFFFF
    if again:
        print("     ^^^ this should not be")
        happened = True
    return False


def same(header, data):
    """Is this the answer that should not be?  Numbers that differ from run to run do not count."""
    places = VERDICT[1]
    return all(header[a:b] == EVIDENCE[a:b] for a, b in places) and data[:len(EVIDENCE) - 48] == EVIDENCE[48:]


def connect(number):
    print(f"{number} connects")
    connections[number] = Connection(number)


def drop(number):
    print(f"{number} closes")
    connections.pop(number).socket.close()


def login(number, what, header, data):
    connection = connections[number]
    if b"@R@" in data:
        keys = connection.keys
        asked = keys["CHAP_C"]
        raw = bytes.fromhex(asked[2:]) if asked[1] in "xX" else base64.b64decode(asked[2:])
        hashed = hashlib.new({"5": "md5", "6": "sha1", "7": "sha256", "8": "sha3_256"}[keys["CHAP_A"]])
        hashed.update(bytes([int(keys["CHAP_I"], 0) & 255]) + SECRET + raw)
        data = data.replace(b"@R@", b"0x" + hashed.hexdigest().encode())
    data = data.replace(NAMED, TARGET)
    header = header[:5] + len(data).to_bytes(3, "big") + header[8:]
    print(f"{number} >> {what}")
    connection.send(header + data + bytes(-len(data) % 4))
    connection.hear(2, lambda answer: answer[0] == 0x23)


def say(number, what, header, rest=b"", *, refresh=True, r2t=False, split=0, wait=0.05):
    """One PDU.  ``refresh``: ExpStatSN as it is now; ``r2t``: the target transfer tag of the R2T for this task."""
    connection = connections.get(number)
    if connection is None or connection.over:
        return
    tag = word(header, 16)
    if r2t:
        if tag not in connection.r2t:
            connection.hear(2.0, lambda answer: answer[0] == 0x31 and word(answer, 16) == tag)
        header = header[:20] + struct.pack(">I", connection.r2t.get(tag, 0xFFFFFFFF)) + header[24:]
    if refresh and connection.stat_sn is not None:
        header = header[:28] + struct.pack(">I", connection.stat_sn) + header[32:]
        if connection.digests[0]:
            ahs = header[4] * 4
            rest = rest[:ahs] + crc32c(header + rest[:ahs]) + rest[ahs + 4:]
    print(f"{number} >> {what}: {header.hex()} + {len(rest)} bytes")
    wire = header + rest
    if split:
        connection.send(wire[:split])
        connection.hear(0.01)
        wire = wire[split:]
    connection.send(wire)
    connection.hear(wait)


def noise(number, what, data):
    print(f"{number} >> {what}: {len(data)} bytes {data[:64].hex()}")
    connection = connections.get(number)
    if connection is not None and not connection.over:
        connection.send(data)
        connection.hear(0.05)


def wait(seconds):
    for connection in list(connections.values()):
        if not connection.over:
            connection.hear(seconds)


def witness():
    """Somebody else is logged in all the time, as when it was found."""
    names = {'InitiatorName': 'iqn.1993-08.org.debian:01:probe', 'SessionType': 'Normal', 'TargetName': 'iqn.2025-01.pub.fuzz:disk'}
    terms = {"HeaderDigest": "None", "DataDigest": "None", "InitialR2T": "Yes", "ImmediateData": "No",
             "MaxBurstLength": "65536", "FirstBurstLength": "65536", "MaxRecvDataSegmentLength": "65536",
             "MaxOutstandingR2T": "1", "MaxConnections": "1", "ErrorRecoveryLevel": "0"}
    connect(100)
    if "AuthMethod" in names:
        steps = [(0, names), (0, {"CHAP_A": "7,5"}), (0x81, {"CHAP_N": '', "CHAP_R": "@R@"}), (0x87, terms)]
    else:
        steps = [(0x87, {**names, **terms})]
    for flags, keys in steps:
        text = b"".join(k.encode() + b"=" + v.encode() + b"\0" for k, v in keys.items())
        header = struct.pack(">BBxxI6sHIH2xII16x", 0x43, flags, len(text), b"\x80\0\0\0\0\1", 0, 0, 0, 1, 0)
        login(100, "the witness's login", header, text)
    for number in range(1, 4):  # TEST UNIT READY, until its unit attentions are over
        header = struct.pack(">BBHIQIIII16x", 1, 0x81, 0, 0, 1 << 48, number, 0, number, 0)
        say(100, "the witness's TEST UNIT READY", header, wait=0.1)


def alive():
    """Does somebody else get in and get an answer?"""
    try:
        other = Connection(200)
        keys = {'InitiatorName': 'iqn.1993-08.org.debian:01:probe', 'SessionType': 'Normal', 'TargetName': 'iqn.2025-01.pub.fuzz:disk'}
        text = b"".join(k.encode() + b"=" + v.encode() + b"\0" for k, v in keys.items()).replace(NAMED, TARGET)
        header = struct.pack(">BBBB4s6sHIH2xII16x", 0x43, 0x87 if "AuthMethod" not in keys else 0, 0, 0,
                             len(text).to_bytes(4, "big"), b"\x80\0\0\0\7\7", 0, 0, 0, 1, 0)
        other.send(header + text + bytes(-len(text) % 4))
        before = len(heard)
        other.hear(PATIENCE, lambda answer: answer[0] == 0x23)
        return len(heard) > before
    except OSError as error:
        print(f"  no connection: {error}")
        return False


# -- what is said ------------------------------------------------------------------------------------------------

try:
    witness()
    connect(0)
    login(0, 'LoginRequest, tag 00000007, immediate, with 382 bytes', bytes.fromhex("438700000000017e80001d15000000000000000700000000000000010000000000000000000000000000000000000000"), b'InitiatorName=iqn.1993-08.org.debian:01:liar0\x00SessionType=Normal\x00TargetName=iqn.2025-01.pub.fuzz:disk\x00HeaderDigest=None\x00DataDigest=None\x00InitialR2T=No\x00ImmediateData=Yes\x00MaxBurstLength=4096\x00FirstBurstLength=4096\x00MaxRecvDataSegmentLength=65536\x00MaxOutstandingR2T=1\x00DefaultTime2Wait=2\x00ErrorRecoveryLevel=0\x00MaxConnections=1\x00DataPDUInOrder=Yes\x00DataSequenceInOrder=Yes\x00DefaultTime2Retain=0\x00')
    say(0, 'ScsiCommand, REQUEST SENSE, tag 00000015, expects 65554', bytes.fromhex("01c100000000000000080000000000000000001500010012000000010000000103000000120000000000000000000000"))
    say(0, 'NopOut, tag 7f000001, immediate', bytes.fromhex("408000000000000000000000000000007f000001ffffffff000000020000000100000000000000000000000000000000"))
    wait(0.5)
except OSError as error:
    print(f"  {error}")

if VERDICT[0] == "gone":
    happened = not alive()
    print("nobody gets in any more" if happened else "the target is alive")
elif VERDICT[0] == "closed":
    happened = any(c.over for c in connections.values() if c.number != 100)
elif VERDICT[0] == "silent":
    happened = VERDICT[1] not in heard
    print(f"an answer to (connection, tag) {VERDICT[1]} " + ("did not come" if happened else "came"))
print("IT HAPPENED AGAIN: beyond the allocation length: REQUEST SENSE" if happened else "it did not happen")
sys.exit(1 if happened else 0)
