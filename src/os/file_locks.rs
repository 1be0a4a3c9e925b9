//! Who holds the locks on files.

/// Returns the process that holds a `flock` on the file with this inode, from the kernel's list: it contains the locks of every
/// program, and costs nothing until it is read.
pub(crate) fn holder(inode: u64) -> Option<u32> {
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| pid_in_lock_line(line, inode))
}

/// Returns the pid in a line such as `1: FLOCK  ADVISORY  WRITE 4711 fe:00:12345 0 EOF` if it is about this
/// file.
fn pid_in_lock_line(line: &str, inode: u64) -> Option<u32> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, "FLOCK", _, _, pid, file, ..] = words.as_slice() else {
        return None;
    };
    let locked: u64 = file.rsplit(':').next()?.parse().ok()?;
    let pid: u32 = pid.parse().ok()?;
    (locked == inode && pid > 0).then_some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_pid_of_a_lock_line() {
        let line = "3: FLOCK  ADVISORY  WRITE 4711 fe:00:815 0 EOF";
        assert_eq!(pid_in_lock_line(line, 815), Some(4711));
        assert_eq!(pid_in_lock_line(line, 816), None);
        assert_eq!(pid_in_lock_line("3: -> FLOCK  ADVISORY  WRITE 4712 fe:00:815 0 EOF", 815), None);
        assert_eq!(pid_in_lock_line("garbage", 815), None);
    }
}
