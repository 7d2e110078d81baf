//! Services that still run code which an update has replaced, as the kernel shows it: a file mapped to be executed and deleted since.
//!
//! Only root may look at the processes of others, so only root gets an answer.

use super::bounded;
use redflag_core::{limits, names::Text};
use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufRead as _, BufReader},
    path::Path,
};

/// Where packages put code. Files mapped from elsewhere come and go without any update.
const CODE: &[&str] = &["/usr/", "/lib", "/bin/", "/sbin/", "/opt/"];
/// What the kernel writes behind the path of a file that is no more.
const DELETED: &str = " (deleted)";

/// The systemd units, sorted; none when this process may not look.
pub(super) fn to_restart(root: &Path) -> Option<Vec<Text>> {
    rustix::process::geteuid().is_root().then(|| bounded(outdated(&root.join("proc")), limits::SERVICES_MAX))
}

fn outdated(processes: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(processes).into_iter().flatten().flatten();
    let numbered = entries.filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit));
    // A process may end while it is looked at; it has nothing to restart then.
    // The control group first: it is one short line, and most processes belong to no service.
    let of_unit = |entry: std::fs::DirEntry| {
        let unit = unit(&entry.path().join("cgroup"))?;
        runs_replaced_code(&entry.path().join("maps")).then_some(unit)
    };
    numbered.filter_map(of_unit).collect()
}

/// Reads `proc_pid_maps(5)` line by line: `start-end rwxp offset device inode path`.
fn runs_replaced_code(maps: &Path) -> bool {
    let Ok(maps) = File::open(maps) else { return false };
    let (mut maps, mut line) = (BufReader::new(maps), Vec::new());
    loop {
        line.clear();
        match maps.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return false,
            Ok(_) if replaced(&String::from_utf8_lossy(&line)) => return true,
            Ok(_) => {}
        }
    }
}

fn replaced(line: &str) -> bool {
    let mut fields = line.trim_end_matches('\n').splitn(6, ' ');
    let executable = fields.nth(1).is_some_and(|access| access.contains('x'));
    let path = fields.nth(3).unwrap_or_default().trim_start();
    executable && path.ends_with(DELETED) && CODE.iter().any(|start| path.starts_with(start))
}

/// The outermost service in a process' control group.
fn unit(cgroup: &Path) -> Option<String> {
    let groups = std::fs::read_to_string(cgroup).ok()?;
    let paths = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.flat_map(|path| path.split('/')).find(|part| part.ends_with(".service")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::root, *};
    use std::{
        io::{Read as _, Write as _},
        process::{Command, Stdio},
    };

    const REPLACED: &str = "7f00-7f01 r--p 00000000 fe:00 24  /usr/lib/x86_64-linux-gnu/libssl.so.3 (deleted)\n\
                            7f01-7f02 r-xp 00001000 fe:00 24                     /usr/lib/x86_64-linux-gnu/libssl.so.3 (deleted)\n";
    const CURRENT: &str = "7f01-7f02 r-xp 00001000 fe:00 24                         /usr/lib/x86_64-linux-gnu/libssl.so.3\n\
                           7f02-7f03 r--p 00001000 fe:00 25                         /usr/share/locale/x.mo (deleted)\n\
                           7f03-7f04 rwxp 00000000 00:01 26                         /memfd:jit (deleted)\n\
                           7f04-7f05 rwxp 00000000 00:00 0 \n";

    #[test]
    fn a_service_with_replaced_code_is_named_once() {
        let root = root(&[
            ("proc/1/maps", REPLACED),
            ("proc/1/cgroup", "0::/init.scope\n"),
            ("proc/20/maps", REPLACED),
            ("proc/20/cgroup", "0::/system.slice/ssh.service\n"),
            ("proc/21/maps", REPLACED),
            ("proc/21/cgroup", "2:cpu:/\n1:name=systemd:/system.slice/ssh.service\n"),
            ("proc/30/maps", CURRENT),
            ("proc/30/cgroup", "0::/system.slice/cron.service\n"),
            ("proc/40/maps", REPLACED),
            ("proc/40/cgroup", "0::/user.slice/user-1000.slice/user@1000.service/app.slice/notes.service\n"),
            ("proc/50/maps", REPLACED),
            ("proc/50/cgroup", "0::/system.slice/docker-0123.scope\n"),
            ("proc/meminfo", REPLACED),
        ]);
        let found: Vec<_> = outdated(&root.path().join("proc")).into_iter().collect();
        assert_eq!(found, ["ssh.service", "user@1000.service"]);
    }

    #[test]
    fn the_kernel_writes_what_is_read_here() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("cat");
        std::fs::copy("/bin/cat", &program).unwrap();
        let mut cat = Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // An answer shows that the program runs, and no longer the test's own image.
        cat.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        cat.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        std::fs::remove_file(&program).unwrap();
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", cat.id())).unwrap();
        drop(cat.stdin.take());
        cat.wait().unwrap();
        let at_home = |line: &str| line.replace(directory.path().to_str().unwrap(), "/usr/bin");
        let (replaced, current): (Vec<_>, Vec<_>) = maps.lines().partition(|line| replaced(&at_home(line)));
        assert!(replaced.len() == 1 && replaced[0].contains(" r-xp "), "{replaced:?} {current:?}");
    }
}
