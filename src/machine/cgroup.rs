//! The memory limit of a container or of a batch job, as Linux's control groups state it. Whoever passes it is killed, however
//! much memory the machine has.
//!
//! A process is in one group of each hierarchy, and the limits of all groups above that group hold too. Both versions of the
//! interface are read. They may be mounted side by side, and a container may see only a lower part of a hierarchy.
//! Must not know: how much memory the machine has.

use std::path::{Path, PathBuf};

use crate::files;

/// The tightest limit that holds for this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    /// The least that any group allows.
    pub bytes: u64,
    /// The least that any group still leaves. It need not be the same group.
    pub left: u64,
}

/// Where a version of the interface keeps its numbers.
struct Version {
    /// Its type in the list of mounts.
    filesystem: &'static str,
    /// Each of these bounds the group. Above `memory.high` a process is slowed down until it stands still.
    limits: &'static [&'static str],
    usage: &'static str,
    /// Lines of memory.stat: what the kernel takes back before it kills. These are pages of files, such as mapped
    /// weights, that were read and can be read again.
    reclaimable: [&'static str; 2],
}

const VERSIONS: [Version; 2] = [
    Version {
        filesystem: "cgroup2",
        limits: &["memory.max", "memory.high"],
        usage: "memory.current",
        reclaimable: ["active_file", "inactive_file"],
    },
    Version {
        filesystem: "cgroup",
        limits: &["memory.limit_in_bytes"],
        usage: "memory.usage_in_bytes",
        reclaimable: ["total_active_file", "total_inactive_file"],
    },
];

/// The limit of this process, in the file system below `root` (a test brings one of its own). None without a limit.
pub(super) fn limit(root: &Path) -> Option<Limit> {
    let groups = text(&root.join("proc/self/cgroup"))?;
    let mounts = text(&root.join("proc/self/mountinfo"))?;
    let mut tightest: Option<Limit> = None;
    for version in &VERSIONS {
        for (top, group) in levels(version, &groups, &mounts) {
            let top = root.join(top.strip_prefix("/").unwrap_or(&top));
            let group = top.join(group);
            for level in group.ancestors().take_while(|level| level.starts_with(&top)) {
                let Some(found) = limit_of(version, level) else { continue };
                tightest = Some(tightest.map_or(found, |other| Limit {
                    bytes: other.bytes.min(found.bytes),
                    left: other.left.min(found.left),
                }));
            }
        }
    }
    tightest
}

/// Where the hierarchies of a version are mounted, and below that the path of this process's group.
fn levels(version: &Version, groups: &str, mounts: &str) -> Vec<(PathBuf, PathBuf)> {
    let Some(group) = groups.lines().find_map(|line| group_of(version, line)) else { return Vec::new() };
    let mounts = mounts.lines().filter_map(|line| mount_of(version, line));
    // A mount shows the hierarchy from `shown` on. A group that is not below that has another name in here: the
    // mount's top is then the closest group that can be seen.
    mounts.map(|(shown, top)| (top.into(), group.strip_prefix(shown).unwrap_or(Path::new("")).to_owned())).collect()
}

/// The path in a line `ID:CONTROLLERS:PATH` of /proc/self/cgroup, if the line is about this version's memory.
fn group_of<'a>(version: &Version, line: &'a str) -> Option<&'a Path> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, path) = (fields.next()?, fields.next()?);
    let ours = match version.filesystem {
        "cgroup2" => controllers.is_empty(),
        _ => controllers.split(',').any(|controller| controller == "memory"),
    };
    ours.then_some(Path::new(path))
}

/// From a line of /proc/self/mountinfo, `ID PARENT DEVICE SHOWN TOP OPTIONS … - TYPE SOURCE SUPER_OPTIONS`: the group that
/// is shown at the top of the mount, and the directory where it is mounted.
fn mount_of<'a>(version: &Version, line: &'a str) -> Option<(&'a str, &'a str)> {
    let (mount, kind) = line.split_once(" - ")?;
    let mut kind = kind.split(' ');
    let ours = kind.next()? == version.filesystem
        && (version.filesystem == "cgroup2" || kind.nth(1)?.split(',').any(|option| option == "memory"));
    let mut fields = mount.split(' ').skip(3);
    ours.then_some((fields.next()?, fields.next()?))
}

/// What one group allows and leaves; none if it has no limit.
fn limit_of(version: &Version, group: &Path) -> Option<Limit> {
    let number = |name: &&str| text(&group.join(name))?.trim().parse::<u64>().ok();
    // The word "max" is no number, and so it is no limit.
    let bytes = version.limits.iter().filter_map(number).min()?;
    let statistics = text(&group.join("memory.stat")).unwrap_or_default();
    let reclaimable = version.reclaimable.iter().filter_map(|name| statistic(&statistics, name)).sum();
    let used = number(&version.usage).unwrap_or(0).saturating_sub(reclaimable);
    Some(Limit { bytes, left: bytes.saturating_sub(used) })
}

/// The number in a line `NAME NUMBER`.
fn statistic(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

fn text(path: &Path) -> Option<String> {
    files::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A made-up file system with these files.
    fn machine(content: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in content {
            let path = root.path().join(name);
            files::create_dir_all(path.parent().unwrap()).unwrap();
            files::write_atomic(&path, text.as_bytes()).unwrap();
        }
        root
    }

    fn limit_with(content: &[(&str, &str)]) -> Option<Limit> {
        limit(machine(content).path())
    }

    const UNIFIED: (&str, &str) = (
        "proc/self/mountinfo",
        "24 1 8:1 / / rw - ext4 /dev/a rw\n30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n",
    );

    /// A Slurm job in version 2: the limit is the job's, and the process is in a step of it.
    const JOB: [(&str, &str); 8] = [
        UNIFIED,
        ("proc/self/cgroup", "0::/system.slice/job_7/step_0\n"),
        ("sys/fs/cgroup/memory.stat", "active_file 1\n"),
        ("sys/fs/cgroup/system.slice/memory.max", "max\n"),
        ("sys/fs/cgroup/system.slice/job_7/memory.max", "1000\n"),
        ("sys/fs/cgroup/system.slice/job_7/memory.current", "300\n"),
        ("sys/fs/cgroup/system.slice/job_7/step_0/memory.max", "max\n"),
        ("sys/fs/cgroup/system.slice/job_7/step_0/memory.current", "250\n"),
    ];

    #[test]
    fn the_limit_of_a_parent_counts_and_its_usage_is_subtracted() {
        assert_eq!(limit_with(&JOB), Some(Limit { bytes: 1000, left: 700 }));
    }

    #[test]
    fn the_tightest_of_several_groups_counts() {
        let step = ("sys/fs/cgroup/system.slice/job_7/step_0/memory.max", "400");
        assert_eq!(limit_with(&[&JOB[..], &[step]].concat()), Some(Limit { bytes: 400, left: 150 }));
        // The step's own limit is the lower one, but its neighbours have used up the job's.
        let used = ("sys/fs/cgroup/system.slice/job_7/memory.current", "990");
        assert_eq!(limit_with(&[&JOB[..], &[step, used]].concat()), Some(Limit { bytes: 400, left: 10 }));
        let over = ("sys/fs/cgroup/system.slice/job_7/memory.current", "1001");
        assert_eq!(limit_with(&[&JOB[..], &[over]].concat()), Some(Limit { bytes: 1000, left: 0 }));
        let high = ("sys/fs/cgroup/system.slice/memory.high", "999");
        assert_eq!(limit_with(&[&JOB[..], &[high]].concat()), Some(Limit { bytes: 999, left: 700 }));
    }

    #[test]
    fn pages_of_files_can_be_taken_back() {
        let statistics = (
            "sys/fs/cgroup/system.slice/job_7/memory.stat",
            "anon 5\nactive_file 100\nactive_file_x 9\ninactive_file 20\n",
        );
        assert_eq!(limit_with(&[&JOB[..], &[statistics]].concat()), Some(Limit { bytes: 1000, left: 820 }));
    }

    #[test]
    fn max_is_no_limit_and_neither_is_a_system_without_groups() {
        let free = ("sys/fs/cgroup/system.slice/job_7/memory.max", "max\n");
        assert_eq!(limit_with(&[&JOB[..], &[free]].concat()), None);
        assert_eq!(limit_with(&[]), None);
        assert_eq!(limit_with(&[UNIFIED, ("proc/self/cgroup", "")]), None);
        assert_eq!(limit_with(&[UNIFIED, ("proc/self/cgroup", "0\n0::/gone\n")]), None);
    }

    #[test]
    fn a_container_sees_its_own_limit_at_the_top() {
        let at_top = [("sys/fs/cgroup/memory.max", "512\n"), ("sys/fs/cgroup/memory.current", "500\n")];
        let inside = [UNIFIED, ("proc/self/cgroup", "0::/\n")];
        assert_eq!(limit_with(&[inside, at_top].concat()), Some(Limit { bytes: 512, left: 12 }));
        // The process was moved to a group that is not below what the container sees.
        let outside = [UNIFIED, ("proc/self/cgroup", "0::/../other\n")];
        assert_eq!(limit_with(&[outside, at_top].concat()), Some(Limit { bytes: 512, left: 12 }));
    }

    /// Version 1 beside a version 2 that has no memory controller, as many machines mount them.
    const OLD: [(&str, &str); 5] = [
        (
            "proc/self/mountinfo",
            "30 25 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
             31 25 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
             32 25 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
        ),
        ("proc/self/cgroup", "5:cpu:/wrong\n4:hugetlb,memory:/slurm/job_7/step_0\n0::/\n"),
        ("sys/fs/cgroup/memory/slurm/job_7/memory.limit_in_bytes", "2000\n"),
        ("sys/fs/cgroup/memory/slurm/job_7/memory.usage_in_bytes", "900\n"),
        (
            "sys/fs/cgroup/memory/slurm/job_7/memory.stat",
            "inactive_file 9\ntotal_active_file 300\ntotal_inactive_file 100\n",
        ),
    ];

    #[test]
    fn version_1_is_read_with_its_parents() {
        let endless = [
            ("sys/fs/cgroup/memory/slurm/job_7/step_0/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/slurm/job_7/step_0/memory.usage_in_bytes", "800\n"),
        ];
        assert_eq!(limit_with(&[&OLD[..], &endless].concat()), Some(Limit { bytes: 2000, left: 1500 }));
        let other = ("sys/fs/cgroup/cpu/wrong/memory.limit_in_bytes", "1");
        assert_eq!(limit_with(&[&OLD[..], &[other]].concat()), Some(Limit { bytes: 2000, left: 1500 }));
    }

    #[test]
    fn a_container_of_version_1_has_its_group_mounted_at_the_top() {
        let content = [
            (
                "proc/self/mountinfo",
                "31 25 0:29 /docker/ab /sys/fs/cgroup/memory ro master:1 - cgroup cgroup rw,memory\n",
            ),
            ("proc/self/cgroup", "4:memory:/docker/ab/inner\n"),
            ("sys/fs/cgroup/memory/inner/memory.limit_in_bytes", "70"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "60"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "20"),
        ];
        assert_eq!(limit_with(&content), Some(Limit { bytes: 60, left: 40 }));
    }
}
