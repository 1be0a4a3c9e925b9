//! What kind of file system a file is on.

use std::os::fd::AsFd;

/// The file systems of the network, by the number that the kernel gives each.
const NETWORK: [(u32, &str); 8] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x0102_1997, "9P"),
    (0x5346_414f, "AFS"),
    (0x00c3_6400, "Ceph"),
    (0x0bd0_0bd0, "Lustre"),
];

/// Returns the name of the network file system that a file is on; `None` on a local one, or when that is unknown.
pub(crate) fn network_name(file: impl AsFd) -> Option<&'static str> {
    let stat = rustix::fs::fstatfs(file).ok()?;
    // The type of f_type differs between platforms; the magic numbers fit in 32 bits on all of them.
    let magic = stat.f_type as u32;
    NETWORK.iter().find(|(number, _)| *number == magic).map(|(_, name)| *name)
}
