//! The power cut on real file systems: ext4 and XFS on a loop device, shut down without their logs being written,
//! mounted again, and checked. Needs root and loop devices.
//!
//! Without LANES_TEST_EVERY_POINT only a few of the points are tried.

#![expect(clippy::print_stdout, reason = "it says how much was tried")]

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::disk::of_an_earlier_boot;
use crate::driver::Driver;
use crate::reader::{After, Snapshot};
use crate::scenarios::Scenario;
use crate::testkit::run_alone;
use crate::testkit::skip::skipped;
use crate::world::{World, asked_for, in_memory};
use crate::{points, usage};

/// One in this many scenarios is tried, and one in this many of its points.
const SAMPLE: (usize, usize) = (6, 24);

/// The same with LANES_TEST_EVERY_POINT; mounting takes longer than checking.
const EVERY: (usize, usize) = (1, 8);

#[test]
fn ext4_may_lose_its_log() {
    in_a_namespace("on_ext4");
}

#[test]
fn xfs_may_lose_its_log() {
    in_a_namespace("on_xfs");
}

#[test]
#[ignore = "run by ext4_may_lose_its_log in a namespace of its own"]
fn on_ext4() {
    // Without what ext4 does for programs that forget to sync, and before it writes by itself.
    play("ext4", "64M", &["-q", "-F"], "loop,noauto_da_alloc,commit=300");
}

#[test]
#[ignore = "run by xfs_may_lose_its_log in a namespace of its own"]
fn on_xfs() {
    play("xfs", "320M", &["-q", "-f"], "loop");
}

/// Runs a test of this file in a namespace, so that its mounts and loop devices disappear with it.
fn in_a_namespace(test: &str) {
    match run_alone(&["unshare", "-m"], module_path!(), test) {
        Ok(output) if output.status.success() => {
            for line in String::from_utf8_lossy(&output.stdout).lines() {
                if line.starts_with("power cut") {
                    println!("{line}");
                }
            }
            for line in String::from_utf8_lossy(&output.stderr).lines() {
                if let Some((_, what)) = line.split_once(": needs ").filter(|_| line.starts_with("skipped: "))
                {
                    skipped(what);
                }
            }
        }
        Ok(output) if String::from_utf8_lossy(&output.stderr).starts_with("unshare: ") => {
            skipped("root, to mount a disk");
        }
        Ok(output) => panic!(
            "{test}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => skipped(&format!("unshare: {error}")),
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let Output { status, stderr, .. } = command.output().map_err(|error| format!("{name}: {error}"))?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("{name}: {}", String::from_utf8_lossy(&stderr).trim())),
    }
}

/// A file system in a file, mounted.
struct Disk {
    image: PathBuf,
    at: PathBuf,
    options: &'static str,
}

impl Disk {
    fn make(
        dir: &Path,
        kind: &str,
        size: &str,
        make: &[&str],
        options: &'static str,
    ) -> Result<Self, String> {
        let (image, at) = (dir.join("image"), dir.join("disk"));
        std::fs::create_dir(&at).unwrap();
        run(Command::new("truncate").args(["-s", size]).arg(&image))?;
        run(Command::new(format!("mkfs.{kind}")).args(make).arg(&image))?;
        let disk = Self { image, at, options };
        disk.mount()?;
        Ok(disk)
    }

    fn mount(&self) -> Result<(), String> {
        run(Command::new("mount").args(["-o", self.options]).arg(&self.image).arg(&self.at))
    }

    /// Stops the file system as a power cut does, and mounts it again.
    fn cut(&self) {
        shut_down(&File::open(&self.at).unwrap());
        run(Command::new("umount").arg(&self.at)).unwrap();
        self.mount().unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg("-l").arg(&self.at));
    }
}

/// Stops a file system at once; data that its log has not written yet is lost.
#[expect(unsafe_code, reason = "there is no safe call for it; ext4 and XFS read one number")]
fn shut_down(root: &File) {
    const SHUTDOWN: rustix::ioctl::Opcode = rustix::ioctl::opcode::read::<u32>(b'X', 125);
    const WITHOUT_LOG: u32 = 2;
    // SAFETY: the call reads the number and changes nothing of ours.
    unsafe { rustix::ioctl::ioctl(root, rustix::ioctl::Setter::<SHUTDOWN, u32>::new(WITHOUT_LOG)) }.unwrap();
}

fn play(kind: &str, size: &str, make: &[&str], options: &'static str) {
    let dir = in_memory();
    let disk = match Disk::make(dir.path(), kind, size, make, options) {
        Ok(disk) => disk,
        Err(why) => return skipped(&format!("{kind} on a loop device: {why}")),
    };
    let sample = if asked_for("LANES_TEST_EVERY_POINT") { EVERY } else { SAMPLE };
    let world = World::in_dir(&disk.at);
    let base = usage::look(&world, After::Kill, "the prepared store");
    let (mut cuts, mut played) = (0, 0);
    for (number, scenario) in world.scenarios().iter().enumerate().filter(|(n, _)| n % sample.0 == 0) {
        world.set_up(scenario);
        let start = usage::look(&world, After::Kill, scenario.name);
        let base = base.clone().with_names_of(&start);
        let points = points::of_changes(&world, scenario);
        let effect = usage::look(&world, After::Kill, "after").named(&base);
        let chosen = points.iter().enumerate().filter(|(n, _)| (n + number).is_multiple_of(sample.1));
        for point in chosen.map(|(_, point)| Some(point)).chain([None]) {
            let what = match point {
                Some(point) => {
                    format!("{} on {kind}, power cut at {} {}", scenario.name, point.call, point.nth)
                }
                None => format!("{} on {kind}, power cut after it", scenario.name),
            };
            world.set_up(scenario);
            rustix::fs::syncfs(File::open(&disk.at).unwrap()).unwrap();
            let output = match point {
                Some(point) => world.traced(&point.inject("signal=KILL"), scenario),
                None => world.run(&scenario.args.iter().map(String::as_str).collect::<Vec<_>>()),
            };
            disk.cut();
            let ended = output.status.success() || output.status.signal() == Some(9);
            assert!(ended, "{what}: {}", String::from_utf8_lossy(&output.stderr));
            look(&world, scenario, (&base, &start, &effect), output.status.success(), &what);
            cuts += 1;
        }
        played += 1;
    }
    losing_syncs_is_noticed(&disk, &world);
    println!("power cut {cuts} times on {kind}, in {played} scenarios");
}

/// A submit whose syncs do nothing must be lost; otherwise these cuts would prove nothing.
fn losing_syncs_is_noticed(disk: &Disk, world: &World) {
    let scenario = world.scenario("submit", &["submit", "--lane", "l", "--prompt", "new"]);
    world.set_up(&scenario);
    let start = usage::look(world, After::Kill, "before");
    rustix::fs::syncfs(File::open(&disk.at).unwrap()).unwrap();
    let output = world.traced(&["--trace=fsync", "--inject=fsync:retval=0"], &scenario);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    disk.cut();
    let found = usage::look(world, After::PowerCut, "a submit without syncs");
    assert!(found == start, "a submit without syncs survived: {found:#?}");
}

/// The effect of a command that reported success is there; any other command has its whole effect or none.
fn look(
    world: &World,
    scenario: &Scenario,
    (base, start, effect): (&Snapshot, &Snapshot, &Snapshot),
    is_done: bool,
    what: &str,
) {
    let state = world.store().join("indexes/state");
    if let Ok(content) = std::fs::read(&state) {
        std::fs::write(&state, of_an_earlier_boot(&content)).unwrap();
    }
    let found = usage::look(world, After::PowerCut, what);
    let is_after = found.named(base) == *effect;
    assert!(is_after || !is_done, "{what}: it had ended, and what it did is gone: {found:#?}");
    let between = scenario.may_stop_at(&found, (base, start, effect));
    assert!(is_after || found == *start || between, "{what}: in between: {found:#?}");
    usage::nothing_is_lost(world, After::PowerCut, scenario, start, what);
    if !found.broken.is_empty() {
        usage::repeat(world, After::PowerCut, scenario, (base, effect), what);
    }
    usage::work_it_off(world, After::PowerCut, Driver::Library, what);
}
