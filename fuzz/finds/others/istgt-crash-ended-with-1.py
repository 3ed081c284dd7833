#!/usr/bin/env python3
"""crash: ended with 1: istgt is gone

Found at: iscsi://127.0.0.1:51269/iqn.2025-01.pub.fuzz:disk/0
Run it by hand against a target that you may break:

    python3 istgt-crash-ended-with-1.py HOST PORT [SECRET [TARGET-NAME]]

It prints what is said and what comes back, and ends with 1 when it happened again, with 0 when it did not.
Written by `python -m fuzz`; needs nothing but Python."""

import base64, hashlib, select, socket, struct, sys, time

HOST, PORT = sys.argv[1], int(sys.argv[2])
SECRET = sys.argv[3].encode() if len(sys.argv) > 3 else b""
NAMED = b'iqn.2025-01.pub.fuzz:disk'
TARGET = sys.argv[4].encode() if len(sys.argv) > 4 else NAMED
VERDICT = ("gone",)
EVIDENCE = bytes.fromhex("")  # the answer that should not be, its first bytes
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
        header = struct.pack(">BBHIQIIII16x", 1, 0x81, 0, 0, 0 << 48, number, 0, number, 0)
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
    login(0, 'LoginRequest, tag 00000007, immediate, with 382 bytes', bytes.fromhex("438700000000017e80000006000000000000000700000000000000010000000000000000000000000000000000000000"), b'InitiatorName=iqn.1993-08.org.debian:01:liar0\x00SessionType=Normal\x00TargetName=iqn.2025-01.pub.fuzz:disk\x00HeaderDigest=None\x00DataDigest=None\x00InitialR2T=No\x00ImmediateData=Yes\x00MaxBurstLength=262144\x00FirstBurstLength=4096\x00MaxRecvDataSegmentLength=512\x00MaxOutstandingR2T=1\x00DefaultTime2Wait=2\x00ErrorRecoveryLevel=0\x00MaxConnections=1\x00DataPDUInOrder=Yes\x00DataSequenceInOrder=Yes\x00DefaultTime2Retain=0\x00')
    say(0, 'NopOut, tag 00000020, immediate, with 4 bytes', bytes.fromhex("4080000000000004000000000000000000000020ffffffff000000010000000100000000000000000000000000000000"), bytes.fromhex("14936084"), wait=0)
    say(0, 'ScsiCommand, READ(6), tag 00000021, expects 3072', bytes.fromhex("01c100000000000000000000000000000000002100000c00000000010000000108000aec060000000000000000000000"), wait=0)
    say(0, 'TextRequest, tag 00000022, with 13 bytes', bytes.fromhex("040000000000000d000000000000000000000022ffffffff000000020000000100000000000000000000000000000000"), bytes.fromhex("53656e64546172676574733d00000000"))
    say(0, 'ScsiCommand, WRITE(10), tag 00000023, expects 2048, with 512 bytes, set 20 4 2147483647', bytes.fromhex("01a10000000002004000000000000000000000237fffffff00000003000000012a000000077f00000400000000000000"), bytes.fromhex("46b90b306fcb4edc0d848e1087e474004ce29d7faa724ce125681a99bd1582f95c1dafa3f7e8694833feebfc3d07ff42cb6504d12bf2fdafcb64217085ba3a3c8341101205a5aecc1cfe9cb56bd31d73205bbbc94fd76d8c585ca915442ec39be4d267bb44df3726a818203a4e1d94f6929531706401f6753da8dad003fe592b30d53c45febdf65f6fbfae60a42cc3aacea7b96d6d64c0d652f61bb1b8043f92ee7e62b3f32bf0b24ee13c1f8e45e8dae75ab5f8c0af763079b8819b973a1a0f0d2910bf3673d462865b9851ae65015a75cae4c8ea9516872b49a49679160d0edda898a67ad89bd0536d61e439e09899a1843b7c12d80f203ea52a5ceebca0cd4857cdbcda4c8626059de08ebcc5f5043990848df0c2c0fb7e81a05168aa4bf7e68c3094242873633dbef37076abacde3574f5e65a9ae041659e77004b4d06b9803f38e439a27dbc51459d4eeaf8bc0541588ae5b629afa16faf7de0fb69c1cd9775ae2ddad03641d6f20aed1b4b47873a6d4d7342d523ddeb50724bb8e17aeb71318cbd1fc1cd389d8617728920bbfac7c577d45d4fda1a0c0c3f8ab4ae773a9402451f170949b9f40d1f5a2d268a1f7865c67c6daff3f5ed22eb24e1de7691436c6004b6627089c1d685c7aa98d2d5c3112b70cf3c3a1a9c484b89c3f25bbc05152e4e8cc81d1a4badf4b838b2dd479faf5065a05b8c0a4c6cd993ad835246"), refresh=False)
    say(0, 'ScsiCommand, READ(12), tag 00000024, expects 4096', bytes.fromhex("01c1000000000000000000000000000000000024000010000000000400000001a8010000098200000008000000000000"), wait=0)
    say(0, 'ScsiCommand, WRITE(16), tag 00000025, expects 4096, with 512 bytes', bytes.fromhex("01a10000000002000000000000000000000000250000100000000005000000018a0000000000000013d7000000080000"), bytes.fromhex("263d457fb1642ba0f66ed956e39fe7e2228c0b622f534bcf349d1dbe13ea1e2480de3cca66bfff8976ce3702106c8269cc4264d2579d711e192849436e945d594d965526e1adffae19c15993dd234254d2fa3bf49af166d65543de28e5750930d80fca065d9d54bc6901860c6f2d1a2d44b52e41a10d64699b2015ec2a8b7260d48d9446e88d418b0ebac16259c7fa669771219c80c247e74b7c34d16719ee0dc0123acce5c03c20960f46ab9686517d6f9122624cae1617d7034d5efb054faac8e4213455c6fc9cc4d307b54efe99f239e584a8432bb14966b06416d19024020d7e5ed154e75fd05ff56f9d1438b0e472d24134201befead7d6e3352ce37c36cdfe0ca5b0fa7391736c4ced4735c5af0ec84ca51772a15d183ddc397b26268b60c1879574eb1d8a99caf31043b72d973e38c046dff7a86f3ef7bc66d7f658e733e4e095a70c35b3e26c142bcc0da74c4eb7ebb4b6e5a6c446fefc8602e906b153626f0361a9340537e0783282b8fb9563a39342c3a667840770ffeaec7b050a698008b61bb2cda5aa424feb3d06388265a20db4d9302b93cc97f91ccc603db548c4a07034e065ff41702ee796a94df1ce22693ce6d3b025b028eb28d3ebe53e45534452dd17f3b473d2f728bee6574aceefc050ad666259588c2b05609d3f4e2a7f5c3c8ee1e2ff72a22d2b38dc613569db9e9689e81f476f329992e89c9845"))
    say(0, 'ScsiCommand, PERSISTENT RESERVE OUT PREEMPT, tag 00000026, expects 65560, with 24 bytes, add 20 4 -512', bytes.fromhex("01a30000000000180000000000000000000000260000fe1800000006000000015f040700000000001800000000000000"), bytes.fromhex("000000000000000100000000000000010000000000000000"), refresh=False)
    say(0, 'ScsiCommand, PERSISTENT RESERVE IN READ RESERVATION, tag 00000027, expects 96, set 16 4 4294967294', bytes.fromhex("01c10000000000000000000000000000fffffffe0000006000000007000000015e010000000000006000000000000000"), refresh=False)
    noise(0, 'NopOut, tag 00000028, with 600 bytes, flip 4233 0 0', bytes.fromhex("0080000000000258000000000000000000000028ffffffff000000080000000100000000000000000000000000000000780d5e5c2ccca9f20fa3db99f3c00585132e5aba54d5578d520c736e5ae7474b02aff1d578ccd16d7e4474a7900f93187e11683a8f77a2d2df0fea5f97267752ee1199cb4d4086c9ac1c7d0e427c26dd551d7304b073fdd90ca286aa3fa6ac2e0a8ff8845e2a8d34890c13372d63fad4df634e081f2ab3a24d1fa49a258ad381baee083119d5e68dcf05c618643fabe536ac89d884f69ca68f7552c15ecd48eec4e8592b7c572281d0be6236b2f8b7ccba85c3b6262f720b21061edd4874ed9341a3d212cb5ee01c9c345f3edd143d18af85196ae091c2cd0fb7465236734172f1c47f2a39ac8ab52510559dddc721e5a580f89e73168be30318a19890031db6c7faf87e206ca0ac8c2f257055ff3a8edf3810c2cc6725b59e9e0a4a60f9c3229e658ff55ca3e17fe472f0b0c510dabf1ab38e496e5c68fdcb5409a3fd239c5a6327aa0694938a7fd8592832c0af876a956bf2b7605578b3c9790d2402740c86220cbaff500b1a5ce30e9ec65d7e254ae2fafe9ee71f768fbd3a27ece2c13aeef84f7e10851a30766caca47526d57b93554b732e4d2b72c766e58fdb426c1a42b66febab3a873bc9054db749c8975dda08c9b2a49ff4ce8f5c339b5cc44de34ba235e8aabe3afa5b08b80665e264c1cfd6e84ab8c857fa502b672f7d61d48fe255a7e4e548e5c737b03cedbbf901ba1af801522844da27c6f7050c045481188cb54e36764376d820130fa43ec5343d3ac5e1d1057a4f859fa8f125abbde8274d6fba28a494c7498c2c24d652c427c17c023e5fb95a0fb06297183a557fe10b87e74f95687b0c82c1f9cd98a01970051883163058b1cbb52d"))
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
print("IT HAPPENED AGAIN: crash: ended with 1" if happened else "it did not happen")
sys.exit(1 if happened else 0)
