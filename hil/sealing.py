"""What sealing and opening cost: `python -m hil.sealing` → build/reports/sealing.json.

Times are processor time of one core, so that other work on the machine counts as little as it can.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from firmware.device_trust import DeviceTrust
from firmware.envelope import Suite, pack
from firmware.reader import Reader
from firmware.recipient import PrivateKey
from firmware.record import Interaction
from firmware.sealing import Recipient, seal, sign
from firmware.uplink.identity import KeyFile
from hil import report
from provisioning.authority import Authority

RECORDS = 2000
DEVICE = "bench-1"
VISIT = Interaction(start_utc_s=1_767_225_600, dwell_ms=12_300, attention_ms=4_500)
IMPORT = """
import re
def resident_kb():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1])
import firmware.record
before = resident_kb()
from firmware.sealing import Recipient, seal
import sys
recipient = Recipient.from_bytes(sys.argv[1].encode())
seal(firmware.record.Interaction(start_utc_s=0, dwell_ms=0), number=1, device="a",
     recipient=recipient)
print(resident_kb() - before)
"""


def measure(suite: Suite, key: KeyFile, trust: DeviceTrust) -> dict[str, Any]:
    """Figures of one suite."""
    private = PrivateKey.generate(suite)
    recipient = Recipient.from_bytes(private.public_bytes())
    began = time.process_time()
    sealed = [
        seal(VISIT, number=number, device=DEVICE, recipient=recipient) for number in range(RECORDS)
    ]
    seal_s, began = time.process_time() - began, time.process_time()
    signed = [sign(envelope, key) for envelope in sealed]
    sign_s = time.process_time() - began
    bodies = []
    while signed:
        body, taken = pack(signed)
        bodies.append(body)
        signed = signed[taken:]
    reader = Reader([private], trust)
    began = time.process_time()
    opened = sum(len(reader.read(body, DEVICE).records) for body in bodies)
    open_s = time.process_time() - began
    assert opened == RECORDS
    return {
        "suite": suite.name,
        "envelope_bytes": len(sign(sealed[0], key)),
        "records_per_message": round(RECORDS / len(bodies), 1),
        "seal_us": round(seal_s / RECORDS * 1e6),
        "sign_us": round(sign_s / RECORDS * 1e6),
        "open_us": round(open_s / RECORDS * 1e6),
        "opened_per_core_s": round(RECORDS / open_s),
        "vision_mb": round(_resident_kb(private) / 1024, 1),
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        key = KeyFile.create(Path(folder) / "device.key")
        certificate = Authority.root("bench").batch("bench").device(key.request(DEVICE))
        Path(folder, f"{DEVICE}.pem").write_bytes(certificate)
        trust = DeviceTrust.from_folder(Path(folder))
        figures = [measure(suite, key, trust) for suite in Suite]
    names = list(figures[0])
    print("  ".join(f"{name:>19}" for name in names))
    for row in figures:
        print("  ".join(f"{row[name]:>19}" for name in names))
    print(report.write("sealing", {"suites": figures}))


def _resident_kb(private: PrivateKey) -> int:
    """Memory that sealing adds to a process which has the record's schema already."""
    arguments = [sys.executable, "-c", IMPORT, private.public_bytes().decode()]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=60)
    return int(done.stdout)


if __name__ == "__main__":
    main()
